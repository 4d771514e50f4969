//! Elliptic curves that are written out (a prime, coefficients, a generator) instead of named. They are found here,
//! before OpenSSL sees them: with a prime made for it, to decompress one point takes OpenSSL half a second. RFC 5480,
//! section 2.1.1, forbids them in certificates.

use super::ber::{CONTEXT_0, Element, INTEGER, Malformed, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE};

const NULL: u8 = 0x05;
const CONTEXT_1: u8 = 0xa1;
/// Class and form of `[n]` around a whole element.
const CONTEXT_CONSTRUCTED: u8 = 0xa0;

/// Whether the public key of a certificate is on a named curve, or on none. The parameters of all other kinds of keys
/// are told by their shape, whatever the object identifier says.
pub(super) fn certificate_names_it(certificate: &Element<'_>) -> Result<bool, Malformed> {
    let mut fields = certificate.reader().expect(SEQUENCE)?.reader();
    let _version = fields.optional(CONTEXT_0)?;
    let _serial_number = fields.expect(INTEGER)?;
    for _signature_issuer_validity_subject in 0..4 {
        fields.expect(SEQUENCE)?;
    }
    let mut algorithm = fields.expect(SEQUENCE)?.reader().expect(SEQUENCE)?.reader();
    let _kind = algorithm.expect(OBJECT_IDENTIFIER)?;
    if algorithm.is_empty() {
        return Ok(true);
    }
    let parameters = algorithm.next()?;
    match parameters.tag {
        NULL | OBJECT_IDENTIFIER => Ok(true),
        SEQUENCE => {
            let mut tags = parameters.reader();
            if tags.is_empty() {
                return Ok(true);
            }
            match tags.next()?.tag {
                // GOST, RSASSA-PSS.
                OBJECT_IDENTIFIER => Ok(true),
                tag if tag & 0xe0 == CONTEXT_CONSTRUCTED => Ok(true),
                // DSA and DH: numbers only. A curve: its version, then its field.
                INTEGER => Ok(tags.next()?.tag == INTEGER),
                _ => Ok(false),
            }
        }
        _ => Ok(false),
    }
}

/// Whether an ECPrivateKey (RFC 5915) names its curve, or leaves that to what is around it.
pub(super) fn sec1_names_it(der: &[u8]) -> Result<bool, Malformed> {
    let mut fields = Reader::new(der).expect(SEQUENCE)?.reader();
    let _version = fields.expect(INTEGER)?;
    let _number = fields.expect(OCTET_STRING)?;
    while !fields.is_empty() {
        let field = fields.next()?;
        match field.tag {
            CONTEXT_0 if field.reader().next()?.tag != OBJECT_IDENTIFIER => return Ok(false),
            CONTEXT_0 | CONTEXT_1 => {}
            _ => return Err(Malformed),
        }
    }
    Ok(true)
}
