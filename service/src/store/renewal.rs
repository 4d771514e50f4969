//! Renewal links: which certificates of a store lead to which newer one. Pure; the store says what it holds, and writes
//! the links.
//!
//! S-channel follows a link (`CERT_RENEWAL_PROP_ID`) whatever the subject, issuer or key of its target, and follows links
//! of links. So each is weighed here: it leads to a certificate that the vault says is in use, with a usable key and all
//! the names of the older one, that began and ends no earlier, and never back to where it came from. What a link is
//! depends only on what the store holds, not on the order in which it came there.

use std::collections::{BTreeSet, HashMap};

use common::report::Thumbprint;
use jiff::Timestamp;
use openssl::x509::X509Ref;

/// Which certificates are led to a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of the store, also those that others put there, as the reference does.
    Store,
    /// Versions of the same certificate of a vault.
    SameCertificate,
}

/// The alternative names of a certificate. One of a kind that is not understood is in no other certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Names {
    known: BTreeSet<Name>,
    has_unknown: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    /// In lower case.
    Dns(String),
    Address(Vec<u8>),
    Email(String),
    Uri(String),
}

/// A certificate of a store.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// SHA-1 of it.
    pub(super) thumbprint: Thumbprint,
    /// Whom it is for.
    pub(super) names: Names,
    /// Start of its validity.
    pub(super) not_before: Timestamp,
    /// End of its validity.
    pub(super) not_after: Timestamp,
    /// `<vault>.<certificate>` when this service installed it.
    pub(super) source: Option<String>,
    /// The version of its source that applications shall use, and its key can be used.
    pub(super) is_in_use: bool,
    /// Where its link leads to now.
    pub(super) link: Option<Thumbprint>,
}

/// A link that has to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// `from` shall lead to `to`.
    Set {
        /// The older one.
        from: Thumbprint,
        /// The newer one.
        to: Thumbprint,
        /// Both are versions of the same certificate of a vault.
        is_same: bool,
    },
    /// `from` leads to a version that is no longer to be used, and there is none to lead to instead.
    Clear {
        /// Where the link is.
        from: Thumbprint,
    },
}

impl Names {
    /// Reads them from a certificate.
    pub(super) fn of(certificate: &X509Ref) -> Self {
        let mut names = Self::default();
        for name in certificate.subject_alt_names().iter().flatten() {
            let known = if let Some(dns) = name.dnsname() {
                Name::Dns(dns.to_ascii_lowercase())
            } else if let Some(address) = name.ipaddress() {
                Name::Address(address.to_vec())
            } else if let Some(email) = name.email() {
                Name::Email(email.to_owned())
            } else if let Some(uri) = name.uri() {
                Name::Uri(uri.to_owned())
            } else {
                names.has_unknown = true;
                continue;
            };
            names.known.insert(known);
        }
        names
    }

    fn are_in(&self, other: &Self) -> bool {
        !self.has_unknown && self.known.is_subset(&other.known)
    }

    fn are_none(&self) -> bool {
        self.known.is_empty() && !self.has_unknown
    }
}

impl Held {
    /// Whether a client of this certificate may be led to `newer`.
    fn may_lead_to(&self, newer: &Self, scope: Scope) -> bool {
        // A certificate without names would be contained in each: only its own next version can stand for it.
        let is_renewed = match scope {
            _ if self.is_of_same(newer) => true,
            Scope::Store => !self.names.are_none(),
            Scope::SameCertificate => false,
        };
        is_renewed && newer.is_in_use && self.names.are_in(&newer.names) && self.is_older(newer)
    }

    fn is_of_same(&self, other: &Self) -> bool {
        self.source.is_some() && self.source == other.source
    }

    /// A strict order, so that links along it make no cycle.
    fn is_older(&self, newer: &Self) -> bool {
        self.not_before <= newer.not_before && self.not_after <= newer.not_after && self.age() < newer.age()
    }

    fn age(&self) -> (Timestamp, Timestamp, [u8; 20]) {
        (self.not_after, self.not_before, self.thumbprint.0)
    }
}

/// What has to change so that each older certificate leads to the newest that may stand for it.
///
/// A link that somebody else made to a certificate that is newer still stays.
pub(super) fn plan(store: &[Held], scope: Scope) -> Vec<Change> {
    let by_thumbprint: HashMap<[u8; 20], &Held> = store.iter().map(|held| (held.thumbprint.0, held)).collect();
    let mut links: HashMap<[u8; 20], [u8; 20]> =
        store.iter().filter_map(|held| Some((held.thumbprint.0, held.link?.0))).collect();
    let outdated = |held: &Held| held.source.is_some() && !held.is_in_use;
    // Those first that lead astray now: what they are in the way of may then be made.
    let mut changes = Vec::new();
    for held in store {
        let Some(target) = held.link.and_then(|link| by_thumbprint.get(&link.0)) else { continue };
        let is_ours = match scope {
            Scope::Store => true,
            Scope::SameCertificate => held.is_of_same(target),
        };
        if is_ours && outdated(target) && newest(store, held, scope).is_none() {
            links.remove(&held.thumbprint.0);
            changes.push(Change::Clear { from: held.thumbprint });
        }
    }
    for held in store {
        let Some(newest) = newest(store, held, scope) else { continue };
        let linked = held.link.and_then(|link| by_thumbprint.get(&link.0));
        let is_newer_still =
            |other: &&Held| other.source.is_none() && held.names.are_in(&other.names) && newest.is_older(other);
        if held.link == Some(newest.thumbprint) || linked.is_some_and(is_newer_still) {
            continue;
        }
        if leads_to(&links, newest.thumbprint.0, held.thumbprint.0) {
            continue;
        }
        links.insert(held.thumbprint.0, newest.thumbprint.0);
        let is_same = held.is_of_same(newest);
        changes.push(Change::Set { from: held.thumbprint, to: newest.thumbprint, is_same });
    }
    changes
}

fn newest<'a>(store: &'a [Held], held: &Held, scope: Scope) -> Option<&'a Held> {
    store.iter().filter(|other| held.may_lead_to(other, scope)).max_by_key(|other| other.age())
}

/// Whether following the links from `at` comes to `end`, or to no end.
fn leads_to(links: &HashMap<[u8; 20], [u8; 20]>, mut at: [u8; 20], end: [u8; 20]) -> bool {
    for _ in 0..=links.len() {
        if at == end {
            return true;
        }
        match links.get(&at) {
            Some(next) => at = *next,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
