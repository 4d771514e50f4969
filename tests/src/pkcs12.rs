//! Writes PKCS #12 files (RFC 7292) in every form that Key Vault and its users have put into a vault: old and new
//! ciphers, both spellings of the empty password, any order of bags, and counts that lie.
//!
//! It is a writer of its own, not OpenSSL's, because OpenSSL's decides order, pseudo-random function and password
//! encoding for its caller. Only ciphers and digests come from OpenSSL.

use anyhow::Result;

use crate::der::{bmp_string, explicit, integer, octets, oid, sequence, set, tlv};
use crate::pbe::{encrypt_with, mac};

const DATA: &[u32] = &[1, 2, 840, 113549, 1, 7, 1];
const ENCRYPTED_DATA: &[u32] = &[1, 2, 840, 113549, 1, 7, 6];
const FRIENDLY_NAME: &[u32] = &[1, 2, 840, 113549, 1, 9, 20];
const LOCAL_KEY_ID: &[u32] = &[1, 2, 840, 113549, 1, 9, 21];
const X509_CERTIFICATE: &[u32] = &[1, 2, 840, 113549, 1, 9, 22, 1];
const SHROUDED_KEY_BAG: &[u32] = &[1, 2, 840, 113549, 1, 12, 10, 1, 2];
const CERTIFICATE_BAG: &[u32] = &[1, 2, 840, 113549, 1, 12, 10, 1, 3];
const SAFE_CONTENTS_BAG: &[u32] = &[1, 2, 840, 113549, 1, 12, 10, 1, 6];
const PROVIDER_NAME: &[u32] = &[1, 3, 6, 1, 4, 1, 311, 17, 1];

/// A digest, for the MAC or inside PBKDF2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// How a bag is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `pbeWithSHA1And40BitRC2-CBC`, which only OpenSSL's legacy provider reads.
    Rc2,
    /// `pbeWithSHA1And3-KeyTripleDES-CBC`.
    TripleDes,
    /// PBES2 with AES-128-CBC and PBKDF2 over this HMAC.
    Aes128(Digest),
    /// PBES2 with AES-256-CBC and PBKDF2 over this HMAC.
    Aes256(Digest),
}

/// How an empty password enters the key derivation of PKCS #12 (RFC 7292 appendix B.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyPassword {
    /// Two zero bytes: an empty BMPString with its terminator.
    Terminated,
    /// No bytes at all: what a NULL password becomes.
    Absent,
}

/// The form of a PFX: everything but its contents.
#[derive(Clone, Copy, Debug)]
pub struct Pfx {
    /// Encryption of the private key.
    pub key: Cipher,
    /// Encryption of the certificates.
    pub certificates: Cipher,
    /// Digest of the MAC; `None` leaves the MAC out.
    pub mac: Option<Digest>,
    /// Rounds of key derivation for each encrypted part.
    pub iterations: u32,
    /// Rounds of key derivation for the MAC.
    pub mac_iterations: u32,
    /// The empty password's spelling.
    pub password: EmptyPassword,
    /// Written in place of every iteration count, while the true ones are used: a count that lies.
    pub claimed_iterations: Option<i64>,
    /// The friendly name in the key's bag, which may hold anything.
    pub friendly_name: &'static str,
    /// Marks the last certificate as the key's own (by localKeyID) instead of the one that fits.
    pub wrong_local_key_id: bool,
}

impl Pfx {
    /// What the service writes: Triple DES throughout, 2,000 rounds, MAC with SHA-1.
    pub const KEY_VAULT: Self = Self {
        key: Cipher::TripleDes,
        certificates: Cipher::TripleDes,
        mac: Some(Digest::Sha1),
        iterations: 2000,
        mac_iterations: 2000,
        password: EmptyPassword::Terminated,
        claimed_iterations: None,
        friendly_name: "{7F3A0C1E-52D4-4B0E-9A57-1F1D6E1B2C3D}",
        wrong_local_key_id: false,
    };
    /// An older import: certificates with RC2-40 and a MAC of a single round.
    pub const LEGACY: Self = Self { certificates: Cipher::Rc2, mac_iterations: 1, ..Self::KEY_VAULT };
    /// What OpenSSL 3 writes by default: AES-256 with HMAC-SHA256.
    pub const MODERN: Self = Self {
        key: Cipher::Aes256(Digest::Sha256),
        certificates: Cipher::Aes256(Digest::Sha256),
        mac: Some(Digest::Sha256),
        iterations: 2048,
        mac_iterations: 2048,
        ..Self::KEY_VAULT
    };
}

