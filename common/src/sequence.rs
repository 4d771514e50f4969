//! Which `<N>.settings` is current: `ConfigSequenceNumber` decides; without it (a run by hand) the newest file does, as in
//! the guest agent itself. The largest number means nothing, because sequence numbers need not increase.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The number of a settings file and of the status file that answers it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sequence(u64);

/// Why no settings file is current.
#[derive(Debug, thiserror::Error)]
pub enum SequenceError {
    /// The agent's variable is not a number.
    #[error("ConfigSequenceNumber is {0:?}, not a number")]
    Variable(String),
    /// The folder holds no `<N>.settings`.
    #[error("{0} holds no <number>.settings file")]
    NoSettings(String),
    /// The folder cannot be read.
    #[error("{path}: {cause}")]
    Folder {
        /// The config folder.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl Sequence {
    /// The current number, from the value of `ConfigSequenceNumber` if the agent gave one.
    ///
    /// # Errors
    /// The variable is not a number, or there is neither variable nor file.
    pub fn current(variable: Option<&str>, config_folder: &Path) -> Result<Self, SequenceError> {
        if let Some(text) = variable {
            return text.trim().parse().map(Self).map_err(|_| SequenceError::Variable(text.to_owned()));
        }
        newest(config_folder)
    }

    /// The number in a path such as `…/3.settings`.
    pub fn of_settings(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".settings")?;
        name.parse().ok().map(Self)
    }

    /// `<folder>/<N>.settings`.
    pub fn settings_file(self, folder: &Path) -> PathBuf {
        folder.join(format!("{self}.settings"))
    }

    /// `<folder>/<N>.status`.
    pub fn status_file(self, folder: &Path) -> PathBuf {
        folder.join(format!("{self}.status"))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn newest(folder: &Path) -> Result<Sequence, SequenceError> {
    let failed = |cause| SequenceError::Folder { path: folder.display().to_string(), cause };
    let mut newest: Option<(SystemTime, u64)> = None;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(Sequence(number)) = Sequence::of_settings(&entry.path()) else { continue };
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
        newest = newest.max(Some((modified, number)));
    }
    newest.map(|(_, number)| Sequence(number)).ok_or_else(|| SequenceError::NoSettings(folder.display().to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::Duration;

    #[test]
    fn trusts_the_agents_variable_over_the_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("9.settings"), "{}").unwrap();
        assert_eq!(Sequence::current(Some("4"), folder.path()).unwrap(), Sequence(4));
        assert!(Sequence::current(Some("four"), folder.path()).is_err());
    }

    #[test]
    fn takes_the_newest_file_not_the_largest_number() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age) in [("12.settings", 100), ("3.settings", 1), ("x.settings", 0), ("5.status", 0)] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        assert_eq!(Sequence::current(None, folder.path()).unwrap(), Sequence(3));
    }

    #[test]
    fn says_when_there_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Sequence::current(None, folder.path()), Err(SequenceError::NoSettings(_))));
    }
}
