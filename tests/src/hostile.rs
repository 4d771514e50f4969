//! Secrets that somebody made to hurt: counts and lengths that lie, nesting, numbers, loops. Everything that a decoder
//! must refuse, or survive, before it does the work that is claimed.

use anyhow::Result;

use crate::bundle::{Bundle, Part};
use crate::pkcs12::{self, Cipher, Digest, Pfx};
use crate::pki::{Authority, Issued, KeyKind, Request};

/// One hostile secret of each kind, with a name for messages. `issued` lends a certificate to those that need one.
pub fn all(issued: &Issued) -> Result<Vec<(&'static str, Bundle)>> {
    let whole = issued.pfx(&Pfx::MODERN)?.bytes()?;
    let trailing = [whole.as_slice(), b"and more"].concat();
    Ok(vec![
        ("2^31-1 rounds", claimed_rounds(issued, i64::from(i32::MAX))?),
        ("negative rounds", claimed_rounds(issued, -1)?),
        ("no rounds", claimed_rounds(issued, 0)?),
        ("40 parts of 100,000 rounds", many_parts(issued, 40, 100_000)?),
        ("nested 1,000 deep", nested(issued, 1000)?),
        ("1,500 certificates", many_certificates(issued, 1500)?),
        ("a length of 4 GiB", claimed_length(&whole)),
        ("cut in half", Bundle::der(&whole[..whole.len() / 2])),
        ("bytes after the end", Bundle::der(&trailing)),
        ("no bytes", Bundle::der(&[])),
        ("two keys", two_keys(issued)?),
        ("a key that does not fit", wrong_key(issued)?),
        ("no key", Bundle::pfx(&without_key(issued), &Pfx::KEY_VAULT)?),
        ("no key in a PEM", Bundle::pem(&without_key(issued))?),
        ("no certificate", Bundle::pem(&[issued.key_part()])?),
        ("300 issuers of one name", namesakes(300)?),
        ("a password", Bundle::text("correct horse battery staple")),
        ("escape sequences", Bundle::text("\u{1b}[2J\u{1b}[31mroot\u{7}\r\n\0")),
        ("nothing", Bundle::text("")),
        ("base64 of nothing useful", Bundle::der(&[0x42; 3000])),
    ])
}

/// A PFX that claims this many rounds of key derivation, everywhere.
pub fn claimed_rounds(issued: &Issued, rounds: i64) -> Result<Bundle> {
    issued.pfx(&Pfx { claimed_iterations: Some(rounds), iterations: 1, mac_iterations: 1, ..Pfx::MODERN })
}

/// A PFX of many encrypted parts, each with a count of rounds that is still decent.
pub fn many_parts(issued: &Issued, parts: usize, rounds: i64) -> Result<Bundle> {
    let form = Pfx {
        iterations: 1,
        mac_iterations: 1,
        claimed_iterations: Some(rounds),
        certificates: Cipher::Aes256(Digest::Sha256),
        ..Pfx::MODERN
    };
    let bag = pkcs12::certificate_bag(&issued.leaf.to_der()?, false);
    let contents = pkcs12::contents(&[bag]);
    let part = pkcs12::encrypted_data(&form, &contents)?;
    Ok(Bundle::der(&pkcs12::close(&form, &vec![part; parts])?))
}

/// A PFX with its certificate inside bags inside bags, without encryption.
pub fn nested(issued: &Issued, depth: usize) -> Result<Bundle> {
    let mut bag = pkcs12::certificate_bag(&issued.leaf.to_der()?, true);
    for _ in 0..depth {
        bag = pkcs12::nested_bag(&[bag]);
    }
    let key = pkcs12::key_bag(&Pfx::KEY_VAULT, &issued.key.private_key_to_pkcs8()?)?;
    let part = pkcs12::data(&pkcs12::contents(&[key, bag]));
    Ok(Bundle::der(&pkcs12::close(&Pfx::KEY_VAULT, &[part])?))
}

/// A PFX with the leaf and this many certificates beside it.
pub fn many_certificates(issued: &Issued, count: usize) -> Result<Bundle> {
    let mut parts = vec![issued.key_part(), issued.leaf_part()];
    let others = issued.chain();
    let others = others.into_iter().skip(1).cycle().take(count);
    parts.extend(others.map(Part::Certificate));
    Bundle::pfx(&parts, &Pfx::KEY_VAULT)
}

/// `pfx` with an outermost length of 4 GiB less one byte.
#[must_use]
pub fn claimed_length(pfx: &[u8]) -> Bundle {
    let mut bytes = vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff];
    bytes.extend_from_slice(pfx.get(4..).unwrap_or_default());
    Bundle::der(&bytes)
}

/// A PFX with a second private key.
pub fn two_keys(issued: &Issued) -> Result<Bundle> {
    let mut parts = issued.parts();
    parts.push(Part::Key(KeyKind::P256.generate()?));
    Bundle::pfx(&parts, &Pfx::KEY_VAULT)
}

/// A PFX whose key belongs to no certificate in it.
pub fn wrong_key(issued: &Issued) -> Result<Bundle> {
    let mut parts = vec![Part::Key(KeyKind::P256.generate()?)];
    parts.extend(without_key(issued));
    Bundle::pfx(&parts, &Pfx::KEY_VAULT)
}

/// Everything but the key: what a certificate with a key that cannot be exported looks like.
#[must_use]
pub fn without_key(issued: &Issued) -> Vec<Part> {
    issued.chain().into_iter().map(Part::Certificate).collect()
}

/// Two authorities that certify each other, and a leaf below them: the chain has no end.
pub fn endless_chain() -> Result<Bundle> {
    let (one, other) = (Authority::new("One", 0)?, Authority::new("Other", 0)?);
    let issued = one.issue(&Request::new("loop.example.com"))?;
    Bundle::pem(&[
        issued.key_part(),
        issued.leaf_part(),
        Part::Certificate(other.cross_sign(&one)?),
        Part::Certificate(one.cross_sign(&other)?),
    ])
}

/// A leaf, and many authorities that all have its issuer's name; the true one comes last.
pub fn namesakes(count: usize) -> Result<Bundle> {
    let truth = Authority::without_key_identifiers("Namesake", 0)?;
    let issued = truth.issue(&Request::new("namesake.example.com"))?;
    let mut parts = vec![issued.key_part(), issued.leaf_part()];
    for _ in 1..count {
        let impostor = Authority::without_key_identifiers("Namesake", 0)?;
        parts.push(Part::Certificate(impostor.root().clone()));
    }
    parts.push(Part::Certificate(truth.root().clone()));
    Bundle::pem(&parts)
}
