//! The daemon: the only place that waits, and the only one that saves the status.

use std::collections::HashMap;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use common::logging;
use common::report::{Report, State};
use common::settings::Settings;
use common::status::{Overview, Phase, StatusFile};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use log::{error, info, warn};

use crate::after_renewal::Renewals;
use crate::network::Network;
use crate::recovery::Recovery;
use crate::schedule::{Action, InitialSync, Poller, Retry, Verdict};
use crate::sync::{Link, Passed, Watch};
use crate::telemetry::Telemetry;
use crate::vigil::{End, Event, Heard, Progress, Vigil};
use crate::{standing, system};

/// How long a pass may take to notice that it should end; the rest of the five seconds is the way out.
const PATIENCE: Duration = Duration::from_secs(4);
/// A status that could not be saved is tried again after this.
const STATUS_RETRY: Duration = Duration::from_secs(60);

/// The state of the daemon between two passes.
pub(crate) struct Agent {
    network: Network,
    settings: Arc<Settings>,
    status_file: Option<PathBuf>,
    telemetry: Option<Telemetry>,
    renewals: Renewals,
    recovery: Recovery,
    poller: Poller,
    reports: Vec<Report>,
    initial_sync: Option<InitialSync>,
    phase: Phase,
    identity: Option<String>,
    status_is_saved: bool,
    /// How many certificates were installed after the last pass.
    satisfied_before: Option<usize>,
    has_polled: bool,
}

/// A report for each observed certificate, before anything is known.
pub(crate) fn untried(settings: &Settings) -> Vec<Report> {
    vec![Report { state: State::Waiting, warnings: [].into() }; settings.certificates.len()]
}

impl Agent {
    pub(crate) fn new(
        network: Network,
        settings: Settings,
        status_file: Option<PathBuf>,
        telemetry: Option<Telemetry>,
        renewals: Renewals,
        recovery: Recovery,
    ) -> Self {
        let now = Instant::now();
        let phase = if settings.require_initial_sync { Phase::InitialSync } else { Phase::Polling };
        Self {
            network,
            poller: Poller::new(settings.polling_interval, &vaults(&settings), now, fastrand::Rng::new()),
            reports: untried(&settings),
            initial_sync: settings.require_initial_sync.then(|| InitialSync::new(now)),
            settings: Arc::new(settings),
            status_file,
            telemetry,
            renewals,
            recovery,
            phase,
            identity: None,
            status_is_saved: true,
            satisfied_before: None,
            has_polled: false,
        }
    }

