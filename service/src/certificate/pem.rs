//! PEM (RFC 7468) and what people make of it: certificates and keys in any order, text around the blocks, other line
//! lengths and line ends, even no line ends at all (pasted through a one-line field). Text outside the blocks and
//! blocks of other kinds are ignored.
//!
//! The reader of `rustls-pki-types` is not used: it skips encrypted keys as if they were not there and wants a line
//! for each marker.

use super::base64;
use super::bundle::Bundle;
use super::error::CertificateError;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Whether the text has a PEM block.
pub(super) fn looks_like(text: &str) -> bool {
    text.contains(BEGIN)
}

/// Reads all certificates and keys.
pub(super) fn read(text: &str) -> Result<Bundle, CertificateError> {
    let mut bundle = Bundle::default();
    let mut rest = text;
    while let Some((label, body, after)) = next_block(rest)? {
        rest = after;
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                bundle.add_certificate(base64::decode(body).ok_or(DAMAGED)?.to_vec())?;
            }
            // RFC 1421 headers: only encrypted keys have them.
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "DSA PRIVATE KEY" => {
                if body.contains("4,ENCRYPTED") {
                    return Err(CertificateError::EncryptedKey);
                }
                if label == "DSA PRIVATE KEY" {
                    return Err(CertificateError::KeyType("of the kind DSA".into()));
                }
                bundle.add_key(base64::decode(body).ok_or(DAMAGED)?)?;
            }
            "ENCRYPTED PRIVATE KEY" => return Err(CertificateError::EncryptedKey),
            _ => {}
        }
    }
    Ok(bundle)
}

const DAMAGED: CertificateError = CertificateError::Damaged("PEM");

/// The label and the body of the first block, and what follows it.
fn next_block(text: &str) -> Result<Option<(&str, &str, &str)>, CertificateError> {
    let Some((_, block)) = text.split_once(BEGIN) else {
        return Ok(None);
    };
    let (label, block) = block.split_once(DASHES).ok_or(DAMAGED)?;
    let (body, end) = block.split_once(END).ok_or(DAMAGED)?;
    let after = end.strip_prefix(label).and_then(|end| end.strip_prefix(DASHES)).ok_or(DAMAGED)?;
    Ok(Some((label, body, after)))
}
