//! One pass: which certificates, over how many connections, and what became of each.
//!
//! The certificates wait in queues, one for each vault; a thread is a connection that works one off.

mod ask;
mod dates;
mod install;
mod outcome;
mod turns;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::error::Error;
use crate::http::{self, Roots, VaultClient};
use crate::identity::Tokens;
use crate::memory::{Memory, Past};
use crate::network::Network;
use crate::queue::{self, Queue};
use crate::schedule::Verdict;
use crate::store::{Placed, Store};
use crate::system::Trust;
use common::logging;
use common::report::Report;
use common::settings::{ObservedCertificate, Settings, Version};
use log::debug;

use ask::Newest;
use install::{Found, Ready};
use outcome::Done;
use turns::Turns;

/// Threads that install what was fetched, and certificates that wait for one of them. A disk does several things in the
/// time of one, and who decodes or waits for the disk fetches nothing meanwhile.
const INSTALLERS: usize = 8;
const WAITING: usize = 32;

/// What lives from pass to pass.
pub(crate) struct Link {
    network: Network,
    tokens: Tokens,
    roots: Option<Roots>,
    memory: Memory,
}

/// The result of a pass.
pub(crate) struct Passed {
    /// What is known of every certificate now.
    pub(crate) reports: Vec<Report>,
    /// One for each certificate that was looked at, with its index.
    pub(crate) verdicts: Vec<(usize, Verdict)>,
    /// The identities that were used, for a person.
    pub(crate) identity: Option<String>,
}

/// Who wants to know about a pass while it runs.
pub(crate) struct Watch<'a> {
    /// How many certificates are done.
    pub(crate) done: &'a AtomicUsize,
    /// Set when nothing new is to be begun.
    pub(crate) stop: &'a AtomicBool,
}

impl Link {
    pub(crate) fn new(network: &Network) -> Self {
        Self { network: network.clone(), tokens: Tokens::new(network), roots: None, memory: Memory::default() }
    }

    /// For a process that makes one pass and ends.
    pub(crate) fn for_one_pass() -> Self {
        Self { memory: Memory::of_one_pass(), ..Self::new(&Network::Own) }
    }

    /// Brings the certificates with the indexes `due` up to date; `reports` is what is known of all of them before.
    pub(crate) fn pass(
        &mut self,
        settings: &Settings,
        due: &[usize],
        reports: Vec<Report>,
        watch: &Watch<'_>,
    ) -> Passed {
        let Self { network, tokens, roots, memory } = self;
        tokens.begin_pass();
        thread::scope(|scope| {
            // A head start that may fail. Most certificates of a machine have one identity: its token is on the way while
            // roots and folders are read and connections to the vaults are opened.
            if let Some(first) = due.first().map(|&index| &settings.certificates[index]) {
                let ask = || tokens.get(&first.identity, first.url.audience(), None);
                let _ = thread::Builder::new().spawn_scoped(scope, ask);
            }
            let connections = queue::connections(due.len());
            let pass = Pass {
                settings,
                tokens,
                memory,
                client: vault_client(network, roots, connections),
                store: Store::open(&settings.certificates, network).judging_by(roots.as_ref().map(Roots::trust)),
                trust: roots.as_ref().map(Roots::trust),
                used: Mutex::default(),
                decoding: Turns::new(),
                results: Mutex::new(Results { reports, verdicts: Vec::with_capacity(due.len()), warnings: [].into() }),
                watch,
            };
            pass.work(&queue::lanes(settings, due, connections), connections);
            pass.finish();
            pass.result()
        })
    }
}

/// The client for this pass. Without roots no vault can be asked, which each certificate then reports.
fn vault_client(
    network: &Network,
    known: &mut Option<Roots>,
    connections: usize,
) -> Result<VaultClient, http::TransportError> {
    let roots = match known.take() {
        Some(roots) => roots.refreshed()?,
        None => Roots::load()?,
    };
    http::vault_client(network, known.insert(roots), connections)
}

struct Pass<'a> {
    settings: &'a Settings,
    tokens: &'a Tokens,
    memory: &'a Memory,
    client: Result<VaultClient, http::TransportError>,
    trust: Option<Arc<Trust>>,
    store: Store,
    used: Mutex<Vec<String>>,
    decoding: Turns,
    results: Mutex<Results>,
    watch: &'a Watch<'a>,
}

struct Results {
    reports: Vec<Report>,
    verdicts: Vec<(usize, Verdict)>,
    /// Those of the last report, which the next one shares if they are the same.
    warnings: Arc<[String]>,
}

/// Where the versions were listed: the one before the newest, when that has to be seen to.
type Second = Option<Option<Version>>;

