//! A run of the service that nobody sees end: it leaves a mark when it begins, and takes it away when it ends as it was asked
//! to. A run that finds the mark of the one before it counts that one's end.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ends::Ends;
use crate::files::{self, FileError};
use crate::{status, system};

/// What the mark says of the run.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    process: u32,
    /// When it began, in seconds since 1970.
    since: i64,
}

/// Begins the run of this process. Answers the row of ends where the run before it ended without being asked to.
///
/// # Errors
/// One of these ends is not counted.
pub fn begin(state: &Path) -> Result<Option<Ends>, FileError> {
    let now = Timestamp::now();
    let boot = system::uptime().and_then(|uptime| now.checked_sub(uptime).ok());
    begin_at(state, now, boot)
}

/// Ends the run as it was asked to, or one that is over; a row of other ends is over, too.
///
/// # Errors
/// The end, or the next one, will be counted with those before.
pub fn end(state: &Path) -> Result<(), FileError> {
    files::remove(&path(state))?;
    Ends::forget(state)
}

fn begin_at(state: &Path, now: Timestamp, boot: Option<Timestamp>) -> Result<Option<Ends>, FileError> {
    let path = path(state);
    // A mark that is damaged says nothing.
    let before = files::load::<Run>(&path).ok().flatten();
    // What ended with the machine, by a reboot or for want of power, is no fault of its own.
    let broke_off = before.filter(|before| boot.is_some_and(|boot| before.since >= boot.as_second()));
    let ends = broke_off.map(|run| Ends::and(Ends::of(state), run.cause()));
    if let Some(ends) = &ends {
        ends.save(state)?;
    }
    files::save(&path, &Run { process: std::process::id(), since: now.as_second() })?;
    Ok(ends)
}

impl Run {
    /// All that can be said when nobody saw it.
    fn cause(&self) -> String {
        let since = Timestamp::from_second(self.since).map(status::seconds).unwrap_or_default();
        format!("process {}, which began at {since}, crashed or was killed", self.process)
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("run.json")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// How many ends there are in the row when a run has begun at this second, on a machine that was booted at that one.
    fn ends(state: &Path, now: i64, boot: i64) -> Option<u32> {
        let ends = begin_at(state, at(now), Some(at(boot))).unwrap();
        assert!(ends.is_none() || ends == Ends::of(state), "it is remembered");
        ends.map(|ends| ends.times)
    }

    #[test]
    fn a_run_that_broke_off_is_counted_by_the_next_one() {
        let state = tempfile::tempdir().unwrap();
        for (now, times) in [(1000, None), (1010, Some(1)), (1020, Some(2))] {
            assert_eq!(ends(state.path(), now, 900), times);
        }
        let cause = Ends::of(state.path()).unwrap().cause;
        let process = std::process::id();
        assert_eq!(cause, format!("process {process}, which began at 1970-01-01T00:16:50Z, crashed or was killed"));
    }

    #[test]
    fn one_that_ended_as_asked_is_not_counted_and_ends_the_row() {
        let state = tempfile::tempdir().unwrap();
        for now in [1000, 1010] {
            ends(state.path(), now, 900);
        }
        for _ in 0..2 {
            end(state.path()).unwrap();
            assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
        }
        assert_eq!(ends(state.path(), 1020, 900), None);
        assert_eq!(ends(state.path(), 1030, 900), Some(1));
    }

    #[test]
    fn one_that_ended_with_the_machine_is_not_counted() {
        let state = tempfile::tempdir().unwrap();
        for (now, boot, times) in [(1000, 900, None), (1010, 900, Some(1)), (1020, 1015, None), (1030, 1015, Some(2))] {
            assert_eq!(ends(state.path(), now, boot), times, "{now}");
        }
        assert_eq!(begin_at(state.path(), at(1040), None).unwrap(), None, "nobody knows when it was booted");
    }

    #[test]
    fn the_machine_was_booted_before_this_process() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(begin(state.path()).unwrap(), None);
        assert_eq!(begin(state.path()).unwrap().map(|ends| ends.times), Some(1));
    }

    #[test]
    fn a_mark_that_is_damaged_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        fs::write(path(state.path()), "{\"process\":").unwrap();
        assert_eq!(ends(state.path(), 1000, 900), None);
        assert_eq!(ends(state.path(), 1010, 900), Some(1));
    }
}
