//! Linux: paths, trust by ownership, mounts.

mod mounts;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use fs2::FileExt;

pub use mounts::Mounts;

/// What this system is called.
pub const NAME: &str = "Linux";
/// Where certificates go when the settings name no folder.
pub const DEFAULT_STORE: &str = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store";
/// What settings may say of where certificates go, as JSON.
pub const STORE_LOCATION: &str = "\"/etc/nginx/ssl\"";
/// What the handler and the service remember; the agent never deletes it.
pub const STATE_FOLDER: &str = "/var/lib/akvvm";
/// Further clouds that root on this machine added.
pub const CLOUDS_FILE: &str = "/etc/akvvm/clouds.json";

/// Which machine this is: the firmware's number, which differs on a copy (an image, a clone). `None` where there is none, or
/// who asks is not root.
pub fn machine() -> Option<String> {
    let number = std::fs::read_to_string("/sys/class/dmi/id/product_uuid").ok()?;
    Some(number.trim().to_ascii_lowercase()).filter(|number| !number.is_empty())
}

/// How long ago the machine was booted, where the kernel says so.
pub fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()
}

/// What a file must be to be trusted, and how to make it so.
pub const TRUST: &str = "it must belong to root and be writable by nobody else (chown root, chmod 644)";

/// Whether only root can have written a file.
///
/// # Errors
/// It cannot be looked at.
pub fn is_trusted(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.uid() == 0 && metadata.mode() & 0o022 == 0)
}

/// Creates `folder` and what is missing above it, readable by its owner only.
///
/// # Errors
/// As the system says.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Whether what is written to standard error ends up in the journal: systemd says which stream leads there.
pub fn errors_go_to_journal() -> bool {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else { return false };
    let errors = io::stderr().as_fd().try_clone_to_owned().and_then(|errors| File::from(errors).metadata());
    errors.is_ok_and(|errors| journal == format!("{}:{}", errors.dev(), errors.ino()))
}

/// A new file with exactly `mode` less the umask, never one that exists.
///
/// # Errors
/// As the system says.
pub fn temporary_file(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Puts the file at `from` in the place of the one at `to`, whoever reads that.
///
/// # Errors
/// As the system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Makes the names in `folder` last over a power cut.
///
/// # Errors
/// As the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether `path` still names the open `file`.
///
/// # Errors
/// As the system says, but not that the name is gone.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the lock on `file`, unless somebody else holds it.
///
/// # Errors
/// As the system says.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(false),
        Err(error) => Err(error),
    }
}
