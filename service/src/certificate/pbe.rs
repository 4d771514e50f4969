//! What a PKCS #12 asks of the password-based algorithms: which of them are accepted, and how many rounds of key
//! derivation they cost. Everything is read and counted here before OpenSSL does any of the work.

use openssl::asn1::Asn1Object;

use super::ber::{self, Element, INTEGER, Malformed, OBJECT_IDENTIFIER, Reader, SEQUENCE};
use super::error::CertificateError;
use super::libcrypto::{self, Password};
use zeroize::Zeroizing;

/// Rounds of key derivation in one PKCS #12, MAC and all parts together. Exporters use 1 to 600,000.
pub(super) const MAX_ITERATIONS: u32 = 1_000_000;

// PKCS #12 schemes (RFC 7292, appendix C). The two with RC4 are left out: no exporter uses them.
const PBE_SHA1_3DES: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03";
const PBE_SHA1_2DES: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x04";
const PBE_SHA1_RC2_128: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x05";
const PBE_SHA1_RC2_40: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x06";
// PKCS #5 (RFC 8018) and the MAC made of it (RFC 9579).
const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
const PBMAC1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0e";

/// hmacWithSHA1, 224, 256, 384, 512.
const HMACS: [&[u8]; 5] = [
    b"\x2a\x86\x48\x86\xf7\x0d\x02\x07",
    b"\x2a\x86\x48\x86\xf7\x0d\x02\x08",
    b"\x2a\x86\x48\x86\xf7\x0d\x02\x09",
    b"\x2a\x86\x48\x86\xf7\x0d\x02\x0a",
    b"\x2a\x86\x48\x86\xf7\x0d\x02\x0b",
];
/// SHA-1, 224, 256, 384, 512.
const DIGESTS: [&[u8]; 5] = [
    b"\x2b\x0e\x03\x02\x1a",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x04",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x01",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x02",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x03",
];
/// 3DES, AES-128, 192, 256, all CBC.
const CIPHERS: [&[u8]; 4] = [
    b"\x2a\x86\x48\x86\xf7\x0d\x03\x07",
    b"\x60\x86\x48\x01\x65\x03\x04\x01\x02",
    b"\x60\x86\x48\x01\x65\x03\x04\x01\x16",
    b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a",
];

/// The rounds that are left.
#[derive(Clone)]
pub(super) struct Budget(u32);

impl Budget {
    pub(super) fn new() -> Self {
        Self(MAX_ITERATIONS)
    }

    fn spend(&mut self, iterations: i64) -> Result<(), CertificateError> {
        let rounds = u32::try_from(iterations).ok().filter(|rounds| *rounds >= 1);
        let left = rounds.and_then(|rounds| self.0.checked_sub(rounds));
        self.0 = left.ok_or(CertificateError::Iterations(iterations))?;
        Ok(())
    }
}

/// Something encrypted with an accepted scheme whose rounds are paid for.
#[derive(Clone)]
pub(super) struct Encrypted {
    algorithm: Vec<u8>,
    ciphertext: Zeroizing<Vec<u8>>,
}

impl Encrypted {
    pub(super) fn new(
        algorithm: &Element<'_>,
        ciphertext: Zeroizing<Vec<u8>>,
        budget: &mut Budget,
    ) -> Result<Self, CertificateError> {
        let (scheme, mut parameters) = identifier(algorithm)?;
        match scheme {
            PBE_SHA1_3DES | PBE_SHA1_2DES | PBE_SHA1_RC2_128 | PBE_SHA1_RC2_40 => {
                let mut parameters = sequence(&mut parameters)?;
                parameters.octets()?;
                budget.spend(parameters.expect(INTEGER)?.integer()?)?;
                parameters.end()?;
            }
            PBES2 => {
                let mut parameters = sequence(&mut parameters)?;
                pbkdf2(&parameters.expect(SEQUENCE)?, budget)?;
                one_of(&CIPHERS, &parameters.expect(SEQUENCE)?)?;
                parameters.end()?;
            }
            other => return Err(unsupported(other)),
        }
        Ok(Self { algorithm: algorithm.encoded.to_vec(), ciphertext })
    }

    /// `None` when it does not come out right with this password.
    pub(super) fn decrypt(&self, password: Password) -> Option<Zeroizing<Vec<u8>>> {
        libcrypto::decrypt(&self.algorithm, password, &self.ciphertext)
    }
}

