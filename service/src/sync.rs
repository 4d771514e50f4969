//! One pass: which certificates, over how many connections, and what became of each.
//!
//! Every connection belongs to one vault and takes that vault's certificates one after the other, so no connection is
//! opened twice and a vault that asks for a pause stops its own queue only.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use common::report::{Installed, Problem, Report, State};
use common::settings::{ObservedCertificate, Settings};
use jiff::{SignedDuration, Timestamp};
use log::{debug, error, info, warn};
use ureq::Agent;

use crate::certificate::Certificate;
use crate::error::{Error, Retry};
use crate::http::{self, Roots};
use crate::identity::{Token, Tokens};
use crate::schedule::Verdict;
use crate::store::{Placed, Store, StoreError};
use crate::vault::{self, SecretBundle, VaultError};

/// Requests under way at a time, over all vaults: more would serve one machine at the cost of the others.
const CONNECTIONS: usize = 16;
/// Clocks that differ by more than this are not trusted to tell whether a certificate is valid.
const TRUSTED_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What lives from pass to pass.
pub(crate) struct Link {
    tokens: Tokens,
    roots: Option<Roots>,
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
        Self { tokens: Tokens::new(), roots: None }
    }

    /// Brings the certificates with the indexes `due` up to date; `reports` is what is known of all of them before.
    pub(crate) fn pass(
        &mut self,
        settings: &Settings,
        due: &[usize],
        reports: Vec<Report>,
        watch: &Watch<'_>,
    ) -> Passed {
        self.tokens.begin_pass();
        let connections = connections(due.len());
        let agent = self.vault_agent(connections);
        let store = Store::open(&settings.certificates);
        let pass = Pass {
            settings,
            tokens: &self.tokens,
            agent,
            store,
            used: Mutex::default(),
            results: Mutex::new(Results { reports, verdicts: Vec::with_capacity(due.len()) }),
            watch,
        };
        let lanes = lanes(settings, due, connections);
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| {
                    while let Some(lane) = lanes.get(next.fetch_add(1, Ordering::Relaxed)) {
                        pass.work_off(lane);
                    }
                });
            }
        });
        pass.result()
    }

    /// The client for this pass. Without roots no vault can be asked, which each certificate then reports.
    fn vault_agent(&mut self, connections: usize) -> Result<Agent, http::TransportError> {
        let roots = match self.roots.take() {
            Some(roots) => roots.refreshed()?,
            None => Roots::load()?,
        };
        http::vault_agent(self.roots.insert(roots), connections)
    }
}

/// One connection serves two certificates at least: a handshake costs more than a request.
fn connections(certificates: usize) -> usize {
    certificates.div_ceil(2).min(CONNECTIONS)
}

/// The certificates of one vault that are due, shared by the connections to it.
struct Queue {
    certificates: Vec<usize>,
    next: AtomicUsize,
    /// The pause that the vault asked for; nothing more is asked of it in this pass.
    throttled: Mutex<Option<VaultError>>,
}

impl Queue {
    fn take(&self) -> Option<usize> {
        self.certificates.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }
}

/// Shares `connections` out among the vaults by their number of certificates, at least one each: an entry is a connection,
/// and connections to one vault share its queue. The largest remainder gets the next one.
fn lanes(settings: &Settings, due: &[usize], connections: usize) -> Vec<Arc<Queue>> {
    let mut vaults: Vec<(&str, Vec<usize>)> = Vec::new();
    let mut positions: HashMap<&str, usize> = HashMap::new();
    for &index in due {
        let host = settings.certificates[index].url.host();
        let position = *positions.entry(host).or_insert_with(|| {
            vaults.push((host, Vec::new()));
            vaults.len() - 1
        });
        vaults[position].1.push(index);
    }
    let mut lanes: Vec<(Arc<Queue>, usize)> = vaults
        .into_iter()
        .map(|(_, certificates)| {
            let queue = Queue { certificates, next: AtomicUsize::new(0), throttled: Mutex::default() };
            (Arc::new(queue), 1)
        })
        .collect();
    for _ in lanes.len()..connections {
        let neediest = lanes.iter_mut().max_by_key(|(queue, share)| queue.certificates.len() / *share);
        if let Some((_, share)) = neediest {
            *share += 1;
        }
    }
    lanes.into_iter().flat_map(|(queue, share)| std::iter::repeat_n(queue, share)).collect()
}

