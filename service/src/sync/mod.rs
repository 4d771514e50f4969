//! One pass: which certificates, over how many connections, and what became of each.
//!
//! The certificates wait in queues, one for each vault; a thread is a connection that works one off.

mod ask;
mod dates;
mod outcome;
mod turns;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::certificate::{Certificate, CertificateError, distrust, lost_names};
use crate::error::Error;
use crate::http::{self, Roots, VaultClient};
use crate::identity::Tokens;
use crate::memory::{Memory, Past};
use crate::queue::{self, Queue};
use crate::schedule::{Retry, Verdict};
use crate::store::{Draft, Placed, Store};
use crate::system::Trust;
use crate::vault::SecretBundle;
use common::logging;
use common::report::Report;
use common::settings::{ChainValidation, ObservedCertificate, Settings, Version};
use jiff::SignedDuration;
use log::{debug, warn};
use rustls::pki_types::UnixTime;

use ask::Newest;
use dates::Dates;
use outcome::Done;
use turns::Turns;

/// Threads that wait for the disk, and certificates that wait for one of them. A disk does several things in the time of
/// one, and while it is waited for nothing could be fetched.
const DISK_THREADS: usize = 8;
const WAITING: usize = 32;

/// What lives from pass to pass.
pub(crate) struct Link {
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
    pub(crate) fn new() -> Self {
        Self { tokens: Tokens::new(), roots: None, memory: Memory::default() }
    }

    /// For a process that makes one pass and ends.
    pub(crate) fn for_one_pass() -> Self {
        Self { memory: Memory::of_one_pass(), ..Self::new() }
    }

