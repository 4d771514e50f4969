//! Writing the file of a version: complete, with its permissions, and on the disk before it gets its name. The name is on
//! the disk only when the folder is.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use openssl::sha::sha256;
use rustix::fs::{Mode, fchmod, fstat, fsync};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;

use super::acl::{self, AccessList};
use super::directory::Directory;
use super::file::{self, Kept, PRIVATE};
use super::grants::{Rights, reconcile};
use super::record::{self, Facts, Record};
use super::temporary::Temporary;
use super::{StoreError, attribute, failed};

/// What goes into a file.
pub(super) struct Contents<'a> {
    pub(super) pem: &'a [u8],
    pub(super) facts: Facts,
    pub(super) wanted: &'a Rights,
    /// The damaged file in its place, whose further readers stay.
    pub(super) previous: Option<&'a Kept>,
}

/// A file that is complete but for its name, and need not be on the disk. It is removed when it is dropped.
pub(super) struct Unnamed<'a> {
    unfinished: Temporary<'a>,
    file: File,
    folder: &'a Directory,
    name: String,
    /// Whether the file system could let the wanted accounts in.
    pub(super) is_supported: bool,
}

/// Writes the file that is to be called `name`.
pub(super) fn write<'a>(folder: &'a Directory, name: &str, contents: Contents<'_>) -> Result<Unnamed<'a>, StoreError> {
    let path = folder.path.join(name);
    let (unfinished, mut file) = Temporary::file(folder).map_err(failed("create the file", &path))?;
    refuse_if_open(&file, &path)?;
    let write = file.write_all(contents.pem);
    write.map_err(|cause| failed("write the file", &path)(Errno::from_io_error(&cause).unwrap_or(Errno::IO)))?;

    let (list, recorded) = match contents.previous {
        Some(previous) => (previous.readers().map_err(failed("read the permissions", &path))?, previous.rights()),
        None => (AccessList::from_mode(PRIVATE), Rights::default()),
    };
    let permissions = reconcile(&list, &recorded, contents.wanted);
    let record =
        Record { name: name.to_owned(), digest: sha256(contents.pem), facts: contents.facts, rights: permissions.ours };
    match attribute::set(&file, record::ATTRIBUTE, &record.encode()) {
        Ok(()) | Err(Errno::OPNOTSUPP) => {}
        Err(cause) => return Err(failed("write the record of the file", &path)(cause)),
    }
    if let Some(ownership) = contents.wanted.ownership {
        file::give(&file, ownership).map_err(failed("give the file to its owner", &path))?;
    }
    // Even without grants of ours: what the folder passes on to new files is not for a key.
    let is_supported = match attribute::get(&file, acl::ATTRIBUTE) {
        Ok(None) if permissions.list == AccessList::from_mode(PRIVATE) => true,
        Ok(_) => {
            let written = attribute::set(&file, acl::ATTRIBUTE, &permissions.list.encode());
            written.map_err(failed("write the access control list", &path))?;
            true
        }
        Err(Errno::OPNOTSUPP) => {
            if let Some(ownership) = contents.wanted.ownership {
                let mode = Mode::from_raw_mode(ownership.mode);
                retry_on_intr(|| fchmod(&file, mode)).map_err(failed("change the permissions", &path))?;
            }
            false
        }
        Err(cause) => return Err(failed("read the access control list", &path)(cause)),
    };
    Ok(Unnamed { unfinished, file, folder, name: name.to_owned(), is_supported })
}

impl Unnamed<'_> {
    /// Brings the file to the disk and gives it its name, in place of what has it. Says which change of the folder that was.
    pub(super) fn name(self) -> Result<u64, StoreError> {
        let path = self.folder.path.join(&self.name);
        retry_on_intr(|| fsync(&self.file)).map_err(failed("bring the file to the disk", &path))?;
        self.unfinished.install_as(&self.name).map_err(failed("name the file", &path))?;
        Ok(self.folder.note_change())
    }
}

/// Before a key is written: some file systems (FAT, a network's) know no owners or modes, or better ones.
fn refuse_if_open(file: &File, path: &Path) -> Result<(), StoreError> {
    let stat = retry_on_intr(|| fstat(file)).map_err(failed("look at the file", path))?;
    let refused = |found: String| Err(StoreError::NotPrivate { path: path.to_owned(), found });
    if stat.st_mode & 0o077 != 0 {
        return refused(format!("a new file has mode {:03o} here", stat.st_mode & 0o777));
    }
    if stat.st_uid != geteuid().as_raw() {
        return refused(format!("a new file belongs to user {} here", stat.st_uid));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn no_key_is_written_to_a_file_that_others_can_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        for (mode, is_refused) in [(0o600, false), (0o400, false), (0o755, true), (0o604, true), (0o640, true)] {
            file.set_permissions(Permissions::from_mode(mode)).unwrap();
            let result = refuse_if_open(&file, &path);
            assert_eq!(matches!(result, Err(StoreError::NotPrivate { .. })), is_refused, "{mode:o}");
        }
        if geteuid().is_root() {
            file.set_permissions(Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::fchown(&file, Some(65_534), None).unwrap();
            let Err(error) = refuse_if_open(&file, &path) else { panic!("not refused") };
            assert!(error.to_string().contains("belongs to user 65534"), "{error}");
        }
    }
}
