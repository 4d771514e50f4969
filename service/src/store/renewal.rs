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
mod tests {
    use super::*;

    /// A certificate of a vault, called by one letter, in use from one day to another.
    fn held(letter: u8, names: &[&str], days: (i64, i64)) -> Held {
        Held {
            thumbprint: Thumbprint([letter; 20]),
            names: Names {
                known: names.iter().map(|name| Name::Dns((*name).to_owned())).collect(),
                has_unknown: false,
            },
            not_before: Timestamp::from_second(days.0 * 86_400).unwrap(),
            not_after: Timestamp::from_second(days.1 * 86_400).unwrap(),
            source: Some(format!("contoso.{}", char::from(letter))),
            is_in_use: true,
            link: None,
        }
    }

    fn version_of(source: u8, held: Held) -> Held {
        Held { source: Some(format!("contoso.{}", char::from(source))), ..held }
    }

    fn foreign(held: Held) -> Held {
        Held { source: None, is_in_use: false, ..held }
    }

    fn old(held: Held) -> Held {
        Held { is_in_use: false, ..held }
    }

    fn linked(held: Held, to: u8) -> Held {
        Held { link: Some(Thumbprint([to; 20])), ..held }
    }

    /// The links of a store, as `A→C`, after the plan was carried out.
    fn links(store: &[Held], scope: Scope) -> Vec<(char, char)> {
        let mut links: HashMap<u8, u8> =
            store.iter().filter_map(|held| Some((held.thumbprint.0[0], held.link?.0[0]))).collect();
        for change in plan(store, scope) {
            match change {
                Change::Set { from, to, .. } => assert_ne!(links.insert(from.0[0], to.0[0]), Some(to.0[0])),
                Change::Clear { from } => assert!(links.remove(&from.0[0]).is_some()),
            }
        }
        let mut links: Vec<_> = links.into_iter().map(|(from, to)| (char::from(from), char::from(to))).collect();
        links.sort_unstable();
        links
    }

    /// Lets the certificates come one after the other in each order, linking each time.
    fn in_every_order(store: &[Held], scope: Scope) -> Vec<Vec<(char, char)>> {
        let mut results = Vec::new();
        permute(&mut store.to_vec(), 0, &mut |order| {
            let mut there: Vec<Held> = Vec::new();
            for next in order {
                there.push(next.clone());
                for change in plan(&there, scope) {
                    let (from, link) = match change {
                        Change::Set { from, to, .. } => (from, Some(to)),
                        Change::Clear { from } => (from, None),
                    };
                    there.iter_mut().find(|held| held.thumbprint == from).unwrap().link = link;
                }
            }
            assert_eq!(plan(&there, scope), [], "nothing is left to do");
            results.push(links(&there, scope));
        });
        results.sort();
        results.dedup();
        results
    }

    fn permute(store: &mut Vec<Held>, at: usize, done: &mut impl FnMut(&[Held])) {
        if at == store.len() {
            return done(store);
        }
        for other in at..store.len() {
            store.swap(at, other);
            permute(store, at + 1, done);
            store.swap(at, other);
        }
    }

    #[test]
    fn leads_alice_to_mallory_and_leaves_bob_alone() {
        let alice = held(b'A', &["alice"], (0, 100));
        let bob = held(b'B', &["bob.com", "bob.net"], (0, 100));
        let mallory = held(b'C', &["alice", "bob.com", "mallory"], (50, 200));
        let store = [alice, bob, mallory];
        assert_eq!(in_every_order(&store, Scope::Store), [[('A', 'C')]]);
        assert_eq!(in_every_order(&store, Scope::SameCertificate), [[]], "Service Fabric must not follow");
    }

    #[test]
    fn leads_all_versions_to_the_newest_in_whatever_order_they_came() {
        let versions = [(b'1', (0, 100)), (b'2', (50, 150)), (b'3', (100, 200)), (b'4', (150, 250))];
        let store = versions.map(|(letter, days)| {
            let version = version_of(b'w', held(letter, &["web"], days));
            if letter == b'4' { version } else { old(version) }
        });
        let expected = [('1', '4'), ('2', '4'), ('3', '4')];
        assert_eq!(in_every_order(&store, Scope::SameCertificate), [expected]);
        assert_eq!(in_every_order(&store, Scope::Store), [expected]);
    }

    #[test]
    fn leads_what_others_installed_only_with_the_whole_store() {
        let store = [foreign(held(b'F', &["web"], (0, 100))), held(b'W', &["web", "www"], (50, 200))];
        assert_eq!(links(&store, Scope::Store), [('F', 'W')]);
        assert_eq!(links(&store, Scope::SameCertificate), []);
    }

