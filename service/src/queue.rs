//! Which connection asks which vault for which certificates.
//!
//! Every connection belongs to one vault and takes that vault's certificates one after the other, so no connection is
//! opened twice, and a vault that asks for a pause, or cannot be reached, stops its own queue only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::settings::Settings;

use crate::error::Error;
use crate::vault::VaultError;

/// Requests under way at a time, over all vaults: more would serve one machine at the cost of the others.
const CONNECTIONS: usize = 16;
/// After so many failures to reach a vault, with no answer in between, nothing more is asked of it in this pass: each
/// would wait for its deadline.
const UNREACHED: usize = 3;

/// One connection serves two certificates at least: a handshake costs more than a request.
pub(crate) fn connections(certificates: usize) -> usize {
    certificates.div_ceil(2).min(CONNECTIONS)
}

/// The certificates of one vault that are due, shared by the connections to it.
pub(crate) struct Queue {
    certificates: Vec<usize>,
    next: AtomicUsize,
    /// Failures to reach the vault since its last answer.
    unreached: AtomicUsize,
    /// Why nothing more is asked of the vault in this pass.
    stopped: Mutex<Option<VaultError>>,
}

impl Queue {
    fn new(certificates: Vec<usize>) -> Self {
        Self { certificates, next: AtomicUsize::new(0), unreached: AtomicUsize::new(0), stopped: Mutex::default() }
    }

    /// A certificate of this vault.
    pub(crate) fn first(&self) -> Option<usize> {
        self.certificates.first().copied()
    }

    /// The next certificate.
    pub(crate) fn take(&self) -> Option<usize> {
        self.certificates.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }

    /// Learns from what became of a certificate whether the vault is to be left alone.
    pub(crate) fn learn(&self, failure: Option<&Error>) {
        let reason = match failure {
            Some(Error::Vault(error @ VaultError::Throttled { .. })) => error,
            Some(Error::Vault(error @ VaultError::Transport { .. })) => {
                if self.unreached.fetch_add(1, Ordering::Relaxed) + 1 < UNREACHED {
                    return;
                }
                error
            }
            Some(Error::Identity(_)) => return,
            _ => return self.unreached.store(0, Ordering::Relaxed),
        };
        *self.stopped() = Some(reason.clone());
    }

    /// Why nothing more is to be asked, if so.
    pub(crate) fn stopped(&self) -> MutexGuard<'_, Option<VaultError>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shares `connections` out among the vaults by their number of certificates, at least one each: an entry is a connection,
/// and connections to one vault share its queue. The largest remainder gets the next one.
pub(crate) fn lanes(settings: &Settings, due: &[usize], connections: usize) -> Vec<Arc<Queue>> {
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
    let mut lanes: Vec<(Arc<Queue>, usize)> =
        vaults.into_iter().map(|(_, certificates)| (Arc::new(Queue::new(certificates)), 1)).collect();
    for _ in lanes.len()..connections {
        let neediest = lanes.iter_mut().max_by_key(|(queue, share)| queue.certificates.len() / *share);
        if let Some((_, share)) = neediest {
            *share += 1;
        }
    }
    lanes.into_iter().flat_map(|(queue, share)| std::iter::repeat_n(queue, share)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::TransportError;
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

    fn unreachable() -> Error {
        let source = TransportError::UnknownHost;
        VaultError::Transport { host: "contoso.vault.azure.net".to_owned(), source }.into()
    }

    #[test]
    fn a_vault_that_is_never_reached_is_left_alone_for_the_rest_of_the_pass() {
        let queue = Queue::new(vec![0, 1, 2, 3]);
        for _ in 1..UNREACHED {
            queue.learn(Some(&unreachable()));
            assert!(queue.stopped().is_none());
        }
        queue.learn(Some(&unreachable()));
        assert!(matches!(&*queue.stopped(), Some(VaultError::Transport { .. })));
    }

    #[test]
    fn single_connections_that_break_do_not_stop_a_vault() {
        let queue = Queue::new(vec![0, 1, 2, 3]);
        for _ in 0..10 * UNREACHED {
            queue.learn(Some(&unreachable()));
            queue.learn(Some(&VaultError::WrongSecret { url: String::new() }.into()));
        }
        assert!(queue.stopped().is_none());
    }
}
