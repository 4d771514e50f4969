//! A private world for one test: a network of its own with nothing but a loopback, and private copies of `/etc`,
//! `/opt` and `/var`. Programs run in it unmodified, with real addresses and real host names, and nothing outside changes.
//!
//! A world belongs to the thread that entered it and to what that thread starts: threads, servers, programs. Each
//! `#[test]` runs in a thread of its own and can have its own world.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::Write;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use openssl::x509::X509;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tempfile::TempDir;

use crate::azure::Azure;
use crate::network;
use crate::story::wait_for;

/// Files of trusted roots, as the distributions lay them out; links among them lead to the same file.
const BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Where this machine's own copy of the product could be, and what its own systemd starts and mounts; a world begins
/// without.
const LEFTOVERS: [&str; 6] =
    ["/var/lib/akvvm", "/etc/akvvm", "/etc/default/akvvm_service", "/opt/akvvm", "/etc/systemd/system", "/etc/fstab"];

/// The private world of the thread that entered it. Dropping it ends every process that still lives in it.
pub struct World {
    folder: TempDir,
    namespace: PathBuf,
    trusted: Cell<bool>,
    /// Namespaces belong to threads: a world does not move to another.
    of_this_thread: PhantomData<*const ()>,
}

impl World {
    /// Puts the calling thread into a fresh world: `lo` with 127.0.0.1 and 169.254.169.254, private `/etc` and
    /// `/var` with an empty `/var/lib/waagent` and `/var/log/azure`. Needs root.
    pub fn enter() -> Result<Self> {
        if !geteuid().is_root() {
            bail!(
                "a private world needs namespaces, and these need root: run this with sudo, or in a container with \
                 the capabilities SYS_ADMIN and NET_ADMIN"
            );
        }
        let folder = tempfile::Builder::new().prefix("world-").tempdir()?;
        // SAFETY: neither flag takes a file descriptor away from other threads; the calling thread alone moves.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.context(
            "cannot make namespaces: this machine (or container) does not allow it; it takes the capabilities \
             SYS_ADMIN and NET_ADMIN",
        )?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).context("cannot make the mounts private")?;
        network::bring_up()?;
        let world = Self {
            folder,
            namespace: fs::read_link("/proc/thread-self/ns/net")?,
            trusted: Cell::new(false),
            of_this_thread: PhantomData,
        };
        world.tmpfs(world.folder.path(), "mode=0755")?;
        world.overlay("/etc")?;
        world.overlay("/var")?;
        world.overlay("/opt")?;
        for leftover in LEFTOVERS.map(Path::new) {
            let removed = match leftover.is_dir() {
                true => fs::remove_dir_all(leftover),
                false if leftover.exists() => fs::remove_file(leftover),
                false => Ok(()),
            };
            removed.with_context(|| format!("{}: cannot remove it", leftover.display()))?;
        }
        // This machine's own systemd would be told to start services.
        if Path::new("/run/systemd").exists() {
            world.tmpfs(Path::new("/run/systemd"), "mode=0755")?;
        }
        world.tmpfs(Path::new("/var/lib/waagent"), "mode=0700")?;
        world.tmpfs(Path::new("/var/log/azure"), "mode=0755")?;
        fs::write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
        Ok(world)
    }

    /// Leads the names of all vaults of `azure` to their server and trusts its root. To be called again after more
    /// vaults were created.
    pub fn connect(&self, azure: &Azure) -> Result<()> {
        let hosts = azure.hosts();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        self.resolve(&hosts, azure.vault_address().ip())?;
        if !self.trusted.replace(true) {
            self.trust(azure.root_pem())?;
        }
        Ok(())
    }

    /// Leads these names to this address, by the world's hosts file. Names that it has already stay.
    pub fn resolve(&self, hosts: &[&str], address: IpAddr) -> Result<()> {
        let mut table = fs::read_to_string("/etc/hosts")?;
        for host in hosts {
            if !table.split_whitespace().any(|word| word == *host) {
                table += &format!("{address} {host}\n");
            }
        }
        fs::write("/etc/hosts", table).context("/etc/hosts")
    }

    /// Adds a root to the world's trust store: to the bundle file, and to OpenSSL's folder of hashes.
    pub fn trust(&self, root_pem: &str) -> Result<()> {
        for bundle in bundles()? {
            let file = fs::OpenOptions::new().append(true).open(&bundle);
            file.and_then(|mut file| file.write_all(format!("\n{root_pem}").as_bytes()))
                .with_context(|| format!("{}", bundle.display()))?;
        }
        let hash = X509::from_pem(root_pem.as_bytes())?.subject_name_hash();
        let folder = Path::new("/etc/ssl/certs");
        let file = format!("emulated-{hash:08x}.pem");
        fs::write(folder.join(&file), root_pem).with_context(|| folder.join(&file).display().to_string())?;
        let mut names = (0..100).map(|number| folder.join(format!("{hash:08x}.{number}")));
        match names.find(|name| name.symlink_metadata().is_err()) {
            Some(name) => symlink(file, &name).with_context(|| name.display().to_string()),
            None => bail!("{}: too many roots with the hash {hash:08x}", folder.display()),
        }
    }

    /// Takes a root out of the bundle file of the world's trust store again.
    pub fn distrust(&self, root_pem: &str) -> Result<()> {
        for bundle in bundles()? {
            let others = fs::read_to_string(&bundle)?.replace(root_pem, "");
            fs::write(&bundle, others).with_context(|| bundle.display().to_string())?;
        }
        Ok(())
    }

    /// A command in this world with a small, clean environment: a path and a locale, no proxy, no other trust, no
    /// home; and nothing on standard input.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Adds a user with a group of its own of the same name and number.
    pub fn add_user(&self, name: &str, id: u32) -> Result<()> {
        self.add_group(name, id, &[])?;
        let line = format!("{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n");
        append(Path::new("/etc/passwd"), &line)
    }

    /// Adds a group with these members.
    pub fn add_group(&self, name: &str, id: u32, members: &[&str]) -> Result<()> {
        let line = format!("{name}:x:{id}:{}\n", members.join(","));
        append(Path::new("/etc/group"), &line)
    }

    /// Mounts an empty tmpfs over `path`, which is created when missing; `options` as in `mount -o`, such as
    /// `size=1m,mode=0700`.
    pub fn tmpfs(&self, path: &Path, options: &str) -> Result<()> {
        fs::create_dir_all(path).with_context(|| path.display().to_string())?;
        let options = CString::new(options)?;
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str())
            .with_context(|| format!("{}: cannot mount a tmpfs", path.display()))
    }

    /// The processes that live in this world, beside the one that entered it, and those that they started in networks of their
    /// own: number and command line.
    pub fn processes(&self) -> Result<Vec<(i32, String)>> {
        let mut others = Vec::new();
        let mut found: Vec<(i32, String)> = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let folder = entry?.path();
            let name = folder.file_name().and_then(OsStr::to_str);
            let Some(id) = name.and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            // A process that ended meanwhile, or a dead one that nobody waited for, has no namespace any more.
            let Ok(namespace) = fs::read_link(folder.join("ns/net")) else { continue };
            if id.unsigned_abs() == std::process::id() {
                continue;
            }
            let words = fs::read(folder.join("cmdline")).unwrap_or_default();
            let words = words.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
            match namespace == self.namespace {
                true => found.push((id, words.join(" "))),
                false => others.push((parent(&folder), (id, words.join(" ")))),
            }
        }
        loop {
            let is_child = |parent: Option<i32>| found.iter().any(|(id, _)| Some(*id) == parent);
            let (children, rest): (Vec<_>, _) = others.into_iter().partition(|(parent, _)| is_child(*parent));
            if children.is_empty() {
                return Ok(found);
            }
            found.extend(children.into_iter().map(|(_, process)| process));
            others = rest;
        }
    }

    /// Mounts a private, writable view over a folder; what is mounted below it is hidden.
    pub fn overlay(&self, folder: &str) -> Result<()> {
        let layer = |kind: &str| {
            let path = self.folder.path().join(format!("{}-{kind}", folder.replace('/', "")));
            fs::create_dir(&path).map(|()| path)
        };
        let (upper, work) = (layer("upper")?, layer("work")?);
        fs::set_permissions(&upper, fs::metadata(folder)?.permissions())?;
        let mut options = format!("lowerdir={folder},upperdir=").into_bytes();
        options.extend(upper.as_os_str().as_bytes());
        options.extend(b",workdir=");
        options.extend(work.as_os_str().as_bytes());
        let options = CString::new(options)?;
        mount("overlay", folder, "overlay", MountFlags::empty(), options.as_c_str())
            .with_context(|| format!("{folder}: cannot mount a private copy; is overlayfs missing?"))
    }
}

/// The parent of the process that a folder of `/proc` is about.
fn parent(folder: &Path) -> Option<i32> {
    let status = fs::read_to_string(folder.join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

impl Drop for World {
    fn drop(&mut self) {
        // Some processes start others while they die, and one that waits for its disk takes its time.
        let killed = || {
            let processes = self.processes().unwrap_or_default();
            for (id, _) in &processes {
                if let Some(id) = Pid::from_raw(*id) {
                    let _ = kill_process(id, Signal::KILL);
                }
            }
            processes.is_empty().then_some(())
        };
        let _ = wait_for(Duration::from_secs(10), "end of the world", killed);
        let _ = unmount(self.folder.path(), UnmountFlags::DETACH);
    }
}

fn append(path: &Path, line: &str) -> Result<()> {
    let file = fs::OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).with_context(|| path.display().to_string())
}

/// The files of trusted roots that this distribution has, each once.
fn bundles() -> Result<BTreeSet<PathBuf>> {
    let bundles: BTreeSet<PathBuf> = BUNDLES.iter().filter_map(|bundle| fs::canonicalize(bundle).ok()).collect();
    if bundles.is_empty() {
        bail!("this machine has no trusted roots: install the package ca-certificates");
    }
    Ok(bundles)
}
