//! Whole files or nothing: written beside the old one, made to last, and put in its place with one rename; and files that
//! are believed for who can have written them.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::system;

/// A file operation that failed, with its path.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct FileError {
    /// The file that was to be read, written or removed.
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

/// Replaces a file with `content` as JSON in one step; nobody but the owner may read it.
///
/// # Errors
/// Nothing of the old file is lost.
pub fn save(path: &Path, content: &impl Serialize) -> Result<(), FileError> {
    let text = serde_json::to_vec(content).map_err(io::Error::from);
    let text = text.map_err(|cause| FileError { path: path.display().to_string(), cause })?;
    replace(path, &text, 0o600)
}

/// Reads what [`save`] wrote; `None` when there is no file.
///
/// # Errors
/// It cannot be read, or holds something else.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let failed = |cause| FileError { path: path.display().to_string(), cause };
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|cause| failed(cause.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Removes a file that may be gone.
///
/// # Errors
/// It is still there.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(FileError { path: path.display().to_string(), cause }),
        _ => Ok(()),
    }
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
