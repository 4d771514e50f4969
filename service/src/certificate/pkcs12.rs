//! PKCS #12 (RFC 7292) with the empty password: from bytes to certificates and keys.
//!
//! The structure is walked here, not by OpenSSL, so that sizes, counts, depth and rounds of key derivation are known
//! before the work they ask for is done, in encrypted parts as well. Bag attributes (names, local key ids) are skipped:
//! nothing is decided by them. Which certificate belongs to which key is decided elsewhere.

use zeroize::Zeroizing;

use super::ber::{
    CONTEXT_0, CONTEXT_0_PRIMITIVE, Element, INTEGER, Malformed, OBJECT_IDENTIFIER, Reader, SEQUENCE, SET,
};
use super::bundle::Bundle;
use super::error::CertificateError;
use super::libcrypto::{self, Password};
use super::pbe::{self, Budget, Encrypted};

/// Bags of all kinds in one PKCS #12.
const MAX_BAGS: usize = 400;
/// Bags of bags in one another.
const MAX_DEPTH: u8 = 8;

const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const ENCRYPTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";
const X509_CERTIFICATE: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01";
const KEY_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01";
const SHROUDED_KEY_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02";
const CERTIFICATE_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03";
const SAFE_CONTENTS_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x06";

/// Whether these bytes begin as a PKCS #12 does: a SEQUENCE whose first element is the INTEGER 3.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let header = match bytes {
        [SEQUENCE, length, ..] if *length <= 0x80 => 2,
        [SEQUENCE, length, ..] => 2 + usize::from(length & 0x7f),
        _ => return false,
    };
    bytes.get(header..).is_some_and(|content| content.starts_with(&[INTEGER, 1, 3]))
}

/// Reads a whole PKCS #12.
pub(super) fn read(bytes: &[u8]) -> Result<Bundle, CertificateError> {
    let mut file = Reader::new(bytes);
    let pfx = file.expect(SEQUENCE)?;
    file.end().map_err(|_| CertificateError::TrailingBytes)?;

    let mut fields = pfx.reader();
    let _version = fields.expect(INTEGER)?;
    let safe = data(&fields.expect(SEQUENCE)?)?;
    let mut budget = Budget::new();
    let mac = fields.optional(SEQUENCE)?;
    if let Some(mac) = &mac {
        pbe::admit_mac(mac, &mut budget)?;
    }
    fields.end()?;
    let plan = Plan::read(&safe, budget)?;

    let passwords = [Password::Empty, Password::Absent];
    if mac.is_some() {
        let password = passwords.into_iter().find(|password| libcrypto::mac_fits(bytes, *password));
        return plan.carry_out(password.ok_or(CertificateError::Password)?);
    }
    // Without a MAC only the outcome tells the two apart.
    match plan.clone().carry_out(passwords[0]) {
        Err(CertificateError::Damaged(_)) => plan.carry_out(passwords[1]).map_err(|error| match error {
            CertificateError::Damaged(_) => CertificateError::Password,
            other => other,
        }),
        outcome => outcome,
    }
}

/// What stands in the parts that are not encrypted, and the parts that are; read and paid for, nothing decrypted yet.
#[derive(Clone)]
struct Plan {
    found: Found,
    parts: Vec<Encrypted>,
}

impl Plan {
    /// Reads an AuthenticatedSafe.
    fn read(safe: &[u8], budget: Budget) -> Result<Self, CertificateError> {
        let mut plan = Self { found: Found::new(budget), parts: vec![] };
        let mut outer = Reader::new(safe);
        let mut parts = outer.expect(SEQUENCE)?.reader();
        outer.end()?;
        while !parts.is_empty() {
            let part = parts.expect(SEQUENCE)?;
            let kind = part.reader().expect(OBJECT_IDENTIFIER)?.content;
            plan.found.count_bag()?;
            match kind {
                DATA => plan.found.add_safe_contents(&data(&part)?)?,
                ENCRYPTED_DATA => plan.parts.push(encrypted_data(&part, &mut plan.found.budget)?),
                other => return Err(pbe::unsupported(other)),
            }
        }
        Ok(plan)
    }

