//! Ends of the service that nobody asked for and that follow one another closely: what ends it once may end it again, and a
//! service that comes back for a moment between two crashes is not well.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

/// A service that lived for so long is well: its next end begins another row.
pub const WELL_AFTER: Duration = Duration::from_secs(600);
/// So many ends in a row are no accident.
pub const MANY: u32 = 5;

/// A row of ends, none of which came later than [`WELL_AFTER`] after its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// How many there were.
    pub times: u32,
    /// Why it ended the last time.
    pub cause: String,
}

impl Ends {
    /// The row that is remembered in `state`, if any can be read.
    #[must_use]
    pub fn of(state: &Path) -> Option<Self> {
        files::load(&path(state)).ok().flatten()
    }

    /// The row with one more end.
    #[must_use]
    pub fn and(before: Option<Self>, cause: String) -> Self {
        Self { times: before.map_or(0, |before| before.times).saturating_add(1), cause }
    }

    /// Remembers it in `state`.
    ///
    /// # Errors
    /// The file could not be written; what was remembered before still is.
    pub fn save(&self, state: &Path) -> Result<(), FileError> {
        files::save(&path(state), self)
    }

    /// Ends the row, if there is one.
    ///
    /// # Errors
    /// It is still remembered.
    pub fn forget(state: &Path) -> Result<(), FileError> {
        files::remove(&path(state))
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("ends.json")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn are_counted_until_they_are_forgotten() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Ends::of(state.path()), None);
        for (times, cause) in [(1, "signal SEGV"), (2, "signal KILL")] {
            Ends::and(Ends::of(state.path()), cause.to_owned()).save(state.path()).unwrap();
            assert_eq!(Ends::of(state.path()), Some(Ends { times, cause: cause.to_owned() }));
        }
        for _ in 0..2 {
            Ends::forget(state.path()).unwrap();
            assert_eq!(Ends::of(state.path()), None);
        }
    }

    #[test]
    fn a_file_that_is_damaged_begins_another_row() {
        let state = tempfile::tempdir().unwrap();
        fs::write(path(state.path()), "{\"times\":").unwrap();
        assert_eq!(Ends::and(Ends::of(state.path()), String::new()).times, 1);
    }
}
