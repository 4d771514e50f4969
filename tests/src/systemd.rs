//! A real systemd on a private machine: booted as process 1 of its own namespaces on the world's `/etc`, `/var` and `/opt`,
//! with `/run`, `/dev`, `/proc` and `/sys` of its own. Nothing of this machine's own units starts there.
//!
//! Processes have other numbers inside than outside: what talks to the service manager or to a service is run by
//! [`Systemd::command`], which enters the namespaces.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::story::{finish, wait_for};
use crate::world::World;

/// A boot takes one or two seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// What Azure gives a machine as its number, where the firmware tells it.
pub const MACHINE: &str = "4a5b6c7d-1111-2222-3333-9e8f7a6b5c4d";

/// Enters the cgroup `$1` and new namespaces, and runs the script `$2` there.
const ENTER: &str = r#"
echo 0 > "$1/cgroup.procs"
exec unshare --mount --pid --ipc --uts --cgroup --fork --kill-child sh -euc "$2" sh "$3"
"#;

/// Mounts what a machine has, in a way that leaves the real one alone, and becomes systemd. What may be written below
/// `/proc/sys` and `/sys` is the real machine's: units that would do so are passed over where it is read-only.
const BOOT: &str = r#"
mount -t proc -o nosuid,nodev,noexec proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t tmpfs -o mode=755 class /sys/class
mkdir -p /sys/class/dmi/id
echo "$1" > /sys/class/dmi/id/product_uuid
mount -o remount,bind,ro /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 dev /tmp
for node in null zero full random urandom tty; do
  touch "/tmp/$node"
  mount --bind "/dev/$node" "/tmp/$node"
done
mkdir /tmp/shm /tmp/pts /tmp/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts /tmp/pts
ln -s pts/ptmx /tmp/ptmx
ln -s /proc/self/fd /tmp/fd
mount --move /tmp /dev
mount -t tmpfs -o mode=755,nosuid,nodev run /run
mount -t tmpfs -o mode=1777,nosuid,nodev tmp /tmp
exec env -i container=story PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog \
  /lib/systemd/systemd --show-status=0
"#;

/// A machine that systemd runs. Dropping it ends everything on it at once, as a power cut does.
pub struct Systemd {
    namespaces: Child,
    /// Process 1, by its number outside.
    init: i32,
    cgroup: PathBuf,
}

impl Systemd {
    /// Boots the machine of `world` and waits until all that starts at boot has started.
    pub fn boot(world: &World) -> Result<Self> {
        Self::boot_as(world, MACHINE)
    }

    /// The same with another number of the machine, as a copy of its disk finds on another one.
    pub fn boot_as(world: &World, machine: &str) -> Result<Self> {
        prepare()?;
        let cgroup = cgroup()?;
        let console = tempfile::tempfile()?;
        let mut command = world.command("sh");
        command.args(["-euc", ENTER, "sh"]).arg(&cgroup).args([BOOT, machine]);
        command.stdout(console.try_clone()?).stderr(console.try_clone()?);
        let namespaces = command.spawn().context("sh")?;
        let mut booting = Self { namespaces, init: 0, cgroup };
        booting.wait_for_boot().with_context(|| {
            let mut said = vec![0; 16 * 1024];
            let length = console.read_at(&mut said, 0).unwrap_or_default();
            format!("systemd does not boot: {}", String::from_utf8_lossy(&said[..length]))
        })?;
        Ok(booting)
    }

    fn wait_for_boot(&mut self) -> Result<()> {
        let outer = self.namespaces.id();
        let children = format!("/proc/{outer}/task/{outer}/children");
        let child = || fs::read_to_string(&children).ok()?.trim().parse().ok();
        self.init = wait_for(PATIENCE, "process 1", child)?;
        // Until its own /run is mounted, systemctl finds no systemd, or this machine's own.
        let is_running = || {
            let is_systemd = fs::read_link(format!("/proc/{}/exe", self.init)).ok()?.ends_with("systemd");
            let state = is_systemd.then(|| self.command("systemctl").arg("is-system-running").output())?;
            let state = state.ok()?.stdout;
            matches!(state.trim_ascii(), b"running" | b"degraded").then_some(())
        };
        wait_for(PATIENCE, "end of the boot", is_running)
    }

    /// A command on this machine, with a small, clean environment.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let words = self.entrance();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// The words before a command that make it run on this machine.
    #[must_use]
    pub fn entrance(&self) -> Vec<String> {
        let mut words = vec!["nsenter".to_owned(), format!("--target={}", self.init)];
        words.extend(["--mount", "--uts", "--ipc", "--pid", "--cgroup"].map(str::to_owned));
        words
    }

    /// Runs a program on this machine; an error with all that it said unless it succeeds.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let finished = finish(self.command(program).args(arguments)).with_context(|| program.to_owned())?;
        match finished.code {
            Some(0) => Ok(finished.output),
            _ => bail!("{program} {arguments:?}: {finished:?}"),
        }
    }

    /// A property of a unit, as `systemctl show` says it.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let value = self.run("systemctl", &["show", "--property", name, "--value", unit])?;
        Ok(value.trim_end().to_owned())
    }

    /// Stops every unit and ends, as at an orderly power off.
    pub fn power_off(mut self) -> Result<()> {
        self.run("systemctl", &["poweroff", "--no-block"])?;
        let ended = || self.namespaces.try_wait().ok().flatten();
        wait_for(PATIENCE, "end of the machine", ended).map(|_| ())
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The kernel ends all processes of a namespace with its first one.
        if let Some(init) = Pid::from_raw(self.init).filter(|_| matches!(self.namespaces.try_wait(), Ok(None))) {
            let _ = kill_process(init, Signal::KILL);
        }
        let _ = self.namespaces.kill();
        let _ = self.namespaces.wait();
        let gone = || remove_cgroup(&self.cgroup).ok();
        let _ = wait_for(Duration::from_secs(5), "end of the cgroup", gone);
    }
}

/// What a machine needs that was never booted: a number, so that systemd does not take it for new and enable everything.
fn prepare() -> Result<()> {
    fs::create_dir_all("/etc/systemd/system")?;
    let id = Path::new("/etc/machine-id");
    if fs::read_to_string(id).unwrap_or_default().trim().len() != 32 {
        fs::write(id, format!("{:032x}\n", fastrand::u128(..))).context("/etc/machine-id")?;
    }
    Ok(())
}

/// A new cgroup below this process's own, in which systemd makes those of its units.
fn cgroup() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = words.find(|words| words.get(2) == Some(&"cgroup2")).context("no cgroup2 is mounted here")?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let path = Path::new(mount[1]).join(own).join(format!("story-{:016x}", fastrand::u64(..)));
    fs::create_dir(&path).with_context(|| format!("{}: cannot make a cgroup for systemd", path.display()))?;
    Ok(path)
}

/// Removes a cgroup without processes and all those below it; it takes a moment after the last process until it can be.
fn remove_cgroup(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_cgroup(&path)?;
        }
    }
    fs::remove_dir(cgroup)
}
