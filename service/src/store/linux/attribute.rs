//! Extended attributes of open files and directories, and of such that a descriptor only stands for (`O_PATH`). What they mean is
//! said elsewhere (`acl`, `record`).

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr, getxattr, setxattr};
use rustix::io::{Errno, retry_on_intr};

/// The largest value that Linux keeps (`XATTR_SIZE_MAX`).
const LARGEST: usize = 64 * 1024;
/// Room that is enough for nearly all values, so that one call reads them.
const USUAL: usize = 1024;

/// Reads an attribute; `None` when the file has none of this name.
///
/// # Errors
///
/// `EOPNOTSUPP` when the file system keeps no such attributes, and whatever else `fgetxattr(2)` reports.
pub(super) fn get(file: impl AsFd, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    for room in [USUAL, LARGEST] {
        let mut value = vec![0; room];
        let read = retry_on_intr(|| fgetxattr(&file, name, &mut value[..]));
        let read = match read {
            Err(Errno::BADF) => retry_on_intr(|| getxattr(known_as(&file), name, &mut value[..])),
            read => read,
        };
        match read {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::NODATA) => return Ok(None),
            Err(Errno::RANGE) => {}
            Err(cause) => return Err(cause),
        }
    }
    Err(Errno::RANGE)
}

/// Writes an attribute, in one call: it is there as a whole or not at all.
///
/// # Errors
///
/// `EOPNOTSUPP` when the file system keeps no such attributes, and whatever else `fsetxattr(2)` reports.
pub(super) fn set(file: impl AsFd, name: &str, value: &[u8]) -> Result<(), Errno> {
    match retry_on_intr(|| fsetxattr(&file, name, value, XattrFlags::empty())) {
        Err(Errno::BADF) => retry_on_intr(|| setxattr(known_as(&file), name, value, XattrFlags::empty())),
        result => result,
    }
}

/// Another name for what a descriptor stands for, which has no attributes itself.
fn known_as(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;

    #[test]
    fn reads_back_short_and_long_values_and_tells_a_missing_one() {
        let file = tempfile::tempfile_in(".").unwrap();
        assert_eq!(get(&file, "user.akvvm.test").unwrap(), None);
        for length in [0, 1, USUAL, USUAL + 1, 3000] {
            let value = vec![b'x'; length];
            set(&file, "user.akvvm.test", &value).unwrap();
            assert_eq!(get(&file, "user.akvvm.test").unwrap(), Some(value));
        }
        let folder = tempfile::tempdir_in(".").unwrap();
        let place = openat(CWD, folder.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(get(&place, "user.akvvm.test").unwrap(), None);
        set(&place, "user.akvvm.test", b"1").unwrap();
        assert_eq!(get(&place, "user.akvvm.test").unwrap(), Some(b"1".to_vec()));
    }
}
