//! The chain of a leaf, out of a heap of certificates in any order: who certified whom is decided by signatures. Names
//! say whom to ask, and key identifiers in what order. Whether a client would trust the chain now (purposes, roots, today's
//! date) is not asked here.

use std::cmp::{Ordering, Reverse};

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::x509::{X509, X509NameRef, X509Ref};

use super::display;

/// Signatures checked for one chain: more than any honest bundle needs, and no work to speak of.
const MAX_CHECKS: u32 = 100;
/// Bits of an RSA key that a signature is checked with.
const MAX_RSA_BITS: u32 = 16_384;
/// A certificate is renewed before its last day: an intermediate that ends within it is as good, in seconds.
const DAY: i64 = 86_400;
/// Certificates that one warning names.
const MAX_NAMED: usize = 3;

/// Takes the newest (latest `notBefore`) of the certificates that this key belongs to.
pub(super) fn take_leaf(certificates: &mut Vec<X509>, key: &PKey<Private>) -> Option<X509> {
    let belongs = |certificate: &X509| certificate.public_key().is_ok_and(|public| public.public_eq(key));
    let newest = (0..certificates.len())
        .filter(|at| belongs(&certificates[*at]))
        .max_by_key(|at| (seconds(certificates[*at].not_before()), seconds(certificates[*at].not_after())))?;
    Some(certificates.remove(newest))
}

/// A leaf's chain, and what did not belong to it.
pub(super) struct Sorted {
    /// Leaf first; each certificate certifies the one before it.
    pub(super) chain: Vec<X509>,
    /// Whether the last one certified itself.
    pub(super) ends_in_root: bool,
    /// In the order of the bundle.
    pub(super) left_out: Vec<X509>,
}

impl Sorted {
    /// What the owner of the bundle should know. That the root is missing is usual, and right in TLS: it is not said
    /// when there is an intermediate and nothing was left out.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = vec![];
        let (leaf, last) = (&self.chain[0], &self.chain[self.chain.len() - 1]);
        let stranger = |other: &X509| !equal(other.subject_name(), leaf.subject_name());
        if !self.ends_in_root && (self.chain.len() == 1 || self.left_out.iter().any(stranger)) {
            warnings.push(format!(
                "the chain is incomplete: no certificate of {}, which issued {}, is in the value",
                display::name(last.issuer_name()),
                display::name(last.subject_name()),
            ));
        }
        if !self.left_out.is_empty() {
            let names = self.left_out.iter().take(MAX_NAMED).map(|other| display::name(other.subject_name()));
            let more = self.left_out.len().saturating_sub(MAX_NAMED);
            warnings.push(format!(
                "certificates in the value that are not part of the chain were left out ({}): {}{}",
                self.left_out.len(),
                names.collect::<Vec<_>>().join("; "),
                if more > 0 { format!("; and {more} more") } else { String::new() },
            ));
        }
        warnings.extend(self.outlived());
        warnings
    }

    /// That an intermediate ends before the leaf, which clients refuse from then on. Said from the beginning, as a
    /// certificate in use is not read again.
    fn outlived(&self) -> Option<String> {
        let (leaf, issuers) = self.chain.split_first()?;
        let intermediates = &issuers[..issuers.len() - usize::from(self.ends_in_root && !issuers.is_empty())];
        let first = intermediates.iter().min_by_key(|one| seconds(one.not_after()))?;
        let (ends, needed) = (seconds(first.not_after())?, seconds(leaf.not_after())?);
        (ends + DAY < needed).then(|| {
            let ends = super::timestamp(first.not_after()).map(common::status::seconds).unwrap_or_default();
            format!(
                "{}, which its chain needs, expires {ends}, before the certificate does: renew it by then",
                display::name(first.subject_name()),
            )
        })
    }
}

/// Finds the chain from a leaf to the nearest root among `others`, or, when no root can be reached, as far as it goes.
///
/// An issuer that is there several times (cross-signed, renewed) would allow several chains. The shortest way to a root
/// wins: it asks least of a client, and a root that is in the bundle is one that its owner counts on. Among equally
/// short ways the one whose certificates expire later wins, issuer by issuer from the leaf.
pub(super) fn sort(leaf: X509, others: Vec<X509>) -> Sorted {
    let mut search = Search { certificates: others, leaf, checks: 0 };
    let (way, ends_in_root) = search.breadth_first();
    let Search { certificates, leaf, .. } = search;

    let mut certificates: Vec<_> = certificates.into_iter().map(Some).collect();
    let issuers: Vec<_> = way.into_iter().filter_map(|at| certificates[at].take()).collect();
    let chain = std::iter::once(leaf).chain(issuers).collect();
    Sorted { chain, ends_in_root, left_out: certificates.into_iter().flatten().collect() }
}

