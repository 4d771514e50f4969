//! What is open to a service that all else is closed to. A folder that it may write is a mount, and what it may read stands for
//! what lay there at the start: what comes in its place is closed until the service starts anew.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use common::system::Mounts;

/// What is open to this process.
pub(crate) struct Openings {
    /// Folders that are mounts of their own for it.
    mounts: Vec<PathBuf>,
    /// What it can read, if it is there.
    readable: Vec<PathBuf>,
}

impl Openings {
    /// Those of these `folders`, and of what is `read` beside them, that are now.
    pub(crate) fn among(folders: Vec<PathBuf>, read: impl Iterator<Item = PathBuf>) -> Self {
        let mounts = Mounts::now();
        // systemd follows links.
        let real = folders.iter().filter_map(|folder| fs::canonicalize(folder).ok());
        let real = real.filter(|folder| mounts.kind(folder).is_some()).collect();
        let readable = folders.into_iter().chain(read).filter(|path| !is_refused(path)).collect();
        Self { mounts: real, readable }
    }

    /// One that is none any more.
    pub(crate) fn closed(&self) -> Option<&Path> {
        let mounts = Mounts::now();
        // Where they cannot be read, nothing is known to be closed.
        let is_gone = |folder: &&Path| !mounts.is_empty() && mounts.kind(folder).is_none();
        let closed = self.mounts.iter().map(PathBuf::as_path).find(is_gone);
        closed.or_else(|| self.readable.iter().map(PathBuf::as_path).find(|path| is_refused(path)))
    }
}

/// Whether something is there that this process may not read.
fn is_refused(path: &Path) -> bool {
    File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_mount_is_not_waited_for() {
        let openings =
            Openings::among(["/proc", "/nonexistent", "/proc/self"].map(PathBuf::from).into(), std::iter::empty());
        assert_eq!(openings.mounts, [Path::new("/proc")]);
        assert_eq!(openings.closed(), None);
        let gone = Openings { mounts: vec![PathBuf::from("/proc"), PathBuf::from("/nonexistent")], readable: vec![] };
        assert_eq!(gone.closed(), Some(Path::new("/nonexistent")));
    }
}