    /// Brings the certificates with the indexes `due` up to date; `reports` is what is known of all of them before.
    pub(crate) fn pass(
        &mut self,
        settings: &Settings,
        due: &[usize],
        reports: Vec<Report>,
        watch: &Watch<'_>,
    ) -> Passed {
        let Self { tokens, roots, memory } = self;
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
                client: vault_client(roots, connections),
                trust: roots.as_ref().map(Roots::trust),
                store: Store::open(&settings.certificates),
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
fn vault_client(known: &mut Option<Roots>, connections: usize) -> Result<VaultClient, http::TransportError> {
    let roots = match known.take() {
        Some(roots) => roots.refreshed()?,
        None => Roots::load()?,
    };
    http::vault_client(known.insert(roots), connections)
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

/// A version that is to be put in use.
struct Ready<'a> {
    index: usize,
    files: Found<'a>,
    clock_skew: Option<SignedDuration>,
    warnings: Vec<String>,
}

/// Where the versions were listed: the one before the newest, when that has to be seen to.
type Second = Option<Option<Version>>;

/// The files of a version.
enum Found<'a> {
    /// In place before this pass.
    Placed(Placed),
    /// Not in place yet.
    Draft(Draft<'a>),
}

impl Pass<'_> {
    /// Works the lanes off, each in a thread, one of them in this. What is fetched is left to other threads, which wait for
    /// the disk; where the system gives no more threads, fewer do the work.
    fn work<'a>(&'a self, lanes: &[Arc<Queue>], connections: usize) {
        let next = AtomicUsize::new(0);
        // Who is alone waits for the disk itself.
        let disk_threads = connections.saturating_sub(1).min(DISK_THREADS);
        let (fetched, waiting) = sync_channel(if disk_threads == 0 { 0 } else { WAITING });
        let waiting = Mutex::new(waiting);
        let wait_for_disk = || {
            let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            while let Ok(ready) = next() {
                self.conclude(ready);
            }
        };
        let fetch = |fetched: SyncSender<Ready<'a>>| {
            while let Some(lane) = lanes.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.work_off(lane, &fetched);
            }
            drop(fetched);
            wait_for_disk();
        };
        thread::scope(|scope| {
            for _ in 0..disk_threads {
                let _ = thread::Builder::new().spawn_scoped(scope, wait_for_disk);
            }
            for _ in 1..connections {
                let fetched = fetched.clone();
                let _ = thread::Builder::new().spawn_scoped(scope, || fetch(fetched));
            }
            fetch(fetched);
        });
    }

    fn work_off<'a>(&'a self, queue: &Queue, fetched: &SyncSender<Ready<'a>>) {
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

    /// Leaves what waits for the disk to others, if they have the time.
    fn hand_over<'a>(&'a self, ready: Ready<'a>, fetched: &SyncSender<Ready<'a>>) {
        if let Found::Placed(_) = ready.files {
            return self.conclude(ready);
        }
        match fetched.try_send(ready) {
            Ok(()) => {}
            Err(TrySendError::Full(ready) | TrySendError::Disconnected(ready)) => self.conclude(ready),
        }
    }

    fn conclude(&self, ready: Ready<'_>) {
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

    /// Asks for a certificate, and writes the version that shall be in use unless it is in place.
    fn fetch_newest(&self, index: usize) -> Result<(Ready<'_>, Second), Error> {
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
            None => {
                let bundle = match bundle {
                    Some(bundle) => bundle,
                    None => self.fetch(observed, &observed.url.pinned(&version))?,
                };
                Found::Draft(self.write(observed, &bundle)?)
            }
        };
        Ok((Ready { index, files, clock_skew, warnings }, second))
    }

    /// Brings a version to its place and lets the link lead to it, unless its dates speak against it.
    fn put_in_use(&self, ready: Ready<'_>) -> Result<Done, Error> {
        let Ready { index, files, clock_skew, mut warnings } = ready;
        let observed = &self.settings.certificates[index];
        let _subject = logging::about(&observed.url);
        let (placed, written) = match files {
            Found::Placed(placed) => (placed, false),
            Found::Draft(draft) => (Store::name(draft)?, true),
        };
        warnings.extend(placed.warnings);
        let dates = dates::judge(&self.store, observed, &placed.installed, clock_skew)?;
        let done = match dates {
            Dates::Hold(current, remark) => {
                let kept = self.store.keep(observed)?.map(|kept| kept.warnings).unwrap_or_default();
                let further: Vec<_> = kept.into_iter().filter(|warning| !warnings.contains(warning)).collect();
                warnings.extend(further);
                warnings.push(remark);
                Done { installed: current, changed: false, warnings }
            }
            Dates::Fine | Dates::Distrust(_) => {
                let moved = self.store.point(observed, &placed.installed.version)?;
                if let Dates::Distrust(remark) = dates {
                    warnings.push(remark);
                }
                Done { installed: placed.installed, changed: written || moved, warnings }
            }
        };
        match placed.unreadable {
            Some(error) => Err(error.into()),
            None => Ok(done),
        }
    }

    fn write(&self, observed: &ObservedCertificate, bundle: &SecretBundle) -> Result<Draft<'_>, Error> {
        let certificate = {
            let _turn = self.decoding.take();
            let content = bundle.content(&observed.url)?;
            Certificate::decode(&content.value, content.content_type.as_deref())?
        };
        let distrusted = self.trust.as_ref().and_then(|trust| distrust(&certificate, trust, UnixTime::now()));
        if let (ChainValidation::Require, Some(reason)) = (self.settings.chain_validation, &distrusted) {
            return Err(CertificateError::Distrusted(reason.clone()).into());
        }
        let lost = self.store.leaf_in_use(observed).and_then(|before| lost_names(&before, &certificate));
        let remarks = certificate.warnings().iter().cloned().chain(distrusted).chain(lost).collect();
        Ok(self.store.draft(observed, bundle.version(), &certificate, remarks)?)
    }

    fn settle(&self, index: usize, second: Option<Version>) {
        let observed = &self.settings.certificates[index];
        let _subject = logging::about(&observed.url);
        let is_settled = second.is_none_or(|second| self.see_to_second(observed, &second));
        self.memory.keep(index, Past { is_settled, ..self.memory.past(index) });
    }

    /// Installs the version before the newest one, so that it is there for who still needs it; false when it has to be
    /// tried again. Nothing depends on it, so its faults are only said in the log.
    fn see_to_second(&self, observed: &ObservedCertificate, version: &Version) -> bool {
        let install = || -> Result<(), Error> {
            match self.store.find(observed, version)? {
                Some(_) => Ok(()),
                None => {
                    let bundle = self.fetch(observed, &observed.url.pinned(version))?;
                    Store::name(self.write(observed, &bundle)?)?;
                    Ok(())
                }
            }
        };
        let Err(error) = install() else { return true };
        warn!("{}: the version before the newest, {version}, is not installed: {error}", observed.url);
        !matches!(error.retry(), Retry::Soon | Retry::Throttled(_))
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
        self.store.keep(observed).unwrap_or_else(|error| {
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