/// One thing inside a PFX.
pub(crate) enum Bag<'a> {
    /// PKCS #8 of a private key.
    Key(&'a [u8]),
    /// A certificate; `true` when it belongs to the key.
    Certificate(&'a [u8], bool),
}

/// Writes a PFX: the keys in one part of their own, the certificates encrypted together, both in the given order.
pub(crate) fn write(form: &Pfx, bags: &[Bag<'_>]) -> Result<Vec<u8>> {
    let mut keys = Vec::new();
    let mut certificates = Vec::new();
    for bag in bags {
        match bag {
            Bag::Key(pkcs8) => keys.push(key_bag(form, pkcs8)?),
            Bag::Certificate(certificate, leaf) => {
                certificates.push(certificate_bag(certificate, *leaf));
            }
        }
    }
    let mut parts = Vec::new();
    if !keys.is_empty() {
        parts.push(data(&contents(&keys)));
    }
    if !certificates.is_empty() {
        parts.push(encrypted_data(form, &contents(&certificates))?);
    }
    close(form, &parts)
}

/// Wraps finished parts into the PFX's outer layers and adds the MAC.
pub(crate) fn close(form: &Pfx, parts: &[Vec<u8>]) -> Result<Vec<u8>> {
    let safe = sequence(parts);
    let mut pfx = vec![integer(3), data(&safe)];
    if let Some(digest) = form.mac {
        pfx.push(mac(form, digest, &safe)?);
    }
    Ok(sequence(&pfx))
}

/// ContentInfo of type data around `content`.
pub(crate) fn data(content: &[u8]) -> Vec<u8> {
    sequence(&[oid(DATA), explicit(0, &octets(content))])
}

/// ContentInfo of type encryptedData around `content`.
pub(crate) fn encrypted_data(form: &Pfx, content: &[u8]) -> Result<Vec<u8>> {
    let (algorithm, secret) = encrypt_with(form, form.certificates, content)?;
    let content_info = sequence(&[oid(DATA), algorithm, tlv(0x80, &secret)]);
    let encrypted = sequence(&[integer(0), content_info]);
    Ok(sequence(&[oid(ENCRYPTED_DATA), explicit(0, &encrypted)]))
}

/// SafeContents: bags one after the other.
pub(crate) fn contents(bags: &[Vec<u8>]) -> Vec<u8> {
    sequence(bags)
}

/// A bag that holds nothing but bags.
pub(crate) fn nested_bag(bags: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[oid(SAFE_CONTENTS_BAG), explicit(0, &contents(bags))])
}

/// A bag with one certificate, marked as the key's own when `leaf`.
pub(crate) fn certificate_bag(certificate: &[u8], leaf: bool) -> Vec<u8> {
    let value = sequence(&[oid(X509_CERTIFICATE), explicit(0, &octets(certificate))]);
    let mut bag = vec![oid(CERTIFICATE_BAG), explicit(0, &value)];
    if leaf {
        bag.push(set(&[attribute(LOCAL_KEY_ID, octets(&[1, 0, 0, 0]))]));
    }
    sequence(&bag)
}

/// A bag with one encrypted key and the attributes that the service gives it.
pub(crate) fn key_bag(form: &Pfx, pkcs8: &[u8]) -> Result<Vec<u8>> {
    let (algorithm, secret) = encrypt_with(form, form.key, pkcs8)?;
    let value = sequence(&[algorithm, octets(&secret)]);
    let provider = "Microsoft Enhanced RSA and AES Cryptographic Provider";
    let attributes = set(&[
        attribute(LOCAL_KEY_ID, octets(&[1, 0, 0, 0])),
        attribute(FRIENDLY_NAME, bmp_string(form.friendly_name)),
        attribute(PROVIDER_NAME, bmp_string(provider)),
    ]);
    Ok(sequence(&[oid(SHROUDED_KEY_BAG), explicit(0, &value), attributes]))
}

fn attribute(kind: &[u32], value: Vec<u8>) -> Vec<u8> {
    sequence(&[oid(kind), set(&[value])])
}