    fn carry_out(mut self, password: Password) -> Result<Bundle, CertificateError> {
        for part in &self.parts {
            let contents = part.decrypt(password).ok_or(Malformed)?;
            self.found.add_safe_contents(&contents)?;
        }
        // Now that every key is known and paid for.
        for key in &self.found.shrouded_keys {
            self.found.bundle.add_key(key.decrypt(password).ok_or(Malformed)?)?;
        }
        Ok(self.found.bundle)
    }
}

/// What the bags hold.
#[derive(Clone)]
struct Found {
    bundle: Bundle,
    shrouded_keys: Vec<Encrypted>,
    bags: usize,
    budget: Budget,
}

impl Found {
    fn new(budget: Budget) -> Self {
        Self { bundle: Bundle::default(), shrouded_keys: vec![], bags: 0, budget }
    }

    fn count_bag(&mut self) -> Result<(), CertificateError> {
        self.bags += 1;
        if self.bags > MAX_BAGS {
            return Err(CertificateError::Limit { what: "bags", limit: MAX_BAGS });
        }
        Ok(())
    }

    fn add_safe_contents(&mut self, bytes: &[u8]) -> Result<(), CertificateError> {
        let mut outer = Reader::new(bytes);
        let contents = outer.expect(SEQUENCE)?;
        outer.end()?;
        self.add_bags(contents.reader(), MAX_DEPTH)
    }

    fn add_bags(&mut self, mut bags: Reader<'_>, depth: u8) -> Result<(), CertificateError> {
        let limit = CertificateError::Limit { what: "levels of bags in bags", limit: MAX_DEPTH.into() };
        let depth = depth.checked_sub(1).ok_or(limit)?;
        while !bags.is_empty() {
            self.count_bag()?;
            let mut bag = bags.expect(SEQUENCE)?.reader();
            let kind = bag.expect(OBJECT_IDENTIFIER)?.content;
            let mut value = bag.expect(CONTEXT_0)?.reader();
            let _attributes = bag.optional(SET)?;
            bag.end()?;
            match kind {
                CERTIFICATE_BAG => {
                    let mut certificate = value.expect(SEQUENCE)?.reader();
                    if certificate.expect(OBJECT_IDENTIFIER)?.content == X509_CERTIFICATE {
                        let octets = certificate.expect(CONTEXT_0)?.reader().octets()?;
                        self.bundle.add_certificate(octets.to_vec())?;
                    }
                }
                SHROUDED_KEY_BAG => {
                    let mut key = value.expect(SEQUENCE)?.reader();
                    let algorithm = key.expect(SEQUENCE)?;
                    self.shrouded_keys.push(Encrypted::new(&algorithm, key.octets()?, &mut self.budget)?);
                }
                KEY_BAG => {
                    let key = value.expect(SEQUENCE)?;
                    self.bundle.add_key(Zeroizing::new(key.encoded.to_vec()))?;
                }
                SAFE_CONTENTS_BAG => self.add_bags(value.expect(SEQUENCE)?.reader(), depth)?,
                // Revocation lists and other secrets: not ours to install.
                _ => {}
            }
        }
        Ok(())
    }
}

/// The octets of a ContentInfo of type data.
fn data(content_info: &Element<'_>) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let mut fields = content_info.reader();
    let kind = fields.expect(OBJECT_IDENTIFIER)?.content;
    if kind != DATA {
        return Err(pbe::unsupported(kind));
    }
    let octets = fields.expect(CONTEXT_0)?.reader().octets()?;
    fields.end()?;
    Ok(octets)
}

/// The EncryptedData (RFC 5652, section 8) of a ContentInfo.
fn encrypted_data(content_info: &Element<'_>, budget: &mut Budget) -> Result<Encrypted, CertificateError> {
    let mut fields = content_info.reader();
    let _kind = fields.expect(OBJECT_IDENTIFIER)?;
    let mut encrypted_data = fields.expect(CONTEXT_0)?.reader().expect(SEQUENCE)?.reader();
    let _version = encrypted_data.expect(INTEGER)?;
    let mut content = encrypted_data.expect(SEQUENCE)?.reader();
    let _kind = content.expect(OBJECT_IDENTIFIER)?;
    let algorithm = content.expect(SEQUENCE)?;
    let octets = match content.optional(CONTEXT_0_PRIMITIVE)? {
        Some(octets) => octets,
        None => content.expect(CONTEXT_0)?,
    };
    Encrypted::new(&algorithm, octets.octets()?, budget)
}
