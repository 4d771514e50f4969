//! What is remembered with a certificate's file, as an extended attribute of it: by which digest a later pass
//! knows that the file is whole without decoding it, and which grants are ours.

use std::fmt::Write;

use common::report::{Installed, Thumbprint};
use common::settings::Version;
use common::text::bounded;
use jiff::Timestamp;

use super::acl::Holder;
use super::grants::{Grants, Rights};
use super::ownership::Ownership;
use crate::certificate::Certificate;

/// The extended attribute. Only those who may write the file can change it.
pub(super) const ATTRIBUTE: &str = "user.akvvm.record";
/// First line of the record; another number is another form, which this version takes for no record.
const HEADER: &str = "akvvm 1";

/// A certificate's file as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The name of the file, `<vault>.<certificate>.<version>`: whoever may rename files in the folder must not
    /// pass one key off as another, which has other readers.
    pub(super) name: String,
    /// SHA-256 of the file's content.
    pub(super) digest: [u8; 32],
    pub(super) facts: Facts,
    /// What of its permissions is ours.
    pub(super) rights: Rights,
}

/// What a report says about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) thumbprint: Thumbprint,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// What a person should know of the certificate as long as it is in use.
    pub(super) remarks: Vec<String>,
}

/// Remarks that are remembered, and of each the most characters: an attribute has little room.
const REMARKS: usize = 4;
const LONGEST_REMARK: usize = 400;

impl Facts {
    /// What is remembered of a certificate, and these remarks on it.
    pub(super) fn with(certificate: &Certificate, remarks: Vec<String>) -> Self {
        let remarks = remarks.into_iter().take(REMARKS).map(|remark| bounded(&remark, LONGEST_REMARK)).collect();
        Self { remarks, ..Self::of(certificate) }
    }

    pub(super) fn of(certificate: &Certificate) -> Self {
        Self {
            thumbprint: certificate.thumbprint(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            remarks: certificate.warnings().to_vec(),
        }
    }

    pub(super) fn installed(self, version: &Version) -> Installed {
        let Self { thumbprint, not_before, not_after, .. } = self;
        Installed { version: *version, thumbprint, not_before, not_after }
    }
}

impl Record {
    /// The attribute's value: lines of text, so that an administrator can read it (`getfattr -d`).
    pub(super) fn encode(&self) -> Vec<u8> {
        let Facts { thumbprint, not_before, not_after, remarks } = &self.facts;
        let mut text = format!("{HEADER}\nname {}\nsha256 ", self.name);
        for byte in self.digest {
            let _ = write!(text, "{byte:02x}");
        }
        let _ = write!(text, "\nthumbprint {thumbprint}\nvalid {} {}\n", not_before.as_second(), not_after.as_second());
        if let Some(Ownership { user, group, mode }) = self.rights.ownership {
            let _ = writeln!(text, "owned {user} {group} {mode:04o}");
        }
        for (holder, name) in &self.rights.grants {
            let _ = match holder {
                Holder::User(id) => writeln!(text, "user {id} {name}"),
                Holder::Group(id) => writeln!(text, "group {id} {name}"),
            };
        }
        for remark in remarks {
            let _ = writeln!(text, "remark {remark}");
        }
        text.into_bytes()
    }

    /// Reads the attribute's value. `None` when it is anything else than what [`Record::encode`] writes.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(value).ok()?.strip_suffix('\n')?.split('\n');
        if lines.next()? != HEADER {
            return None;
        }
        let file_name = lines.next()?.strip_prefix("name ")?.to_owned();
        let digest = bytes(lines.next()?.strip_prefix("sha256 ")?, b'a')?;
        let thumbprint = Thumbprint(bytes(lines.next()?.strip_prefix("thumbprint ")?, b'A')?);
        let (not_before, not_after) = lines.next()?.strip_prefix("valid ")?.split_once(' ')?;
        let time = |seconds: &str| Timestamp::from_second(seconds.parse().ok()?).ok();
        let (not_before, not_after, mut remarks) = (time(not_before)?, time(not_after)?, Vec::new());
        let (mut grants, mut ownership) = (Grants::new(), None);
        for line in lines {
            let (kind, rest) = line.split_once(' ')?;
            if kind == "remark" {
                remarks.push(rest.to_owned());
                continue;
            }
            let (id, name) = rest.split_once(' ')?;
            let holder = match kind {
                "user" => Holder::User(id.parse().ok()?),
                "group" => Holder::Group(id.parse().ok()?),
                "owned" => {
                    let (group, mode) = name.split_once(' ')?;
                    let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| mode & !0o777 == 0)?;
                    ownership = Some(Ownership { user: id.parse().ok()?, group: group.parse().ok()?, mode });
                    continue;
                }
                _ => return None,
            };
            grants.insert(holder, name.to_owned());
        }
        let facts = Facts { thumbprint, not_before, not_after, remarks };
        Some(Self { name: file_name, digest, facts, rights: Rights { grants, ownership } })
    }
}

/// Reads as many bytes as wanted, written with hexadecimal digits, those above nine from the letter `ten` on.
fn bytes<const N: usize>(text: &str, ten: u8) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            _ if (ten..ten + 6).contains(&c) => Some(c - ten + 10),
            _ => None,
        };
        *byte = digit(pair[0])? * 16 + digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record() -> Record {
        Record {
            name: "contoso.web.0123".into(),
            digest: std::array::from_fn(|i| i as u8 * 8),
            facts: Facts {
                thumbprint: Thumbprint(std::array::from_fn(|i| i as u8 * 12)),
                not_before: Timestamp::from_second(-5).unwrap(),
                not_after: Timestamp::from_second(1_900_000_000).unwrap(),
                remarks: vec!["its chain ends early".into(), "it is odd".into()],
            },
            rights: Rights {
                grants: [(Holder::User(33), "CORP\\web app"), (Holder::Group(50), "ops")]
                    .map(|(holder, name)| (holder, name.to_owned()))
                    .into(),
                ownership: Some(Ownership { user: 26, group: 27, mode: 0o640 }),
            },
        }
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(Record::decode(&record().encode()), Some(record()));
        let without_rights = Record { rights: Rights::default(), ..record() };
        assert_eq!(Record::decode(&without_rights.encode()), Some(without_rights));
    }

    #[test]
    fn takes_anything_else_for_no_record() {
        let whole = record().encode();
        for cut in 0..whole.len() {
            // Without its last lines a record is one with fewer grants; without its last character it is none.
            let prefix = &whole[..cut];
            assert!(Record::decode(prefix).is_none() || prefix.ends_with(b"\n"), "{cut}");
        }
        let text = String::from_utf8(whole).unwrap();
        for (from, to) in [
            ("akvvm 1", "akvvm 2"),
            ("name ", "named "),
            ("sha256 0008", "sha256 000g"),
            ("sha256 0008", "sha256 08"),
            ("thumbprint 000C", "thumbprint 000c"),
            ("valid -5", "valid never"),
            ("1900000000", "99999999999999"),
            ("user 33", "user -1"),
            ("user 33", "owner 33"),
            ("owned 26 27", "owned 26"),
            ("0640", "0690"),
            ("0640", "4640"),
        ] {
            assert!(text.contains(from));
            assert_eq!(Record::decode(text.replacen(from, to, 1).as_bytes()), None, "{from} -> {to}");
        }
        assert_eq!(Record::decode(b"\xff\n"), None);
    }
}
