//! The folders that systemd opens in the sandbox of a service, where all else can only be read. Each is a mount, which goes with
//! the folder: what comes in its place is closed until the service starts anew.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Folders that are mounts of their own for this process.
pub(crate) struct Openings(Vec<PathBuf>);

impl Openings {
    /// Those of `folders` that are now.
    pub(crate) fn among<'a>(folders: impl Iterator<Item = &'a Path>) -> Self {
        let mounts = mounts();
        // systemd follows links.
        let real = folders.filter_map(|folder| fs::canonicalize(folder).ok());
        Self(real.filter(|folder| holds(&mounts, folder)).collect())
    }

    /// One that is none any more.
    pub(crate) fn closed(&self) -> Option<&Path> {
        if self.0.is_empty() {
            return None;
        }
        let mounts = mounts();
        // Where they cannot be read, nothing is known to be closed.
        self.0.iter().map(PathBuf::as_path).find(|folder| !mounts.is_empty() && !holds(&mounts, folder))
    }
}

fn mounts() -> Vec<u8> {
    fs::read("/proc/self/mountinfo").unwrap_or_default()
}

/// Whether something is mounted there, by the fifth word of a line (proc_pid_mountinfo(5)).
fn holds(mounts: &[u8], folder: &Path) -> bool {
    let mut escaped = Vec::new();
    for &byte in folder.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend(format!("\\{byte:03o}").bytes()),
            byte => escaped.push(byte),
        }
    }
    let words = mounts.split(|&byte| byte == b'\n').filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    words.into_iter().any(|word| word == escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_whatever_its_name() {
        let mounts = b"36 35 98:0 / / rw - ext4 /dev/root rw\n\
            41 36 98:0 /certs /srv/a\\040b\\134c\\011 rw,relatime - ext4 /dev/root rw\n\
            42 36 98:0 /srv/elsewhere /srv/certs rw - ext4 /srv/source rw\n";
        for (folder, is_mount) in [
            ("/", true),
            ("/srv/a b\\c\t", true),
            ("/srv/certs", true),
            ("/srv/a", false),
            ("/srv/elsewhere", false),
            ("/srv/source", false),
            ("/srv/certs/sub", false),
        ] {
            assert_eq!(holds(mounts, Path::new(folder)), is_mount, "{folder}");
        }
    }

    #[test]
    fn a_folder_that_is_no_mount_is_not_waited_for() {
        let openings =
            Openings::among([Path::new("/proc"), Path::new("/nonexistent"), Path::new("/proc/self")].into_iter());
        assert_eq!(openings.0, [Path::new("/proc")]);
        assert_eq!(openings.closed(), None);
        let gone = Openings(vec![PathBuf::from("/proc"), PathBuf::from("/nonexistent")]);
        assert_eq!(gone.closed(), Some(Path::new("/nonexistent")));
    }
}
