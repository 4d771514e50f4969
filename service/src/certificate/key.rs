//! The private key: read from its encodings, of an accepted kind, and only one.

use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::RsaRef;
use zeroize::Zeroizing;

use super::error::CertificateError;

const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;
const CURVES: [Nid; 4] = [Nid::X9_62_PRIME256V1, Nid::SECP384R1, Nid::SECP521R1, Nid::SECP256K1];

/// The key that all these encodings (PKCS #8, PKCS #1, SEC 1) hold.
pub(super) fn only(encodings: &[Zeroizing<Vec<u8>>]) -> Result<PKey<Private>, CertificateError> {
    let mut only: Option<PKey<Private>> = None;
    for encoding in encodings {
        let key = read(encoding)?;
        match &only {
            Some(first) if !first.public_eq(&key) => return Err(CertificateError::TwoKeys),
            Some(_) => {}
            None => only = Some(key),
        }
    }
    only.ok_or(CertificateError::NoPrivateKey)
}

fn read(der: &[u8]) -> Result<PKey<Private>, CertificateError> {
    let key = PKey::private_key_from_pkcs8(der).or_else(|_| PKey::private_key_from_der(der)).map_err(|_| DAMAGED)?;
    if let Some(kind) = unaccepted(&key)? {
        return Err(CertificateError::KeyType(kind));
    }
    if halves_fit(&key).unwrap_or(false) { Ok(key) } else { Err(DAMAGED) }
}

const DAMAGED: CertificateError = CertificateError::Damaged("private key");

/// Whether the private half belongs to the public half. OpenSSL believes what the encoding says of both, and the leaf
/// is found by the public one: without this a damaged key would be installed and fail at the first handshake.
/// (OpenSSL's own check of RSA keys tests for primes, which takes longer than all the rest.)
fn halves_fit(key: &PKey<Private>) -> Result<bool, ErrorStack> {
    match key.id() {
        Id::RSA => key.rsa().and_then(|key| rsa_halves_fit(&key)),
        Id::EC => key.ec_key()?.check_key().map(|()| true),
        // Ed25519: the public half is always computed.
        _ => Ok(true),
    }
}

/// What RFC 8017, section 3.2, says of the numbers of a key: n is pq; d, and what is made of it for each prime, undoes e
/// modulo that prime less one; the coefficient undoes q modulo p.
fn rsa_halves_fit(key: &RsaRef<Private>) -> Result<bool, ErrorStack> {
    let (Some(p), Some(q)) = (key.p(), key.q()) else {
        return Ok(false);
    };
    let (Some(dp), Some(dq), Some(coefficient)) = (key.dmp1(), key.dmq1(), key.iqmp()) else {
        return Ok(false);
    };
    let mut context = BigNumContext::new()?;
    let mut product = BigNum::new()?;
    product.checked_mul(p, q, &mut context)?;
    if product != *key.n() {
        return Ok(false);
    }
    let less_one = |prime: &BigNumRef| -> Result<BigNum, ErrorStack> {
        let mut order = prime.to_owned()?;
        order.sub_word(1)?;
        Ok(order)
    };
    let (p_order, q_order, one) = (less_one(p)?, less_one(q)?, BigNum::from_u32(1)?);
    let (d, e) = (key.d(), key.e());
    for (number, inverse, modulus) in
        [(d, e, &*p_order), (d, e, &*q_order), (dp, e, &*p_order), (dq, e, &*q_order), (coefficient, q, p)]
    {
        product.mod_mul(number, inverse, modulus, &mut context)?;
        if product != one {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The name of a key's kind if it is not an accepted one.
fn unaccepted(key: &PKey<Private>) -> Result<Option<String>, ErrorStack> {
    Ok(match key.id() {
        Id::ED25519 => None,
        Id::RSA if RSA_BITS.contains(&key.bits()) => None,
        Id::RSA => Some(format!("RSA with {} bits", key.bits())),
        Id::EC => match key.ec_key()?.group().curve_name() {
            Some(curve) if CURVES.contains(&curve) => None,
            Some(curve) => Some(format!("EC on the curve {}", curve.short_name()?)),
            None => Some("EC on a curve without a name".into()),
        },
        other => Some(match Nid::from_raw(other.as_raw()).short_name() {
            Ok(name) => format!("of the kind {name}"),
            Err(_) => "of an unknown kind".into(),
        }),
    })
}
