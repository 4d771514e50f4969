//! When which certificate is looked at: a pure state machine. Time and chance come in as arguments, so a day of polling is
//! a test that takes a millisecond.
//!
//! Rules: the first pass at once, the first regular poll at a random point of the interval, each later one after 0.9 to
//! 1.1 intervals, so that a fleet that started together drifts apart. What fails in between comes back sooner; what a
//! server asks for wins over our own pauses.

use std::time::{Duration, Instant};

use fastrand::Rng;

/// Tries that are due within this time of each other are one pass.
const TOGETHER: Duration = Duration::from_secs(2);
/// A certificate that was never installed: pauses of 2 s, growing by half up to this …
const MISSING_CAP: f64 = 50.0;
/// … for this long, and of five minutes after that.
const MISSING_PATIENCE: Duration = Duration::from_secs(3600);
const MISSING_LATER: f64 = 300.0;
/// A server that asks for more than this is asked again all the same.
const LONGEST_PAUSE: f64 = 3600.0;
/// Caps of the random pauses after throttling and outages.
const THROTTLED_CAP: f64 = 120.0;
const OUTAGE_CAP: f64 = 300.0;

/// When it makes sense to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The server asked for a pause, perhaps of this length.
    Throttled(Option<Duration>),
    /// A passing fault: after a short, growing pause.
    Soon,
    /// Somebody has to change something first.
    NextPoll,
    /// It cannot succeed with these settings.
    Hopeless,
}

/// How a certificate fared in a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether its turn came; a vault that was left alone was not asked for it.
    pub(crate) asked: bool,
    /// Whether something usable is in place.
    pub(crate) installed: bool,
    /// How soon to try again; `None` when all is well.
    pub(crate) retry: Option<Retry>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Look at these certificates, in this order.
    Poll(Vec<usize>),
    /// Nothing is due before this much time has passed.
    Wait(Duration),
}

/// The schedule of all observed certificates.
#[derive(Debug)]
pub(crate) struct Poller {
    interval: Duration,
    slots: Vec<Slot>,
    next_poll: Instant,
    polled: bool,
    random: Rng,
}

#[derive(Debug, Clone)]
struct Slot {
    /// Certificates of one vault have the same number.
    vault: usize,
    due: Instant,
    /// The vault asked for a pause until then.
    paused_until: Option<Instant>,
    failures: u32,
    failing_since: Option<Instant>,
    last_asked: Option<Instant>,
}

impl Poller {
    /// Everything is due at once. `vaults` has an entry for each certificate, the same number for those of one vault.
    pub(crate) fn new(interval: Duration, vaults: &[usize], now: Instant, random: Rng) -> Self {
        let slot = |&vault: &usize| Slot {
            vault,
            due: now,
            paused_until: None,
            failures: 0,
            failing_since: None,
            last_asked: None,
        };
        Self { interval, slots: vaults.iter().map(slot).collect(), next_poll: now, polled: false, random }
    }

    /// What to do at `now`.
    pub(crate) fn next(&mut self, now: Instant) -> Action {
        let regular = now >= self.next_poll;
        if regular {
            let part = if self.polled { 0.9 + 0.2 * self.random.f64() } else { 0.1 + 0.9 * self.random.f64() };
            self.polled = true;
            self.next_poll = now + self.interval.mul_f64(part);
        }
        let first = self.slots.iter().map(Slot::ready).min().unwrap_or(self.next_poll).min(self.next_poll);
        if !regular && now < first {
            return Action::Wait(first - now);
        }
        let is_due = |slot: &Slot| match slot.paused_until {
            Some(end) if now < end => false,
            _ => regular || slot.due <= now + TOGETHER,
        };
        let mut due: Vec<usize> = (0..self.slots.len()).filter(|&index| is_due(&self.slots[index])).collect();
        // A pass that ends half way must not starve those at the end of the list, whatever became of those before.
        due.sort_by_key(|&index| self.slots[index].last_asked);
        Action::Poll(due)
    }