struct Search {
    leaf: X509,
    certificates: Vec<X509>,
    checks: u32,
}

/// A certificate that was reached (`None`: the leaf), and from which step.
struct Step {
    at: Option<usize>,
    from: usize,
    depth: usize,
}

impl Search {
    /// The indices of the issuers on the way, and whether it ends in a root.
    fn breadth_first(&mut self) -> (Vec<usize>, bool) {
        let mut steps = vec![Step { at: None, from: 0, depth: 0 }];
        let mut done = 0;
        let root = loop {
            let Some(step) = steps.get(done) else {
                break None;
            };
            let (at, depth) = (step.at, step.depth);
            if self.certified_itself(at) {
                break Some(done);
            }
            for issuer in self.issuers(at, &steps) {
                steps.push(Step { at: Some(issuer), from: done, depth: depth + 1 });
            }
            done += 1;
        };
        let deepest = steps.last().map_or(0, |step| step.depth);
        let mut end = root.or_else(|| steps.iter().position(|step| step.depth == deepest)).unwrap_or(0);
        let mut way = vec![];
        while let Some(at) = steps[end].at {
            way.push(at);
            end = steps[end].from;
        }
        way.reverse();
        (way, root.is_some())
    }

    fn get(&self, at: Option<usize>) -> &X509Ref {
        at.map_or(&self.leaf, |at| &self.certificates[at])
    }

    fn certified_itself(&mut self, at: Option<usize>) -> bool {
        let certificate = self.get(at);
        same_name(certificate, certificate) && self.certifies(at, at)
    }

    /// Those that certified this one and were not reached before, the best first.
    fn issuers(&mut self, at: Option<usize>, reached: &[Step]) -> Vec<usize> {
        let subject = self.get(at);
        let mut candidates: Vec<_> = (0..self.certificates.len())
            .filter(|candidate| reached.iter().all(|step| step.at != Some(*candidate)))
            .filter(|candidate| same_name(subject, &self.certificates[*candidate]))
            .map(|candidate| {
                let certificate = &self.certificates[candidate];
                (identifiers_differ(subject, certificate), Reverse(seconds(certificate.not_after())), candidate)
            })
            .collect();
        // Bundles differ in order only by chance: the same certificates give the same chain.
        candidates.sort_by_cached_key(|(differ, expiry, candidate)| {
            (*differ, *expiry, self.certificates[*candidate].to_der().unwrap_or_default())
        });
        let mut issuers = vec![];
        for (differ, _, candidate) in candidates {
            // The identifiers are right nearly always: once they led somewhere, the rest is not worth its checks.
            if differ && !issuers.is_empty() {
                break;
            }
            if self.certifies(Some(candidate), at) {
                issuers.push(candidate);
            }
        }
        issuers
    }

    /// Whether the key of `issuer` made the signature of `subject`; no longer known once the checks are used up.
    fn certifies(&mut self, issuer: Option<usize>, subject: Option<usize>) -> bool {
        if self.checks == MAX_CHECKS {
            return false;
        }
        self.checks += 1;
        let key = self.get(issuer).public_key();
        let verified = key.and_then(|key| Ok(affordable(&key) && self.get(subject).verify(&key)?));
        // A signature that does not fit leaves its reasons on the thread's queue.
        let _ = ErrorStack::get();
        verified.unwrap_or(false)
    }
}

/// Whether a check with this key takes milliseconds at most. DSA and kinds that are stranger still sign no certificates
/// of today, and their numbers would have to be limited one by one.
fn affordable(key: &PKey<Public>) -> bool {
    match key.id() {
        Id::RSA | Id::RSA_PSS => key.bits() <= MAX_RSA_BITS,
        Id::EC | Id::ED25519 | Id::ED448 => true,
        _ => false,
    }
}

/// Whether the issuer's subject is the name that `subject` gives for its issuer.
fn same_name(subject: &X509Ref, issuer: &X509Ref) -> bool {
    equal(subject.issuer_name(), issuer.subject_name())
}

fn equal(name: &X509NameRef, other: &X509NameRef) -> bool {
    name.try_cmp(other).is_ok_and(Ordering::is_eq)
}

fn identifiers_differ(subject: &X509Ref, issuer: &X509Ref) -> bool {
    match (subject.authority_key_id(), issuer.subject_key_id()) {
        (Some(wanted), Some(found)) => wanted.as_slice() != found.as_slice(),
        _ => false,
    }
}

/// Seconds since 1970; a time that cannot be read comes before all others.
pub(super) fn seconds(time: &Asn1TimeRef) -> Option<i64> {
    let since = Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(time)).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
}
