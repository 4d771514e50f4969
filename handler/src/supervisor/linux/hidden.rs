//! What the service and who looks names up for it have no use for. The service may read every file, because it must get into
//! anybody's folders, so what others have is hidden from it, as far as it is there when it is started. Where the kernel knows
//! how, the service gives up the rest by itself.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::{fs, iter};

use common::system::Mounts;

/// Of accounts, of their people, of SSH, of TLS, of the Azure guest agent; what is on its way or was put aside; of databases and
/// containers, with the sockets that answer root.
const SECRETS: [&str; 24] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/root",
    "/home",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/var/lib/waagent/TransportPrivate.pem",
    "/var/lib/waagent/Certificates.pem",
    "/tmp",
    "/var/tmp",
    "/var/spool",
    "/var/backups",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/mongodb",
    "/var/lib/mysql",
    "/var/lib/pgsql",
    "/var/lib/postgresql",
];
/// Where programs use to have secrets of their own.
const PLACES: [&str; 5] = ["/opt", "/srv", "/var/lib", "/var/opt", "/var/www"];
/// What is the system's and is left as it is: its programs and libraries, and the kernel's.
const SYSTEM: [&str; 11] =
    ["/bin", "/dev", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/usr"];
/// Where what everybody may read may be needed, and what not everybody may read is hidden.
const SHARED: [&str; 2] = ["/etc", "/usr/local"];
/// File systems of this machine's own disks and memory: what is mounted from elsewhere may keep who looks at it for ever.
const DISKS: [&str; 15] = [
    "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "overlay", "ramfs", "squashfs", "tmpfs",
    "vfat", "xfs", "zfs",
];
/// How many files and folders are looked at, and how many hidden: each is a mount.
const MOST: (usize, usize) = (20_000, 192);
/// As many links as the kernel follows on the way to one file.
const LINKS: usize = 40;
/// Where the system's roots are. In a folder of them, each may be a link.
const TRUST: [&str; 4] = ["/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/ca-certificates"];
/// What the C library, OpenSSL and the service itself read there, with the keys of the Azure Arc agent. It stays in sight whoever
/// may read it: on some machines that is root alone.
const READ: [&str; 16] = [
    "/etc/akvvm",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/os-release",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
    "/var/opt/azcmagent/tokens",
];
/// The same for those who answer for names and accounts in the process that asks.
const NAMES: [&str; 34] = [
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/krb5.conf",
    "/etc/krb5.conf.d",
    "/etc/ldap.conf",
    "/etc/ldap.secret",
    "/etc/ldap/ldap.conf",
    "/etc/libnss-ldap.conf",
    "/etc/libnss-ldap.secret",
    "/etc/netconfig",
    "/etc/netgroup",
    "/etc/networks",
    "/etc/nscd.conf",
    "/etc/nsswitch.conf",
    "/etc/openldap/certs",
    "/etc/openldap/ldap.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/rpc",
    "/etc/services",
    "/var/centrifydc",
    "/var/db/group.db",
    "/var/db/passwd.db",
    "/var/lib/extrausers",
    "/var/lib/misc/group.db",
    "/var/lib/misc/passwd.db",
    "/var/lib/pbis",
    "/var/lib/sss/mc",
    "/var/lib/sss/pipes/nss",
    "/var/opt/quest",
];

/// What the service uses, or who looks names up for it.
pub(super) struct Needed<'a> {
    /// What keeps the disks busy on which it lies: what is written, and the service's own files.
    pub(super) held: &'a [&'a Path],
    /// What is read now and then.
    pub(super) read: &'a [&'a Path],
    /// Folders of trusted roots, in which links may lead anywhere.
    pub(super) trust: &'a [&'a Path],
    /// Whether names and accounts are looked up, for which also files may be needed that are not known: then only what not
    /// everybody may read is hidden.
    pub(super) looks_up: bool,
}

/// The paths that are to be hidden: the known secrets, what not everybody may read of what is shared, and all that is neither
/// shared nor the system's nor needed. Nothing is hidden in which something lies that the service needs, wherever links lead.
pub(super) fn from(needed: &Needed<'_>) -> Vec<PathBuf> {
    let mounts = Mounts::now();
    let held = in_sight(needed.held.iter().copied());
    let trust = || needed.trust.iter().copied().chain(TRUST.map(Path::new));
    let roots: Vec<PathBuf> = trust().flat_map(links).collect();
    let names = NAMES.iter().filter(|_| needed.looks_up).map(Path::new);
    let read = needed.read.iter().copied().chain(trust()).chain(READ.map(Path::new)).chain(names);
    let in_sight: Vec<PathBuf> =
        held.iter().cloned().chain(in_sight(read.chain(roots.iter().map(PathBuf::as_path)))).collect();
    let places = SHARED.iter().chain(PLACES.iter().filter(|_| needed.looks_up)).map(Path::new);
    let closed = closed(&places.collect::<Vec<_>>(), &in_sight, &mounts);
    let kept = in_sight.iter().cloned().chain(SYSTEM.into_iter().chain(SHARED).map(PathBuf::from));
    let kept: Vec<PathBuf> = kept.chain(held.iter().filter_map(|path| switched(path))).collect();
    let rest = if needed.looks_up { Vec::new() } else { beside(Path::new("/"), &kept, &held, &mounts) };
    let found = closed.into_iter().chain(rest).filter(|path| !SECRETS.iter().any(|secret| path.starts_with(secret)));
    known(&in_sight).into_iter().map(PathBuf::from).chain(found.take(MOST.1)).collect()
}