    /// Everything is due now: somebody asked for it.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.next_poll = now;
        self.slots.iter_mut().for_each(|slot| slot.paused_until = None);
    }

    /// A pass has ended; each certificate in it says when it wants to be looked at again.
    pub(crate) fn finished(&mut self, verdicts: &[(usize, Verdict)], now: Instant) {
        let chance = self.random.f64();
        for &(index, verdict) in verdicts {
            let next_poll = self.next_poll;
            let slot = &mut self.slots[index];
            let last_asked = if verdict.asked { Some(now) } else { slot.last_asked };
            let Some(retry) = verdict.retry else {
                *slot = Slot { due: next_poll, failures: 0, failing_since: None, last_asked, ..*slot };
                continue;
            };
            slot.last_asked = last_asked;
            let since = *slot.failing_since.get_or_insert(now);
            let end = pause(retry, verdict.installed, slot.failures, now - since, chance).map(|pause| now + pause);
            slot.due = end.map_or(next_poll, |end| end.min(next_poll));
            slot.failures = slot.failures.saturating_add(1);
            let vault = slot.vault;
            if let (Retry::Throttled(Some(_)), Some(end)) = (retry, end) {
                // What a server asks for holds for everything that would be asked of it.
                let others = self.slots.iter_mut().filter(|slot| slot.vault == vault);
                others.for_each(|slot| slot.paused_until = Some(slot.paused_until.map_or(end, |other| other.max(end))));
            }
        }
    }

    /// How long until all certificates are looked at again.
    pub(crate) fn until_next_poll(&self, now: Instant) -> Duration {
        self.next_poll.saturating_duration_since(now)
    }

    /// How long until this certificate is looked at again.
    pub(crate) fn until_next_try(&self, index: usize, now: Instant) -> Duration {
        let slot = &self.slots[index];
        let due = slot.due.min(self.next_poll);
        slot.paused_until.map_or(due, |end| due.max(end)).saturating_duration_since(now)
    }
}

impl Slot {
    /// When it may be looked at before the regular poll.
    fn ready(&self) -> Instant {
        self.paused_until.map_or(self.due, |end| self.due.max(end))
    }
}

/// The pause before the next try; `None` waits for the regular poll. `chance` is one draw from 0 to 1 for the whole pass,
/// so that certificates that failed together come back together.
fn pause(retry: Retry, installed: bool, failures: u32, failing_for: Duration, chance: f64) -> Option<Duration> {
    // Beyond this every pause has reached its cap.
    let failures = failures.min(16);
    let doubled = 5.0 * f64::from(1_u32 << failures);
    let seconds = match retry {
        Retry::Throttled(asked) => {
            let least = asked.map_or(5.0, |asked| asked.as_secs_f64().clamp(1.0, LONGEST_PAUSE));
            least + chance * doubled.min(if installed { THROTTLED_CAP } else { MISSING_CAP })
        }
        _ if !installed && failing_for < MISSING_PATIENCE => {
            (2.0 * 1.5_f64.powi(failures.cast_signed())).min(MISSING_CAP) * (0.9 + 0.1 * chance)
        }
        _ if !installed => MISSING_LATER * (0.9 + 0.1 * chance),
        Retry::Soon => 1.0 + chance * doubled.min(OUTAGE_CAP - 1.0),
        Retry::NextPoll | Retry::Hopeless => return None,
    };
    Some(Duration::from_secs_f64(seconds))
}

/// Success is held back until everything is installed, for a bounded number of tries and a bounded time: the guest agent
/// reports nothing for the whole machine meanwhile, and a scale set may have 15 minutes in all.
#[derive(Debug)]
pub(crate) struct InitialSync {
    tries: u32,
    deadline: Instant,
}

impl InitialSync {
    const TRIES: u32 = 25;
    const TIME: Duration = Duration::from_secs(15 * 60);

    pub(crate) fn new(now: Instant) -> Self {
        Self { tries: 0, deadline: now + Self::TIME }
    }