    /// Polls until it is time to end.
    pub(crate) fn run(mut self, sender: &Sender<Event>, vigil: &Vigil) -> End {
        self.save_status();
        vigil.supervisor.ready("polling");
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.started(self.reports.len());
        }
        let mut link = Link::new(&self.network);
        loop {
            match self.poller.next(Instant::now()) {
                Action::Wait(pause) => match vigil.wait(self.patience(pause), |_| true) {
                    Heard::Event(Event::Wakeup(_)) => self.wake(),
                    Heard::Event(Event::Finished(_) | Event::Lost) => {}
                    Heard::Nothing => self.look_at_the_clock(),
                    Heard::End(end) => return end,
                },
                Action::Poll(due) => match self.poll(link, due, sender, vigil) {
                    Ok(back) => link = back,
                    Err(end) => return end,
                },
            }
            vigil.supervisor.status(&self.standing());
        }
    }

    /// A pause before the next pass is cut short where something else has to be done meanwhile.
    fn patience(&self, pause: Duration) -> Duration {
        let status = if self.status_is_saved { pause } else { STATUS_RETRY };
        let sync = match &self.initial_sync {
            Some(sync) if self.phase == Phase::InitialSync => sync.time_left(Instant::now()),
            _ => pause,
        };
        let renewals = self.renewals.pause(Instant::now()).unwrap_or(pause);
        let recovery = self.recovery.time_left(Instant::now()).unwrap_or(pause);
        pause.min(status).min(sync).min(renewals).min(recovery)
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        let is_changed = self.renewals.tick(now) | self.recovery.tick(now);
        let is_over = self.initial_sync.as_ref().is_some_and(|sync| sync.time_left(now).is_zero());
        let gives_up = is_over && self.phase == Phase::InitialSync;
        if gives_up {
            self.give_up_initial_sync();
        }
        if is_changed || gives_up || !self.status_is_saved {
            self.save_status();
        }
    }

    fn give_up_initial_sync(&mut self) {
        error!("the initial sync did not complete; polling goes on");
        self.phase = Phase::InitialSyncFailed;
    }

    /// One pass in a thread of its own, so that a signal is heard meanwhile; an error when it is time to end.
    fn poll(&mut self, mut link: Link, due: Vec<usize>, sender: &Sender<Event>, vigil: &Vigil) -> Result<Link, End> {
        // A service that is started anew and anew, for whatever reason, makes a pass each time.
        if mem::replace(&mut self.has_polled, true) {
            vigil.is_open(&self.network)?;
        }
        let (done, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        self.renewals.before_pass(&self.network);
        let mut progress = Progress::new(Arc::clone(&done), Instant::now());
        let (settings, reports, sender) = (Arc::clone(&self.settings), mem::take(&mut self.reports), sender.clone());
        let (stopped, wanted, outcome) = (Arc::clone(&stop), due.clone(), sender.clone());
        let pass = move || {
            let watch = Watch { done: &done, stop: &stopped };
            let pass = AssertUnwindSafe(|| (link.pass(&settings, &wanted, reports, &watch), link));
            let event = catch_unwind(pass).map_or(Event::Lost, |done| Event::Finished(Box::new(done)));
            // The loop may be gone already.
            let _ = outcome.send(event);
        };
        if let Err(cause) = thread::Builder::new().name("pass".to_owned()).spawn(pass) {
            error!("no pass can be made now: {cause}");
            let _ = sender.send(Event::Lost);
        }
        let mut again = false;
        loop {
            match vigil.wait(Duration::MAX, |now| progress.is_made(now)) {
                Heard::Event(Event::Finished(done)) => {
                    let (passed, link) = *done;
                    self.take_in(passed);
                    if again {
                        self.wake();
                    }
                    return Ok(link);
                }
                Heard::Event(Event::Lost) => {
                    self.begin_anew(&due);
                    return Ok(Link::new(&self.network));
                }
                Heard::Event(Event::Wakeup(_)) => again = true,
                Heard::Nothing => {}
                Heard::End(end) => {
                    stop.store(true, Ordering::Relaxed);
                    self.wait_for_the_end(vigil);
                    return Err(end);
                }
            }
        }
    }

    /// What was known went with the pass that broke off; the next one finds out.
    fn begin_anew(&mut self, due: &[usize]) {
        let verdict = Verdict { installed: true, asked: true, retry: Some(Retry::Soon) };
        let verdicts = due.iter().map(|&index| (index, verdict)).collect();
        self.take_in(Passed { reports: untried(&self.settings), verdicts, identity: None });
    }

    fn wake(&mut self) {
        info!("polling now, as asked");
        self.poller.wake(Instant::now());
    }

    /// What a pass did is worth a last status; what it did not reach is not waited for.
    fn wait_for_the_end(&mut self, vigil: &Vigil) {
        if let Some(passed) = vigil.last_words(PATIENCE) {
            return self.take_in(passed);
        }
        warn!("ending although a request is still under way");
    }

    fn take_in(&mut self, passed: Passed) {
        let now = Instant::now();
        let Passed { reports, verdicts, identity } = passed;
        self.reports = reports;
        let missing = || verdicts.iter().filter(|(_, verdict)| verdict.retry.is_some() && !verdict.installed);
        let hopeless = missing().any(|(_, verdict)| verdict.retry == Some(Retry::Hopeless));
        self.poller.finished(&verdicts, now);
        let tries = missing().map(|(index, _)| self.poller.failures(*index)).max().unwrap_or(0);
        let is_changed = |index: usize| matches!(self.reports[index].state, State::Current { changed: true, .. });
        let changed = verdicts.iter().filter(|(index, _)| is_changed(*index)).count();
        self.set_next_tries(now);
        self.identity = identity.or(self.identity.take());
        self.advance(tries, hopeless, now);
        let satisfied = self.satisfied();
        self.renewals.after_pass(&self.reports, now);
        self.renewals.tick(now);
        self.recovery.tick(now);
        self.save_status();
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.passed(&self.reports, now, Timestamp::now());
        }
        let line = format!(
            "{satisfied} of {} certificates installed, {changed} changed, next poll in {} s",
            self.reports.len(),
            self.poller.until_next_poll(now).as_secs()
        );
        match changed == 0 && self.satisfied_before == Some(satisfied) {
            true => info!(target: logging::FILE, "{line}"),
            false => info!("{line}"),
        }
        self.satisfied_before = Some(satisfied);
        system::release_memory();
    }

    fn set_next_tries(&mut self, now: Instant) {
        for (index, report) in self.reports.iter_mut().enumerate() {
            if let State::Stale { problem, .. } | State::Missing { problem } = &mut report.state {
                problem.next_try = Some(later(self.poller.until_next_try(index, now)));
            }
        }
    }

    fn satisfied(&self) -> usize {
        let now = Timestamp::now();
        self.reports.iter().filter(|report| report.is_satisfied(now)).count()
    }

    /// Once everything was installed, later failures leave the extension's success alone.
    fn advance(&mut self, tries: u32, hopeless: bool, now: Instant) {
        let Some(sync) = &self.initial_sync else { return };
        let used_up = sync.is_used_up(tries, hopeless, now);
        if self.satisfied() == self.reports.len() {
            self.initial_sync = None;
            self.phase = Phase::Polling;
        } else if used_up && self.phase == Phase::InitialSync {
            self.give_up_initial_sync();
        }
    }

    fn standing(&self) -> String {
        let zoned = |at: Timestamp| at.to_zoned(TimeZone::system());
        let next_poll = zoned(later(self.poller.until_next_poll(Instant::now())));
        standing::line(&self.settings.certificates, &self.reports, &next_poll, &zoned(Timestamp::now()))
    }

    fn save_status(&mut self) {
        let Some(path) = &self.status_file else { return };
        let reports = self.renewals.annotate(&self.reports);
        let overview = Overview {
            phase: self.phase,
            identity: self.identity.as_deref(),
            certificates: &self.settings.certificates,
            reports: &reports,
            next_poll: Some(later(self.poller.until_next_poll(Instant::now()))),
        };
        let saved = self.recovery.annotate(StatusFile::overview(&overview, Timestamp::now())).save(path);
        if let Err(error) = &saved
            && self.status_is_saved
        {
            error!("the status cannot be saved, trying again: {error}");
        }
        self.status_is_saved = saved.is_ok();
    }
}

/// A point in time for people; far-away ones are as good as the last one that can be written.
fn later(pause: Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
    Timestamp::now().checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// A number for each certificate, the same for those of one vault.
fn vaults(settings: &Settings) -> Vec<usize> {
    let mut known = HashMap::new();
    let certificates = settings.certificates.iter();
    certificates
        .map(|observed| {
            let next = known.len();
            *known.entry(observed.url.host()).or_insert(next)
        })
        .collect()
}
