//! The private key: read from its encodings, of an accepted kind, and only one.

use openssl::asn1::Asn1Object;
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::EcKey;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::{Rsa, RsaRef};
use zeroize::Zeroizing;

use super::ber::{self, INTEGER, Malformed, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE};
use super::curve;
use super::error::CertificateError;

/// Bytes of one encoding. RSA with 8192 bits needs less than 5,000.
const MAX_ENCODING: usize = 16 << 10;
/// rsaEncryption (RFC 8017).
const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// id-ecPublicKey (RFC 5480).
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
/// id-Ed25519 (RFC 8410).
const ED25519: &[u8] = b"\x2b\x65\x70";
const UNNAMED_CURVE: &str = "EC on a curve without a name";
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
    let encoding = Encoding::of(der).map_err(|_| DAMAGED)?;
    // OpenSSL computes the public half of a DSA or DH key while it reads it: seconds for one number of 4,000 bytes.
    if let Encoding::Pkcs8 { kind } = encoding
        && ![RSA, EC, ED25519].contains(&kind)
    {
        return Err(CertificateError::KeyType(name(kind)));
    }
    if der.len() > MAX_ENCODING {
        return Err(CertificateError::Limit { what: "bytes in a private key", limit: MAX_ENCODING });
    }
    if !encoding.names_its_curve(der).map_err(|_| DAMAGED)? {
        return Err(CertificateError::KeyType(UNNAMED_CURVE.into()));
    }
    let key = encoding.decode(der).map_err(|_| DAMAGED)?;
    if let Some(kind) = unaccepted(&key)? {
        return Err(CertificateError::KeyType(kind));
    }
    if halves_fit(&key).unwrap_or(false) { Ok(key) } else { Err(DAMAGED) }
}

/// The encodings of a key. They are told apart by their shape: the label of a PEM block may say anything.
enum Encoding<'a> {
    /// PrivateKeyInfo (RFC 5208), for keys of all kinds.
    Pkcs8 {
        /// The object identifier.
        kind: &'a [u8],
    },
    /// RSAPrivateKey (RFC 8017, appendix A.1.2).
    Pkcs1,
    /// ECPrivateKey (RFC 5915).
    Sec1,
}

impl<'a> Encoding<'a> {
    fn of(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(der).expect(SEQUENCE)?.reader();
        let _version = fields.expect(INTEGER)?;
        let second = fields.next()?;
        match second.tag {
            SEQUENCE => Ok(Self::Pkcs8 { kind: second.reader().expect(OBJECT_IDENTIFIER)?.content }),
            INTEGER => Ok(Self::Pkcs1),
            OCTET_STRING => Ok(Self::Sec1),
            _ => Err(Malformed),
        }
    }

    /// Whether a key on a curve names it everywhere: OpenSSL takes the innermost word.
    fn names_its_curve(&self, der: &[u8]) -> Result<bool, Malformed> {
        match self {
            Self::Pkcs8 { kind } if *kind == EC => {
                let mut fields = Reader::new(der).expect(SEQUENCE)?.reader();
                let _version = fields.expect(INTEGER)?;
                let mut algorithm = fields.expect(SEQUENCE)?.reader();
                let _kind = algorithm.expect(OBJECT_IDENTIFIER)?;
                let named = algorithm.optional(OBJECT_IDENTIFIER)?.is_some();
                Ok(named && curve::sec1_names_it(&fields.octets()?)?)
            }
            Self::Sec1 => curve::sec1_names_it(der),
            _ => Ok(true),
        }
    }

    /// Never lets OpenSSL guess: it would try the kinds that are refused, too.
    fn decode(&self, der: &[u8]) -> Result<PKey<Private>, ErrorStack> {
        match self {
            Self::Pkcs8 { .. } => PKey::private_key_from_pkcs8(der),
            Self::Pkcs1 => Rsa::private_key_from_der(der).and_then(PKey::from_rsa),
            Self::Sec1 => EcKey::private_key_from_der(der).and_then(PKey::from_ec_key),
        }
    }
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
            None => Some(UNNAMED_CURVE.into()),
        },
        // Not reached: these kinds were refused by their number.
        _ => Some("of an unknown kind".into()),
    })
}

/// What to call the kind with this object identifier.
fn name(kind: &[u8]) -> String {
    let Some(dotted) = ber::dotted(kind) else {
        return "of an unknown kind".into();
    };
    let known = Asn1Object::from_str(&dotted).ok().map(|object| object.nid()).filter(|nid| *nid != Nid::UNDEF);
    let name = known.and_then(|nid| nid.short_name().ok());
    format!("of the kind {}", name.unwrap_or(&dotted))
}
