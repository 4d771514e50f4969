//! What the loop does while it waits: it shows its supervisor that it lives, and sees whether the extension is still
//! wanted.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use log::{error, warn};

use crate::network::Network;
use crate::sync::{Link, Passed};
use crate::system::Supervisor;

/// How often the handler's folder is looked for: an idle service wakes up rarely.
const GLANCE: Duration = Duration::from_secs(60);
/// A certificate needs two tokens and two secrets at most, each with a deadline of half a minute, and the disk: a pass
/// that finishes none for so long hangs.
const LONGEST_STEP: Duration = Duration::from_secs(300);

/// What the outside wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakeup {
    /// Look at everything now.
    Poll,
    /// End.
    Stop,
}

/// What the loop waits for.
pub(crate) enum Event {
    Wakeup(Wakeup),
    Finished(Box<(Passed, Link)>),
    /// A pass broke off, by a defect or for want of a thread.
    Lost,
}

/// Why the service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Somebody asked it to.
    Asked,
    /// The extension was dropped: the guest agent deletes the handler's folder, and runs no command.
    Dropped,
    /// The supervisor must start it anew, as it cannot write or read where it has to.
    Anew,
}

/// What a wait came to.
pub(crate) enum Heard {
    Event(Event),
    /// The time is over.
    Nothing,
    /// It is time to end.
    End(End),
}

/// Ears and pulse of the loop.
pub(crate) struct Vigil {
    pub(crate) supervisor: Supervisor,
    handler_folder: Option<PathBuf>,
    events: Receiver<Event>,
}

impl Vigil {
    pub(crate) fn new(supervisor: Supervisor, handler_folder: Option<PathBuf>, events: Receiver<Event>) -> Self {
        Self { supervisor, handler_folder, events }
    }

    /// Waits for an event, at most `pause`. The supervisor gets its sign of life while `is_alive`.
    pub(crate) fn wait(&self, pause: Duration, mut is_alive: impl FnMut(Instant) -> bool) -> Heard {
        let start = Instant::now();
        loop {
            let now = Instant::now();
            if is_alive(now) {
                self.supervisor.alive();
            }
            if self.is_dropped() {
                return Heard::End(self.end(End::Dropped));
            }
            let left = pause.saturating_sub(now - start);
            match self.events.recv_timeout(left.min(self.beat())) {
                Ok(Event::Wakeup(Wakeup::Stop)) | Err(RecvTimeoutError::Disconnected) => {
                    return Heard::End(self.end(End::Asked));
                }
                Ok(event) => {
                    if matches!(event, Event::Wakeup(Wakeup::Poll)) {
                        self.supervisor.reloaded();
                    }
                    return Heard::Event(event);
                }
                Err(RecvTimeoutError::Timeout) if start.elapsed() >= pause => return Heard::Nothing,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// What a pass that was told to stop has done, if it says so within `patience`.
    pub(crate) fn last_words(&self, patience: Duration) -> Option<Passed> {
        let deadline = Instant::now() + patience;
        while let Ok(event) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if let Event::Finished(done) = event {
                return Some(done.0);
            }
        }
        None
    }

    fn beat(&self) -> Duration {
        let glance = self.handler_folder.as_ref().map_or(Duration::MAX, |_| GLANCE);
        self.supervisor.beat.map_or(glance, |beat| beat.min(glance))
    }

    /// Whether the handler's folder is gone. A folder that cannot be looked at may be there.
    fn is_dropped(&self) -> bool {
        let looked_at = self.handler_folder.as_ref().map(std::fs::metadata);
        matches!(looked_at, Some(Err(error)) if error.kind() == ErrorKind::NotFound)
    }

    /// Fails before a pass that could not write or read something which was removed, and has come back or not.
    pub(crate) fn is_open(&self, network: &Network) -> Result<(), End> {
        // Without a supervisor, nobody would start it.
        if self.supervisor.counts_ends() && network.is_gone() {
            warn!("the dialer ended: the service starts anew, as it can connect to it only then");
            return Err(self.end(End::Anew));
        }
        let Some(path) = self.supervisor.closed() else { return Ok(()) };
        warn!("{} was removed or replaced: the service starts anew, as it is open to it only then", path.display());
        Err(self.end(End::Anew))
    }

    fn end(&self, end: End) -> End {
        match end {
            End::Asked => self.supervisor.stopping("ending, as asked"),
            End::Anew => self.supervisor.stopping("starting anew, for what was closed to it"),
            End::Dropped => {
                let folder = self.handler_folder.iter().map(|folder| folder.display().to_string()).collect::<String>();
                warn!("{folder} is gone: the extension was removed from this machine; certificates stay");
                self.supervisor.stopping("ending: the extension was removed from this machine");
            }
        }
        end
    }
}

/// Tells a pass that takes long from one that hangs.
pub(crate) struct Progress {
    done: Arc<AtomicUsize>,
    seen: usize,
    since: Instant,
    hangs: bool,
}

impl Progress {
    /// `done` counts what the pass has finished.
    pub(crate) fn new(done: Arc<AtomicUsize>, now: Instant) -> Self {
        Self { done, seen: 0, since: now, hangs: false }
    }

    /// Whether the pass went on lately; says once when it did not.
    pub(crate) fn is_made(&mut self, now: Instant) -> bool {
        let done = self.done.load(Ordering::Relaxed);
        if done != self.seen {
            (self.seen, self.since, self.hangs) = (done, now, false);
        }
        let hangs = now - self.since >= LONGEST_STEP;
        if hangs && !self.hangs {
            error!("the pass hangs: no certificate was finished for {} s", LONGEST_STEP.as_secs());
        }
        self.hangs = hangs;
        !hangs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_alive_while_its_certificates_get_done_however_long_it_takes() {
        let start = Instant::now();
        let done = Arc::new(AtomicUsize::new(0));
        let mut progress = Progress::new(Arc::clone(&done), start);
        for minute in 1..=240 {
            if minute % 4 == 0 {
                done.fetch_add(1, Ordering::Relaxed);
            }
            assert!(progress.is_made(start + Duration::from_secs(60 * minute)), "{minute}");
        }
    }

    #[test]
    fn a_pass_that_finishes_nothing_for_longer_than_any_step_may_take_is_not_alive_until_it_goes_on() {
        let start = Instant::now();
        let done = Arc::new(AtomicUsize::new(0));
        let mut progress = Progress::new(Arc::clone(&done), start);
        assert!(progress.is_made(start + Duration::from_secs(299)));
        assert!(!progress.is_made(start + Duration::from_secs(300)));
        assert!(!progress.is_made(start + Duration::from_secs(3600)));
        done.fetch_add(1, Ordering::Relaxed);
        assert!(progress.is_made(start + Duration::from_secs(3601)));
    }
}
