//! What follows when links have moved (`afterRenewal`): the service decides what is to be done and when, leaves a note, and
//! reads the answer. Another process, [`mod@act`], does it.

mod act;
mod exchange;
mod ledger;
mod note;
mod pace;
mod programs;
#[cfg(test)]
mod tests;
mod verify;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::files::{self, FileError};
use common::report::{Installed, Report};
use common::settings::{Action, AfterRenewal, ObservedCertificate, Settings};
use log::{error, warn};

use crate::network::Network;
use crate::store::Store;
pub(crate) use act::run as act;
use exchange::Outstanding;
use ledger::Ledger;
use note::{Desk, Leaf, Move, Note, Task};
use pace::Pace;

/// How often an answer is looked for while one is waited for.
const GLANCE: Duration = Duration::from_millis(200);
/// Who takes the notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Actor {
    /// A unit of the service manager, which watches the folder.
    Unit,
    /// A process that the service starts, with these settings.
    Child(PathBuf),
}

/// The renewals of the certificates that have actions.
pub(crate) struct Renewals {
    desk: Desk,
    actor: Actor,
    certificates: Vec<Followed>,
    polling_interval: Duration,
    ledger: Ledger,
    pace: Pace,
    outstanding: Option<Outstanding>,
    /// What is wrong with the folder of notes, or with who takes them.
    trouble: Option<String>,
    random: fastrand::Rng,
}

/// A certificate that something follows from.
struct Followed {
    observed: ObservedCertificate,
    index: usize,
    place: String,
}

impl Followed {
    fn wanted(&self) -> &AfterRenewal {
        const NOTHING: &AfterRenewal = &AfterRenewal { actions: Vec::new(), splay: None, on_first_install: false };
        self.observed.after_renewal.as_deref().unwrap_or(NOTHING)
    }
}

impl Renewals {
    /// What the settings ask for, and what is remembered of it below `state`.
    pub(crate) fn new(settings: &Settings, state: &Path, actor: Actor) -> Self {
        let has_actions = |(_, observed): &(usize, &ObservedCertificate)| {
            observed.after_renewal.as_ref().is_some_and(|after_renewal| !after_renewal.actions.is_empty())
        };
        let followed = |(index, observed): (usize, &ObservedCertificate)| Followed {
            observed: observed.clone(),
            index,
            place: observed.place(),
        };
        let mut renewals = Self {
            desk: Desk::of(state),
            actor,
            certificates: settings.certificates.iter().enumerate().filter(has_actions).map(followed).collect(),
            polling_interval: settings.polling_interval,
            ledger: Ledger::default(),
            pace: Pace::default(),
            outstanding: None,
            trouble: None,
            random: fastrand::Rng::new(),
        };
        renewals.remember(Instant::now());
        renewals
    }

    /// Takes up where the service before this one ended.
    fn remember(&mut self, now: Instant) {
        if self.certificates.is_empty() {
            // Moves until it is asked for again are nobody's business.
            for file in [self.desk.ledger(), self.desk.note(), self.desk.answer()] {
                let _ = files::remove(&file);
            }
            return;
        }
        let prepared =
            self.desk.prepare().map_err(|cause| FileError { path: self.desk.ledger().display().to_string(), cause });
        match prepared.and_then(|()| files::load(&self.desk.ledger())) {
            Ok(ledger) => self.ledger = ledger.unwrap_or_default(),
            Err(cause) => error!("what followed from earlier renewals is forgotten: {cause}"),
        }
        let places = self.certificates.iter().map(|followed| followed.place.clone()).collect();
        self.ledger.keep_only(&places);
        for followed in &self.certificates {
            if let Some((_, _, left)) = self.ledger.pending(&followed.place, followed.wanted()) {
                left.iter().for_each(|action| self.pace.want(action, now));
            }
        }
        match files::load::<Note>(&self.desk.note()) {
            Ok(Some(note)) => self.hand_over(note, now),
            Ok(None) => {}
            Err(cause) => {
                warn!("{cause}; it is removed");
                let _ = files::remove(&self.desk.note());
            }
        }
        self.read_answer(now);
    }

    /// Before a pass: what is in place of certificates that are new here, so that it is known what moves.
    pub(crate) fn before_pass(&mut self, network: &Network) {
        let is_new = |followed: &&Followed| self.ledger.is_new(&followed.place);
        let new: Vec<&Followed> = self.certificates.iter().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        let observed: Vec<ObservedCertificate> = new.iter().map(|followed| followed.observed.clone()).collect();
        let store = Store::open(&observed, network);
        // A folder that cannot be read now is looked at before the next pass.
        let found = new.into_iter().filter_map(|followed| {
            let current = store.current(&followed.observed).ok()?;
            Some((followed.place.clone(), current.as_ref().map(Leaf::of)))
        });
        for (place, leaf) in found.collect::<Vec<_>>() {
            self.ledger.begin(&place, leaf);
        }
        self.save_ledger();
    }

    /// After a pass, when all of its certificates are in place: what has moved.
    pub(crate) fn after_pass(&mut self, reports: &[Report], now: Instant) {
        let before = self.ledger.clone();
        for followed in &self.certificates {
            let Some(installed) = reports[followed.index].installed() else { continue };
            let wanted = followed.wanted();
            if self.ledger.learn(&followed.place, &Leaf::of(installed), wanted) {
                for action in &wanted.actions {
                    let splay = wanted.splay.unwrap_or_else(|| pace::splay(action, self.polling_interval));
                    self.pace.want(action, now + splay.mul_f64(self.random.f64()));
                }
            }
        }
        self.forget_the_done();
        self.pace.polled(now);
        if self.ledger != before {
            self.save_ledger();
        }
    }

