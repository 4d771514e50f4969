//! Linux: names and permissions of programs.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::umask;

use crate::command::output_within;

/// The service's file name.
pub(crate) const PROGRAM: &str = "akvvm_service";
/// The extension's type, in the names of handlers' folders and in manifests.
pub(crate) const TYPE: &str = "KeyVaultForLinux";
/// Whose folders are those of the service's versions.
pub(crate) const VERSIONS: &str = "/opt/akvvm";
/// The folder that is the extension's alone, and goes with it: here that of the programs.
pub(crate) const HOME: &str = VERSIONS;
/// Where the agent puts settings, in the handler's folder.
pub(crate) const CONFIG: &str = "config";
/// Where it reads the status, in the handler's folder.
pub(crate) const STATUS: &str = "status";
/// What the programs need of a machine.
pub(crate) const NEEDS: &str = "glibc 2.34 or later on x86-64";

/// Keeps what this process creates from other users.
pub(crate) fn harden() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// The name that the system gives to a process that runs the program at `path`.
pub(crate) fn resolve(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// The folders in which the agent keeps handlers, where that of one of them is `base`.
pub(crate) fn shelves(base: &Path) -> Vec<PathBuf> {
    base.parent().map(Path::to_owned).into_iter().collect()
}

/// Lets the owner run the file at `path`; an archive that was unpacked without its modes does not. Other bits stay.
///
/// # Errors
/// There is no such file, or its mode cannot be changed.
pub(crate) fn make_executable(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o100 == 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o100))?;
    }
    Ok(())
}

/// Gives files and folders the labels that SELinux's policy has for their places, where SELinux is. Best effort: a policy
/// that minds says so in the audit log.
pub(crate) fn restore_labels(paths: &[&Path]) {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        match output_within(Command::new("restorecon").arg("-R").args(paths), Duration::from_secs(60)) {
            Ok(Some(output)) if output.status.success() => {}
            outcome => log::warn!("restorecon -R {paths:?}: {outcome:?}"),
        }
    }
}
