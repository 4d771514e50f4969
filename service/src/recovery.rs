//! A service that came back after ends that nobody asked for: whether it may be called well already.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::ends::{Ends, MANY, WELL_AFTER};
use common::status::StatusFile;
use log::{info, warn};

use crate::system::LOGS;

/// The row of ends before this start, as long as it counts.
pub(crate) struct Recovery {
    state: PathBuf,
    ends: Option<Ends>,
    start: Instant,
}

impl Recovery {
    pub(crate) fn new(state: &Path, now: Instant) -> Self {
        Self { state: state.to_owned(), ends: Ends::of(state), start: now }
    }

    /// How long until the row is over, where there is one.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        self.ends.as_ref().map(|_| (self.start + WELL_AFTER).saturating_duration_since(now))
    }

    /// Ends the row when it is over; then the status may be another one.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let is_over = self.time_left(now).is_some_and(|left| left.is_zero());
        if is_over {
            let times = self.ends.take().map_or(0, |ends| ends.times);
            info!("well for {} s after {times} ends that nobody asked for", WELL_AFTER.as_secs());
            if let Err(error) = Ends::forget(&self.state) {
                warn!("the next such end will be counted with those before: {error}");
            }
        }
        is_over
    }

    /// What the agent is told: an error although the service runs, while it is not well.
    pub(crate) fn annotate(&self, status: StatusFile) -> StatusFile {
        match self.trouble() {
            Some(trouble) => status.although(&trouble),
            None => status,
        }
    }

    fn trouble(&self) -> Option<String> {
        let ends = self.ends.as_ref().filter(|ends| ends.times >= MANY)?;
        Some(format!(
            "the service ended unexpectedly {} times in a row, last by: {}; it runs again, but is well only when it has \
             lived for {} minutes: {LOGS}",
            ends.times,
            ends.cause,
            WELL_AFTER.as_secs() / 60
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_five_is_trouble_until_the_service_has_lived_for_ten_minutes() {
        let now = Instant::now();
        for (times, is_trouble) in [(1, false), (4, false), (5, true), (6, true)] {
            let state = tempfile::tempdir().unwrap();
            Ends { times, cause: "signal SEGV".to_owned() }.save(state.path()).unwrap();
            let mut recovery = Recovery::new(state.path(), now);
            let trouble = recovery.trouble();
            assert_eq!(trouble.is_some(), is_trouble, "{times}");
            assert!(
                trouble.is_none_or(|words| words.contains(&format!("{times} times in a row, last by: signal SEGV")))
            );
            let soon = now + Duration::from_secs(599);
            assert!(!recovery.tick(soon));
            assert_eq!(recovery.time_left(soon), Some(Duration::from_secs(1)));
            assert!(Ends::of(state.path()).is_some(), "an end now belongs to the row");
            assert!(recovery.tick(now + WELL_AFTER));
            assert_eq!((recovery.trouble(), recovery.time_left(now)), (None, None));
            assert_eq!(Ends::of(state.path()), None);
            assert!(!recovery.tick(now + 2 * WELL_AFTER), "once");
        }
    }

    #[test]
    fn without_ends_nothing_is_waited_for() {
        let state = tempfile::tempdir().unwrap();
        let mut recovery = Recovery::new(state.path(), Instant::now());
        assert_eq!((recovery.trouble(), recovery.time_left(Instant::now())), (None, None));
        assert!(!recovery.tick(Instant::now() + WELL_AFTER));
    }
}
