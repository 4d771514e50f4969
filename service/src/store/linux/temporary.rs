//! Things that are not finished: files, links and directories under a name that nobody looks for, until
//! they are whole and get their real name by one rename. What a crash leaves is swept by [`sweep`].

use std::ffi::OsStr;
use std::fs::File;
use std::iter::repeat_with;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, mkdirat, openat, renameat, statat, symlinkat, unlinkat};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;

use super::directory::{Directory, place};

const PREFIX: &str = ".akv-";
const SUFFIX: &str = ".tmp";
/// Random characters between prefix and suffix: nobody hits the same name by chance.
const RANDOM: usize = 16;
/// Somebody who may write in the folder can still be there first.
const ATTEMPTS: usize = 8;

/// An unfinished thing in a folder. It is removed when it is dropped before [`Temporary::install_as`].
pub(super) struct Temporary<'a> {
    folder: &'a Directory,
    name: String,
    is_directory: bool,
}

impl<'a> Temporary<'a> {
    /// A new empty file that only its owner can open.
    pub(super) fn file(folder: &'a Directory) -> Result<(Self, File), Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let create = |name: &str| folder.change(|| openat(&folder.fd, name, flags, Mode::RUSR | Mode::WUSR));
        let (name, file) = with_new_name(create)?;
        Ok((Self { folder, name, is_directory: false }, file.into()))
    }

    /// A new symbolic link.
    pub(super) fn link(folder: &'a Directory, target: &str) -> Result<Self, Errno> {
        let (name, ()) = with_new_name(|name| folder.change(|| symlinkat(target, &folder.fd, name)))?;
        Ok(Self { folder, name, is_directory: false })
    }

    /// A new directory that only its owner can enter. Where somebody else may rename things in `folder`, what
    /// is opened need not be what was created: it is refused unless it is ours and empty.
    pub(super) fn directory(folder: &'a Directory) -> Result<(Self, Directory), Errno> {
        let (name, ()) = with_new_name(|name| mkdirat(&folder.fd, name, Mode::RWXU))?;
        let made = Self { folder, name, is_directory: true };
        let place = place(&folder.fd, OsStr::new(&made.name))?;
        let directory = Directory::open(folder.path.join(&made.name), place)?;
        if !is_new(&directory.fd)? {
            return Err(Errno::STALE);
        }
        Ok((made, directory))
    }

    /// Gives it its real name, in place of what had that name.
    pub(super) fn install_as(mut self, name: &str) -> Result<(), Errno> {
        let rename = || renameat(&self.folder.fd, &self.name, &self.folder.fd, name);
        self.folder.change(|| retry_on_intr(rename))?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            remove(self.folder, self.name.as_bytes(), self.is_directory);
        }
    }
}

/// Removes what a crash left in a folder: only things of our pattern that we own, and directories only when
/// they are empty. `see_other` gets the names of all else.
pub(super) fn sweep(folder: &Directory, mut see_other: impl FnMut(&[u8])) -> Result<(), Errno> {
    for entry in retry_on_intr(|| Dir::read_from(&folder.fd))? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_temporary(name.to_bytes()) {
            see_other(name.to_bytes());
            continue;
        }
        let Ok(stat) = retry_on_intr(|| statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW)) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if stat.st_uid == geteuid().as_raw() && (kind.is_file() || kind.is_symlink() || kind.is_dir()) {
            remove(folder, name.to_bytes(), kind.is_dir());
        }
    }
    Ok(())
}

/// A failure is worth a line only: the next sweep tries again.
fn remove(folder: &Directory, name: &[u8], is_directory: bool) {
    let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    if let Err(cause) = retry_on_intr(|| unlinkat(&folder.fd, name, flags)) {
        let path = folder.path.join(OsStr::from_bytes(name));
        log::warn!("{}: cannot remove this temporary file: {cause}: the next poll tries again", path.display());
    }
}

fn with_new_name<T>(create: impl Fn(&str) -> Result<T, Errno>) -> Result<(String, T), Errno> {
    let mut attempts = 0;
    loop {
        let random: String = repeat_with(|| fastrand::alphanumeric().to_ascii_lowercase()).take(RANDOM).collect();
        let name = format!("{PREFIX}{random}{SUFFIX}");
        match retry_on_intr(|| create(&name)) {
            Ok(made) => return Ok((name, made)),
            Err(Errno::EXIST) if attempts < ATTEMPTS => attempts += 1,
            Err(cause) => return Err(cause),
        }
    }
}

fn is_temporary(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX.as_bytes()).and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes())).is_some_and(|random| {
        random.len() == RANDOM && random.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    })
}

/// Whether a directory can be the one that we just created: ours and empty.
fn is_new(directory: &OwnedFd) -> Result<bool, Errno> {
    let is_ours = retry_on_intr(|| fstat(directory))?.st_uid == geteuid().as_raw();
    for entry in retry_on_intr(|| Dir::read_from(directory))? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(is_ours)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_name_that_somebody_has_is_not_tried_for_ever() {
        let tries = Cell::new(0);
        let taken = |until: usize, cause: Errno| {
            tries.set(0);
            with_new_name(|_| {
                tries.set(tries.get() + 1);
                if tries.get() < until { Err(cause) } else { Ok(()) }
            })
        };
        assert!(is_temporary(taken(3, Errno::EXIST).unwrap().0.as_bytes()));
        assert_eq!(tries.get(), 3);
        assert_eq!(taken(usize::MAX, Errno::EXIST), Err(Errno::EXIST));
        assert_eq!(tries.get(), 1 + ATTEMPTS);
        assert_eq!(taken(usize::MAX, Errno::NOSPC), Err(Errno::NOSPC));
        assert_eq!(tries.get(), 1);
    }

    #[test]
    fn only_an_empty_directory_of_ours_passes_for_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let opened = || OwnedFd::from(File::open(directory.path()).unwrap());
        assert_eq!(is_new(&opened()), Ok(true));
        std::fs::write(directory.path().join("something"), "").unwrap();
        assert_eq!(is_new(&opened()), Ok(false));
        std::fs::remove_file(directory.path().join("something")).unwrap();
        if geteuid().is_root() {
            std::os::unix::fs::chown(directory.path(), Some(61_001), None).unwrap();
            assert_eq!(is_new(&opened()), Ok(false));
        }
    }
}