    /// Reads an answer, or leaves the next note; true when there is something new to tell.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        if self.outstanding.is_some() {
            return self.read_answer(now) || self.miss_answer(now);
        }
        let tasks = self.due(now);
        if tasks.is_empty() {
            return false;
        }
        let note = Note { id: self.random.u64(..), tasks };
        for task in &note.tasks {
            for moved in &task.moves {
                self.ledger.begun(&moved.paths[0], &moved.new);
            }
        }
        self.save_ledger();
        match files::save(&self.desk.note(), &note) {
            Ok(()) => self.hand_over(note, now),
            Err(cause) => self.give_up(&note, &cause.to_string(), now),
        }
        true
    }

    /// How long nothing has to be looked at; `None` until something moves.
    pub(crate) fn pause(&self, now: Instant) -> Option<Duration> {
        match self.outstanding {
            Some(_) => Some(GLANCE),
            // What waits for something else is looked at when that was tried.
            None => self.ready().keys().filter_map(|action| self.pace.pause(action, now)).min(),
        }
    }

    /// The reports of all certificates with what a person should know of their renewals.
    pub(crate) fn annotate<'a>(&self, reports: &'a [Report]) -> Cow<'a, [Report]> {
        let mut annotated = Cow::Borrowed(reports);
        for followed in &self.certificates {
            let warnings = self.warnings(followed);
            if !warnings.is_empty() {
                let said = &mut annotated.to_mut()[followed.index].warnings;
                *said = said.iter().cloned().chain(warnings).collect();
            }
        }
        annotated
    }

    fn warnings(&self, followed: &Followed) -> Vec<String> {
        let Some((_, leaf, left)) = self.ledger.pending(&followed.place, followed.wanted()) else { return Vec::new() };
        let failing = left.iter().filter_map(|action| {
            let reason = self.pace.reason(action)?;
            Some(format!("after the renewal to version {}: {action}: {reason}; it is tried again", leaf.version))
        });
        failing.chain(self.trouble.clone()).collect()
    }

    /// What is still to be done, and for which certificates.
    fn pending(&self) -> BTreeMap<Action, Vec<&Followed>> {
        let mut pending = BTreeMap::<Action, Vec<&Followed>>::new();
        for followed in &self.certificates {
            let left = self.ledger.pending(&followed.place, followed.wanted()).map(|(_, _, left)| left);
            for action in left.into_iter().flatten() {
                pending.entry(action).or_default().push(followed);
            }
        }
        pending
    }

    fn forget_the_done(&mut self) {
        let pending: BTreeSet<Action> = self.pending().into_keys().collect();
        self.pace.keep_only(|action| pending.contains(action));
    }

    /// What is still to be done and waits for nothing but its time: all that comes earlier for one of its certificates was
    /// tried.
    fn ready(&self) -> BTreeMap<Action, Vec<&Followed>> {
        let mut pending = self.pending();
        let untried: BTreeSet<Action> = pending.keys().filter(|action| self.pace.is_untried(action)).cloned().collect();
        let waits_for = |action: &Action, followed: &Followed| {
            let before = |other: &&Action| other.stage() < action.stage() && untried.contains(*other);
            followed.wanted().actions.iter().any(|other| before(&other))
        };
        pending.retain(|action, followed| !followed.iter().any(|followed| waits_for(action, followed)));
        pending
    }

    /// What is to be done now.
    fn due(&self, now: Instant) -> Vec<Task> {
        let moved = |followed: &&Followed| {
            let (old, new, _) = self.ledger.pending(&followed.place, followed.wanted())?;
            let name = followed.observed.link_name();
            Some(Move { name, paths: followed.observed.places(), old: old.cloned(), new: new.clone() })
        };
        let unmoved = |action: &Action| {
            let is_left = |other: &Followed| {
                let pending = self.ledger.pending(&other.place, other.wanted());
                pending.is_some_and(|(_, _, left)| left.contains(action))
            };
            let has_action = |other: &&Followed| other.wanted().actions.contains(action);
            let others = self.certificates.iter().filter(has_action).filter(|other| !is_left(other));
            others.filter_map(|other| self.ledger.current(&other.place).cloned()).collect()
        };
        let task = |(action, followed): (&Action, &Vec<&Followed>)| Task {
            action: action.clone(),
            moves: followed.iter().filter_map(moved).collect(),
            // Nothing else asks what is in place.
            unmoved: if matches!(action, Action::Verify(_)) { unmoved(action) } else { Vec::new() },
        };
        self.ready().iter().filter(|(action, _)| self.pace.is_due(action, now)).map(task).collect()
    }

    fn save_ledger(&mut self) {
        // What is not remembered is done twice after a crash, or once too little: worth a word, no reason to stop.
        if let Err(cause) = files::save(&self.desk.ledger(), &self.ledger) {
            error!("what follows from renewals cannot be remembered: {cause}");
        }
    }
}

impl Leaf {
    fn of(installed: &Installed) -> Self {
        Self { version: installed.version.as_str().to_owned(), thumbprint: installed.thumbprint.to_string() }
    }
}
