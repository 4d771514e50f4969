//! Linux: one PEM file per version in a folder, a symbolic link to the one in use, POSIX access control lists.
//!
//! Everything is done relative to the open folder, by single names, so that no path is looked up twice. A thing
//! gets its name when it is complete; a thing that is not ours is never touched.

mod acl;
mod attribute;
mod directory;
mod file;
mod folder;
mod grants;
mod link;
mod names;
mod new_file;
mod other_versions;
mod ownership;
mod passage;
mod readers;
mod record;
mod temporary;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use common::report::Installed;
use common::settings::{Acl, ObservedCertificate, Ownership, Version};
use rustix::io::Errno;

use super::{Placed, StoreError};
use crate::certificate::{Certificate, CertificateError};
use file::{Access, Kept};
use folder::Folder;
use grants::Rights;
use names::Names;
use new_file::Contents;
use readers::Readers;
use record::Facts;

/// The store, open for one pass over all certificates. Many threads may use it at the same time.
pub(crate) struct Store {
    places: HashMap<Arc<Path>, Place>,
    names: Names,
}

/// A folder, and the certificates in it by their base name.
struct Place {
    folder: Result<Folder, StoreError>,
    files: HashMap<String, Files>,
}

/// The files of one certificate in one folder. Entries of the settings that differ only in link and `acls` share them.
#[derive(Default)]
struct Files {
    /// Of all these entries.
    acls: Vec<Acl>,
    /// The same in all these entries.
    ownership: Option<Ownership>,
    /// Held while the permissions are read and changed.
    changing: Mutex<()>,
}

/// How the permissions of a whole file were found, or why they could not be put right; and the version in it.
type LookedAfter = (Result<Access, StoreError>, Placed);

impl Store {
    /// Opens every folder once, creates what is missing, sweeps what a crash left and starts looking up the
    /// accounts of the settings. What is wrong with a folder is reported by the calls for its certificates.
    pub(crate) fn open(certificates: &[ObservedCertificate]) -> Self {
        let names = Names::look_up(certificates.iter().flat_map(|observed| observed.target.accounts()).collect());
        let mut places = HashMap::new();
        for observed in certificates {
            let open = |path: &Arc<Path>| Place { folder: Folder::open(path), files: HashMap::new() };
            let place = places.entry(observed.target.folder.clone()).or_insert_with_key(open);
            let Files { acls, ownership, .. } = place.files.entry(observed.base_name()).or_default();
            ownership.clone_from(&observed.target.ownership);
            for account in &observed.target.acls {
                if !acls.contains(account) {
                    acls.push(account.clone());
                }
            }
        }
        Self { places, names }
    }

    /// What the link points to now; reads only. `None` when there is no link or its file is not whole.
    ///
    /// # Errors
    ///
    /// The folder cannot be used, something that is not ours is in the way, or the system refuses to read.
    pub(crate) fn current(&self, observed: &ObservedCertificate) -> Result<Option<Installed>, StoreError> {
        let (Folder { directory, .. }, files) = self.place(observed)?;
        let base = observed.base_name();
        let Some(name) = link::target(directory, &observed.link_name(), &base)? else { return Ok(None) };
        let Some(version) = link::version_part(&name, &base).and_then(Version::parse) else { return Ok(None) };
        let kept = Kept::open(directory, &name, files.has_owner())?;
        Ok(kept.and_then(|kept| kept.facts()).map(|facts| facts.installed(&version)))
    }

    /// Whether this version is in place and whole. Missing grants of ours are given again, access for everybody is
    /// taken away. `None` when the file is missing or damaged and has to be written.
    ///
    /// # Errors
    ///
    /// As for [`Store::current`].
    pub(crate) fn find(&self, observed: &ObservedCertificate, version: &Version) -> Result<Option<Placed>, StoreError> {
        let (folder, files) = self.place(observed)?;
        match self.look_after(folder, files, &file_name(observed, version), version)? {
            Some((access, placed)) if access.clone()? != Access::Unsure => Ok(Some(placed)),
            _ => Ok(None),
        }
    }

    /// What the link points to now, with the permissions of its file put right as by [`Store::find`], for when it stays
    /// there. What could not be put right is a warning. The file of an earlier release stays as it is.
    ///
    /// # Errors
    ///
    /// As for [`Store::current`].
    pub(crate) fn keep(&self, observed: &ObservedCertificate) -> Result<Option<Placed>, StoreError> {
        let Some(installed) = self.current(observed)? else { return Ok(None) };
        let (folder, files) = self.place(observed)?;
        let name = file_name(observed, &installed.version);
        let target = link::target(&folder.directory, &observed.link_name(), &observed.base_name())?;
        let looked_after = match target {
            Some(target) if target == name => self.look_after(folder, files, &name, &installed.version)?,
            _ => None,
        };
        let Some((access, mut placed)) = looked_after else {
            return Ok(Some(Placed { installed, warnings: Vec::new(), unreadable: None }));
        };
        placed.warnings.extend(access.err().map(|error| error.to_string()));
        Ok(Some(placed))
    }

