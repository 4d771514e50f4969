//! What stands in a secret: a PFX or PEM in any order and encryption, or something that is no certificate.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::pkcs12::{self, Bag, Pfx};
use crate::pki::Issued;

/// The value of a secret with what the vault says about it.
#[derive(Clone)]
pub struct Bundle {
    /// The value as it goes over the wire.
    pub value: String,
    /// `contentType`; absent for many plain secrets.
    pub content_type: Option<String>,
    /// `nbf` and `exp` in seconds since 1970, when the secret backs a certificate.
    pub validity: Option<(i64, i64)>,
    /// The PEM that `outContentType=application/x-pem-file` asks for, when the value is a PFX.
    pub(crate) pem: Option<String>,
}

/// One thing in a bundle.
#[derive(Clone)]
pub enum Part {
    /// A private key.
    Key(PKey<Private>),
    /// A certificate.
    Certificate(X509),
    /// Text between the blocks of a PEM; a PFX has no place for it.
    Text(String),
}

impl Issued {
    /// The private key, as a part of a bundle.
    #[must_use]
    pub fn key_part(&self) -> Part {
        Part::Key(self.key.clone())
    }

    /// The certificate of the key.
    #[must_use]
    pub fn leaf_part(&self) -> Part {
        Part::Certificate(self.leaf.clone())
    }

    /// The intermediates, the issuer of the leaf first, then the root.
    #[must_use]
    pub fn authority_parts(&self) -> Vec<Part> {
        let above = self.intermediates.iter().chain(&self.root);
        above.cloned().map(Part::Certificate).collect()
    }

    /// Key, leaf, intermediates, root: the order of a PEM secret that the service made.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![self.key_part(), self.leaf_part()];
        parts.extend(self.authority_parts());
        parts
    }

    /// A PEM secret in the service's order.
    pub fn pem(&self) -> Result<Bundle> {
        Bundle::pem(&self.parts())
    }

    /// A PFX secret with the service's order of bags: leaf, root, intermediates.
    pub fn pfx(&self, form: &Pfx) -> Result<Bundle> {
        let mut parts = vec![self.key_part(), self.leaf_part()];
        parts.extend(self.root.iter().cloned().map(Part::Certificate));
        parts.extend(self.intermediates.iter().cloned().map(Part::Certificate));
        Bundle::pfx(&parts, form)
    }
}

impl Bundle {
    /// A PEM of these parts in this order.
    pub fn pem(parts: &[Part]) -> Result<Self> {
        Ok(Self {
            value: pem_text(parts)?,
            content_type: Some("application/x-pem-file".to_owned()),
            validity: validity(parts)?,
            pem: None,
        })
    }

    /// A PFX of these parts; the certificates keep their order. The first certificate that fits the first key is
    /// marked as its own.
    pub fn pfx(parts: &[Part], form: &Pfx) -> Result<Self> {
        let keys: Vec<_> = keys(parts).collect();
        let mut ders = Vec::new();
        for part in parts {
            match part {
                Part::Key(key) => ders.push((key.private_key_to_pkcs8()?, None)),
                Part::Certificate(certificate) => {
                    let public = certificate.public_key()?;
                    let leaf = keys.first().is_some_and(|key| key.public_eq(&public));
                    ders.push((certificate.to_der()?, Some(leaf)));
                }
                Part::Text(_) => {}
            }
        }
        if form.wrong_local_key_id {
            let marks = ders.iter_mut().filter_map(|(_, leaf)| leaf.as_mut());
            let mut marks: Vec<&mut bool> = marks.collect();
            let last = marks.len().saturating_sub(1);
            for (at, mark) in marks.iter_mut().enumerate() {
                **mark = at == last;
            }
        }
        let bags = ders.iter().map(|(der, leaf)| match leaf {
            None => Bag::Key(der),
            Some(leaf) => Bag::Certificate(der, *leaf),
        });
        let bundle = Self::der(&pkcs12::write(form, &bags.collect::<Vec<_>>())?);
        Ok(Self { validity: validity(parts)?, pem: Some(pem_text(parts)?), ..bundle })
    }

    /// Base64 of these bytes under the name of a PFX.
    #[must_use]
    pub fn der(bytes: &[u8]) -> Self {
        Self {
            value: STANDARD.encode(bytes),
            content_type: Some("application/x-pkcs12".to_owned()),
            validity: None,
            pem: None,
        }
    }

    /// A plain secret, such as a password that somebody put under the wrong name.
    #[must_use]
    pub fn text(value: &str) -> Self {
        Self { value: value.to_owned(), content_type: None, validity: None, pem: None }
    }

    /// Another content type, or none.
    #[must_use]
    pub fn content_type(mut self, content_type: Option<&str>) -> Self {
        self.content_type = content_type.map(str::to_owned);
        self
    }

    /// The value without base64's padding.
    #[must_use]
    pub fn without_padding(mut self) -> Self {
        self.value.truncate(self.value.trim_end_matches('=').len());
        self
    }

    /// The value broken into lines, as `base64` and `openssl` print it.
    #[must_use]
    pub fn with_line_breaks(mut self, width: usize, line_end: &str) -> Self {
        let characters: Vec<char> = self.value.chars().collect();
        let lines = characters.chunks(width).map(String::from_iter);
        self.value = lines.collect::<Vec<_>>().join(line_end);
        self
    }

    /// The bytes behind the base64 of a PFX.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        STANDARD.decode(&self.value).context("this bundle is not plain base64")
    }

    /// SHA-256 of the value in lower-case hexadecimal digits.
    pub fn sha256(&self) -> Result<String> {
        let digest = hash(MessageDigest::sha256(), self.value.as_bytes())?;
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn keys(parts: &[Part]) -> impl Iterator<Item = &PKey<Private>> {
    parts.iter().filter_map(|part| match part {
        Part::Key(key) => Some(key),
        _ => None,
    })
}

fn pem_text(parts: &[Part]) -> Result<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Key(key) => text += &String::from_utf8(key.private_key_to_pem_pkcs8()?)?,
            Part::Certificate(certificate) => text += &String::from_utf8(certificate.to_pem()?)?,
            Part::Text(words) => text += words,
        }
    }
    Ok(text)
}

/// The dates of the leaf, or of the first certificate when no key says which one is the leaf.
fn validity(parts: &[Part]) -> Result<Option<(i64, i64)>> {
    let mut found = None;
    for part in parts {
        let Part::Certificate(certificate) = part else {
            continue;
        };
        let public = certificate.public_key()?;
        let leaf = keys(parts).any(|key| key.public_eq(&public));
        if leaf || found.is_none() {
            found = Some((unix(certificate.not_before())?, unix(certificate.not_after())?));
        }
        if leaf {
            break;
        }
    }
    Ok(found)
}

fn unix(time: &openssl::asn1::Asn1TimeRef) -> Result<i64> {
    let epoch = openssl::asn1::Asn1Time::from_unix(0)?;
    let distance = epoch.diff(time)?;
    Ok(i64::from(distance.days) * 86_400 + i64::from(distance.secs))
}
