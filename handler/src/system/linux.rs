//! Linux: names and permissions of programs.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The service's file name.
pub(crate) const PROGRAM: &str = "akvvm_service";

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
