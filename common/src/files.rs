//! Whole files or nothing: written beside the old one, made to last, and put in its place with one rename; and files that
//! are believed for who can have written them.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::system;

/// A file operation that failed, with its path.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct FileError {
    /// The file that was to be written.
    pub path: String,
    /// What the system said.
    pub cause: io::Error,
}

/// Replaces `path` with `content`: readers see the old file or the new one, never a part. `mode` counts on Unix only.
///
/// # Errors
/// Nothing of the old file is lost; the temporary file is removed.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let failed = |cause| FileError { path: path.display().to_string(), cause };
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let temporary = beside(path);
    let written = system::temporary_file(&temporary, mode).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        system::rename(&temporary, path)
    });
    if let Err(error) = written {
        // Best effort: the error that counts is the first one.
        let _ = std::fs::remove_file(&temporary);
        return Err(failed(error));
    }
    system::sync_folder(folder).map_err(failed)
}

/// The text of a file that only the machine's administrators can have written; `None` when there is none.
///
/// # Errors
/// The file cannot be read, or others may write it.
pub fn read_trusted(path: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !system::is_trusted(&file)? {
        return Err(io::Error::new(ErrorKind::PermissionDenied, format!("is not trusted: {}", system::TRUST)));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(Some(text))
}

/// A name in the same folder, so that the rename stays on one file system.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{:016x}.tmp", fastrand::u64(..)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.status");
        replace(&path, b"old", 0o600).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_the_path_when_the_folder_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/0.status");
        assert!(replace(&path, b"x", 0o600).unwrap_err().to_string().contains("missing/0.status"));
    }
}
