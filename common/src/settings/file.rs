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
