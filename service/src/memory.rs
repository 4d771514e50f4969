//! What passes remember of how certificates are best asked for. Lost with the process, and found out anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::settings::{Identity, ObservedCertificate};

/// Whether an identity may list by now is looked at again after this.
const UNLISTED: Duration = Duration::from_secs(24 * 3600);

/// What is remembered of one certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// This process installed it: the version before the newest is looked for, wherever in the list it is.
    pub(crate) is_fresh: bool,
    /// The version before the newest was seen to.
    pub(crate) is_settled: bool,
    /// Its list has several pages: a plain fetch costs less.
    pub(crate) is_long: bool,
}

/// The memory of a process.
#[derive(Default)]
pub(crate) struct Memory {
    /// What is taken for granted of a certificate that was not asked for yet.
    assumed: Past,
    /// By the index of the certificate, where it is something else.
    pasts: Mutex<HashMap<usize, Past>>,
    /// Who may not list in which vault, and when that was found out.
    unlisted: Mutex<HashMap<(String, Identity), Instant>>,
}

impl Memory {
    /// The memory of a process that makes one pass. What a list would tell for the passes to come is lost on it, and to
    /// find out whether there are lists costs a request. The second versions are for those to install that stay.
    pub(crate) fn of_one_pass() -> Self {
        Self { assumed: Past { is_long: true, is_settled: true, ..Past::default() }, ..Self::default() }
    }

    pub(crate) fn past(&self, index: usize) -> Past {
        lock(&self.pasts).get(&index).copied().unwrap_or(self.assumed)
    }

    pub(crate) fn keep(&self, index: usize, past: Past) {
        let mut pasts = lock(&self.pasts);
        match past == self.assumed {
            true => pasts.remove(&index),
            false => pasts.insert(index, past),
        };
    }

    /// Whether a list may be asked for at `now`.
    pub(crate) fn may_list(&self, observed: &ObservedCertificate, now: Instant) -> bool {
        let known = lock(&self.unlisted).get(&key(observed)).copied();
        known.is_none_or(|since| now.saturating_duration_since(since) >= UNLISTED)
    }

    /// A list was refused where the secret itself was not; true when that is news.
    pub(crate) fn refuse_lists(&self, observed: &ObservedCertificate, now: Instant) -> bool {
        lock(&self.unlisted).insert(key(observed), now).is_none()
    }

    /// A list was given.
    pub(crate) fn allow_lists(&self, observed: &ObservedCertificate) {
        lock(&self.unlisted).remove(&key(observed));
    }
}

fn key(observed: &ObservedCertificate) -> (String, Identity) {
    (observed.url.host().to_owned(), Identity::clone(&observed.identity))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use common::settings::{Clouds, Settings};

    #[test]
    fn a_refused_list_is_news_once_and_asked_for_again_after_a_day() {
        let urls = r#""https://contoso.vault.azure.net/secrets/a", "https://contoso.vault.azure.net/secrets/b",
            "https://fabrikam.vault.azure.net/secrets/a""#;
        let json = format!(r#"{{"secretsManagementSettings": {{"observedCertificates": [{urls}]}}}}"#);
        let certificates = Settings::parse(json.as_bytes(), &Clouds::built_in()).unwrap().certificates;
        let [one, other, elsewhere] = [0, 1, 2].map(|index| &certificates[index]);
        let (memory, now) = (Memory::default(), Instant::now());
        assert!(memory.may_list(one, now));
        assert!(memory.refuse_lists(one, now));
        assert!(!memory.may_list(other, now) && memory.may_list(elsewhere, now));
        assert!(!memory.may_list(one, now + UNLISTED - Duration::from_secs(1)));
        assert!(memory.may_list(one, now + UNLISTED));
        assert!(!memory.refuse_lists(other, now + UNLISTED), "known since yesterday");
        assert!(!memory.may_list(one, now + UNLISTED));
        memory.allow_lists(one);
        assert!(memory.may_list(other, now + UNLISTED));
        assert!(memory.refuse_lists(one, now + UNLISTED));
    }
}
