//! What is open to a service that all else is closed to. A folder that it may write is a mount, and what it may read stands for
//! what lay there at the start: what comes in its place is closed until the service starts anew.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use common::system::Mounts;

use super::trust;

/// What is open to this process.
pub(crate) struct Openings {
    /// Folders that are mounts of their own for it.
    mounts: Vec<PathBuf>,
    /// What it reads beside the trusted roots.
    places: Vec<PathBuf>,
    /// Of these and the roots: what was there at the start, and what was refused even then.
    there: HashSet<PathBuf>,
    refused: HashSet<PathBuf>,
}

impl Openings {
    /// Those of these `folders`, and of these `places` and the trusted roots, that are now.
    pub(crate) fn among(folders: impl Iterator<Item = PathBuf>, places: Vec<PathBuf>) -> Self {
        let mounts = Mounts::now();
        // systemd follows links.
        let real = folders.filter_map(|folder| fs::canonicalize(folder).ok());
        let mounts = real.filter(|folder| mounts.kind(folder).is_some()).collect();
        let (mut there, mut refused) = (HashSet::new(), HashSet::new());
        for place in places.iter().cloned().chain(trust::places()) {
            match look(&place) {
                None => there.insert(place),
                Some(ErrorKind::PermissionDenied) => refused.insert(place),
                Some(_) => false,
            };
        }
        Self { mounts, places, there, refused }
    }

    /// Something that was removed or replaced, or came to be, and is open only to a service that starts now.
    pub(crate) fn closed(&self) -> Option<PathBuf> {
        let mounts = Mounts::now();
        // Where they cannot be read, nothing is known to be closed.
        let is_gone = |folder: &&PathBuf| !mounts.is_empty() && mounts.kind(folder).is_none();
        let is_closed = |place: &PathBuf| match look(place) {
            Some(ErrorKind::PermissionDenied) => !self.refused.contains(place),
            Some(ErrorKind::NotFound) => self.there.contains(place),
            _ => false,
        };
        let places = || self.places.iter().cloned().chain(trust::places());
        self.mounts.iter().find(is_gone).cloned().or_else(|| places().find(is_closed))
    }
}

/// Why something cannot be read, if it cannot.
fn look(path: &Path) -> Option<ErrorKind> {
    File::open(path).err().map(|error| error.kind())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_mount_is_not_waited_for() {
        let folders = ["/proc", "/nonexistent", "/proc/self"].map(PathBuf::from).into_iter();
        let openings = Openings::among(folders, vec![]);
        assert_eq!(openings.mounts, [Path::new("/proc")]);
        assert_eq!(openings.closed(), None);
        let gone = Openings { mounts: vec!["/proc".into(), "/nonexistent".into()], ..openings };
        assert_eq!(gone.closed(), Some("/nonexistent".into()));
    }

    #[test]
    fn what_was_there_and_is_removed_is_closed_and_what_was_never_there_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [there, missing] = ["there", "missing"].map(|name| folder.path().join(name));
        fs::create_dir(&there).unwrap();
        let openings = Openings::among([].into_iter(), vec![there.clone(), missing]);
        assert_eq!(openings.closed(), None);
        fs::remove_dir(&there).unwrap();
        assert_eq!(openings.closed(), Some(there));
    }
}
