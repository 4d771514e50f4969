//! Encryption and integrity by password inside a PKCS #12 file: algorithm identifiers, key derivation, ciphers, MAC.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use openssl::hash::{Hasher, MessageDigest};
use openssl::nid::Nid;
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::provider::Provider;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;
use openssl::symm::{Cipher as Symmetric, encrypt};

use crate::der::{integer, null, octets, oid, sequence};
use crate::pkcs12::{Cipher, Digest, EmptyPassword, Pfx};

const SHA1_AND_3DES: &[u32] = &[1, 2, 840, 113549, 1, 12, 1, 3];
const SHA1_AND_RC2_40: &[u32] = &[1, 2, 840, 113549, 1, 12, 1, 6];
const PBKDF2: &[u32] = &[1, 2, 840, 113549, 1, 5, 12];
const PBES2: &[u32] = &[1, 2, 840, 113549, 1, 5, 13];
const HMAC_SHA256: &[u32] = &[1, 2, 840, 113549, 2, 9];
const AES_128_CBC: &[u32] = &[2, 16, 840, 1, 101, 3, 4, 1, 2];
const AES_256_CBC: &[u32] = &[2, 16, 840, 1, 101, 3, 4, 1, 42];
const SHA1: &[u32] = &[1, 3, 14, 3, 2, 26];
const SHA256: &[u32] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];

/// The count that the file claims, which need not be the one that was used.
fn claimed(form: &Pfx, used: u32) -> Vec<u8> {
    integer(form.claimed_iterations.unwrap_or(i64::from(used)))
}

/// Encrypts `plain`; answers the AlgorithmIdentifier and the secret.
pub(crate) fn encrypt_with(form: &Pfx, cipher: Cipher, plain: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    load_legacy()?;
    let mut salt = [0; 8];
    rand_bytes(&mut salt)?;
    let rounds = claimed(form, form.iterations);
    let (identifier, digest) = match cipher {
        Cipher::Rc2 | Cipher::TripleDes => {
            let (identifier, nid, length) = match cipher {
                Cipher::Rc2 => (SHA1_AND_RC2_40, Nid::RC2_40_CBC, 5),
                _ => (SHA1_AND_3DES, Nid::DES_EDE3_CBC, 24),
            };
            let symmetric = Symmetric::from_nid(nid).context("no such cipher in OpenSSL")?;
            let key = derive(form, Digest::Sha1, 1, &salt, form.iterations, length)?;
            let iv = derive(form, Digest::Sha1, 2, &salt, form.iterations, 8)?;
            let secret = encrypt(symmetric, &key, Some(&iv), plain)
                .with_context(|| format!("OpenSSL cannot encrypt with {cipher:?}"))?;
            let parameters = sequence(&[octets(&salt), rounds]);
            return Ok((sequence(&[oid(identifier), parameters]), secret));
        }
        Cipher::Aes128(digest) => (AES_128_CBC, digest),
        Cipher::Aes256(digest) => (AES_256_CBC, digest),
    };
    let symmetric = match cipher {
        Cipher::Aes128(_) => Symmetric::aes_128_cbc(),
        _ => Symmetric::aes_256_cbc(),
    };
    let mut iv = [0; 16];
    rand_bytes(&mut iv)?;
    let mut key = vec![0; symmetric.key_len()];
    let hash = digest.message_digest();
    pbkdf2_hmac(b"", &salt, form.iterations as usize, hash, &mut key)?;
    let mut derivation = vec![octets(&salt), rounds];
    // HMAC-SHA1 is PBKDF2's default, which DER leaves out.
    if digest == Digest::Sha256 {
        derivation.push(sequence(&[oid(HMAC_SHA256), null()]));
    }
    let parameters =
        sequence(&[sequence(&[oid(PBKDF2), sequence(&derivation)]), sequence(&[oid(identifier), octets(&iv)])]);
    let secret = encrypt(symmetric, &key, Some(&iv), plain)?;
    Ok((sequence(&[oid(PBES2), parameters]), secret))
}

/// MacData over the authenticated safe.
pub(crate) fn mac(form: &Pfx, digest: Digest, safe: &[u8]) -> Result<Vec<u8>> {
    let mut salt = [0; 8];
    rand_bytes(&mut salt)?;
    let hash = digest.message_digest();
    let key = derive(form, digest, 3, &salt, form.mac_iterations, hash.size())?;
    let key = PKey::hmac(&key)?;
    let code = Signer::new(hash, &key)?.sign_oneshot_to_vec(safe)?;
    let identifier = match digest {
        Digest::Sha1 => SHA1,
        Digest::Sha256 => SHA256,
    };
    let info = sequence(&[sequence(&[oid(identifier), null()]), octets(&code)]);
    let mut mac = vec![info, octets(&salt)];
    // One round is the default, which DER leaves out.
    if form.mac_iterations != 1 || form.claimed_iterations.is_some() {
        mac.push(claimed(form, form.mac_iterations));
    }
    Ok(sequence(&mac))
}

/// The key derivation of PKCS #12 (RFC 7292 appendix B.2) for the empty password. `purpose` is 1 for a key, 2 for
/// an initialisation vector, 3 for a MAC key.
fn derive(form: &Pfx, digest: Digest, purpose: u8, salt: &[u8], rounds: u32, length: usize) -> Result<Vec<u8>> {
    const BLOCK: usize = 64;
    let password: &[u8] = match form.password {
        EmptyPassword::Terminated => &[0, 0],
        EmptyPassword::Absent => &[],
    };
    let fill = |text: &[u8]| -> Vec<u8> {
        let blocks = text.len().div_ceil(BLOCK) * BLOCK;
        text.iter().copied().cycle().take(blocks).collect()
    };
    let mut input = fill(salt);
    input.extend(fill(password));
    let mut output = Vec::new();
    while output.len() < length {
        let mut hasher = Hasher::new(digest.message_digest())?;
        hasher.update(&[purpose; BLOCK])?;
        hasher.update(&input)?;
        let mut round = hasher.finish()?.to_vec();
        for _ in 1..rounds {
            let mut hasher = Hasher::new(digest.message_digest())?;
            hasher.update(&round)?;
            round = hasher.finish()?.to_vec();
        }
        let block: Vec<u8> = round.iter().copied().cycle().take(BLOCK).collect();
        for chunk in input.chunks_mut(BLOCK) {
            let mut carry = 1;
            for (byte, addend) in chunk.iter_mut().zip(&block).rev() {
                let sum = u16::from(*byte) + u16::from(*addend) + carry;
                *byte = sum as u8;
                carry = sum >> 8;
            }
        }
        output.extend(round);
    }
    output.truncate(length);
    Ok(output)
}

impl Digest {
    fn message_digest(self) -> MessageDigest {
        match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha256 => MessageDigest::sha256(),
        }
    }
}

/// Loads OpenSSL's legacy provider, without which there is no RC2. It stays loaded: unloading it would pull the
/// cipher away under another thread.
fn load_legacy() -> Result<()> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let provider = Provider::try_load(None, "legacy", true);
        provider.map(std::mem::forget).map_err(|error| error.to_string())
    });
    match loaded {
        Ok(()) => Ok(()),
        Err(reason) => Err(anyhow::anyhow!("OpenSSL's legacy provider cannot be loaded: {reason}")),
    }
}
