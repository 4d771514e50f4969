//! Linux: one PEM file per version in a folder, or two for chain and key, symbolic links to the ones in use, POSIX access
//! control lists.
//!
//! Everything is done relative to the open folder, by single names, so that no path is looked up twice. A thing
//! gets its name when it is complete; a thing that is not ours is never touched.

mod acl;
mod attribute;
mod directory;
mod error;
mod file;
mod folder;
mod grants;
mod install;
mod judge;
mod layout;
mod link;
mod metadata;
mod names;
mod new_file;
mod other_versions;
mod ownership;
mod passage;
mod readers;
mod record;
mod retention;
mod temporary;
mod text;
mod upkeep;

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::report::Installed;
use common::settings::{Acl, ObservedCertificate, Ownership, Version};
use openssl::x509::X509;
use rustix::io::Errno;

use super::Placed;
use crate::network::Network;
use crate::system::Trust;
use directory::Directory;
use file::{Access, Kept};
use folder::Folder;
use layout::{Links, Pair, Pairs};
use names::Names;
use retention::Limit;
use upkeep::open_all;

pub(crate) use error::StoreError;

/// The store, open for one pass over all certificates. Many threads may use it at the same time.
pub(crate) struct Store {
    places: HashMap<Arc<Path>, Place>,
    names: Names,
    trust: Option<Arc<Trust>>,
}

/// A folder, and the certificates in it by their base name.
struct Place {
    folder: Result<Folder, StoreError>,
    files: HashMap<String, Files>,
    pairs: Pairs,
}

/// The files of one certificate in one folder. Entries of the settings that differ only in link and `acls` share them.
#[derive(Default)]
struct Files {
    /// Of all these entries.
    acls: Vec<Acl>,
    /// The same in all these entries.
    ownership: Option<Arc<Ownership>>,
    /// Held while the permissions are read and changed.
    changing: Mutex<()>,
    /// The change of the folder that gave the last of them its name; 0 when that was before this pass.
    named: AtomicU64,
}

impl Store {
    /// Opens every folder once, creates what is missing, sweeps what a crash left and starts looking up the
    /// accounts of the settings, by way of `network`. What is wrong with a folder is reported by the calls for its certificates.
    pub(crate) fn open(certificates: &[ObservedCertificate], network: &Network) -> Self {
        let accounts = certificates.iter().flat_map(|observed| observed.target.accounts()).collect();
        let names = Names::look_up(accounts, network);
        let mut places = HashMap::new();
        for observed in certificates {
            let open =
                |path: &Arc<Path>| Place { folder: Folder::open(path), files: HashMap::new(), pairs: Pairs::default() };
            let place = places.entry(observed.target.folder.clone()).or_insert_with_key(open);
            let Files { acls, ownership, .. } = place.files.entry(observed.base_name()).or_default();
            ownership.clone_from(&observed.target.ownership);
            for account in &observed.target.acls {
                if !acls.contains(account) {
                    acls.push(account.clone());
                }
            }
        }
        Self { places, names, trust: None }
    }

    /// What was remarked on a chain before the machine's trust changed is found out again, by this trust.
    pub(crate) fn judging_by(self, trust: Option<Arc<Trust>>) -> Self {
        Self { trust, ..self }
    }

    /// Creates the folders that are missing, and says of which that failed.
    pub(crate) fn prepare(certificates: &[ObservedCertificate]) -> Vec<StoreError> {
        let folders: BTreeSet<&Path> = certificates.iter().map(|observed| &*observed.target.folder).collect();
        folders.into_iter().filter_map(|path| Folder::open(path).err()).collect()
    }

