//! What the handler remembers between two verbs, whichever version runs them: the settings accepted last, and that an
//! update is under way. One verb at a time holds it.
//!
//! The service runs from the accepted settings, never from the agent's folder: the agent may delete that, or write
//! settings there that are wrong, and the next boot still finds good ones.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::files;
use common::lock::FileLock;
use common::sequence::{Sequence, SequenceError};
use common::system;

use crate::system::HOME;

/// How long a verb waits for another one: several of them may each stop and start a service.
const WAIT: Duration = Duration::from_secs(60);

/// The state folder, for this verb alone.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    lock: FileLock,
}

/// One verb at a time holds it.
const LOCK: &str = "handler.lock";

impl State {
    /// Waits until no other verb is at work.
    ///
    /// # Errors
    /// One is, for a whole minute, or the folder cannot be used.
    pub(crate) fn lock() -> Result<Self> {
        let folder = PathBuf::from(system::STATE_FOLDER);
        let path = folder.join(LOCK);
        let used = || format!("{} cannot be used; the verbs run as root", path.display());
        system::create_private_folder(&folder).with_context(used)?;
        match FileLock::acquire(&path, WAIT).with_context(used)? {
            Some(lock) => Ok(Self { folder, lock }),
            None => bail!("another verb of the handler has been at work for {} s", WAIT.as_secs()),
        }
    }

    /// The folder, which the service's instance lock lies in too.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where accepted settings of this number lie.
    pub(crate) fn accepted_file(&self, sequence: Sequence) -> PathBuf {
        sequence.settings_file(&self.accepted_folder())
    }

    /// Whether exactly these settings were accepted under this number.
    pub(crate) fn has_accepted(&self, sequence: Sequence, settings: &[u8]) -> bool {
        fs::read(self.accepted_file(sequence)).is_ok_and(|accepted| accepted == settings)
    }

    /// The number of the settings that were accepted last, if any were.
    ///
    /// # Errors
    /// The folder exists but cannot be read.
    pub(crate) fn accepted(&self) -> Result<Option<Sequence>> {
        match Sequence::current(None, &self.accepted_folder()) {
            Ok(sequence) => Ok(Some(sequence)),
            Err(SequenceError::NoSettings(_)) => Ok(None),
            Err(SequenceError::Folder { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts these settings in the place of all that were accepted before.
    ///
    /// # Errors
    /// They could not be written; the earlier ones are still there.
    pub(crate) fn accept(&self, sequence: Sequence, settings: &[u8]) -> Result<()> {
        let folder = self.accepted_folder();
        system::create_private_folder(&folder).with_context(|| folder.display().to_string())?;
        let file = self.accepted_file(sequence);
        files::replace(&file, settings, 0o600)?;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // The newest file counts, so an older one that stays does no harm.
            if entry.path() != file && fs::remove_file(entry.path()).is_err() {
                log::warn!("{} could not be removed", entry.path().display());
            }
        }
        Ok(())
    }

    /// Remembers that `version` replaces another one, until its `enable`.
    ///
    /// # Errors
    /// The file could not be written.
    pub(crate) fn begin_update(&self, version: &str) -> Result<()> {
        Ok(files::replace(&self.update_file(), version.as_bytes(), 0o600)?)
    }

    /// The version that an update under way leads to.
    pub(crate) fn update(&self) -> Option<String> {
        fs::read_to_string(self.update_file()).ok()
    }

    /// Whatever was updated has arrived.
    pub(crate) fn end_update(&self) {
        match fs::remove_file(self.update_file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                log::warn!("{}: {error}", self.update_file().display());
            }
            _ => {}
        }
    }

    /// Forgets everything but that this verb is at work. No service may be running.
    ///
    /// # Errors
    /// Something in the folder could not be removed.
    pub(crate) fn forget(&self) -> Result<()> {
        for entry in fs::read_dir(&self.folder).with_context(|| self.folder.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name() != LOCK {
                let is_folder = entry.file_type()?.is_dir();
                let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.with_context(|| format!("{} could not be removed", path.display()))?;
            }
        }
        Ok(())
    }

    /// Lets the next verb work. Where nothing is remembered, no folder stays either; the lock goes while it is held, as
    /// it would be taken from the next verb after that.
    pub(crate) fn release(self) {
        let Self { folder, lock } = self;
        if fs::read_dir(&folder).is_ok_and(|entries| entries.count() == 1) {
            // Best effort, and another verb may have begun.
            let _ = fs::remove_file(folder.join(LOCK));
            drop(lock);
            let _ = fs::remove_dir(&folder);
            // What an administrator has there stays.
            let _ = fs::remove_dir(HOME);
        }
    }

    fn accepted_folder(&self) -> PathBuf {
        self.folder.join("accepted")
    }

    fn update_file(&self) -> PathBuf {
        self.folder.join("update")
    }
}
