//! Secrets' values, as bytes.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use tests::bundle::{Bundle, Part};
use tests::catalogue::Kind;
use tests::hostile;
use tests::pkcs12::{Cipher, Digest, EmptyPassword, Pfx};
use tests::pki::{Authority, KeyKind, Request};

use crate::forms;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// PKCS #12, and what stands in its place.
pub(crate) fn pfx() -> Result<Vec<Vec<u8>>> {
    Ok(all()?.into_iter().filter(|value| is_binary(value)).collect())
}

/// PEM, and what stands in its place; a value is read for what it is, whatever it is called.
pub(crate) fn pem(learned: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let (binary, text): (Vec<_>, Vec<_>) = all()?.into_iter().partition(|value| is_binary(value));
    let binary = binary.iter().chain(learned.iter().filter(|value| is_binary(value)));
    Ok(text.into_iter().chain(binary.map(|value| STANDARD.encode(value).into_bytes())).collect())
}

/// Whether it begins as a PKCS #12 does.
fn is_binary(value: &[u8]) -> bool {
    value.starts_with(&[0x30])
}

/// Good ones in every form, and bad ones.
pub(crate) fn all() -> Result<Vec<Vec<u8>>> {
    let authority = Authority::new("Contoso", 2)?;
    let issued = authority.issue(&Request::new("www.contoso.com").key(KeyKind::P256))?;
    let mut bundles = Vec::new();
    for kind in Kind::value_variants() {
        bundles.push(kind.bundle(&authority, "www.contoso.com")?);
    }
    for cipher in [Cipher::Rc2, Cipher::TripleDes, Cipher::Aes128(Digest::Sha1), Cipher::Aes256(Digest::Sha256)] {
        for password in [EmptyPassword::Terminated, EmptyPassword::Absent] {
            for mac in [None, Some(Digest::Sha1), Some(Digest::Sha256)] {
                let form = Pfx { key: cipher, certificates: cipher, password, mac, ..Pfx::KEY_VAULT };
                bundles.push(issued.pfx(&form)?);
            }
        }
    }
    bundles.extend(hostile::all(&issued)?.into_iter().map(|(_, bundle)| bundle));
    // Sorting has other ways for many, and for what is in order already.
    for count in [12, 24, 40, 64] {
        for days in [|at| at, |at| 64 - at, |at| at * 37 % 64, |at| at % 3, |_| 0, |at| at % 32] {
            bundles.push(of_one_name(count, days)?);
        }
    }
    for (label, key) in
        [("PRIVATE KEY", issued.key.private_key_to_pkcs8()?), ("EC PRIVATE KEY", issued.key.private_key_to_der()?)]
    {
        let leaf = block("CERTIFICATE", &issued.leaf.to_der()?);
        bundles.extend(forms::spoilt_der(&key).iter().map(|key| Bundle::text(&(block(label, key) + &leaf))));
    }
    let key = block("PRIVATE KEY", &issued.key.private_key_to_pkcs8()?);
    let leaves = forms::spoilt_der(&issued.leaf.to_der()?);
    bundles.extend(leaves.iter().map(|leaf| Bundle::text(&(key.clone() + &block("CERTIFICATE", leaf)))));
    bundles.iter().map(|bundle| bundle.bytes().or_else(|_| Ok(bundle.value.clone().into_bytes()))).collect()
}

/// A block of PEM.
fn block(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// A leaf, and certificates that have its issuer's name and end so many days from now; every fourth does not say which key it
/// has, and ends later.
fn of_one_name(count: u32, days: fn(u32) -> u32) -> Result<Bundle> {
    let issued = Authority::new("Namesake", 0)?.issue(&Request::new("namesake.example.com"))?;
    let mut parts = issued.parts();
    let now = SystemTime::now();
    for at in 0..count {
        let namesake = match at % 4 {
            0 => Authority::without_key_identifiers("Namesake", 0)?.root().clone(),
            _ => Request::new("Namesake Root").valid(now, now + DAY * days(at)).self_signed()?.leaf,
        };
        parts.push(Part::Certificate(namesake));
    }
    Bundle::pem(&parts)
}
