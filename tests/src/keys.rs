//! Private keys for certificates, of every kind that Key Vault and its users know.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use openssl::ec::{Asn1Flag, EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;

/// The kinds of keys that certificates are issued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA with a modulus of 2,048 bits.
    Rsa2048,
    /// RSA with a modulus of 3,072 bits.
    Rsa3072,
    /// RSA with a modulus of 4,096 bits.
    Rsa4096,
    /// Elliptic curve P-256.
    P256,
    /// Elliptic curve P-384.
    P384,
    /// Elliptic curve P-521.
    P521,
    /// Elliptic curve secp256k1, which Key Vault calls P-256K.
    P256K,
    /// Edwards curve 25519.
    Ed25519,
}

/// RSA keys made so far. Making one takes up to a second, so a few are made of each size and then used in turn:
/// two renewals in a row always have different keys.
static RSA_KEYS: Mutex<Option<HashMap<u32, RsaPool>>> = Mutex::new(None);

/// How many RSA keys of one size there are in a process.
const RSA_POOL: usize = 3;

#[derive(Default)]
struct RsaPool {
    keys: Vec<PKey<Private>>,
    next: usize,
}

impl KeyKind {
    /// A key of this kind: fresh for the elliptic curves, one of a few in turn for RSA.
    pub fn generate(self) -> Result<PKey<Private>> {
        Ok(match self {
            Self::Rsa2048 => rsa_key(2048)?,
            Self::Rsa3072 => rsa_key(3072)?,
            Self::Rsa4096 => rsa_key(4096)?,
            Self::P256 => ec_key(Nid::X9_62_PRIME256V1)?,
            Self::P384 => ec_key(Nid::SECP384R1)?,
            Self::P521 => ec_key(Nid::SECP521R1)?,
            Self::P256K => ec_key(Nid::SECP256K1)?,
            Self::Ed25519 => PKey::generate_ed25519()?,
        })
    }
}

fn rsa_key(bits: u32) -> Result<PKey<Private>> {
    let mut pools = RSA_KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = pools.get_or_insert_default().entry(bits).or_default();
    if pool.keys.len() < RSA_POOL {
        pool.keys.push(PKey::from_rsa(Rsa::generate(bits)?)?);
        pool.next = pool.keys.len() - 1;
    }
    let key = pool.keys[pool.next % pool.keys.len()].clone();
    pool.next += 1;
    Ok(key)
}

fn ec_key(curve: Nid) -> Result<PKey<Private>> {
    let mut group = EcGroup::from_curve_name(curve)?;
    group.set_asn1_flag(Asn1Flag::NAMED_CURVE);
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}
