//! One service at a time: a lock that the running instance holds, and what it says about itself.
//!
//! The lock is the only proof that an instance lives; process names and old process ids prove nothing.

use std::fs;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lock::{FileLock, PAUSE};
use crate::system;

/// What the running instance says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// The program file.
    pub program: PathBuf,
    /// The version of the program.
    pub version: String,
    /// The settings that it works with.
    pub settings: PathBuf,
    /// Where it reports to.
    pub status_folder: Option<PathBuf>,
}

/// The lock of the running instance; released when it is dropped or its process ends, however it ends.
#[derive(Debug)]
pub struct InstanceLock {
    _lock: FileLock,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another instance holds it.
    #[error("another instance is running (process {})", .0.as_ref().map_or_else(|| "unknown".to_owned(), |holder| holder.pid.to_string()))]
    Held(Option<Box<Holder>>),
    /// The lock file cannot be used.
    #[error("{path}: {cause}; run as root, or name another state folder")]
    File {
        /// The lock file.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
}

impl InstanceLock {
    /// Takes the lock in `state`, waiting at most `wait` for another holder to go.
    ///
    /// # Errors
    /// Somebody else holds it all that time, or the file cannot be used.
    pub fn acquire(state: &Path, holder: &Holder, wait: Duration) -> Result<Self, LockError> {
        let path = path(state);
        let failed = |cause| LockError::File { path: path.display().to_string(), cause };
        system::create_private_folder(state).map_err(failed)?;
        let Some(mut lock) = FileLock::acquire(&path, wait).map_err(failed)? else {
            return Err(LockError::Held(read(&path).map(Box::new)));
        };
        let text = serde_json::to_vec(holder).map_err(|error| failed(error.into()))?;
        let file = lock.file();
        // Not emptied first: ext4 brings a file that was emptied and written again to the disk at once, which takes time.
        let written = file.rewind().and_then(|()| file.write_all(&text)).and_then(|()| file.set_len(text.len() as u64));
        written.map_err(failed)?;
        Ok(Self { _lock: lock })
    }
}

/// The instance that runs with this state folder now, if any.
///
/// # Errors
/// The lock file exists but cannot be used, or its holder did not say who it is.
pub fn running(state: &Path) -> Result<Option<Holder>, LockError> {
    let path = path(state);
    let failed = |cause| LockError::File { path: path.display().to_string(), cause };
    // A holder writes its description right after it took the lock: give it that moment.
    for _ in 0..20 {
        if !FileLock::is_held(&path).map_err(failed)? {
            return Ok(None);
        }
        if let Some(holder) = read(&path) {
            return Ok(Some(holder));
        }
        std::thread::sleep(PAUSE);
    }
    Err(LockError::Held(None))
}

fn path(state: &Path) -> PathBuf {
    state.join("service.lock")
}

fn read(path: &Path) -> Option<Holder> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn holder(pid: u32) -> Holder {
        Holder {
            pid,
            program: PathBuf::from("/opt/x"),
            version: "1.0.0".to_owned(),
            settings: PathBuf::from("/s/0.settings"),
            status_folder: None,
        }
    }

    #[test]
    fn a_second_instance_is_told_who_runs() {
        let state = tempfile::tempdir().unwrap();
        let lock = InstanceLock::acquire(state.path(), &holder(17), Duration::ZERO).unwrap();
        let error = InstanceLock::acquire(state.path(), &holder(18), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("17"), "{error}");
        assert_eq!(running(state.path()).unwrap(), Some(holder(17)));
        drop(lock);
        assert_eq!(running(state.path()).unwrap(), None);
    }

    #[test]
    fn nothing_runs_where_there_is_no_lock() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(running(state.path()).unwrap(), None);
    }

    #[test]
    fn a_shorter_description_leaves_nothing_of_a_longer_one() {
        let state = tempfile::tempdir().unwrap();
        drop(InstanceLock::acquire(state.path(), &holder(4_000_000), Duration::ZERO).unwrap());
        let _lock = InstanceLock::acquire(state.path(), &holder(1), Duration::ZERO).unwrap();
        assert_eq!(running(state.path()).unwrap(), Some(holder(1)));
    }
}
