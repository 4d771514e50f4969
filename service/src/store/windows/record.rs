//! What a certificate in a store says of where it came from: a text in its description. State lives in the store itself,
//! and goes with the certificate.
//!
//! A certificate may be several versions at once, of several certificates of vaults: each has a line. The version whose
//! number is the highest of all versions of its certificate is the one in use.

use std::fmt;

use common::settings::Version;

/// The first line, for who reads it in the management console.
const TITLE: &str = "Key Vault VM extension";

/// A version that a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// `<vault>.<certificate>`.
    pub(super) base: String,
    pub(super) version: Version,
    /// Its turn among the versions that came into use, from 1; 0 when it did not.
    pub(super) turn: u32,
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
        Self(lines.filter_map(Record::parse).collect())
    }

    pub(super) fn of(&self, base: &str) -> impl Iterator<Item = &Record> {
        self.0.iter().filter(move |record| record.base == base)
    }

    pub(super) fn has(&self, base: &str, version: &Version) -> bool {
        self.of(base).any(|record| record.version == *version)
    }

    /// Notes that it is this version, too, unless it says so already.
    pub(super) fn add(&mut self, base: &str, version: &Version) {
        if !self.has(base, version) {
            self.0.push(Record { base: base.to_owned(), version: *version, turn: 0 });
        }
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
        Some(Self { base: base.to_owned(), version: Version::parse(version)?, turn: turn.parse().ok()? })
    }
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TITLE)?;
        for Record { base, version, turn } in &self.0 {
            write!(f, "\n{base}.{} {turn}", version.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let [one, two] = ['1', '2'].map(|digit| Version::parse(&digit.to_string().repeat(32)).unwrap());
        let mut records = Records::default();
        records.add("contoso.web", &one);
        records.add("contoso.web", &one);
        records.add("contoso.api", &two);
        records.set_turn("contoso.api", &two, 7);
        assert_eq!(records.0.len(), 2);
        assert_eq!(Records::parse(&records.to_string()), records);
        assert!(records.has("contoso.web", &one) && !records.has("contoso.web", &two));
        for foreign in
            ["", "my certificate", "contoso.web.11111111111111111111111111111111 1", "Key Vault VM extension\nx"]
        {
            assert_eq!(Records::parse(foreign), Records::default(), "{foreign:?}");
        }
    }
}
