//! A note goes out, an answer comes in: what became of each task is remembered, also where no answer comes.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use common::files;
use common::logging;
use common::text::bounded;
use log::{error, info, warn};

use super::note::{Answer, Failure, Note, Task};
use super::{Actor, Renewals, act};

/// Who acts begins within a second and ends within three minutes.
const LONGEST: Duration = Duration::from_secs(240);
/// How much of a program's last words is logged, in characters.
const QUOTED: usize = 1000;

/// A note that was left and not answered yet.
pub(super) struct Outstanding {
    note: Note,
    since: Instant,
    child: Option<Child>,
}

impl Renewals {
    pub(super) fn hand_over(&mut self, note: Note, now: Instant) {
        let child = match &self.actor {
            Actor::Unit => None,
            Actor::Child(file) => match act::start(file, &self.desk) {
                Ok(child) => Some(child),
                Err(cause) => return self.give_up(&note, &format!("cannot start a process: {cause}"), now),
            },
        };
        self.outstanding = Some(Outstanding { note, since: now, child });
    }

    /// Takes in the answer to a note, if there is one.
    pub(super) fn read_answer(&mut self, now: Instant) -> bool {
        let path = self.desk.answer();
        let answer = match files::load::<Answer>(&path) {
            Ok(None) => return false,
            Ok(Some(answer)) => answer,
            Err(cause) => {
                warn!("{cause}; it is removed");
                let _ = files::remove(&path);
                return false;
            }
        };
        let is_ours = |outstanding: &mut Outstanding| outstanding.note.id == answer.note.id;
        if let Some(mut child) = self.outstanding.take_if(is_ours).and_then(|outstanding| outstanding.child) {
            // It has nothing left to do but to remove its note.
            let _ = child.wait();
        }
        self.trouble = None;
        for (task, result) in answer.note.tasks.iter().zip(&answer.results) {
            self.take_in(task, result.as_ref().err(), now);
        }
        for followed in &self.certificates {
            if self.ledger.close(&followed.place, followed.wanted()) {
                info!("{}: all that follows from its renewal is done", followed.observed.link_name());
            }
        }
        self.forget_the_done();
        self.save_ledger();
        // Only now: until it is remembered, it is an answer.
        if let Err(cause) = files::remove(&path) {
            error!("{cause}");
        }
        true
    }

    fn take_in(&mut self, task: &Task, failure: Option<&Failure>, now: Instant) {
        let names: BTreeSet<&str> = task.moves.iter().map(|moved| moved.name.as_str()).collect();
        let names = bounded(&Vec::from_iter(names).join(", "), QUOTED);
        match failure {
            None => {
                info!("{}: done, for {names}", task.action);
                for moved in &task.moves {
                    self.ledger.done(&moved.paths[0], &moved.new, &task.action);
                }
            }
            Some(Failure { reason, output }) => {
                if self.pace.reason(&task.action) != Some(reason) {
                    warn!("{}: {reason}, for {names}", task.action);
                }
                if !output.is_empty() {
                    warn!(target: logging::FILE, "{} says: {}", task.action, bounded(output, QUOTED));
                }
                self.pace.failed(&task.action, reason, now);
            }
        }
    }

    /// Sees whether an answer does not come any more.
    pub(super) fn miss_answer(&mut self, now: Instant) -> bool {
        let Some(outstanding) = &mut self.outstanding else { return false };
        let has_ended = match &mut outstanding.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !self.desk.note().exists(),
        };
        // It may have come between two looks.
        if has_ended && !self.desk.answer().exists() {
            let Outstanding { note, .. } = match self.outstanding.take() {
                Some(outstanding) => outstanding,
                None => return false,
            };
            self.give_up(&note, "it broke off: see journalctl -u akvvm_after_renewal", now);
            return true;
        }
        let is_late = now.saturating_duration_since(outstanding.since) >= LONGEST;
        if is_late && self.trouble.is_none() {
            let trouble = "nobody does what follows from renewals: see systemctl status akvvm_after_renewal.path";
            error!("{trouble}");
            self.trouble = Some(trouble.to_owned());
            return true;
        }
        false
    }

    /// A note that comes to nothing has failed with all its tasks.
    pub(super) fn give_up(&mut self, note: &Note, reason: &str, now: Instant) {
        let _ = files::remove(&self.desk.note());
        let failure = Failure { reason: reason.to_owned(), output: String::new() };
        for task in &note.tasks {
            self.take_in(task, Some(&failure), now);
        }
    }
}
