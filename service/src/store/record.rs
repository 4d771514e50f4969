//! What a certificate in a store says of where it came from: a text in its description. State lives in the store itself,
//! and goes with the certificate.
//!
//! A certificate may be several versions at once, of several certificates of vaults: each has a line, and below it what
//! a person should know of it. The version whose number is the highest of all versions of its certificate is the one in use.

use std::fmt;

use common::settings::Version;
use common::text::bounded;

/// The first line, for who reads it in the management console.
const TITLE: &str = "Key Vault VM extension";
/// Before a remark on the version in the line above.
const REMARK: &str = "- ";
/// Remarks that are remembered, and of each the most characters.
const REMARKS: usize = 4;
const LONGEST_REMARK: usize = 400;

/// A version that a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// `<vault>.<certificate>`.
    pub(super) base: String,
    pub(super) version: Version,
    /// Its turn among the versions that came into use, from 1; 0 when it did not.
    pub(super) turn: u32,
    /// What a person should know of it as long as it is in use.
    pub(super) remarks: Vec<String>,
}

/// All that a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Records(pub(super) Vec<Record>);

impl Records {
    /// Reads a description. One that is not ours says nothing.
    pub(super) fn parse(description: &str) -> Self {
        let mut lines = description.lines();
        if lines.next() != Some(TITLE) {
            return Self::default();
        }
        let mut records: Vec<Record> = Vec::new();
        for line in lines {
            match (line.strip_prefix(REMARK), records.last_mut()) {
                (Some(remark), Some(record)) => record.remarks.push(remark.to_owned()),
                _ => records.extend(Record::parse(line)),
            }
        }
        Self(records)
    }

    pub(super) fn of(&self, base: &str) -> impl Iterator<Item = &Record> {
        self.0.iter().filter(move |record| record.base == base)
    }

    /// What is said of this version.
    pub(super) fn find(&self, base: &str, version: &Version) -> Option<&Record> {
        self.of(base).find(|record| record.version == *version)
    }

    pub(super) fn has(&self, base: &str, version: &Version) -> bool {
        self.find(base, version).is_some()
    }

    /// Notes that it is this version, too, with these remarks.
    pub(super) fn add(&mut self, base: &str, version: &Version, remarks: &[String]) {
        let remarks = remarks.iter().take(REMARKS).map(|remark| bounded(remark, LONGEST_REMARK)).collect();
        match self.0.iter_mut().find(|record| record.base == base && record.version == *version) {
            Some(record) => record.remarks = remarks,
            None => self.0.push(Record { base: base.to_owned(), version: *version, turn: 0, remarks }),
        }
    }

    /// Forgets that it is this version; false when it is no version of anything any more.
    pub(super) fn remove(&mut self, base: &str, version: &Version) -> bool {
        self.0.retain(|record| record.base != base || record.version != *version);
        !self.0.is_empty()
    }

    /// Gives this version its turn.
    pub(super) fn set_turn(&mut self, base: &str, version: &Version, turn: u32) {
        for record in self.0.iter_mut().filter(|record| record.base == base && record.version == *version) {
            record.turn = turn;
        }
    }
}

impl Record {
    fn parse(line: &str) -> Option<Self> {
        let (name, turn) = line.split_once(' ')?;
        let (base, version) = name.rsplit_once('.')?;
        Some(Self {
            base: base.to_owned(),
            version: Version::parse(version)?,
            turn: turn.parse().ok()?,
            remarks: Vec::new(),
        })
    }
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TITLE)?;
        for Record { base, version, turn, remarks } in &self.0 {
            write!(f, "\n{base}.{} {turn}", version.as_str())?;
            for remark in remarks {
                write!(f, "\n{REMARK}{remark}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn versions() -> [Version; 2] {
        ['1', '2'].map(|digit| Version::parse(&digit.to_string().repeat(32)).unwrap())
    }

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let [one, two] = versions();
        let mut records = Records::default();
        records.add("contoso.web", &one, &[]);
        records.add("contoso.web", &one, &["is odd".to_owned(), "is very odd".to_owned()]);
        records.add("contoso.api", &two, &[]);
        records.set_turn("contoso.api", &two, 7);
        assert_eq!(records.0.len(), 2);
        assert_eq!(records.0[0].remarks.len(), 2);
        assert_eq!(Records::parse(&records.to_string()), records);
        assert!(records.has("contoso.web", &one) && !records.has("contoso.web", &two));
        for foreign in
            ["", "my certificate", "contoso.web.11111111111111111111111111111111 1", "Key Vault VM extension\nx"]
        {
            assert_eq!(Records::parse(foreign), Records::default(), "{foreign:?}");
        }
    }

    #[test]
    fn tells_versions_of_one_certificate_and_certificates_of_one_version_apart() {
        let [one, two] = versions();
        let mut records = Records::default();
        for (base, version) in [("contoso.web", &one), ("contoso.web", &two), ("contoso.api", &one)] {
            records.add(base, version, &[]);
        }
        records.set_turn("contoso.web", &one, 7);
        assert_eq!(records.0.iter().map(|record| record.turn).collect::<Vec<_>>(), [7, 0, 0]);

        assert!(records.remove("contoso.web", &one));
        assert!(records.has("contoso.web", &two) && records.has("contoso.api", &one));
        assert_eq!(records.0.len(), 2);
        assert!(records.remove("contoso.api", &one));
        assert!(!records.remove("contoso.web", &two), "it is no version of anything any more");
    }
}
