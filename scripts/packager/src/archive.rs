//! The zip file: the same bytes for the same content, whoever packs it, where and when.

use std::env;
use std::fmt;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, tz::TimeZone};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// The largest package, in bytes. The agent downloads and unpacks one to every machine.
const LIMIT: usize = 8 * 1024 * 1024;

/// One file at the root of the package.
pub(crate) struct Entry {
    name: String,
    content: Vec<u8>,
    mode: u32,
}

impl Entry {
    /// A file that is run. The agent's own unpacking ignores modes; people's `unzip` heeds them.
    pub(crate) fn program(name: String, content: Vec<u8>) -> Self {
        Self { name, content, mode: 0o755 }
    }

    /// A file that is read.
    pub(crate) fn document(name: &str, content: String) -> Self {
        Self { name: name.to_owned(), content: content.into_bytes(), mode: 0o644 }
    }
}

/// The modification time of every file in the package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(DateTime);

impl Moment {
    /// The seconds in `SOURCE_DATE_EPOCH`, as reproducible-builds.org defines it, else the first moment that a zip file
    /// knows, 1980-01-01.
    pub(crate) fn of_build() -> Result<Self> {
        match env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => Self::parse(&text).with_context(|| {
                format!(
                    "SOURCE_DATE_EPOCH: `{text}` is no number of seconds since 1970 between the years 1980 and 2107"
                )
            }),
            Err(_) => Ok(Self(DateTime::default())),
        }
    }

    fn parse(seconds: &str) -> Result<Self> {
        let time = Timestamp::from_second(seconds.parse()?)?.to_zoned(TimeZone::UTC);
        let (year, month, day) = (time.year().try_into()?, time.month().try_into()?, time.day().try_into()?);
        let (hour, minute, second) = (time.hour().try_into()?, time.minute().try_into()?, time.second().try_into()?);
        Ok(Self(DateTime::from_date_and_time(year, month, day, hour, minute, second)?))
    }
}

/// The bytes of the package: the entries sorted by name, all of the same moment.
pub(crate) fn pack(mut entries: Vec<Entry>, moment: Moment) -> Result<Vec<u8>> {
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in &entries {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(9))
            .last_modified_time(moment.0)
            .unix_permissions(entry.mode);
        zip.start_file(&entry.name, options)?;
        zip.write_all(&entry.content)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// How large the written package is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written(usize);

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes, {:.0}% of the limit of 8 MiB", self.0, 100.0 * self.0 as f64 / LIMIT as f64)
    }
}

/// Writes the package, replacing an earlier one at once. An error, and nothing written, when it is over the limit.
pub(crate) fn write(package: &[u8], path: &Path) -> Result<Written> {
    let size = package.len();
    ensure!(size <= LIMIT, "{}: not written, its {size} bytes are more than the limit of 8 MiB", path.display());
    let unfinished = path.with_extension("zip.tmp");
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot create it", folder.display()))?;
    fs::write(&unfinished, package).with_context(|| format!("{}: cannot write it", unfinished.display()))?;
    fs::rename(&unfinished, path).with_context(|| format!("{}: cannot replace it", path.display()))?;
    Ok(Written(size))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use zip::ZipArchive;

    use super::*;

    fn entries() -> Vec<Entry> {
        vec![
            Entry::program("akvvm_service".to_owned(), b"service".repeat(100)),
            Entry::document("HandlerManifest.json", "[]".to_owned()),
            Entry::program("akvvm_handler".to_owned(), b"handler".to_vec()),
        ]
    }

    #[test]
    fn packs_the_same_bytes_whatever_the_order() {
        let moment = Moment(DateTime::default());
        let mut other = entries();
        other.reverse();
        assert_eq!(pack(entries(), moment).unwrap(), pack(other, moment).unwrap());
    }

    #[test]
    fn records_names_modes_and_the_moment() {
        let package = pack(entries(), Moment::parse("1700000001").unwrap()).unwrap();
        let mut zip = ZipArchive::new(Cursor::new(package)).unwrap();
        let mut found = Vec::new();
        for index in 0..zip.len() {
            let file = zip.by_index(index).unwrap();
            found.push((file.name().to_owned(), file.unix_mode().unwrap()));
            // A zip file counts seconds in steps of two.
            assert_eq!(file.last_modified().unwrap().to_string(), "2023-11-14 22:13:20");
        }
        let expected =
            [("HandlerManifest.json", 0o100_644), ("akvvm_handler", 0o100_755), ("akvvm_service", 0o100_755)];
        assert_eq!(found, expected.map(|(name, mode)| (name.to_owned(), mode)));
    }

    #[test]
    fn refuses_moments_that_a_zip_file_cannot_hold() {
        for bad in ["", "yesterday", "-1", "0", "315532799", "99999999999"] {
            assert!(Moment::parse(bad).is_err(), "{bad}");
        }
        assert!(Moment::parse("315532800").is_ok());
    }

    #[test]
    fn refuses_a_package_over_the_limit_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/package.zip");
        assert!(write(&vec![0; LIMIT + 1], &path).is_err());
        assert!(!path.exists());
        assert_eq!(write(&vec![0; LIMIT], &path).unwrap(), Written(LIMIT));
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    }
}