/// The known secrets, but for those in which something lies that is needed.
fn known(needed: &[PathBuf]) -> Vec<&'static str> {
    let is_needed = |secret: &Path| needed.iter().any(|path| path.starts_with(secret));
    // systemd hides what a link leads to.
    let may_be_hidden = |secret: &Path| !is_needed(secret) && !secret.canonicalize().is_ok_and(|real| is_needed(&real));
    SECRETS.into_iter().filter(|secret| may_be_hidden(Path::new(secret))).collect()
}

/// All below this folder that is not kept, as high up as can be.
fn beside(folder: &Path, kept: &[PathBuf], held: &[PathBuf], mounts: &Mounts) -> Vec<PathBuf> {
    let mut folders = VecDeque::from([folder.to_owned()]);
    let (mut hidden, mut seen) = (Vec::new(), 0);
    while let Some(folder) = folders.pop_front() {
        for path in children(&folder) {
            seen += 1;
            if seen > MOST.0 || hidden.len() == MOST.1 {
                return hidden;
            }
            if kept.iter().any(|one| path.starts_with(one)) {
                continue;
            }
            // A file system of others is not even looked at: it may keep who does so for ever.
            let mounted = mounts.kind(&path);
            if mounted.is_some_and(|kind| !DISKS.contains(&kind)) || mounted.is_none() && path.is_symlink() {
                continue;
            }
            if !kept.iter().any(|one| one.starts_with(&path)) {
                hidden.push(path);
            } else if mounted.is_none() || held.iter().any(|one| one.starts_with(&path)) {
                // A disk could not be taken away while something in it is hidden.
                folders.push_back(path);
            }
        }
    }
    hidden
}

/// What of these folders not everybody may read, but for what is needed; what lies higher comes first.
fn closed(places: &[&Path], needed: &[PathBuf], mounts: &Mounts) -> Vec<PathBuf> {
    // A disk could not be taken away while something in it is hidden, and one of others may keep who looks into it for ever.
    let is_own = |place: &&&Path| !place.is_symlink() && mounts.kind(place).is_none_or(|kind| kind == "overlay");
    let mut folders: VecDeque<_> = places.iter().filter(is_own).map(|place| (place.to_path_buf(), true)).collect();
    let (mut closed, mut seen) = (Vec::new(), 0);
    while let Some((folder, is_open)) = folders.pop_front() {
        for path in children(&folder) {
            seen += 1;
            if seen > MOST.0 || closed.len() == MOST.1 {
                return closed;
            }
            if mounts.kind(&path).is_some() || needed.iter().any(|one| path.starts_with(one)) {
                continue;
            }
            // What a link leads to has a mode of its own.
            let Some(metadata) = path.symlink_metadata().ok().filter(|metadata| !metadata.is_symlink()) else {
                continue;
            };
            let all_may = if metadata.is_dir() { 0o5 } else { 0o4 };
            let is_open = is_open && metadata.permissions().mode() & all_may == all_may;
            let leads_on = needed.iter().any(|one| one.starts_with(&path));
            match metadata.is_dir() {
                _ if !is_open && !leads_on => closed.push(path),
                true => folders.push_back((path, is_open)),
                false => {}
            }
        }
    }
    closed
}

/// What lies in a folder and can be named in a unit, which is lines of text, in an order that stays.
fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).take(MOST.0);
    let mut paths: Vec<_> =
        entries.filter(|path| path.to_str().is_some_and(|text| !text.contains(char::is_control))).collect();
    paths.sort();
    paths
}

/// The links in a folder.
fn links(folder: &Path) -> Vec<PathBuf> {
    children(folder).into_iter().filter(|path| path.is_symlink()).collect()
}

/// Paths, and all that links lead to on the way to what they name.
fn in_sight<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
    paths.flat_map(|path| iter::successors(Some(path.to_owned()), |path| followed(path)).take(LINKS)).collect()
}

/// The folder with what the first link in a path may be switched to, such as another release. Links of the system stay.
fn switched(path: &Path) -> Option<PathBuf> {
    let link = path.ancestors().collect::<Vec<_>>().into_iter().rev().find(|one| one.is_symlink())?;
    let place = link.parent().filter(|place| !["/", "/var"].map(Path::new).contains(place))?;
    place
        .join(link.read_link().ok()?)
        .canonicalize()
        .ok()?
        .parent()
        .filter(|folder| folder.parent().is_some())
        .map(Path::to_owned)
}

/// A path with the first link in it followed; `None` when there is none.
fn followed(path: &Path) -> Option<PathBuf> {
    let mut names = path.components();
    let mut place = PathBuf::new();
    while let Some(name) = names.next() {
        match name {
            // What lies before it is no link.
            Component::ParentDir => drop(place.pop()),
            name => place.push(name),
        }
        if let Ok(target) = place.read_link() {
            place.pop();
            return Some(place.join(target).join(names.as_path()));
        }
    }
    (place != path).then_some(place)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
