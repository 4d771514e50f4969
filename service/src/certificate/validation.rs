//! Whether TLS clients will take a certificate: a chain to a root that they trust, and the names that they ask for.
//! It is said, and whether a chain is refused for it is for the settings to decide (`chainValidation`): the roots of this
//! machine need not be those of its clients.

use std::collections::BTreeSet;
use std::net::IpAddr;

use common::text::bounded;
use openssl::nid::Nid;
use openssl::x509::{X509, X509Ref};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, OtherError};

use super::libcrypto::is_for_tls_servers;
use super::{Certificate, display};
use crate::system::Trust;

/// What a remark on a chain that leads nowhere begins with.
pub(crate) const DISTRUSTED: &str = "TLS clients that trust what this machine trusts refuse it";

/// How much of a library's words or of names a remark quotes, in characters.
const QUOTED: usize = 200;

/// Why a TLS client that trusts what this machine trusts would refuse a certificate at `now`, by its chain, leaf first
/// (RFC 5280, section 6). `None` when it would not, and for a certificate that is not meant for TLS servers by its extended
/// key usage.
pub(crate) fn distrust(chain: &[X509], trust: &Trust, now: UnixTime) -> Option<String> {
    let last = chain.last()?;
    let chain: Vec<CertificateDer<'static>> =
        chain.iter().map(|one| one.to_der().map(Into::into)).collect::<Result<_, _>>().ok()?;
    let (leaf, issuers) = chain.split_first()?;
    if !is_for_tls_servers(leaf) {
        return None;
    }
    let reason = match trust.judge(leaf, issuers, now) {
        Ok(()) => return None,
        // The leaf's own purpose is the right one.
        Err(Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        )) => "a certificate of its chain may not certify TLS servers".to_owned(),
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            format!(
                "its chain ends with {}, which leads to no root of this machine",
                display::name(last.subject_name())
            )
        }
        // What the leaf's own dates say is said elsewhere.
        Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "a certificate of its chain has expired".to_owned()
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })) => {
            "a certificate of its chain is not valid yet".to_owned()
        }
        Err(Error::InvalidCertificate(CertificateError::Other(reason))) => in_words(&reason),
        Err(error) => bounded(&error.to_string(), QUOTED),
    };
    Some(format!("{DISTRUSTED}: {reason}"))
}

/// What a verifier says for which rustls has no name: the system's words as they are, and webpki's names in words.
pub(crate) fn in_words(reason: &OtherError) -> String {
    match reason.to_string().as_str() {
        "MaximumPathDepthExceeded" => "its chain has more intermediates than many TLS clients follow (6)".to_owned(),
        "MaximumSignatureChecksExceeded" | "MaximumPathBuildCallsExceeded" => {
            "its chain can be built in more ways than TLS clients try".to_owned()
        }
        "PathLenConstraintViolated" => "a certificate of its chain certifies more authorities than it may".to_owned(),
        "NameConstraintViolation" => "a certificate of its chain may not certify this name".to_owned(),
        other => bounded(other, QUOTED),
    }
}

/// What to say of a renewal that holds none of the names of the certificate before it.
pub(crate) fn lost_names(before: &X509Ref, certificate: &Certificate) -> Option<String> {
    let (old, new) = (names(before), names(certificate.chain.first()?));
    if old.is_empty() || !old.is_disjoint(&new) {
        return None;
    }
    let list = |names: BTreeSet<String>| match names.len() {
        0 => "none".to_owned(),
        _ => bounded(&Vec::from_iter(names).join(", "), QUOTED),
    };
    Some(format!("it holds no name of the version before: {} then, {} now", list(old), list(new)))
}

/// The hosts that a certificate is for: its subject alternative names, or its common name where it has none.
fn names(certificate: &X509Ref) -> BTreeSet<String> {
    let alternatives = certificate.subject_alt_names().into_iter().flatten();
    let address = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    };
    let host = |name: openssl::x509::GeneralName| {
        let dns = name.dnsname().map(str::to_ascii_lowercase);
        dns.or_else(|| Some(address(name.ipaddress()?)?.to_string()))
    };
    let found: BTreeSet<String> = alternatives.filter_map(host).collect();
    if !found.is_empty() {
        return found;
    }
    let common = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
    common.filter_map(|entry| entry.data().to_string().ok()).map(|name| name.to_ascii_lowercase()).collect()
}
