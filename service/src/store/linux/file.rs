//! The file of one version that is there already: opened without being fooled by what else may have its
//! name, judged whole or damaged, and its permissions put right.

use std::os::fd::{AsFd, OwnedFd};

use openssl::sha::sha256;
use openssl::x509::X509;
use rustix::fs::{FileType, Gid, Mode, Stat, Uid, fchmod, fchown, fstat};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{getegid, geteuid};
use zeroize::Zeroizing;

use super::acl::{self, AccessList};
use super::directory::{Directory, is_trusted};
use super::grants::{Rights, reconcile};
use super::ownership::Ownership;
use super::record::{self, Facts, Record};
use super::{StoreError, attribute, failed};
use crate::certificate::Certificate;
use crate::wiped::Wiped;

/// No certificate with its chain and key comes near this.
const LARGEST: i64 = 1024 * 1024;
/// The mode of a new file.
pub(super) const PRIVATE: u32 = 0o600;

/// A file that belongs to us, or to an earlier release.
pub(super) struct Kept {
    fd: OwnedFd,
    stat: Stat,
    content: Wiped,
    origin: Origin,
}

/// Where a file comes from, as far as can be told.
enum Origin {
    /// We wrote it under this name.
    Recorded(Record),
    /// There is no record: it is of another release, or the file system keeps none. Only root could have put it
    /// there.
    Unrecorded,
    /// There is no record, and others may rename files in this folder: it could be another certificate's.
    Unknown,
    /// We wrote it under another name.
    Misplaced,
}

