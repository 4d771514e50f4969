//! The folders that systemd opens in the sandbox of a service, where all else can only be read. Each is a mount, which goes with
//! the folder: what comes in its place is closed until the service starts anew.

use std::fs;
use std::path::{Path, PathBuf};

use common::system::Mounts;

/// Folders that are mounts of their own for this process.
pub(crate) struct Openings(Vec<PathBuf>);

impl Openings {
    /// Those of `folders` that are now.
    pub(crate) fn among<'a>(folders: impl Iterator<Item = &'a Path>) -> Self {
        let mounts = Mounts::now();
        // systemd follows links.
        let real = folders.filter_map(|folder| fs::canonicalize(folder).ok());
        Self(real.filter(|folder| mounts.kind(folder).is_some()).collect())
    }

    /// One that is none any more.
    pub(crate) fn closed(&self) -> Option<&Path> {
        if self.0.is_empty() {
            return None;
        }
        let mounts = Mounts::now();
        // Where they cannot be read, nothing is known to be closed.
        self.0.iter().map(PathBuf::as_path).find(|folder| !mounts.is_empty() && mounts.kind(folder).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