struct Pass<'a> {
    settings: &'a Settings,
    tokens: &'a Tokens,
    agent: Result<Agent, http::TransportError>,
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

impl Pass<'_> {
    fn work_off(&self, queue: &Queue) {
        while !self.watch.stop.load(Ordering::Relaxed) {
            let Some(index) = queue.take() else { return };
            let observed = &self.settings.certificates[index];
            let throttled = queue.throttled.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let result = match throttled {
                Some(error) => Err(error.into()),
                None => {
                    catch_unwind(AssertUnwindSafe(|| self.bring_up_to_date(observed))).unwrap_or(Err(Error::Internal))
                }
            };
            if let Err(Error::Vault(error @ VaultError::Throttled { .. })) = &result {
                *queue.throttled.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            }
            self.take_down(index, observed, result);
            self.watch.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn bring_up_to_date(&self, observed: &ObservedCertificate) -> Result<Done, Error> {
        let bundle = self.fetch(observed)?;
        let version = bundle.version();
        let mut warnings = Vec::new();
        let found = self.store.find(observed, version).transpose();
        let written = found.is_none();
        let placed = match found {
            Some(result) => result,
            None => {
                let content = bundle.content(&observed.url)?;
                let certificate = Certificate::decode(&content.value, content.content_type.as_deref())?;
                warnings.extend_from_slice(certificate.warnings());
                self.store.write(observed, version, &certificate)
            }
        };
        // Where nobody but root can be let in, root's applications still get the certificate.
        let (placed, failed) = match placed {
            Err(StoreError::AclUnsupported { path, placed }) => {
                (Placed::clone(&placed), Some(StoreError::AclUnsupported { path, placed }))
            }
            placed => (placed?, None),
        };
        warnings.extend(placed.warnings);
        let moved = match self.reason_to_hold_the_link(observed, &placed.installed, &bundle)? {
            Some(reason) => {
                warnings.push(reason);
                false
            }
            None => self.store.point(observed, version)?,
        };
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(Done { installed: placed.installed, changed: written || moved, warnings }),
        }
    }

    /// Asks the vault; a token that it does not accept is replaced once.
    fn fetch(&self, observed: &ObservedCertificate) -> Result<SecretBundle, Error> {
        let agent = self
            .agent
            .as_ref()
            .map_err(|source| VaultError::Transport { host: observed.url.host().to_owned(), source: source.clone() })?;
        let token = self.token(observed, None)?;
        match vault::secret(agent, &observed.url, &token) {
            Err(error) if error.is_stale_token() => {
                let fresh = self.token(observed, Some(&token))?;
                Ok(vault::secret(agent, &observed.url, &fresh)?)
            }
            result => Ok(result?),
        }
    }

    fn token(&self, observed: &ObservedCertificate, refused: Option<&Arc<Token>>) -> Result<Arc<Token>, Error> {
        let token = self.tokens.get(&observed.identity, observed.url.audience(), refused)?;
        let name = match token.client_id() {
            Some(client_id) => format!("{} (client id {client_id})", observed.identity.selector),
            None => observed.identity.selector.to_string(),
        };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.contains(&name) {
            used.push(name);
        }
        Ok(token)
    }

    /// A version that is not valid now must not replace one that is, unless it is our clock that is wrong.
    fn reason_to_hold_the_link(
        &self,
        observed: &ObservedCertificate,
        newest: &Installed,
        bundle: &SecretBundle,
    ) -> Result<Option<String>, Error> {
        let now = Timestamp::now();
        if newest.is_valid(now) {
            return Ok(None);
        }
        let Some(current) = self.store.current(observed)? else { return Ok(None) };
        let clock_is_right = bundle.clock_skew().is_some_and(|skew| skew.abs() <= TRUSTED_SKEW);
        if current.version == newest.version || !current.is_valid(now) || !clock_is_right {
            return Ok(None);
        }
        let why = if now < newest.not_before {
            format!("is not valid before {}", common::status::seconds(newest.not_before))
        } else {
            format!("expired {}", common::status::seconds(newest.not_after))
        };
        Ok(Some(format!(
            "the vault's newest version {} {why}: applications stay with {}, which is valid",
            newest.version, current.version
        )))
    }

    fn take_down(&self, index: usize, observed: &ObservedCertificate, result: Result<Done, Error>) {
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
                let state = match remaining {
                    Some(installed) => State::Stale { installed, since: before.stale_since(), problem },
                    None => State::Missing { problem },
                };
                (Report { state, warnings: before.warnings.clone() }, Some(error.retry()))
            }
        };
        let verdict = Verdict { installed: report.installed().is_some(), retry };
        results.reports[index] = report;
        results.verdicts.push((index, verdict));
    }

    /// What an application still finds although this pass failed.
    fn remaining(&self, observed: &ObservedCertificate) -> Option<Installed> {
        self.store.current(observed).unwrap_or_else(|error| {
            debug!("{}: {error}", observed.url);
            None
        })
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
        warn!("the vault says: {detail}");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use common::settings::Clouds;

    fn settings(vaults: &[(&str, usize)]) -> Settings {
        let urls: Vec<String> = vaults
            .iter()
            .flat_map(|(vault, count)| {
                (0..*count).map(move |n| format!("\"https://{vault}.vault.azure.net/secrets/c{n}\""))
            })
            .collect();
        let json = format!(r#"{{"secretsManagementSettings": {{"observedCertificates": [{}]}}}}"#, urls.join(","));
        Settings::parse(json.as_bytes(), &Clouds::built_in()).unwrap()
    }

    fn shares(vaults: &[(&str, usize)]) -> Vec<usize> {
        let settings = settings(vaults);
        let due: Vec<usize> = (0..settings.certificates.len()).collect();
        let lanes = lanes(&settings, &due, connections(due.len()));
        let mut shares: Vec<(*const Queue, usize)> = Vec::new();
        for lane in &lanes {
            match shares.iter_mut().find(|(queue, _)| *queue == Arc::as_ptr(lane)) {
                Some((_, share)) => *share += 1,
                None => shares.push((Arc::as_ptr(lane), 1)),
            }
        }
        shares.into_iter().map(|(_, share)| share).collect()
    }

    #[test]
    fn opens_one_connection_for_two_certificates_up_to_sixteen() {
        for (certificates, wanted) in [(1, 1), (2, 1), (3, 2), (20, 10), (32, 16), (5000, 16)] {
            assert_eq!(shares(&[("contoso", certificates)]), [wanted], "{certificates}");
        }
    }

    #[test]
    fn shares_connections_out_among_vaults() {
        assert_eq!(shares(&[("aaa", 100), ("bbb", 100)]), [8, 8]);
        assert_eq!(shares(&[("aaa", 300), ("bbb", 100)]), [12, 4]);
        assert_eq!(shares(&[("aaa", 1), ("bbb", 1), ("ccc", 1)]), [1, 1, 1]);
    }

    #[test]
    fn every_certificate_is_in_exactly_one_queue() {
        let settings = settings(&[("aaa", 7), ("bbb", 3)]);
        let lanes = lanes(&settings, &[9, 0, 4, 7], 2);
        let mut taken: Vec<usize> = lanes.iter().flat_map(|lane| std::iter::from_fn(|| lane.take())).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 4, 7, 9]);
    }
}