    /// What the links point to now; reads only. `None` when there is no link or its file is not whole.
    ///
    /// # Errors
    ///
    /// The folder cannot be used, something that is not ours is in the way, or the system refuses to read.
    pub(crate) fn current(&self, observed: &ObservedCertificate) -> Result<Option<Installed>, StoreError> {
        let (Place { folder, .. }, files) = self.place(observed)?;
        let directory = &opened(folder)?.directory;
        let Some((names, version)) = current(observed, directory)? else { return Ok(None) };
        let facts = open_all(directory, &names, files)?.and_then(|kept| Kept::facts(&kept));
        Ok(facts.map(|facts| facts.installed(&version)))
    }

    /// The leaf that the links lead to now, if they lead to one.
    pub(crate) fn leaf_in_use(&self, observed: &ObservedCertificate) -> Option<X509> {
        let (Place { folder, .. }, files) = self.place(observed).ok()?;
        let directory = &opened(folder).ok()?.directory;
        let (names, _) = current(observed, directory).ok()??;
        open_all(directory, &names, files).ok()??.first().and_then(Kept::leaf)
    }

    /// Whether this version is in place and whole. Missing grants of ours are given again, access for everybody is
    /// taken away. `None` when a file is missing or damaged and has to be written.
    ///
    /// # Errors
    ///
    /// As for [`Store::current`].
    pub(crate) fn find(&self, observed: &ObservedCertificate, version: &Version) -> Result<Option<Placed>, StoreError> {
        let (place, files) = self.place(observed)?;
        let folder = opened(&place.folder)?;
        let links = Links::of(observed, &folder.directory);
        let mut groups = Vec::new();
        if links.combined.is_some() {
            groups.push(vec![file_name(observed, version)]);
        }
        if let Some(split) = &links.split {
            match place.pairs.find(&folder.directory, (split, &links.base), version)? {
                Some(Pair { chain, key }) => groups.push(vec![chain, key]),
                None => return Ok(None),
            }
        }
        let mut found: Option<Placed> = None;
        for names in groups {
            let Some((access, placed)) = self.look_after(folder, files, &names, version)? else { return Ok(None) };
            if access? == Access::Unsure {
                return Ok(None);
            }
            found = Some(found.map_or(placed.clone(), |found| found.with(placed)));
        }
        Ok(found)
    }

    /// What the links point to now, with the permissions of its files put right as by [`Store::find`], for when they stay
    /// there. What could not be put right is a warning. The file of an earlier release stays as it is.
    ///
    /// # Errors
    ///
    /// As for [`Store::current`].
    pub(crate) fn keep(&self, observed: &ObservedCertificate) -> Result<Option<Placed>, StoreError> {
        let Some(installed) = self.current(observed)? else { return Ok(None) };
        if let Some(mut placed) = self.find_current(observed, &installed.version)? {
            placed.installed = installed;
            return Ok(Some(placed));
        }
        Ok(Some(Placed { installed, warnings: Vec::new(), unreadable: None }))
    }

    fn find_current(&self, observed: &ObservedCertificate, version: &Version) -> Result<Option<Placed>, StoreError> {
        let (place, files) = self.place(observed)?;
        let folder = opened(&place.folder)?;
        let links = Links::of(observed, &folder.directory);
        let name = file_name(observed, version);
        let mut groups = Vec::new();
        if let Some(link) = &links.combined
            && link::target(&folder.directory, link, &links.base)?.as_ref() == Some(&name)
        {
            groups.push(vec![name]);
        }
        if let Some(pair) = links.pair(&folder.directory)? {
            groups.push(vec![pair.chain, pair.key]);
        }
        let mut found: Option<Placed> = None;
        for names in groups {
            let Some((access, mut placed)) = self.look_after(folder, files, &names, version)? else { continue };
            placed.warnings.extend(access.err().map(|error| error.to_string()));
            found = Some(found.map_or(placed.clone(), |found| found.with(placed)));
        }
        Ok(found)
    }

