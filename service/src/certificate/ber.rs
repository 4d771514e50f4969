//! Reads BER (ITU-T X.690) in place: tags, lengths, contents.
//!
//! Java, NSS and Bouncy Castle write PKCS #12 with indefinite lengths and octet strings in pieces, so DER alone is not
//! enough. Nothing is allocated by a length that the input claims, and nothing here recurses without a bound. What the
//! elements mean is the business of the callers.

use zeroize::Zeroizing;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]` around a whole element, or `[0]` in place of the tag of an octet string in pieces.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[0]` in place of the tag of an octet string.
pub(super) const CONTEXT_0_PRIMITIVE: u8 = 0x80;

const CONSTRUCTED: u8 = 0x20;
/// How deep the pieces of an octet string may be in pieces themselves.
const MAX_PIECES_DEPTH: u8 = 8;

/// The bytes are not the structure that was expected.
#[derive(Debug)]
pub(super) struct Malformed;

/// One element: its first tag byte and its content.
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// Without tag, length and end-of-contents octets.
    pub(super) content: &'a [u8],
    /// With all of them.
    pub(super) encoded: &'a [u8],
}

impl<'a> Element<'a> {
    /// A reader of the elements inside.
    pub(super) fn reader(&self) -> Reader<'a> {
        Reader::new(self.content)
    }

    /// The value of an INTEGER; one that does not fit ends at the bounds of `i64`.
    pub(super) fn integer(&self) -> Result<i64, Malformed> {
        let negative = self.content.first().ok_or(Malformed)? & 0x80 != 0;
        if self.content.len() > 8 {
            return Ok(if negative { i64::MIN } else { i64::MAX });
        }
        let start = if negative { -1 } else { 0 };
        Ok(self.content.iter().fold(start, |value, byte| (value << 8) | i64::from(*byte)))
    }

    /// The bytes of an octet string, its pieces joined.
    pub(super) fn octets(&self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        // No piece is longer than the whole: the buffer never moves, so no copy of a key stays behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(self.content.len()));
        if self.tag & CONSTRUCTED == 0 {
            octets.extend_from_slice(self.content);
        } else {
            join(self.reader(), MAX_PIECES_DEPTH, &mut octets)?;
        }
        Ok(octets)
    }
}

fn join(mut pieces: Reader<'_>, depth: u8, octets: &mut Vec<u8>) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    while !pieces.is_empty() {
        let piece = pieces.next()?;
        match piece.tag {
            OCTET_STRING => octets.extend_from_slice(piece.content),
            tag if tag == OCTET_STRING | CONSTRUCTED => join(piece.reader(), depth, octets)?,
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

/// Elements that follow one another.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    pub(super) fn next(&mut self) -> Result<Element<'a>, Malformed> {
        let bytes = self.rest;
        let header = Header::read(bytes)?;
        let body = &bytes[header.size..];
        let (content, end) = match header.length {
            Some(length) => (body.get(..length).ok_or(Malformed)?, header.size + length),
            None => {
                let length = indefinite(body)?;
                (&body[..length], header.size + length + END_OF_CONTENTS.len())
            }
        };
        self.rest = &bytes[end..];
        Ok(Element { tag: header.tag, content, encoded: &bytes[..end] })
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        self.optional(tag)?.ok_or(Malformed)
    }

    /// The next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Malformed> {
        if self.rest.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }

    /// The next element, an octet string (in pieces or not).
    pub(super) fn octets(&mut self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        let element = self.next()?;
        if element.tag & !CONSTRUCTED == OCTET_STRING { element.octets() } else { Err(Malformed) }
    }
}

const END_OF_CONTENTS: [u8; 2] = [0, 0];

struct Header {
    tag: u8,
    /// Of tag and length together.
    size: usize,
    /// `None`: up to the end-of-contents octets.
    length: Option<usize>,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let tag = *bytes.first().filter(|tag| **tag != 0).ok_or(Malformed)?;
        let mut size = 1;
        if tag & 0x1f == 0x1f {
            // A tag number of several bytes: never one that we look for, only stepped over.
            let more = bytes[1..].iter().position(|byte| byte & 0x80 == 0).ok_or(Malformed)?;
            size += more + 1;
        }
        let first = *bytes.get(size).ok_or(Malformed)?;
        size += 1;
        let length = match first {
            0..=0x7f => Some(usize::from(first)),
            0x80 if tag & CONSTRUCTED != 0 => None,
            0x81..=0x88 => {
                let digits = bytes.get(size..size + usize::from(first & 0x7f)).ok_or(Malformed)?;
                size += digits.len();
                let length = digits.iter().fold(0, |length, digit| (length << 8) | u64::from(*digit));
                // Also keeps the sums of the callers from overflowing.
                Some(usize::try_from(length).ok().filter(|length| *length <= bytes.len()).ok_or(Malformed)?)
            }
            _ => return Err(Malformed),
        };
        Ok(Self { tag, size, length })
    }
}

