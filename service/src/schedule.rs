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

    /// How often this certificate was tried without success, one try after the other.
    pub(crate) fn failures(&self, index: usize) -> u32 {
        self.slots[index].failures
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
    deadline: Instant,
}

impl InitialSync {
    const TRIES: u32 = 25;
    const TIME: Duration = Duration::from_secs(15 * 60);

    pub(crate) fn new(now: Instant) -> Self {
        Self { deadline: now + Self::TIME }
    }

    /// How long success may be held back yet.
    pub(crate) fn time_left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }

    /// Whether it is over, after so many `tries` of one missing certificate. Passes are not counted: two certificates that
    /// are tried at different times would use up each other's.
    pub(crate) fn is_used_up(&self, tries: u32, hopeless: bool, now: Instant) -> bool {
        hopeless || tries >= Self::TRIES || now >= self.deadline
    }
}

// The path, because others read this file too.
#[cfg(test)]
#[path = "schedule/tests.rs"]
mod tests;