impl Pass<'_> {
    /// Works the lanes off, each in a thread, one of them in this. What is fetched is left to other threads, which install
    /// it; where the system gives no more threads, fewer do the work.
    fn work(&self, lanes: &[Arc<Queue>], connections: usize) {
        let next = AtomicUsize::new(0);
        let (fetched, waiting) = sync_channel(WAITING);
        let waiting = Mutex::new(waiting);
        let install = || {
            let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            while let Ok(ready) = next() {
                // What was fetched and is not begun yet is left to the next pass.
                if !self.watch.stop.load(Ordering::Relaxed) {
                    self.conclude(ready);
                }
            }
        };
        let fetch = |fetched: Option<SyncSender<Ready>>| {
            while let Some(lane) = lanes.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.work_off(lane, fetched.as_ref());
            }
        };
        thread::scope(|scope| {
            let begin = |_: &usize| thread::Builder::new().spawn_scoped(scope, install).is_ok();
            // Who is alone installs as well.
            let installers = (0..INSTALLERS.min(connections.saturating_sub(1))).filter(begin).count();
            let fetched = (installers > 0).then_some(fetched);
            for _ in 1..connections {
                let fetched = fetched.clone();
                let _ = thread::Builder::new().spawn_scoped(scope, || fetch(fetched));
            }
            fetch(fetched);
        });
    }

    fn work_off(&self, queue: &Queue, fetched: Option<&SyncSender<Ready>>) {
        if let (Ok(client), Some(first)) = (&self.client, queue.first()) {
            client.open_ahead(self.settings.certificates[first].url.host());
        }
        while !self.watch.stop.load(Ordering::Relaxed) {
            let Some(index) = queue.take() else { return };
            let stopped = queue.stopped().clone();
            let asked = stopped.is_none();
            let ready = match stopped {
                Some(error) => Err(error.into()),
                None => catch_unwind(AssertUnwindSafe(|| self.fetch_newest(index))).unwrap_or(Err(Error::Internal)),
            };
            queue.learn(ready.as_ref().err());
            match ready {
                Ok((ready, second)) => {
                    self.hand_over(ready, fetched);
                    if let Some(second) = second {
                        // Nothing depends on it.
                        let _ = catch_unwind(AssertUnwindSafe(|| self.settle(index, second)));
                    }
                }
                Err(error) => self.take_down(index, asked, Err(error)),
            }
        }
    }

    /// Leaves what is to be installed to the installers, if there are any.
    fn hand_over(&self, ready: Ready, fetched: Option<&SyncSender<Ready>>) {
        match fetched {
            Some(fetched) if matches!(ready.files, Found::Fetched(_)) => {
                if let Err(SendError(ready)) = fetched.send(ready) {
                    self.conclude(ready);
                }
            }
            _ => self.conclude(ready),
        }
    }

    fn conclude(&self, ready: Ready) {
        let index = ready.index;
        let done = catch_unwind(AssertUnwindSafe(|| self.put_in_use(ready))).unwrap_or(Err(Error::Internal));
        self.take_down(index, true, done);
    }

    fn is_installed(&self, index: usize, observed: &ObservedCertificate) -> bool {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = results.reports[index].installed().is_some();
        drop(results);
        is_known || self.store.current(observed).is_ok_and(|current| current.is_some())
    }

    /// Asks for a certificate, and fetches the version that shall be in use unless it is in place.
    fn fetch_newest(&self, index: usize) -> Result<(Ready, Second), Error> {
        let observed = &self.settings.certificates[index];
        let _subject = logging::about(&observed.url);
        let mut past = self.memory.past(index);
        let newest = self.ask(observed, || self.is_installed(index, observed), &mut past);
        self.memory.keep(index, past);
        let Newest { version, bundle, second, clock_skew, remark } = newest?;
        let second = second.filter(|_| observed.target.keeps_second());
        let second = bundle.is_none().then_some(second);
        let warnings = Vec::from_iter(remark);
        let files = match self.store.find(observed, &version)? {
            Some(placed) => Found::Placed(placed),
            None => Found::Fetched(match bundle {
                Some(bundle) => bundle,
                None => self.fetch(observed, &observed.url.pinned(&version))?,
            }),
        };
        Ok((Ready { index, files, clock_skew, warnings }, second))
    }

    fn settle(&self, index: usize, second: Option<Version>) {
        let observed = &self.settings.certificates[index];
        let _subject = logging::about(&observed.url);
        let is_settled = second.is_none_or(|second| self.see_to_second(observed, &second));
        self.memory.keep(index, Past { is_settled, ..self.memory.past(index) });
    }

    fn take_down(&self, index: usize, asked: bool, result: Result<Done, Error>) {
        let observed = &self.settings.certificates[index];
        let _subject = logging::about(&observed.url);
        // Read before the lock is taken: other certificates need not wait for the disk.
        let remaining = result.as_ref().is_err().then(|| self.remaining(observed)).flatten();
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let before = &results.reports[index];
        let (mut report, retry) = outcome::report(&observed.url, before, result, remaining);
        if report.warnings == results.warnings {
            report.warnings = Arc::clone(&results.warnings);
        }
        let verdict = Verdict { asked, installed: report.installed().is_some(), retry };
        results.warnings = Arc::clone(&report.warnings);
        results.reports[index] = report;
        results.verdicts.push((index, verdict));
        self.watch.done.fetch_add(1, Ordering::Relaxed);
    }

    /// What an application still finds although this pass failed. Its permissions are put right all the same.
    fn remaining(&self, observed: &ObservedCertificate) -> Option<Placed> {
        let kept = catch_unwind(AssertUnwindSafe(|| self.store.keep(observed).map_err(Error::from)));
        kept.unwrap_or(Err(Error::Internal)).unwrap_or_else(|error| {
            debug!("{}: {error}", observed.url);
            None
        })
    }

    /// Older versions go when all links have moved, and only of certificates of which nothing failed.
    fn finish(&self) {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |&(index, _): &(usize, Verdict)| &self.settings.certificates[index];
        let (failed, done): (Vec<_>, Vec<_>) =
            results.verdicts.iter().partition(|(_, verdict)| verdict.retry.is_some());
        let failed: HashSet<_> = failed.into_iter().map(|verdict| of(verdict).files()).collect();
        self.store.finish(done.into_iter().map(of).filter(|observed| !failed.contains(&observed.files())));
    }

    fn result(self) -> Passed {
        let mut used = self.used.into_inner().unwrap_or_else(PoisonError::into_inner);
        used.sort();
        let Results { reports, verdicts, .. } = self.results.into_inner().unwrap_or_else(PoisonError::into_inner);
        Passed { reports, verdicts, identity: (!used.is_empty()).then(|| used.join(", ")) }
    }
}
