//! One open directory, and whether it lets somebody through.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, Stat, fsync, openat};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;

use super::acl::{self, AccessList, Owner};
use super::attribute;

/// Marks a directory that this service created, so that later passes may let accounts through it.
const MARK: &str = "user.akvvm.created";
/// Write permission for the group (which is the mask, where there is a list) or for everybody.
const SHARED: u32 = 0o022;

/// An open directory: what is done in it does not depend on what its path leads to by then.
pub(super) struct Directory {
    /// As it was reached, for messages.
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
    /// How many changes were made that are to reach the disk, and how many of them have, or why they cannot: a disk tells
    /// a failure once.
    changes: AtomicU64,
    synced: Mutex<Result<u64, Errno>>,
    /// Held while a name in it is made or changed.
    changing: Mutex<()>,
    /// Whether there may be links to chains in it.
    pub(super) has_chains: bool,
}

impl Directory {
    /// Opens a directory, known by a descriptor that only stands for it, to read it and change it.
    pub(super) fn open(path: PathBuf, place: impl AsFd) -> Result<Self, Errno> {
        let fd = retry_on_intr(|| openat(&place, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?;
        Ok(Self::at(path, fd))
    }

    /// The same to look at it alone, for which a descriptor that only stands for it is enough.
    pub(super) fn at(path: PathBuf, fd: OwnedFd) -> Self {
        let (changes, synced, changing) = (AtomicU64::new(0), Mutex::new(Ok(0)), Mutex::new(()));
        Self { path, fd, changes, synced, changing, has_chains: true }
    }

    /// Opens what has this name in it, to read it: not what a link leads to, and without waiting for the writer of a FIFO.
    pub(super) fn open_file(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        retry_on_intr(|| openat(&self.fd, name, flags, Mode::empty()))
    }

    /// Counts a change that is to reach the disk, and gives it its number.
    pub(super) fn note_change(&self) -> u64 {
        self.changes.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Waits until the change with this number is on the disk. All that were made meanwhile go with it: a disk takes as long
    /// for one as for all of them.
    pub(super) fn sync(&self, change: u64) -> Result<(), Errno> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if synced.is_ok_and(|synced| synced < change) {
            let all = self.changes.load(Ordering::Acquire);
            *synced = retry_on_intr(|| fsync(&self.fd)).map(|()| all);
        }
        synced.map(|_| ())
    }

    /// The same for all that were counted.
    pub(super) fn sync_all(&self) -> Result<(), Errno> {
        self.sync(self.changes.load(Ordering::Acquire))
    }

    /// Makes or changes a name in it. The kernel lets one thread at a time do so, and those that wait for their turn there
    /// keep a processor busy; here they sleep.
    pub(super) fn change<T>(&self, change: impl FnOnce() -> T) -> T {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        change()
    }

    /// Says, for later passes, that this service created the directory. File systems without such
    /// attributes keep no mark: there only the pass that creates the directory may let accounts through.
    pub(super) fn mark(&self) -> Result<(), Errno> {
        match attribute::set(&self.fd, MARK, b"1") {
            Err(Errno::OPNOTSUPP) => Ok(()),
            result => result,
        }
    }

    /// Whether this service created the directory. The mark counts only where nobody else can have set it.
    pub(super) fn is_marked(&self, stat: &Stat) -> bool {
        stat.st_uid == geteuid().as_raw()
            && stat.st_mode & SHARED == 0
            && attribute::get(&self.fd, MARK).is_ok_and(|mark| mark.is_some())
    }

    /// Who may do what with the directory.
    ///
    /// # Errors
    ///
    /// The list is there and cannot be read: to write one made from the mode would lose it.
    pub(super) fn access_list(&self, stat: &Stat) -> Result<AccessList, Errno> {
        match attribute::get(&self.fd, acl::ATTRIBUTE) {
            Ok(Some(list)) => AccessList::decode(&list).ok_or(Errno::INVAL),
            Ok(None) | Err(Errno::OPNOTSUPP) => Ok(AccessList::from_mode(stat.st_mode)),
            Err(cause) => Err(cause),
        }
    }
}

/// A descriptor that stands for a directory, not for what a link leads to.
pub(super) fn place(at: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| openat(&at, name, flags, Mode::empty()))
}

/// Whether only root (or the account that this service runs as) can change what is in a directory.
pub(super) fn is_trusted(stat: &Stat) -> bool {
    is_trusted_owner(stat) && stat.st_mode & SHARED == 0
}

/// Whether it belongs to root or to the account that this service runs as.
pub(super) fn is_trusted_owner(stat: &Stat) -> bool {
    [0, geteuid().as_raw()].contains(&stat.st_uid)
}

/// Owner and group of a file, as the access check wants them.
pub(super) fn owner(stat: &Stat) -> Owner {
    Owner { user: stat.st_uid, group: stat.st_gid }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use rustix::fs::CWD;
    use rustix::io::{FdFlags, fcntl_getfd};

    use super::super::temporary::Temporary;
    use super::*;

    fn open(path: &Path) -> Directory {
        Directory::open(path.to_owned(), place(CWD, path.as_os_str()).unwrap()).unwrap()
    }

    #[test]
    fn no_program_that_is_started_inherits_a_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let directory = open(folder.path());
        let file = directory.open_file("file").unwrap();
        let (unfinished, new) = Temporary::file(&directory).unwrap();
        let (also_unfinished, below) = Temporary::directory(&directory).unwrap();
        for fd in [&directory.fd, &below.fd, &file, &new.into(), &place(&directory.fd, OsStr::new(".")).unwrap()] {
            assert_eq!(fcntl_getfd(fd), Ok(FdFlags::CLOEXEC));
        }
        drop((unfinished, also_unfinished));
    }

    #[test]
    fn one_sync_brings_all_changes_to_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let directory = open(folder.path());
        assert_eq!([directory.note_change(), directory.note_change(), directory.note_change()], [1, 2, 3]);
        directory.sync(1).unwrap();
        assert_eq!(*directory.synced.lock().unwrap(), Ok(3));
        directory.note_change();
        directory.sync_all().unwrap();
        assert_eq!(*directory.synced.lock().unwrap(), Ok(4));
    }

    #[test]
    fn what_is_not_on_the_disk_is_told_to_all_who_ask() {
        let folder = tempfile::tempdir().unwrap();
        // fsync refuses a descriptor that only stands for a directory.
        let place = place(CWD, folder.path().as_os_str()).unwrap();
        let directory = Directory { fd: place, ..open(folder.path()) };
        assert_eq!((directory.sync(0), directory.sync_all()), (Ok(()), Ok(())), "nothing has changed");
        assert_eq!(directory.sync(directory.note_change()), Err(Errno::BADF));
        assert_eq!(directory.sync(0), Err(Errno::BADF), "a disk tells a failure once");
    }
}