/// How many bytes stand before the end-of-contents octets that close an element of indefinite length.
fn indefinite(bytes: &[u8]) -> Result<usize, Malformed> {
    let mut open = 1_usize;
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).ok_or(Malformed)?;
        if rest.starts_with(&END_OF_CONTENTS) {
            open -= 1;
            if open == 0 {
                return Ok(at);
            }
            at += END_OF_CONTENTS.len();
            continue;
        }
        let header = Header::read(rest)?;
        match header.length {
            Some(length) => at += header.size + length,
            None => {
                open += 1;
                at += header.size;
            }
        }
    }
}

/// The content of an OBJECT IDENTIFIER in dots. None of the interesting ones is longer than 16 bytes or has larger numbers.
pub(super) fn dotted(identifier: &[u8]) -> Option<String> {
    if identifier.len() > 16 {
        return None;
    }
    let mut numbers = vec![];
    let mut number = 0_u64;
    for byte in identifier {
        number = number.checked_mul(0x80)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    let (first, rest) = numbers.split_first()?;
    let root = (first / 40).min(2);
    Some(rest.iter().fold(format!("{root}.{}", first - root * 40), |text, number| format!("{text}.{number}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn one(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut reader = Reader::new(bytes);
        let content = reader.next()?.content.to_vec();
        reader.end()?;
        Ok(content)
    }

    #[test]
    fn reads_every_form_of_length() {
        assert_eq!(one(b"\x04\x02ab").unwrap(), b"ab");
        assert_eq!(one(b"\x04\x81\x02ab").unwrap(), b"ab");
        assert_eq!(one(b"\x04\x84\0\0\0\x02ab").unwrap(), b"ab");
        assert_eq!(one(b"\x30\x80\x04\x02ab\0\0").unwrap(), b"\x04\x02ab");
        assert_eq!(one(b"\x30\x80\x30\x80\0\0\x04\0\0\0").unwrap(), b"\x30\x80\0\0\x04\0");
        assert_eq!(one(b"\xbf\x81\x01\x02ab").unwrap(), b"ab");
        let mut long = vec![0x04, 0x82, 0x01, 0x00];
        long.extend([7; 256]);
        assert_eq!(one(&long).unwrap(), [7; 256]);
    }

    #[test]
    fn refuses_lengths_that_the_input_does_not_have() {
        for bytes in [
            &b""[..],
            b"\x04",
            b"\x04\x02a",
            b"\x04\x80a\0\0",
            b"\x04\x80\x04\x01a\0\0",
            b"\x04\xff\x01a",
            b"\x04\x84\xff\xff\xff\xff",
            b"\x04\x88\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x04\x89\0\0\0\0\0\0\0\0\x01a",
            b"\x30\x80\x04\x02ab",
            b"\x30\x80\x04\x02ab\0",
            b"\x30\x80\x30\x80\0\0",
            b"\0\0",
            b"\xbf\x81",
        ] {
            assert!(one(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_million_open_elements_cost_one_walk_and_no_stack() {
        let bytes = [0x30, 0x80].repeat(1 << 19);
        assert!(Reader::new(&bytes).next().is_err());
    }

    #[test]
    fn joins_octet_strings_in_pieces() {
        let octets = |bytes: &[u8]| Reader::new(bytes).octets().map(|octets| octets.to_vec());
        assert_eq!(octets(b"\x04\x02ab").unwrap(), b"ab");
        assert_eq!(octets(b"\x24\x80\x04\x01a\x24\x03\x04\x01b\x04\x01c\0\0").unwrap(), b"abc");
        assert!(octets(b"\x24\x03\x02\x01a").is_err());
        assert!(octets(b"\x24\x05\x30\x03\x04\x01a").is_err());
        assert!(octets(b"\x30\x03\x04\x01a").is_err());
        let deep = [&[0x24, 0x80].repeat(9)[..], &[0; 18]].concat();
        assert!(octets(&deep).is_err());
    }

    #[test]
    fn identifiers_are_shown_in_dots_up_to_sixteen_bytes() {
        assert_eq!(dotted(b"\x2a\x86\x48\x86\xf7\x0d").as_deref(), Some("1.2.840.113549"));
        assert_eq!(dotted(&[1; 16]).as_deref(), Some("0.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1"));
        assert_eq!(dotted(&[1; 17]), None);
        assert_eq!(dotted(b"\x80"), None);
    }

    #[test]
    fn integers_keep_their_sign_and_end_at_the_bounds() {
        let integer = |bytes: &[u8]| Reader::new(bytes).next().unwrap().integer();
        assert_eq!(integer(b"\x02\x02\x07\xd0").unwrap(), 2000);
        assert_eq!(integer(b"\x02\x01\xff").unwrap(), -1);
        assert_eq!(integer(b"\x02\x04\x7f\xff\xff\xff").unwrap(), i64::from(i32::MAX));
        assert_eq!(integer(b"\x02\x08\x01\0\0\0\0\0\0\x02").unwrap(), (1 << 56) + 2);
        assert_eq!(integer(b"\x02\x09\x01\0\0\0\0\0\0\0\0").unwrap(), i64::MAX);
        assert_eq!(integer(b"\x02\x09\x80\0\0\0\0\0\0\0\0").unwrap(), i64::MIN);
        assert!(integer(b"\x02\0").is_err());
    }
}