    #[test]
    fn never_leads_to_what_others_installed_or_to_a_lost_key() {
        let store = [held(b'A', &["web"], (0, 100)), foreign(held(b'B', &["web"], (50, 200)))];
        assert_eq!(links(&store, Scope::Store), []);
        let store = [held(b'A', &["web"], (0, 100)), old(version_of(b'A', held(b'B', &["web"], (50, 200))))];
        assert_eq!(links(&store, Scope::SameCertificate), []);
    }

    #[test]
    fn never_leads_to_an_earlier_end_or_an_earlier_beginning() {
        let long = old(held(b'A', &["web"], (0, 365)));
        assert_eq!(links(&[long.clone(), version_of(b'A', held(b'B', &["web"], (50, 97)))], Scope::Store), []);
        let fresh = held(b'F', &["web"], (60, 107));
        assert_eq!(links(&[Held { is_in_use: true, ..long }, fresh], Scope::Store), []);
    }

    #[test]
    fn makes_one_link_between_twins_and_not_two() {
        let store = [held(b'A', &["web"], (0, 100)), held(b'B', &["web"], (0, 100))];
        assert_eq!(in_every_order(&store, Scope::Store), [[('A', 'B')]]);
    }

    #[test]
    fn never_makes_a_cycle_with_links_of_others() {
        let store = [
            held(b'A', &["web"], (0, 100)),
            linked(held(b'B', &["web"], (50, 200)), b'C'),
            linked(foreign(held(b'C', &["other"], (0, 50))), b'A'),
        ];
        assert_eq!(links(&store, Scope::Store), [('B', 'C'), ('C', 'A')]);
        let circle = [
            held(b'A', &["web"], (0, 100)),
            linked(held(b'B', &["web"], (50, 200)), b'C'),
            linked(foreign(held(b'C', &["other"], (0, 50))), b'B'),
        ];
        assert_eq!(links(&circle, Scope::Store), [('B', 'C'), ('C', 'B')], "a circle leads nowhere");
    }

    #[test]
    fn keeps_a_link_of_others_to_what_is_newer_still() {
        let newer = foreign(held(b'X', &["web"], (90, 300)));
        let store = [linked(held(b'A', &["web"], (0, 100)), b'X'), held(b'B', &["web"], (50, 200)), newer];
        assert_eq!(plan(&store, Scope::Store), []);
        let elsewhere = [linked(held(b'A', &["web"], (0, 100)), b'X'), held(b'B', &["web"], (50, 200))];
        assert_eq!(links(&elsewhere, Scope::Store), [('A', 'B')], "what is not there cannot be followed");
    }

    #[test]
    fn leads_back_when_the_vault_disables_the_newest_version() {
        let of = |letter, days| version_of(b'w', held(letter, &["web"], days));
        let store =
            [linked(old(of(b'1', (0, 100))), b'3'), linked(of(b'2', (50, 150)), b'3'), old(of(b'3', (100, 200)))];
        for scope in [Scope::Store, Scope::SameCertificate] {
            assert_eq!(links(&store, scope), [('1', '2')], "2 itself leads nowhere, and 3 not to an earlier end");
        }
    }

    #[test]
    fn does_not_take_a_certificate_without_names_for_each() {
        let store = [foreign(held(b'F', &[], (0, 100))), held(b'W', &["web"], (50, 200))];
        assert_eq!(links(&store, Scope::Store), []);
        let versions = [old(held(b'A', &[], (0, 100))), version_of(b'A', held(b'B', &[], (50, 200)))];
        assert_eq!(links(&versions, Scope::SameCertificate), [('A', 'B')]);
    }

    #[test]
    fn reads_names_of_all_kinds_and_gives_way_to_unknown_ones() {
        use openssl::x509::extension::SubjectAlternativeName;
        let read = |names: &SubjectAlternativeName| {
            let mut builder = openssl::x509::X509Builder::new().unwrap();
            let extension = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(extension).unwrap();
            Names::of(&builder.build())
        };
        let many = read(SubjectAlternativeName::new().dns("WWW.Contoso.com").dns("b").ip("10.0.0.4").email("a@b"));
        assert!(read(SubjectAlternativeName::new().dns("www.contoso.COM").ip("10.0.0.4")).are_in(&many));
        assert!(!read(SubjectAlternativeName::new().dns("10.0.0.4")).are_in(&many));
        assert!(
            !read(SubjectAlternativeName::new().dns("b").rid("1.2.3"))
                .are_in(&read(SubjectAlternativeName::new().dns("b").rid("1.2.3")))
        );
    }
}
