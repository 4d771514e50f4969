//! One pass: which certificates, over how many connections, and what became of each.
//!
//! The certificates wait in queues, one for each vault; a thread is a connection that works one off.

mod ask;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::certificate::Certificate;
use crate::error::Error;
use crate::http::{self, Roots, VaultClient};
use crate::identity::Tokens;
use crate::memory::Memory;
use crate::queue::{self, Queue};
use crate::schedule::{Retry, Verdict};
use crate::store::{Placed, Store};
use crate::vault::SecretBundle;
use common::logging;
use common::report::{Installed, Problem, Report, State};
use common::settings::{ObservedCertificate, Settings, Version};
use jiff::{SignedDuration, Timestamp};
use log::{debug, error, info, warn};

use ask::Newest;

/// Clocks that differ by more than this are not trusted to tell whether a certificate is valid.
const TRUSTED_SKEW: SignedDuration = SignedDuration::from_mins(5);

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
                store: Store::open(&settings.certificates),
                used: Mutex::default(),
                results: Mutex::new(Results { reports, verdicts: Vec::with_capacity(due.len()) }),
                watch,
            };
            pass.work(&queue::lanes(settings, due, connections), connections);
            pass.prune();
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
    store: Store,
    used: Mutex<Vec<String>>,
    results: Mutex<Results>,
    watch: &'a Watch<'a>,
}

struct Results {
    reports: Vec<Report>,
    verdicts: Vec<(usize, Verdict)>,
}

/// What is in place after a certificate was brought up to date.
struct Done {
    installed: Installed,
    changed: bool,
    warnings: Vec<String>,
}

/// What the dates of the newest version say about the link.
enum Dates {
    /// It may move.
    Fine,
    /// It may move, because the clock by which the version is not valid is wrong.
    Distrust(String),
    /// It stays with the version that it leads to.
    Hold(Installed, String),
}