    /// Puts the permissions of a file right and says how they were; `None` when it is missing or damaged.
    fn look_after(
        &self,
        folder: &Folder,
        files: &Files,
        name: &str,
        version: &Version,
    ) -> Result<Option<LookedAfter>, StoreError> {
        let path = folder.directory.path.join(name);
        let _changing = files.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = Kept::open(&folder.directory, name, files.has_owner())? else { return Ok(None) };
        let Some(facts) = kept.facts() else { return Ok(None) };
        let Readers { rights, mut warnings } = Readers::find(files, &self.names, folder, || kept.rights());
        if kept.is_shared() {
            warnings.push(shared(&path));
        }
        warnings.extend(other_versions::revoke(&folder.directory, name, files, &rights, &kept.rights()));
        let access = match kept.is_anothers(&rights) {
            true => Ok(Access::Unsure),
            false => kept.put_right(&rights).map_err(failed("change the permissions", &path)),
        };
        if access == Ok(Access::Repaired) {
            log::info!("{}: permissions put right", path.display());
        }
        let unreadable = (access == Ok(Access::Unsupported)).then_some(StoreError::AclUnsupported { path });
        Ok(Some((access, Placed { installed: facts.installed(version), warnings, unreadable })))
    }

    /// Writes a version's file: complete and with its permissions before it gets its name. The link stays where it is.
    ///
    /// # Errors
    ///
    /// As for [`Store::find`].
    pub(crate) fn write(
        &self,
        observed: &ObservedCertificate,
        version: &Version,
        certificate: &Certificate,
    ) -> Result<Placed, StoreError> {
        let (folder, files) = self.place(observed)?;
        let name = file_name(observed, version);
        let path = folder.directory.path.join(&name);
        let _changing = files.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = Kept::open(&folder.directory, &name, files.has_owner())?;
        let remembered = || match &previous {
            Some(previous) => previous.rights(),
            None => self.rights_of_current(observed, folder, files),
        };
        let Readers { rights, mut warnings } = Readers::find(files, &self.names, folder, remembered);
        if previous.as_ref().is_some_and(Kept::is_shared) {
            warnings.push(shared(&path));
        }
        warnings.extend(other_versions::revoke(&folder.directory, &name, files, &rights, &remembered()));
        let encode_failed =
            |cause: CertificateError| StoreError::Encode { path: path.clone(), reason: cause.to_string() };
        let pem = certificate.to_pem().map_err(encode_failed)?;
        let facts = Facts::of(certificate);
        let installed = facts.clone().installed(version);
        let contents = Contents { pem: &pem, facts, wanted: &rights, previous: previous.as_ref() };
        let is_supported = new_file::write(&folder.directory, &name, contents)?;
        log::info!(
            "certificate file name: {}: {}",
            path.display(),
            if previous.is_some() { "written anew" } else { "installed" }
        );
        let unreadable = (!is_supported && !rights.grants.is_empty()).then_some(StoreError::AclUnsupported { path });
        Ok(Placed { installed, warnings, unreadable })
    }

    /// Lets the link point to this version, which is in place, by one rename. `false` when it did already. The links
    /// of a pass are brought to the disk together, when the store is dropped.
    ///
    /// # Errors
    ///
    /// As for [`Store::current`].
    pub(crate) fn point(&self, observed: &ObservedCertificate, version: &Version) -> Result<bool, StoreError> {
        let (folder, _) = self.place(observed)?;
        let name = file_name(observed, version);
        let moved = link::point(&folder.directory, &observed.link_name(), &observed.base_name(), &name)?;
        if moved {
            folder.note_swing();
        }
        Ok(moved)
    }

    fn place(&self, observed: &ObservedCertificate) -> Result<(&Folder, &Files), StoreError> {
        let path = &observed.target.folder;
        let unknown = || failed("open the folder", path)(Errno::NOENT);
        let Place { folder, files } = self.places.get(path).ok_or_else(unknown)?;
        let folder = folder.as_ref().map_err(Clone::clone)?;
        Ok((folder, files.get(&observed.base_name()).ok_or_else(unknown)?))
    }

    /// What we gave on the file that the link points to, for when the name service does not answer.
    fn rights_of_current(&self, observed: &ObservedCertificate, folder: &Folder, files: &Files) -> Rights {
        let target = link::target(&folder.directory, &observed.link_name(), &observed.base_name());
        let open = |name: String| Kept::open(&folder.directory, &name, files.has_owner()).ok().flatten();
        target.ok().flatten().and_then(open).map(|kept| kept.rights()).unwrap_or_default()
    }
}

impl Files {
    /// Whether the settings give the files an owner beside root.
    fn has_owner(&self) -> bool {
        self.ownership.as_ref().is_some_and(|ownership| ownership.owner.is_some())
    }
}

/// `<vault>.<certificate>.<version>`.
fn file_name(observed: &ObservedCertificate, version: &Version) -> String {
    format!("{}.{}", observed.base_name(), version.as_str())
}

fn shared(path: &Path) -> String {
    format!(
        "{} has a second name (a hard link), which keeps its key and its readers: find it with find -samefile and remove it",
        path.display()
    )
}

/// Turns the system's error number into an error that says what was tried, and with what.
fn failed(action: &'static str, path: &Path) -> impl Fn(Errno) -> StoreError {
    move |cause| StoreError::System { action, path: path.to_owned(), code: cause.raw_os_error() }
}

#[cfg(test)]
mod tests;
