//! Secrets of others that the service has no use for. It may read every file, because it must get into anybody's folders, so
//! they are hidden from it.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
/// Where else programs have theirs, which can be told by their modes.
const PLACES: [&str; 7] = ["/etc", "/opt", "/srv", "/usr/local", "/var/lib", "/var/opt", "/var/www"];
/// How many files and folders are looked at, and how many hidden: each is a mount.
const MOST: (usize, usize) = (20_000, 256);
/// What the C library, OpenSSL, what answers for names and accounts, and the service itself read there, with the keys of the
/// Azure Arc agent. It stays in sight whoever may read it: on some machines that is root alone.
const READ: [&str; 47] = [
    "/etc/akvvm",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/krb5.conf",
    "/etc/krb5.conf.d",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ldap.conf",
    "/etc/ldap.secret",
    "/etc/ldap/ldap.conf",
    "/etc/libnss-ldap.conf",
    "/etc/libnss-ldap.secret",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/netconfig",
    "/etc/netgroup",
    "/etc/networks",
    "/etc/nscd.conf",
    "/etc/nsswitch.conf",
    "/etc/openldap/certs",
    "/etc/openldap/ldap.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/rpc",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
    "/var/lib/extrausers",
    "/var/lib/sss/mc",
    "/var/lib/sss/pipes/nss",
    "/var/opt/azcmagent/tokens",
];

/// The paths that are to be hidden: all in which nothing lies that the service needs, wherever links lead, and what of the
/// places of programs not everybody may read.
pub(super) fn from(needed: &[&Path]) -> Vec<PathBuf> {
    let in_sight = in_sight(needed.iter().copied().chain(READ.iter().map(Path::new)));
    let closed = closed(&PLACES.map(Path::new), &in_sight, &Mounts::now());
    let closed = closed.into_iter().filter(|path| !SECRETS.iter().any(|secret| path.starts_with(secret)));
    known(&in_sight).into_iter().map(PathBuf::from).chain(closed).collect()
}

/// The known secrets, but for those in which something of this lies.
pub(super) fn secrets(needed: &[&Path]) -> Vec<&'static str> {
    known(&in_sight(needed.iter().copied().chain(READ.iter().map(Path::new))))
}

/// The known secrets, but for those in which something lies that is needed.
fn known(needed: &[PathBuf]) -> Vec<&'static str> {
    let is_needed = |secret: &Path| needed.iter().any(|path| path.starts_with(secret));
    // systemd hides what a link leads to.
    let may_be_hidden = |secret: &Path| !is_needed(secret) && !secret.canonicalize().is_ok_and(|real| is_needed(&real));
    SECRETS.into_iter().filter(|secret| may_be_hidden(Path::new(secret))).collect()
}

/// What of these folders not everybody may read, but for what is needed; what lies higher comes first.
fn closed(places: &[&Path], needed: &[PathBuf], mounts: &Mounts) -> Vec<PathBuf> {
    // A disk could not be taken away while something in it is hidden, and one of others may keep who looks into it for ever.
    let is_own = |place: &&&Path| !place.is_symlink() && mounts.kind(place).is_none_or(|kind| kind == "overlay");
    let mut folders: VecDeque<_> = places.iter().filter(is_own).map(|place| (place.to_path_buf(), true)).collect();
    let (mut closed, mut seen) = (Vec::new(), 0);
    while let Some((folder, is_open)) = folders.pop_front() {
        let mut paths: Vec<_> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            seen += 1;
            if seen > MOST.0 || closed.len() == MOST.1 {
                return closed;
            }
            // A unit is lines of text.
            let is_text = path.to_str().is_some_and(|text| !text.contains(char::is_control));
            if !is_text || mounts.kind(&path).is_some() || needed.iter().any(|one| path.starts_with(one)) {
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

/// Paths, and where links lead from them.
fn in_sight<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
    paths.flat_map(|path| [Some(path.to_owned()), real(path).filter(|real| real != path)]).flatten().collect()
}

/// A path without links, as far as it is there.
fn real(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|folder| Some(folder.canonicalize().ok()?.join(path.strip_prefix(folder).ok()?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn hides_all_but_what_the_service_needs() {
        let known = |needed: &[&str]| known(&in_sight(needed.iter().map(Path::new)));
        assert_eq!(known(&["/srv/certs", "/etc"]), SECRETS);
        assert_eq!(known(&READ), SECRETS);
        let hidden = known(&["/etc/ssl/private", "/home/alice/not/there", "/rooted"]);
        assert!(!hidden.contains(&"/etc/ssl/private") && !hidden.contains(&"/home"), "{hidden:?}");
        assert_eq!(hidden.len(), SECRETS.len() - 2);
        let all = from(&[Path::new("/srv/certs")]);
        assert!(
            SECRETS.iter().all(|secret| all.iter().filter(|path| path.as_os_str() == *secret).count() == 1),
            "{all:?}"
        );
    }

    #[test]
    fn hides_nothing_that_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("/root", &link).unwrap();
        let through = link.join("not/there");
        let hidden = known(&in_sight([&*through].into_iter()));
        assert!(!hidden.contains(&"/root") && hidden.contains(&"/home"), "{hidden:?}");
    }

    #[test]
    fn what_is_in_sight_is_so_by_each_of_its_names_and_what_lies_around_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (link, absent) = (folder.path().join("link"), folder.path().join("absent"));
        symlink("/usr", &link).unwrap();
        let below = link.join("not/there");
        let expected = [link.clone(), "/usr".into(), below.clone(), "/usr/not/there".into(), absent.clone()];
        assert_eq!(in_sight([&*link, &*below, &*absent].into_iter()), expected);
    }

    #[test]
    fn hides_configuration_that_not_everybody_may_read() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        for (name, mode) in [
            ("open/file", 0o644),
            ("open/key", 0o640),
            ("open/deeper/key", 0o600),
            ("open/deeper/store/key", 0o600),
            ("open/two\nlines", 0o600),
            ("closed/file", 0o644),
            ("proxy/settings", 0o644),
            ("proxy/certs/key", 0o600),
            ("hosts", 0o600),
        ] {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), "").unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        for (folder, mode) in [("closed", 0o750), ("proxy", 0o751)] {
            fs::set_permissions(path(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink(path("hosts"), path("open/link")).unwrap();
        let needed = ["open/deeper/store", "proxy/certs", "hosts"].map(path);
        let hidden = ["closed", "open/key", "proxy/settings", "open/deeper/key"].map(path);
        assert_eq!(closed(&[place.path()], &needed, &Mounts::now()), hidden);
        assert_eq!(
            closed(&[&path("open/deeper"), &path("hosts")], &[], &Mounts::now()),
            ["open/deeper/key", "open/deeper/store/key"].map(path)
        );
    }

    #[test]
    fn leaves_what_is_mounted_alone() {
        let mounts = Mounts::now();
        let proc = Path::new("/proc");
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("/root", &link).unwrap();
        assert_eq!((mounts.kind(proc), closed(&[proc, &link], &[], &mounts)), (Some("proc"), vec![]));
    }
}
