//! The file that settings are in: read whole, and nothing but a file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Settings for 10,000 certificates are a tenth of this.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Why there is nothing to be read at a path, and what to give instead.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A directory.
    #[error("is a directory: give the path of a .settings file")]
    Directory,
    /// A pipe or a device, which may have no end, or keep who reads it waiting for ever.
    #[error("is no regular file: write the settings into a file, and give its path")]
    NoFile,
    /// Far larger than any settings.
    #[error("is larger than {} bytes: give the path of a .settings file", LARGEST)]
    TooLarge,
    /// The system refused.
    #[error("cannot be read: {0}: {advice}", advice = advice(.0))]
    System(#[from] io::Error),
}

/// The whole file, unless it is far larger than any settings.
///
/// # Errors
/// It is no regular file, too large, or the system refused.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, ReadError> {
    // Before it is opened: that alone would wait where a pipe has no writer.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(ReadError::Directory);
    }
    if !kind.is_file() {
        return Err(ReadError::NoFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(ReadError::TooLarge);
    }
    Ok(bytes)
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "check the path; the guest agent writes its settings to config/N.settings in the handler's folder"
        }
        io::ErrorKind::PermissionDenied => "run this as root (sudo), or give its reader access",
        _ => "give the path of a .settings file that can be read",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file_of_up_to_sixteen_mebibytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.settings");
        fs::write(&path, "{}").unwrap();
        assert_eq!(read_bounded(&path).unwrap(), b"{}");
        let largest = 16 * 1024 * 1024;
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(largest).unwrap();
        assert_eq!(read_bounded(&path).unwrap().len() as u64, largest);
        file.set_len(largest + 1).unwrap();
        assert_eq!(
            read_bounded(&path).unwrap_err().to_string(),
            "is larger than 16777216 bytes: give the path of a .settings file"
        );
    }

    #[test]
    fn says_what_to_give_instead_of_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("0.settings");
        fs::write(&file, "{}").unwrap();
        for (path, words) in [
            (folder.path(), "is a directory"),
            (Path::new("/dev/null"), "is no regular file"),
            (&folder.path().join("1.settings"), "check the path"),
            (&file.join("0.settings"), "check the path"),
        ] {
            let message = read_bounded(path).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        for (kind, words) in [
            (io::ErrorKind::PermissionDenied, "cannot be read: permission denied: run this as root (sudo)"),
            (io::ErrorKind::InvalidData, "cannot be read: invalid data: give the path of a .settings file"),
        ] {
            let message = ReadError::System(kind.into()).to_string();
            assert!(message.starts_with(words), "{message}");
        }
    }
}