impl Pass<'_> {
    /// Works the lanes off, each in a thread, one of them in this.
    fn work(&self, lanes: &[Arc<Queue>], connections: usize) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(lane) = lanes.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.work_off(lane);
            }
        };
        thread::scope(|scope| {
            for _ in 1..connections {
                // Where the system gives no more threads, fewer connections do the work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
    }

    fn work_off(&self, queue: &Queue) {
        if let (Ok(client), Some(first)) = (&self.client, queue.first()) {
            client.open_ahead(self.settings.certificates[first].url.host());
        }
        while !self.watch.stop.load(Ordering::Relaxed) {
            let Some(index) = queue.take() else { return };
            let observed = &self.settings.certificates[index];
            let stopped = queue.stopped().clone();
            let asked = stopped.is_none();
            let result = match stopped {
                Some(error) => Err(error.into()),
                None => catch_unwind(AssertUnwindSafe(|| self.bring_up_to_date(index, observed)))
                    .unwrap_or(Err(Error::Internal)),
            };
            queue.learn(result.as_ref().err());
            self.take_down(index, observed, asked, result);
            self.watch.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn bring_up_to_date(&self, index: usize, observed: &ObservedCertificate) -> Result<Done, Error> {
        let mut past = self.memory.past(index);
        let newest = self.ask(observed, self.is_installed(index, observed), &mut past);
        self.memory.keep(index, past);
        let newest = newest?;
        let is_listed = newest.bundle.is_none();
        let second = newest.second.filter(|_| observed.target.keep_versions.is_none_or(|versions| versions.get() > 1));
        let done = self.put_in_place(observed, newest)?;
        if is_listed {
            past.is_settled = second.is_none_or(|second| self.see_to_second(observed, &second));
            self.memory.keep(index, past);
        }
        Ok(done)
    }

    fn is_installed(&self, index: usize, observed: &ObservedCertificate) -> bool {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = results.reports[index].installed().is_some();
        drop(results);
        is_known || self.store.current(observed).is_ok_and(|current| current.is_some())
    }

    /// Installs a version and lets the link lead to it.
    fn put_in_place(&self, observed: &ObservedCertificate, newest: Newest) -> Result<Done, Error> {
        let version = &newest.version;
        let mut warnings = Vec::from_iter(newest.remark);
        let (placed, written) = match self.store.find(observed, version)? {
            Some(placed) => (placed, false),
            None => {
                let bundle = match newest.bundle {
                    Some(bundle) => bundle,
                    None => self.fetch(observed, &observed.url.pinned(version))?,
                };
                (self.install(observed, &bundle, &mut warnings)?, true)
            }
        };
        warnings.extend(placed.warnings);
        let dates = self.judge_dates(observed, &placed.installed, newest.clock_skew)?;
        let done = match dates {
            Dates::Hold(current, remark) => {
                let kept = self.store.keep(observed)?.map(|kept| kept.warnings).unwrap_or_default();
                let further: Vec<_> = kept.into_iter().filter(|warning| !warnings.contains(warning)).collect();
                warnings.extend(further);
                warnings.push(remark);
                Done { installed: current, changed: false, warnings }
            }
            Dates::Fine | Dates::Distrust(_) => {
                let moved = self.store.point(observed, version)?;
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

    fn install(
        &self,
        observed: &ObservedCertificate,
        bundle: &SecretBundle,
        warnings: &mut Vec<String>,
    ) -> Result<Placed, Error> {
        let content = bundle.content(&observed.url)?;
        let certificate = Certificate::decode(&content.value, content.content_type.as_deref())?;
        warnings.extend_from_slice(certificate.warnings());
        Ok(self.store.write(observed, bundle.version(), &certificate)?)
    }

    /// Installs the version before the newest one, so that it is there for who still needs it; false when it has to be
    /// tried again. Nothing depends on it, so its faults are only said in the log.
    fn see_to_second(&self, observed: &ObservedCertificate, version: &Version) -> bool {
        let install = || match self.store.find(observed, version)? {
            Some(_) => Ok(()),
            None => {
                let bundle = self.fetch(observed, &observed.url.pinned(version))?;
                self.install(observed, &bundle, &mut Vec::new()).map(|_| ())
            }
        };
        let Err(error) = install() else { return true };
        warn!("{}: the version before the newest, {version}, is not installed: {error}", observed.url);
        !matches!(error.retry(), Retry::Soon | Retry::Throttled(_))
    }

    /// A version that is not valid now must not replace one that is, unless it is our clock that is wrong.
    fn judge_dates(
        &self,
        observed: &ObservedCertificate,
        newest: &Installed,
        clock_skew: Option<SignedDuration>,
    ) -> Result<Dates, Error> {
        let now = Timestamp::now();
        let Some(skew) = clock_skew.filter(|_| !newest.is_valid(now)) else { return Ok(Dates::Fine) };
        if skew.abs() > TRUSTED_SKEW {
            let seconds = skew.abs().as_secs();
            let side = if skew.is_positive() { "behind" } else { "ahead of" };
            return Ok(Dates::Distrust(format!(
                "this machine's clock is {seconds} s {side} the vault's: set it; until then the newest version is used, \
                 although it is not valid by this clock"
            )));
        }
        let Some(current) = self.store.current(observed)? else { return Ok(Dates::Fine) };
        if current.version == newest.version || !current.is_valid(now) {
            return Ok(Dates::Fine);
        }
        let why = if now < newest.not_before {
            format!("is not valid before {}", common::status::seconds(newest.not_before))
        } else {
            format!("expired {}", common::status::seconds(newest.not_after))
        };
        let remark = format!(
            "the vault's newest version {} {why}: applications stay with {}, which is valid",
            newest.version, current.version
        );
        Ok(Dates::Hold(current, remark))
    }

    fn take_down(&self, index: usize, observed: &ObservedCertificate, asked: bool, result: Result<Done, Error>) {
        // Read before the lock is taken: other certificates need not wait for the disk.
        let remaining = result.as_ref().is_err().then(|| self.remaining(observed)).flatten();
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let before = &results.reports[index];
        let (report, retry) = match result {
            Ok(Done { installed, changed, warnings }) => {
                for warning in warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
                    warn!("{}: {warning}", observed.url);
                }
                if before.problem().is_some() {
                    info!("{}: is up to date again, version {}", observed.url, installed.version);
                }
                (Report { state: State::Current { installed, changed }, warnings }, None)
            }
            Err(error) => {
                let problem = Problem { code: error.code(), message: error.to_string(), next_try: None };
                log_once(before.problem(), &problem, &error);
                let mut warnings = before.warnings.clone();
                let state = match remaining {
                    Some(Placed { installed, warnings: found, .. }) => {
                        for warning in found.into_iter().filter(|warning| !before.warnings.contains(warning)) {
                            warn!("{}: {warning}", observed.url);
                            warnings.push(warning);
                        }
                        State::Stale { installed, since: before.stale_since(), problem }
                    }
                    None => State::Missing { problem },
                };
                (Report { state, warnings }, Some(error.retry()))
            }
        };
        let verdict = Verdict { asked, installed: report.installed().is_some(), retry };
        results.reports[index] = report;
        results.verdicts.push((index, verdict));
    }

    /// What an application still finds although this pass failed. Its permissions are put right all the same.
    fn remaining(&self, observed: &ObservedCertificate) -> Option<Placed> {
        self.store.keep(observed).unwrap_or_else(|error| {
            debug!("{}: {error}", observed.url);
            None
        })
    }

    /// Older versions go when all links have moved, and only of certificates of which nothing failed.
    fn prune(&self) {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |&(index, _): &(usize, Verdict)| &self.settings.certificates[index];
        let files = |observed: &ObservedCertificate| (observed.target.folder.clone(), observed.base_name());
        let (failed, done): (Vec<_>, Vec<_>) =
            results.verdicts.iter().partition(|(_, verdict)| verdict.retry.is_some());
        let failed: HashSet<_> = failed.into_iter().map(|verdict| files(of(verdict))).collect();
        self.store.prune(done.into_iter().map(of).filter(|observed| !failed.contains(&files(observed))));
    }

    fn result(self) -> Passed {
        let mut used = self.used.into_inner().unwrap_or_else(PoisonError::into_inner);
        used.sort();
        let Results { reports, verdicts } = self.results.into_inner().unwrap_or_else(PoisonError::into_inner);
        Passed { reports, verdicts, identity: (!used.is_empty()).then(|| used.join(", ")) }
    }
}

/// The same problem as at the last pass was said already.
fn log_once(before: Option<&Problem>, now: &Problem, error: &Error) {
    if before.is_some_and(|before| before.message == now.message) {
        debug!("{}", now.message);
        return;
    }
    match error.retry() {
        Retry::Hopeless => error!("{}", now.message),
        _ => warn!("{}", now.message),
    }
    if let Error::Vault(refusal) = error
        && let Some(detail) = refusal.detail()
    {
        warn!(target: logging::FILE, "the vault says: {detail}");
    }
}
