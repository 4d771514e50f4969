//! Exclusive locks on files: held by one process at a time, released by the system however that process ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::system;

/// How often a held lock is tried again.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// A lock on a file, released when it is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock on the file at `path`, which is created when missing, and waits at most `wait` for another holder
    /// to go; `None` when it stays.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn acquire(path: &Path, wait: Duration) -> io::Result<Option<Self>> {
        let deadline = Instant::now() + wait;
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            // The holder may have deleted the file while we waited: a lock on a file without a name excludes nobody.
            if system::try_lock(&file)? && system::is_at(&file, path)? {
                return Ok(Some(Self { file }));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether somebody holds the lock on the file at `path`; nobody does when there is none.
    ///
    /// # Errors
    /// The file exists but cannot be opened or locked.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(!system::try_lock(&file)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The locked file.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn is_free_again_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        assert!(!FileLock::is_held(&path).unwrap());
        let lock = FileLock::acquire(&path, Duration::ZERO).unwrap().unwrap();
        assert!(FileLock::is_held(&path).unwrap());
        assert!(FileLock::acquire(&path, Duration::ZERO).unwrap().is_none());
        drop(lock);
        assert!(!FileLock::is_held(&path).unwrap());
    }

    #[test]
    fn who_waited_for_a_deleted_file_locks_the_one_that_others_see() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let lock = FileLock::acquire(&path, Duration::ZERO).unwrap().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| FileLock::acquire(&path, Duration::from_secs(10)).unwrap().unwrap());
            std::thread::sleep(PAUSE * 3);
            std::fs::remove_file(&path).unwrap();
            drop(lock);
            let _second = waiting.join().unwrap();
            assert!(FileLock::is_held(&path).unwrap());
        });
    }
}
