//! Linux: names and permissions of programs.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::umask;

/// The service's file name.
pub(crate) const PROGRAM: &str = "akvvm_service";

/// Keeps what this process creates from other users.
pub(crate) fn be_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Lets the owner run the file at `path`; an archive that was unpacked without its modes does not. Other bits stay.
///
/// # Errors
/// There is no such file, or its mode cannot be changed.
pub(crate) fn make_executable(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o100 == 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o100))?;
    }
    Ok(())
}
