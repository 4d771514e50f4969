//! When which action is done: spread at first, tried again with growing pauses, and then at later polls. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::settings::Action;

/// Pauses after the first failures; later tries come with later polls.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(25),
    Duration::from_secs(120),
    Duration::from_secs(600),
];

/// Restarts are spread over this time, or the polling interval where that is shorter.
const RESTART_SPLAY: Duration = Duration::from_secs(300);

/// How long an action waits at most where the settings do not say: a restart is felt, so not all machines do it at once.
pub(crate) fn splay(action: &Action, polling_interval: Duration) -> Duration {
    match action {
        Action::Restart(_) => RESTART_SPLAY.min(polling_interval),
        Action::Hook(_) | Action::Reload(_) | Action::Verify(_) => Duration::ZERO,
    }
}

/// One action that is still to be done.
#[derive(Debug, Clone)]
struct Try {
    /// Nothing: at the next poll.
    due: Option<Instant>,
    failures: usize,
    reason: Option<String>,
}

/// The actions that are still to be done.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    tries: BTreeMap<Action, Try>,
}

impl Pace {
    /// An action has become necessary (again), and may be done from `due` on. One that waits already keeps its time.
    pub(crate) fn want(&mut self, action: &Action, due: Instant) {
        let waits = |known: &Try| known.failures == 0;
        if !self.tries.get(action).is_some_and(waits) {
            self.tries.insert(action.clone(), Try { due: Some(due), failures: 0, reason: None });
        }
    }

    /// Forgets all actions but those for which something `is_pending`.
    pub(crate) fn keep_only(&mut self, is_pending: impl Fn(&Action) -> bool) {
        self.tries.retain(|action, _| is_pending(action));
    }

    /// A poll is over: what failed is tried once more.
    pub(crate) fn polled(&mut self, now: Instant) {
        for known in self.tries.values_mut() {
            known.due.get_or_insert(now);
        }
    }

    pub(crate) fn failed(&mut self, action: &Action, reason: &str, now: Instant) {
        let Some(known) = self.tries.get_mut(action) else { return };
        known.due = PAUSES.get(known.failures).map(|pause| now + *pause);
        known.failures += 1;
        known.reason = Some(reason.to_owned());
    }

    /// Why an action failed last.
    pub(crate) fn reason(&self, action: &Action) -> Option<&str> {
        self.tries.get(action)?.reason.as_deref()
    }

    /// Whether an action was not even tried yet.
    pub(crate) fn is_untried(&self, action: &Action) -> bool {
        self.tries.get(action).is_some_and(|known| known.failures == 0)
    }

    pub(crate) fn is_due(&self, action: &Action, now: Instant) -> bool {
        self.tries.get(action).and_then(|known| known.due).is_some_and(|due| due <= now)
    }

    /// Until an action is due; `None` when it is not before the next poll.
    pub(crate) fn pause(&self, action: &Action, now: Instant) -> Option<Duration> {
        self.tries.get(action)?.due.map(|due| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn action(hook: &str) -> Action {
        serde_json::from_value(json!({ "hook": hook })).unwrap()
    }

    #[test]
    fn restarts_are_spread_and_nothing_else_is() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let restart = serde_json::from_value(json!({"restart": "app.service"})).unwrap();
        for (interval, longest) in [(1, 1), (4, 4), (5, 5), (60, 5)] {
            assert_eq!(splay(&restart, minutes(interval)), minutes(longest));
        }
        for other in [json!({"hook": "deploy"}), json!({"reload": "nginx.service"})] {
            assert_eq!(splay(&serde_json::from_value(other).unwrap(), minutes(60)), Duration::ZERO);
        }
    }

    #[test]
    fn a_failing_action_is_tried_again_with_pauses_and_then_at_each_poll() {
        let (mut pace, start, hook) = (Pace::default(), Instant::now(), action("deploy"));
        pace.want(&hook, start);
        let mut now = start;
        for pause in [1, 5, 25, 120, 600] {
            assert!(pace.is_due(&hook, now));
            pace.failed(&hook, "exit code 3", now);
            assert_eq!(pace.pause(&hook, now), Some(Duration::from_secs(pause)));
            now += Duration::from_secs(pause);
        }
        pace.failed(&hook, "exit code 4", now);
        assert_eq!((pace.pause(&hook, now), pace.reason(&hook)), (None, Some("exit code 4")));
        pace.polled(now);
        assert!(pace.is_due(&hook, now) && !pace.is_untried(&hook));
        pace.failed(&hook, "exit code 4", now);
        assert_eq!(pace.pause(&hook, now), None, "once a poll");
    }

    #[test]
    fn a_new_renewal_begins_anew_and_does_not_push_away_what_waits() {
        let (mut pace, start, restart) = (Pace::default(), Instant::now(), action("restart"));
        pace.want(&restart, start + Duration::from_secs(100));
        pace.want(&restart, start + Duration::from_secs(300));
        assert_eq!(pace.pause(&restart, start), Some(Duration::from_secs(100)));
        pace.failed(&restart, "no", start);
        pace.want(&restart, start);
        assert!(pace.is_due(&restart, start) && pace.is_untried(&restart) && pace.reason(&restart).is_none());
        pace.keep_only(|_| false);
        assert_eq!(pace.pause(&restart, start), None);
    }
}
