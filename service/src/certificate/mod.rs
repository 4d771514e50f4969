//! From a secret's value to a certificate that can be installed: one private key, its leaf, the leaf's chain in order.
//!
//! The value is in the hands of whoever may write to the vault. What it asks for is limited before any of it is done,
//! nothing of it reaches a message, and what is written is made anew from what was understood. When a certificate is
//! fetched and where it goes is decided elsewhere, also what to do about one that has expired.

mod base64;
mod ber;
mod bundle;
mod chain;
mod curve;
mod display;
mod error;
mod key;
mod libcrypto;
mod pbe;
mod pem;
mod pkcs12;
#[cfg(test)]
mod tests;
pub(crate) mod validation;

use common::report::Thumbprint;
use jiff::Timestamp;
use openssl::asn1::Asn1TimeRef;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha1;
use openssl::x509::{X509, X509Ref};

use self::bundle::Bundle;
pub(crate) use self::error::CertificateError;
pub(crate) use self::libcrypto::initialise_openssl;
pub(crate) use self::validation::{distrust, in_words, lost_names};

/// A leaf with its key and chain, ready to be installed.
pub(crate) struct Certificate {
    /// Leaf first, each certifies the one before it, the root last if the value has it.
    pub(crate) chain: Vec<X509>,
    pub(crate) key: PKey<Private>,
    thumbprint: Thumbprint,
    not_before: Timestamp,
    not_after: Timestamp,
    warnings: Vec<String>,
}

impl Certificate {
    /// Reads the value of a secret: PKCS #12 in base64, or PEM.
    ///
    /// `content_type` is what the vault says of it. It may be absent or wrong: the content wins, with a warning.
    pub(crate) fn decode(value: &str, content_type: Option<&str>) -> Result<Self, CertificateError> {
        initialise_openssl();
        let (form, bundle) = Bundle::read(value)?;
        let key = key::only(bundle.keys()?)?;
        let mut certificates = bundle.certificates()?;
        let leaf = chain::take_leaf(&mut certificates, &key).ok_or(CertificateError::NoMatch)?;
        let sorted = chain::sort(leaf, certificates);
        let warnings = form.warning(content_type).into_iter().chain(sorted.warnings()).collect();

        let leaf = &sorted.chain[0];
        let (not_before, not_after) = validity(leaf).ok_or(UNREADABLE_TIME)?;
        Ok(Self {
            thumbprint: Thumbprint(sha1(&leaf.to_der()?)),
            not_before,
            not_after,
            chain: sorted.chain,
            key,
            warnings,
        })
    }

    /// SHA-1 of the leaf.
    pub(crate) fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// When the leaf's validity begins.
    pub(crate) fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When the leaf's validity ends.
    pub(crate) fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// What was odd about the value and did no harm; whole sentences without the secret's name.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

const UNREADABLE_TIME: CertificateError = CertificateError::Damaged("certificate's time of validity");

/// When a certificate's validity begins and ends.
pub(crate) fn validity(certificate: &X509Ref) -> Option<(Timestamp, Timestamp)> {
    Some((timestamp(certificate.not_before())?, timestamp(certificate.not_after())?))
}

/// The year 9999, which stands for "never" (RFC 5280, section 4.1.2.5), ends a day too late for a timestamp.
fn timestamp(time: &Asn1TimeRef) -> Option<Timestamp> {
    Some(Timestamp::from_second(chain::seconds(time)?).unwrap_or(Timestamp::MAX))
}