impl Kept {
    /// Opens and reads the file of this name; `None` when there is none. What is not a file of ours is an error and
    /// stays as it is. A file that belongs to another user counts as ours with a record where only root can put files,
    /// and with one of the two where the settings give it an owner.
    pub(super) fn open(folder: &Directory, name: &str, has_owner: bool) -> Result<Option<Self>, StoreError> {
        let path = folder.path.join(name);
        let foreign = |found: &str| Err(StoreError::Foreign { path: path.clone(), found: found.into() });
        let fd = match folder.open_file(name) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return foreign("is a symbolic link"),
            Err(Errno::NXIO) => return foreign("is a socket or a device"),
            Err(cause) => return Err(failed("open the file", &path)(cause)),
        };
        let stat = retry_on_intr(|| fstat(&fd)).map_err(failed("look at the file", &path))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return foreign("is no regular file");
        }
        let Some(size) = usize::try_from(stat.st_size).ok().filter(|_| stat.st_size <= LARGEST) else {
            return foreign("is far larger than any certificate");
        };
        let is_safe = || {
            let stat = retry_on_intr(|| fstat(&folder.fd)).map_err(failed("look at the folder", &folder.path))?;
            Ok(is_trusted(&stat))
        };
        let origin = match attribute::get(&fd, record::ATTRIBUTE) {
            Ok(value) => value.and_then(|value| Record::decode(&value)),
            Err(Errno::OPNOTSUPP) => None,
            Err(cause) => return Err(failed("read the record of the file", &path)(cause)),
        };
        let origin = match origin {
            Some(record) if record.name == name => Origin::Recorded(record),
            Some(_) => Origin::Misplaced,
            None if is_safe()? => Origin::Unrecorded,
            None => Origin::Unknown,
        };
        if stat.st_uid != geteuid().as_raw() {
            let signs = [has_owner, matches!(origin, Origin::Recorded(_)), is_safe()?];
            if signs.iter().filter(|sign| **sign).count() < 2 {
                return foreign(&format!("is a file of user {}", stat.st_uid));
            }
        }
        let content = read(&fd, size).map_err(failed("read the file", &path))?;
        Ok(Some(Self { fd, stat, content, origin }))
    }

    /// What a report says about the certificate in these files: in one with chain and key, or in two. `None` when one is
    /// damaged, or when they do not belong together. With a record, the digest decides; files of another release, or on a
    /// file system without attributes, have to be decoded.
    pub(super) fn facts(files: &[Self]) -> Option<Facts> {
        let mut recorded = Vec::with_capacity(files.len());
        for file in files {
            match &file.origin {
                Origin::Recorded(record) if record.digest == sha256(&file.content) => recorded.push(&record.facts),
                Origin::Recorded(_) | Origin::Misplaced => return None,
                Origin::Unrecorded | Origin::Unknown => {}
            }
        }
        if recorded.len() == files.len() {
            let first = *recorded.first()?;
            return recorded.iter().all(|facts| *facts == first).then(|| first.clone());
        }
        // The exact size: the buffer is not moved once a key is in it.
        let mut text = Zeroizing::new(Vec::with_capacity(files.iter().map(|file| file.content.len()).sum()));
        files.iter().for_each(|file| text.extend_from_slice(&file.content));
        Certificate::decode(std::str::from_utf8(&text).ok()?, None).ok().as_ref().map(Facts::of)
    }

    /// The first certificate in it.
    pub(super) fn leaf(&self) -> Option<X509> {
        X509::from_pem(&self.content).ok()
    }

    /// The certificates in it, leaf first. The key is not looked at.
    pub(super) fn chain(&self) -> Option<Vec<X509>> {
        const END: &str = "-----END CERTIFICATE-----";
        let text = std::str::from_utf8(&self.content).ok()?;
        let (certificates, _) = text.split_at(text.rfind(END)? + END.len());
        X509::stack_from_pem(certificates.as_bytes()).ok()
    }

    /// Whether we wrote it under this name.
    pub(super) fn is_recorded(&self) -> bool {
        matches!(self.origin, Origin::Recorded(_))
    }

    /// What we gave on it.
    pub(super) fn rights(&self) -> Rights {
        match &self.origin {
            Origin::Recorded(record) => record.rights.clone(),
            Origin::Unrecorded | Origin::Unknown | Origin::Misplaced => Rights::default(),
        }
    }

    /// Whether it belongs to another user, who is not to have it. He may have it open still, so it must be written anew.
    pub(super) fn is_anothers(&self, wanted: &Rights) -> bool {
        let root = geteuid().as_raw();
        self.stat.st_uid != root && self.stat.st_uid != wanted.ownership.map_or(root, |ownership| ownership.user)
    }

    /// The permissions that it has; `None` on a file system without access control lists.
    pub(super) fn access_list(&self) -> Result<Option<AccessList>, Errno> {
        match attribute::get(&self.fd, acl::ATTRIBUTE) {
            Ok(Some(value)) => AccessList::decode(&value).map(Some).ok_or(Errno::INVAL),
            Ok(None) => Ok(Some(AccessList::from_mode(self.stat.st_mode))),
            Err(Errno::OPNOTSUPP) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Who may read it, for a new file that takes its place: that one belongs to our own group.
    pub(super) fn readers(&self) -> Result<AccessList, Errno> {
        if matches!(self.origin, Origin::Unknown | Origin::Misplaced) {
            return Ok(AccessList::from_mode(PRIVATE));
        }
        let list = self.access_list()?;
        let mut list = list.unwrap_or_else(|| AccessList::from_mode(self.stat.st_mode));
        if self.rights().ownership.is_some() {
            list.set_mode(PRIVATE);
        } else if self.stat.st_gid != getegid().as_raw() {
            list.name_owning_group(self.stat.st_gid);
        }
        Ok(list)
    }

    /// When its content was written, in seconds and nanoseconds.
    pub(super) fn written(&self) -> (i64, i64) {
        (self.stat.st_mtime, self.stat.st_mtime_nsec.cast_signed())
    }

    /// Whether it has a second name.
    pub(super) fn is_shared(&self) -> bool {
        self.stat.st_nlink > 1
    }

    /// Puts the permissions right, in place. Nothing is changed when the file has a second name, as it would
    /// change under that name too, or when it could be another certificate's.
    pub(super) fn put_right(&self, wanted: &Rights) -> Result<Access, Errno> {
        let Some(list) = self.access_list()? else { return self.put_mode_right(wanted) };
        let recorded = self.rights();
        let permissions = reconcile(&list, &recorded, wanted);
        let hand_over = permissions.ownership.filter(|ownership| !self.belongs_to(ownership));
        if permissions.list == list && permissions.ours == recorded && hand_over.is_none() {
            return Ok(Access::Right);
        }
        if self.is_shared() || matches!(self.origin, Origin::Unknown | Origin::Misplaced) {
            return Ok(Access::Unsure);
        }
        // Whatever the moment of a crash, nothing that we gave is without its record.
        let mut either = permissions.ours.clone();
        either.grants.extend(recorded.grants.clone());
        either.ownership = either.ownership.or(recorded.ownership);
        self.remember(&recorded, &either)?;
        if let Some(ownership) = hand_over {
            // What one group may do is not for the next.
            let mut narrowed = list.clone();
            narrowed.shut_group_out();
            attribute::set(&self.fd, acl::ATTRIBUTE, &narrowed.encode())?;
            give(&self.fd, ownership)?;
        }
        if permissions.list != list || hand_over.is_some() {
            attribute::set(&self.fd, acl::ATTRIBUTE, &permissions.list.encode())?;
        }
        self.remember(&either, &permissions.ours)?;
        Ok(Access::Repaired)
    }

    /// The same without lists: the mode is all there is, and chmod harms none.
    fn put_mode_right(&self, wanted: &Rights) -> Result<Access, Errno> {
        let before = self.stat.st_mode & 0o7777;
        let mode = wanted.ownership.map_or(before & 0o770, |ownership| ownership.mode);
        let hand_over = wanted.ownership.filter(|ownership| !self.belongs_to(ownership));
        if let Some(ownership) = hand_over {
            retry_on_intr(|| fchmod(&self.fd, Mode::from_raw_mode(PRIVATE)))?;
            give(&self.fd, ownership)?;
        }
        let changed = mode != before || hand_over.is_some();
        if changed {
            retry_on_intr(|| fchmod(&self.fd, Mode::from_raw_mode(mode)))?;
        }
        Ok(if wanted.grants.is_empty() { Access::from_change(changed) } else { Access::Unsupported })
    }

    fn belongs_to(&self, ownership: &Ownership) -> bool {
        (self.stat.st_uid, self.stat.st_gid) == (ownership.user, ownership.group)
    }

    fn remember(&self, before: &Rights, rights: &Rights) -> Result<(), Errno> {
        match &self.origin {
            Origin::Recorded(record) if before != rights => {
                let record = Record { rights: rights.clone(), ..record.clone() };
                attribute::set(&self.fd, record::ATTRIBUTE, &record.encode())
            }
            _ => Ok(()),
        }
    }
}

/// Gives a file its owner and group.
pub(super) fn give(file: impl AsFd, ownership: Ownership) -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(ownership.user), Gid::from_raw(ownership.group));
    retry_on_intr(|| fchown(&file, Some(user), Some(group)))
}

/// How the permissions of a file were found, the worse the later: the worst counts for files that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// As they should be.
    Right,
    /// They are as they should be now.
    Repaired,
    /// The file system cannot let the wanted accounts in.
    Unsupported,
    /// Wrong, and not to be changed on this very file: it must be written anew.
    Unsure,
}

impl Access {
    fn from_change(changed: bool) -> Self {
        if changed { Self::Repaired } else { Self::Right }
    }
}

fn read(file: &OwnedFd, size: usize) -> Result<Wiped, Errno> {
    // One byte more than there should be tells the end without another call, and nothing grows and leaves
    // copies of a key behind.
    let mut content = Wiped::from(vec![0; size + 1]);
    let mut length = 0;
    while length <= size {
        match retry_on_intr(|| rustix::io::read(file, &mut content[length..]))? {
            0 => break,
            count => length += count,
        }
    }
    content.truncate(length);
    Ok(content)
}