    /// Lets the links point to this version, which is in place, by one rename each, and says so in the metadata file;
    /// the names of its files are brought to the disk before. `false` when they did already. The links of a pass are
    /// brought to the disk together, when the store is dropped.
    ///
    /// # Errors
    ///
    /// As for [`Store::current`].
    pub(crate) fn point(&self, observed: &ObservedCertificate, version: &Version) -> Result<bool, StoreError> {
        let (place, files) = self.place(observed)?;
        let folder = opened(&place.folder)?;
        let directory = &folder.directory;
        let links = Links::of(observed, directory);
        let named = NonZeroU64::new(files.named.load(Ordering::Acquire));
        let mut moved = false;
        if let Some(link) = &links.combined {
            moved |= link::point(directory, &links.base, &[(link, &file_name(observed, version))], named)?;
        }
        if let Some(split) = &links.split {
            let missing = || failed("find the file", &directory.path.join(&split.chain))(Errno::NOENT);
            let pair = place.pairs.find(directory, (split, &links.base), version)?.ok_or_else(missing)?;
            let names = [pair.chain.clone(), pair.key.clone()];
            let facts = open_all(directory, &names, files)?.and_then(|kept| Kept::facts(&kept)).ok_or_else(missing)?;
            let both = [(split.chain.as_str(), pair.chain.as_str()), (&split.key, &pair.key)];
            moved |= link::point(directory, &links.base, &both, named)?;
            moved |= metadata::replace(directory, &split.metadata, &facts.installed(version), &pair)?;
        }
        if moved {
            directory.note_change();
        }
        Ok(moved)
    }

    /// Removes our files of older versions where the settings say how many are kept, never those that a link leads to.
    /// `certificates` are those of which nothing failed in this pass.
    pub(crate) fn finish<'a>(&self, certificates: impl Iterator<Item = &'a ObservedCertificate>) {
        let mut limits = HashMap::<&Path, Vec<Limit>>::new();
        for observed in certificates {
            let Some(versions) = observed.target.keep_versions else { continue };
            let Ok((_, files)) = self.place(observed) else { continue };
            let (base, has_owner) = (observed.base_name(), files.has_owner());
            limits.entry(&observed.target.folder).or_default().push(Limit {
                base,
                versions: versions.get(),
                has_owner,
            });
        }
        for (path, limits) in limits {
            if let Some(Ok(folder)) = self.places.get(path).map(|place| &place.folder) {
                retention::prune(&folder.directory, &limits);
            }
        }
    }

    fn place(&self, observed: &ObservedCertificate) -> Result<(&Place, &Files), StoreError> {
        let path = &observed.target.folder;
        let unknown = || failed("open the folder", path)(Errno::NOENT);
        let place = self.places.get(path).ok_or_else(unknown)?;
        Ok((place, place.files.get(&observed.base_name()).ok_or_else(unknown)?))
    }
}

impl Placed {
    /// This and further files of the same version.
    fn with(mut self, other: Self) -> Self {
        let new: Vec<_> = other.warnings.into_iter().filter(|warning| !self.warnings.contains(warning)).collect();
        self.warnings.extend(new);
        Self { unreadable: self.unreadable.or(other.unreadable), ..self }
    }
}

impl Files {
    /// Whether the settings give the files an owner beside root.
    fn has_owner(&self) -> bool {
        self.ownership.as_ref().is_some_and(|ownership| ownership.owner.is_some())
    }
}

fn opened(folder: &Result<Folder, StoreError>) -> Result<&Folder, StoreError> {
    folder.as_ref().map_err(Clone::clone)
}

/// The files that the links lead to, and the version that these are of.
fn current(
    observed: &ObservedCertificate,
    directory: &Directory,
) -> Result<Option<(Vec<String>, Version)>, StoreError> {
    let links = Links::of(observed, directory);
    let Some(names) = links.current(directory)? else { return Ok(None) };
    let version = names.first().and_then(|name| link::version_part(name, &links.base)).and_then(Version::parse);
    Ok(version.map(|version| (names, version)))
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
