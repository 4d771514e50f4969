//! Secrets of others that the service has no use for. It may read every file, because it must get into anybody's folders, so
//! they are hidden from it.

use std::path::{Path, PathBuf};

/// Of accounts, of their people, of SSH, of TLS, of the Azure guest agent; what is on its way or was put aside.
const SECRETS: [&str; 16] = [
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
];

/// The paths that are to be hidden: all in which nothing lies that the service needs, wherever links lead.
pub(super) fn from(needed: &[&Path]) -> Vec<&'static str> {
    let needed: Vec<PathBuf> =
        needed.iter().flat_map(|path| [path.to_path_buf()].into_iter().chain(behind_links(path))).collect();
    let is_needed = |secret: &Path| needed.iter().any(|path| path.starts_with(secret));
    // systemd hides what a link leads to.
    let may_be_hidden = |secret: &Path| !is_needed(secret) && !secret.canonicalize().is_ok_and(|real| is_needed(&real));
    SECRETS.into_iter().filter(|secret| may_be_hidden(Path::new(secret))).collect()
}

/// Where a path leads to, as far as it is there.
fn behind_links(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|folder| folder.canonicalize().ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn hides_all_but_what_the_service_needs() {
        assert_eq!(from(&[Path::new("/srv/certs"), Path::new("/etc")]), SECRETS);
        let hidden = from(&[Path::new("/etc/ssl/private"), Path::new("/home/alice/not/there"), Path::new("/rooted")]);
        assert!(!hidden.contains(&"/etc/ssl/private") && !hidden.contains(&"/home"), "{hidden:?}");
        assert_eq!(hidden.len(), SECRETS.len() - 2);
    }

    #[test]
    fn hides_nothing_that_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("/root", &link).unwrap();
        let through = link.join("not/there");
        let hidden = from(&[&through]);
        assert!(!hidden.contains(&"/root") && hidden.contains(&"/home"), "{hidden:?}");
    }
}
