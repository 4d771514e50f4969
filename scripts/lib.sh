# Common to several scripts, which read it with `.`: where things are, and how they speak.
# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by the scripts

# The folder of the repository. Every script runs from there.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1

# Where cargo builds.
target=${CARGO_TARGET_DIR:-$root/target}

# What the executables for Windows are built for.
windows_target=x86_64-pc-windows-gnu
# And those for Linux on ARM64.
arm64_target=aarch64-unknown-linux-gnu

# rustup puts cargo where shells that already run do not look, and Debian its servers where only root's shells do.
PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/sbin:/sbin

# Says what begins now.
say() {
  printf '\n== %s\n' "$*"
}

# Ends the script with a message on standard error.
fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# The version of this machine's glibc. What is built on a newer distribution may need it, and runs here all the same.
glibc_here() {
  getconf GNU_LIBC_VERSION | cut -d ' ' -f 2
}
