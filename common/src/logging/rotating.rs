//! Log lines: one event, one line, no control characters; to a file of bounded size, or to standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use env_logger::{Builder, Target};
use log::{LevelFilter, Record};

use crate::text::bounded;

/// A file that is this large is put aside and a new one begun.
const LARGEST: u64 = 10 * 1024 * 1024;
/// How many files there are in all: the current one and those put aside.
const FILES: usize = 5;
/// The longest line, in characters.
const LONGEST_LINE: usize = 2000;

/// Sends log lines to `<folder>/<name>.log`, or to standard error without a folder.
///
/// `RUST_LOG` chooses what is logged, `level` without it; never more than `debug`, because the HTTP client's `trace` lines
/// are the bytes of its connections, tokens and keys included. A log that cannot be written never stops anything.
pub fn start(folder: Option<&Path>, name: &str, level: LevelFilter) {
    let mut builder = Builder::new();
    builder.filter_level(level).parse_default_env().format(|out, record| writeln!(out, "{}", line(record)));
    if let Some(folder) = folder {
        builder.target(Target::Pipe(Box::new(Rotating::new(folder.join(format!("{name}.log"))))));
    }
    // A second start in one process keeps the first.
    let _ = builder.try_init();
    log::set_max_level(log::max_level().min(LevelFilter::Debug));
}

fn line(record: &Record<'_>) -> String {
    let now = crate::status::seconds(jiff::Timestamp::now());
    let message = bounded(&record.args().to_string(), LONGEST_LINE);
    format!("{now} {:<5} {message}", record.level())
}

/// A log file that is renamed to `.1`, `.2` … when it has grown.
struct Rotating {
    path: PathBuf,
    file: Option<(File, u64)>,
}

impl Rotating {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    fn put_aside(&self) -> io::Result<()> {
        let numbered = |n: usize| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..FILES - 1).rev() {
            match std::fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1))
    }

    fn open(&mut self) -> io::Result<&mut (File, u64)> {
        if self.file.as_ref().is_some_and(|(_, length)| *length >= LARGEST) {
            self.file = None;
            self.put_aside()?;
        }
        match &mut self.file {
            Some(open) => Ok(open),
            slot => {
                let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
                let length = file.metadata()?.len();
                Ok(slot.insert((file, length)))
            }
        }
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (file, length) = self.open()?;
        file.write_all(line)?;
        *length += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_bounded_number_of_bounded_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Rotating::new(folder.path().join("x.log"));
        let megabyte = vec![b'x'; 1024 * 1024];
        for _ in 0..70 {
            log.write_all(&megabyte).unwrap();
        }
        let files: Vec<u64> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(files.len(), FILES);
        assert!(files.iter().all(|length| *length <= LARGEST), "{files:?}");
    }

    #[test]
    fn goes_on_with_a_file_that_exists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        Rotating::new(path.clone()).write_all(b"one\n").unwrap();
        Rotating::new(path.clone()).write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }
}