/// Reads a MacData (RFC 7292, section 4) and pays for its rounds.
pub(super) fn admit_mac(mac: &Element<'_>, budget: &mut Budget) -> Result<(), CertificateError> {
    let mut fields = mac.reader();
    let mut digest_info = sequence(&mut fields)?;
    let algorithm = digest_info.expect(SEQUENCE)?;
    digest_info.octets()?;
    digest_info.end()?;
    fields.octets()?;
    let iterations = fields.optional(INTEGER)?.map_or(Ok(1), |iterations| iterations.integer())?;
    fields.end()?;
    let (scheme, mut parameters) = identifier(&algorithm)?;
    if scheme != PBMAC1 {
        one_of(&DIGESTS, &algorithm)?;
        return budget.spend(iterations);
    }
    // Here the rounds stand with the PBKDF2, and those of MacData mean nothing.
    let mut parameters = sequence(&mut parameters)?;
    pbkdf2(&parameters.expect(SEQUENCE)?, budget)?;
    one_of(&HMACS, &parameters.expect(SEQUENCE)?)?;
    Ok(parameters.end()?)
}

/// PBKDF2 with its parameters (RFC 8018, appendix A.2), the only derivation that is accepted.
fn pbkdf2(algorithm: &Element<'_>, budget: &mut Budget) -> Result<(), CertificateError> {
    let (derivation, mut parameters) = identifier(algorithm)?;
    if derivation != PBKDF2 {
        return Err(unsupported(derivation));
    }
    let mut parameters = sequence(&mut parameters)?;
    parameters.octets()?;
    budget.spend(parameters.expect(INTEGER)?.integer()?)?;
    let _key_length = parameters.optional(INTEGER)?;
    if let Some(pseudorandom_function) = parameters.optional(SEQUENCE)? {
        one_of(&HMACS, &pseudorandom_function)?;
    }
    Ok(parameters.end()?)
}

/// The two fields of an AlgorithmIdentifier.
fn identifier<'a>(algorithm: &Element<'a>) -> Result<(&'a [u8], Reader<'a>), Malformed> {
    let mut fields = algorithm.reader();
    Ok((fields.expect(OBJECT_IDENTIFIER)?.content, fields))
}

fn sequence<'a>(fields: &mut Reader<'a>) -> Result<Reader<'a>, Malformed> {
    Ok(fields.expect(SEQUENCE)?.reader())
}

fn one_of(accepted: &[&[u8]], algorithm: &Element<'_>) -> Result<(), CertificateError> {
    let (identifier, _) = identifier(algorithm)?;
    if accepted.contains(&identifier) { Ok(()) } else { Err(unsupported(identifier)) }
}

/// Names an algorithm as OpenSSL does, or by its dotted number.
pub(super) fn unsupported(identifier: &[u8]) -> CertificateError {
    let name =
        ber::dotted(identifier).map(|dotted| Asn1Object::from_str(&dotted).map_or(dotted, |object| object.to_string()));
    CertificateError::Algorithm(name.unwrap_or_else(|| "an algorithm without a valid number".into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_algorithms_that_are_not_supported() {
        libcrypto::initialise_openssl();
        let name = |identifier: &[u8]| unsupported(identifier).to_string();
        assert!(name(b"\x2b\x06\x01\x04\x01\xda\x47\x04\x0b").contains("uses scrypt, which"));
        assert!(name(b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x01").contains("uses pbeWithSHA1And128BitRC4, which"));
        assert!(name(b"\x88\x37\x83\x1a").contains("uses 2.999.410, which"));
        assert!(name(b"").contains("without a valid number"));
        assert!(name(&[0xff; 12]).contains("without a valid number"));
    }

    #[test]
    fn the_budget_is_for_all_parts_together() {
        let mut budget = Budget::new();
        budget.spend(600_000).unwrap();
        budget.spend(400_000).unwrap();
        for (mut budget, refused) in [
            (budget, 1),
            (Budget::new(), 0),
            (Budget::new(), -1),
            (Budget::new(), i64::MIN),
            (Budget::new(), 1_000_001),
            (Budget::new(), i64::from(i32::MAX)),
            (Budget::new(), i64::MAX),
        ] {
            assert!(matches!(budget.spend(refused), Err(CertificateError::Iterations(n)) if n == refused));
        }
    }
}
