//! A log file that never grows beyond all bounds, and comes back when its disk was full or somebody deleted it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::system;

/// A file that is this large is put aside and a new one begun.
const LARGEST: u64 = 10 * 1024 * 1024;
/// How many files there are in all: the current one and those put aside.
const FILES: usize = 5;

/// A log file that is renamed to `.1`, `.2` … when it has grown.
pub(super) struct Rotating {
    path: PathBuf,
    file: Option<(File, u64)>,
    /// The last line may have been written in part.
    is_torn: bool,
}

impl Rotating {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, is_torn: false }
    }

    /// Writes `line` at the end.
    ///
    /// # Errors
    /// The line is lost; the next one tries anew.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.write(line);
        if written.is_err() {
            (self.file, self.is_torn) = (None, true);
        }
        written
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let is_torn = self.is_torn;
        let (file, length) = self.open()?;
        if is_torn && *length > 0 {
            file.write_all(b"\n")?;
        }
        file.write_all(line)?;
        *length += line.len() as u64;
        self.is_torn = false;
        Ok(())
    }

    fn open(&mut self) -> io::Result<&mut (File, u64)> {
        if self.file.as_ref().is_some_and(|(_, length)| *length >= LARGEST) {
            self.file = None;
            self.put_aside()?;
        }
        let is_ours = |(file, _): &(File, u64)| system::is_at(file, &self.path).unwrap_or(false);
        match self.file.take().filter(is_ours) {
            Some(open) => Ok(self.file.insert(open)),
            None => {
                let file = append_to(&self.path)?;
                let length = file.metadata()?.len();
                Ok(self.file.insert((file, length)))
            }
        }
    }

    fn put_aside(&self) -> io::Result<()> {
        let numbered = |n: usize| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..FILES - 1).rev() {
            match std::fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match std::fs::rename(&self.path, numbered(1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Opens the file at `path` to write at its end, in a folder that is made anew when it is gone.
fn append_to(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).create(true).open(path);
    match (open(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            system::create_private_folder(folder)?;
            open()
        }
        (opened, _) => opened,
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
            log.append(&megabyte).unwrap();
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
        Rotating::new(path.clone()).append(b"one\n").unwrap();
        Rotating::new(path.clone()).append(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn comes_back_when_the_file_or_its_folder_was_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("azure/x.log");
        let mut log = Rotating::new(path.clone());
        for line in [b"one\n", b"two\n", b"six\n"] {
            log.append(line).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), line);
            if line == b"one\n" {
                std::fs::remove_file(&path).unwrap();
            } else {
                std::fs::remove_dir_all(folder.path().join("azure")).unwrap();
            }
        }
    }

    #[test]
    fn begins_a_line_of_its_own_after_one_that_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut log = Rotating::new(path.clone());
        log.append(b"one\nhal").unwrap();
        std::fs::rename(&path, folder.path().join("aside")).unwrap();
        std::fs::create_dir(&path).unwrap();
        log.append(b"two\n").unwrap_err();
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(folder.path().join("aside"), &path).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\nhal\ntwo\n");
    }
}
