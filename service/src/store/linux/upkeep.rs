//! The files of a version that is in place: whole or not, and their permissions put right.

use std::sync::PoisonError;

use common::settings::Version;

use super::directory::Directory;
use super::file::{Access, Kept};
use super::folder::Folder;
use super::judge::review;
use super::readers::Readers;
use super::{Files, Placed, Store, StoreError, failed, other_versions, shared};

/// How the permissions of a whole file were found, or why they could not be put right; and the version in it.
pub(super) type LookedAfter = (Result<Access, StoreError>, Placed);

impl Store {
    /// Puts the permissions of files that belong together right and says how they were; `None` when one is missing or
    /// damaged.
    pub(super) fn look_after(
        &self,
        folder: &Folder,
        files: &Files,
        names: &[String],
        version: &Version,
    ) -> Result<Option<LookedAfter>, StoreError> {
        let _changing = files.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = open_all(&folder.directory, names, files)? else { return Ok(None) };
        let (Some(facts), Some(last)) = (Kept::facts(&all), all.last()) else { return Ok(None) };
        let Readers { rights, mut warnings } = Readers::find(files, &self.names, folder, || last.rights());
        warnings.extend(other_versions::revoke(&folder.directory, names, files, &rights, &last.rights()));
        let remarks = facts.remarks.clone();
        warnings.extend(match &self.trust {
            Some(trust) => review(trust, remarks, &all),
            None => remarks,
        });
        let (mut worst, mut unreadable) = (Ok(Access::Right), None);
        for (kept, name) in all.iter().zip(names) {
            let path = folder.directory.path.join(name);
            if kept.is_shared() {
                warnings.push(shared(&path));
            }
            let access = match kept.is_anothers(&rights) {
                true => Ok(Access::Unsure),
                false => kept.put_right(&rights).map_err(failed("change the permissions", &path)),
            };
            if access == Ok(Access::Repaired) {
                log::info!("{}: permissions put right", path.display());
            }
            worst = worst.and_then(|worst| Ok(access?.max(worst)));
            unreadable = (worst == Ok(Access::Unsupported)).then_some(StoreError::AclUnsupported { path });
        }
        Ok(Some((worst, Placed { installed: facts.installed(version), warnings, unreadable })))
    }
}

/// All these files; `None` when one is missing.
pub(super) fn open_all(
    directory: &Directory,
    names: &[String],
    files: &Files,
) -> Result<Option<Vec<Kept>>, StoreError> {
    names.iter().map(|name| Kept::open(directory, name, files.has_owner())).collect()
}