    /// How long success may be held back yet.
    pub(crate) fn time_left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }

    /// Counts a pass that did not complete it; true when that was the last one.
    pub(crate) fn is_used_up(&mut self, hopeless: bool, now: Instant) -> bool {
        self.tries += 1;
        hopeless || self.tries >= Self::TRIES || now >= self.deadline
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const FINE: Verdict = Verdict { asked: true, installed: true, retry: None };

    fn missing(retry: Retry) -> Verdict {
        Verdict { asked: true, installed: false, retry: Some(retry) }
    }

    fn stale(retry: Retry) -> Verdict {
        Verdict { asked: true, installed: true, retry: Some(retry) }
    }

    /// Lets time pass until the next pass, answers it with `verdict` for all, and returns when it was and what was due.
    fn step(poller: &mut Poller, now: &mut Instant, verdict: impl Fn(usize) -> Verdict) -> Vec<usize> {
        for _ in 0..3 {
            match poller.next(*now) {
                Action::Wait(pause) => *now += pause,
                Action::Poll(due) => {
                    let verdicts: Vec<_> = due.iter().map(|&index| (index, verdict(index))).collect();
                    poller.finished(&verdicts, *now);
                    return due;
                }
            }
        }
        panic!("nothing is ever due");
    }

    fn poller(certificates: usize, seed: u64) -> (Poller, Instant) {
        let now = Instant::now();
        (Poller::new(HOUR, &vec![0; certificates], now, Rng::with_seed(seed)), now)
    }

    #[test]
    fn polls_at_once_then_around_the_interval() {
        for seed in 0..100 {
            let (mut poller, start) = poller(3, seed);
            let mut now = start;
            assert_eq!(step(&mut poller, &mut now, |_| FINE), [0, 1, 2]);
            assert_eq!(now, start);
            step(&mut poller, &mut now, |_| FINE);
            assert!(now - start >= HOUR.mul_f64(0.1) && now - start <= HOUR, "{:?}", now - start);
            let before = now;
            step(&mut poller, &mut now, |_| FINE);
            let pause = now - before;
            assert!(pause >= HOUR.mul_f64(0.9) && pause <= HOUR.mul_f64(1.1), "{pause:?}");
        }
    }

    #[test]
    fn machines_that_start_together_drift_apart() {
        let mut pauses: Vec<Duration> = (0..50)
            .map(|seed| {
                let (mut poller, start) = poller(1, seed);
                let mut now = start;
                step(&mut poller, &mut now, |_| FINE);
                step(&mut poller, &mut now, |_| FINE);
                now - start
            })
            .collect();
        pauses.sort();
        pauses.dedup();
        assert_eq!(pauses.len(), 50);
    }

    #[test]
    fn a_missing_certificate_is_tried_within_a_minute_for_an_hour_and_every_five_minutes_after() {
        for retry in [Retry::Soon, Retry::NextPoll, Retry::Throttled(None)] {
            let (mut poller, start) = poller(1, 7);
            poller.interval = 24 * HOUR;
            let mut now = start;
            let mut before = start;
            for _ in 0..200 {
                step(&mut poller, &mut now, |_| missing(retry));
                let pause = now - before;
                let limit = if before - start < MISSING_PATIENCE { 60 } else { 300 };
                assert!(pause <= Duration::from_secs(limit), "{pause:?} after {:?}", before - start);
                before = now;
            }
        }
    }

    #[test]
    fn twenty_five_tries_of_an_initial_sync_fit_into_fifteen_minutes() {
        for seed in 0..50 {
            let (mut poller, start) = poller(1, seed);
            poller.interval = 24 * HOUR;
            let mut sync = InitialSync::new(start);
            let mut now = start;
            let mut tries = 0;
            loop {
                step(&mut poller, &mut now, |_| missing(Retry::Soon));
                tries += 1;
                if sync.is_used_up(false, now) {
                    break;
                }
            }
            assert_eq!(tries, 25);
            assert!(now - start < InitialSync::TIME, "{:?}", now - start);
        }
    }

    #[test]
    fn what_cannot_succeed_ends_the_initial_sync_at_once() {
        let now = Instant::now();
        assert!(InitialSync::new(now).is_used_up(true, now));
        assert!(!InitialSync::new(now).is_used_up(false, now));
        assert!(InitialSync::new(now).is_used_up(false, now + InitialSync::TIME));
    }

    #[test]
    fn a_retry_leaves_the_others_alone() {
        let (mut poller, mut now) = poller(3, 1);
        step(&mut poller, &mut now, |index| if index == 1 { missing(Retry::Soon) } else { FINE });
        assert_eq!(step(&mut poller, &mut now, |_| FINE), [1]);
    }

    #[test]
    fn an_installed_certificate_that_somebody_must_mend_waits_for_the_interval() {
        let (mut poller, start) = poller(1, 3);
        let mut now = start;
        step(&mut poller, &mut now, |_| stale(Retry::NextPoll));
        step(&mut poller, &mut now, |_| FINE);
        assert!(now - start >= HOUR.mul_f64(0.1));
    }

    #[test]
    fn an_outage_is_retried_with_pauses_that_grow_to_five_minutes() {
        let (mut poller, start) = poller(1, 11);
        poller.interval = 24 * HOUR;
        let mut now = start;
        let mut before = start;
        for round in 0..100 {
            step(&mut poller, &mut now, |_| stale(Retry::Soon));
            let pause = now - before;
            assert!(pause <= Duration::from_secs(300), "{pause:?}");
            assert!(round == 0 || pause >= Duration::from_secs(1), "no busy loop: {pause:?}");
            before = now;
        }
        assert!(now - start > Duration::from_secs(3000));
    }

    #[test]
    fn retry_after_wins_when_it_is_longer() {
        let (mut poller, start) = poller(1, 5);
        let mut now = start;
        poller.interval = 10 * HOUR;
        step(&mut poller, &mut now, |_| missing(Retry::Throttled(Some(Duration::from_secs(200)))));
        step(&mut poller, &mut now, |_| FINE);
        assert!(
            now - start >= Duration::from_secs(200) && now - start <= Duration::from_secs(205),
            "{:?}",
            now - start
        );
    }

    #[test]
    fn a_hostile_retry_after_ends_within_the_hour() {
        let (mut poller, start) = poller(1, 5);
        let mut now = start;
        step(&mut poller, &mut now, |_| stale(Retry::Throttled(Some(Duration::MAX))));
        while step(&mut poller, &mut now, |_| FINE).is_empty() {}
        assert!(now - start >= HOUR && now - start <= HOUR + Duration::from_secs(5), "{:?}", now - start);
    }

    #[test]
    fn the_pause_that_a_vault_asked_for_holds_for_regular_polls_and_for_all_its_certificates() {
        let start = Instant::now();
        let mut now = start;
        let minute = Duration::from_secs(60);
        let mut poller = Poller::new(minute, &[0, 0, 1], start, Rng::with_seed(4));
        let asked = Retry::Throttled(Some(Duration::from_secs(200)));
        step(&mut poller, &mut now, |index| if index == 1 { stale(asked) } else { FINE });
        let mut seen = Vec::new();
        while now - start < Duration::from_secs(220) {
            let due = step(&mut poller, &mut now, |_| FINE);
            seen.extend(due.into_iter().map(|index| (index, now - start)));
        }
        assert!(seen.iter().filter(|(index, _)| *index == 2).count() >= 3, "another vault goes on: {seen:?}");
        let early = |(index, at): &&(usize, Duration)| *index < 2 && *at < Duration::from_secs(200);
        assert_eq!(seen.iter().find(early), None);
        assert!(seen.iter().any(|(index, _)| *index == 1), "{seen:?}");
    }

    #[test]
    fn somebody_who_asks_for_a_poll_gets_it_during_a_pause() {
        let (mut poller, mut now) = poller(1, 5);
        step(&mut poller, &mut now, |_| stale(Retry::Throttled(Some(HOUR))));
        now += Duration::from_secs(1);
        poller.wake(now);
        assert_eq!(poller.next(now), Action::Poll(vec![0]));
    }

    #[test]
    fn those_that_were_not_reached_come_first_at_the_next_poll() {
        let (mut poller, mut now) = poller(4, 2);
        let stopped = Retry::NextPoll;
        let verdict = |index| match index {
            0 => FINE,
            1 => stale(stopped),
            _ => Verdict { asked: false, ..stale(stopped) },
        };
        step(&mut poller, &mut now, verdict);
        assert_eq!(step(&mut poller, &mut now, |_| FINE), [2, 3, 0, 1]);
    }

    #[test]
    fn a_wake_up_makes_everything_due() {
        let (mut poller, mut now) = poller(2, 2);
        step(&mut poller, &mut now, |_| FINE);
        now += Duration::from_secs(1);
        poller.wake(now);
        assert_eq!(poller.next(now), Action::Poll(vec![0, 1]));
    }

    #[test]
    fn nothing_observed_means_nothing_but_waiting() {
        let (mut poller, mut now) = poller(0, 2);
        assert_eq!(poller.next(now), Action::Poll(vec![]));
        poller.finished(&[], now);
        assert!(matches!(poller.next(now), Action::Wait(_)));
        now += 2 * HOUR;
        assert_eq!(poller.next(now), Action::Poll(vec![]));
    }
}
