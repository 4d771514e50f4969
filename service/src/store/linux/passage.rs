//! A directory on the way to the files, and whether a listed account gets through it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use common::settings::Acl;
use rustix::fs::{CWD, Stat, fstat};
use rustix::io::{Errno, retry_on_intr};

use super::acl::{self, AccessList, Holder, Owner, Subject, TRAVERSE};
use super::attribute;
use super::directory::{Directory, owner, place};

/// A directory that the walk went through. It is not kept open: there may be hundreds of folders.
pub(super) struct Passage {
    path: PathBuf,
    /// Device and inode, by which it is known again.
    identity: (u64, u64),
    owner: Owner,
    list: AccessList,
    /// Whether this service created the directory and may let accounts through.
    is_ours: bool,
}

impl Passage {
    /// Looks at a directory; `created` when this very pass created it.
    pub(super) fn new(path: &Path, place: &OwnedFd, stat: &Stat, created: bool) -> Self {
        // It may be closed to this process, which needs only to pass through it.
        let directory = place.try_clone().ok().map(|place| Directory::at(path.to_owned(), place));
        let list = directory.as_ref().and_then(|directory| directory.access_list(stat).ok());
        let list = list.unwrap_or_else(|| AccessList::from_mode(stat.st_mode));
        let is_ours = directory.is_some_and(|directory| created || directory.is_marked(stat));
        Self { path: path.to_owned(), identity: (stat.st_dev, stat.st_ino), owner: owner(stat), list, is_ours }
    }

    /// Opens the directory again. Its path has no links in it; what it leads to by now counts only when it is the same.
    fn open(&self) -> Result<Directory, Errno> {
        let directory = Directory::at(self.path.clone(), place(CWD, self.path.as_os_str())?);
        let stat = retry_on_intr(|| fstat(&directory.fd))?;
        if (stat.st_dev, stat.st_ino) == self.identity { Ok(directory) } else { Err(Errno::STALE) }
    }

    /// Sees to it that the account can pass. Says what keeps it out when that is somebody else's directory.
    pub(super) fn let_through(&self, account: &Acl, holder: Holder, subject: &Subject) -> Option<String> {
        if self.list.allows(self.owner, subject, TRAVERSE) {
            return None;
        }
        let (option, name) = match account {
            Acl::User(name) => ("u", name),
            Acl::Group(name) => ("g", name),
        };
        let path = self.path.display();
        let hint = format!("run setfacl -m '{option}:{name}:x' '{path}'");
        if !self.is_ours {
            return Some(format!("{account} cannot reach the file, {path} keeps it out: {hint}"));
        }
        match self.open().and_then(|directory| open_for(&directory, holder, subject)) {
            Ok(false) => None,
            Ok(true) => {
                log::info!("{path}: {account} may pass through it now");
                None
            }
            Err(cause) => Some(format!(
                "{account} cannot reach the file, {path} keeps it out and cannot be changed ({cause}): {hint}"
            )),
        }
    }
}

/// Held from reading the list of a directory to writing it: folders may have parents in common.
static CHANGING: Mutex<()> = Mutex::new(());

/// Says whether the list had to change: it may have since the walk.
fn open_for(directory: &Directory, holder: Holder, subject: &Subject) -> Result<bool, Errno> {
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let stat = retry_on_intr(|| fstat(&directory.fd))?;
    let mut list = directory.access_list(&stat)?;
    if list.allows(owner(&stat), subject, TRAVERSE) {
        return Ok(false);
    }
    list.grant(holder, TRAVERSE);
    attribute::set(&directory.fd, acl::ATTRIBUTE, &list.encode())?;
    Ok(true)
}
