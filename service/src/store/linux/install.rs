//! A version that is not in place yet: which files it is made of, who may read them, and their way to the disk.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use common::settings::{ObservedCertificate, Version};
use zeroize::Zeroizing;

use super::file::Kept;
use super::folder::Folder;
use super::grants::Rights;
use super::layout::{Links, Pair};
use super::new_file::{self, Contents};
use super::other_versions;
use super::readers::Readers;
use super::record::Facts;
use super::upkeep::open_all;
use super::{Files, Placed, Store, StoreError, current, file_name, opened, shared};
use crate::certificate::{Certificate, CertificateError};

impl Store {
    /// Writes a version's files: complete, with their permissions and the `remarks` on it, and on the disk before they get
    /// their names. The links stay where they are.
    ///
    /// # Errors
    ///
    /// As for [`Store::find`].
    pub(crate) fn install(
        &self,
        observed: &ObservedCertificate,
        version: &Version,
        certificate: &Certificate,
        remarks: Vec<String>,
    ) -> Result<Placed, StoreError> {
        let (place, files) = self.place(observed)?;
        let folder = opened(&place.folder)?;
        let links = Links::of(observed, &folder.directory);
        let encode_failed = |cause: CertificateError| StoreError::Encode {
            path: folder.directory.path.join(file_name(observed, version)),
            reason: cause.to_string(),
        };
        let mut parts = Vec::new();
        if links.combined.is_some() {
            parts.push((file_name(observed, version), certificate.to_pem().map_err(encode_failed)?));
        }
        let pair = Pair::of(&links.base, version, certificate.not_before().as_second());
        if links.split.is_some() {
            let chain = Zeroizing::new(certificate.chain_to_pem().map_err(encode_failed)?);
            parts.push((pair.chain.clone(), chain));
            parts.push((pair.key.clone(), certificate.key_to_pem().map_err(encode_failed)?));
        }
        let names: Vec<String> = parts.iter().map(|(name, _)| name.clone()).collect();

        let changing = files.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |name: &String| Kept::open(&folder.directory, name, files.has_owner());
        let previous = names.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let remembered = || match previous.iter().flatten().next() {
            Some(previous) => previous.rights(),
            None => rights_of_current(observed, folder, files),
        };
        let Readers { rights, mut warnings } = Readers::find(files, &self.names, folder, remembered);
        warnings.extend(other_versions::revoke(&folder.directory, &names, files, &rights, &remembered()));
        let facts = Facts::with(certificate, remarks);
        warnings.extend(facts.remarks.iter().cloned());
        let mut unreadable = None;
        let mut unnamed = Vec::with_capacity(parts.len());
        for ((name, pem), previous) in parts.iter().zip(&previous) {
            let path = folder.directory.path.join(name);
            if previous.as_ref().is_some_and(Kept::is_shared) {
                warnings.push(shared(&path));
            }
            let contents = Contents { pem, facts: facts.clone(), wanted: &rights, previous: previous.as_ref() };
            let file = new_file::write(&folder.directory, name, contents)?;
            if !file.is_supported && !rights.grants.is_empty() {
                unreadable = Some(StoreError::AclUnsupported { path: path.clone() });
            }
            unnamed.push((file, path, if previous.is_some() { "written anew" } else { "installed" }));
        }
        // Who else looks at the permissions need not wait for the disk.
        drop(changing);
        for (file, path, done) in unnamed {
            files.named.fetch_max(file.name()?, Ordering::AcqRel);
            log::info!("certificate file name: {}: {done}", path.display());
        }
        if links.split.is_some() {
            place.pairs.learn(&pair);
        }
        Ok(Placed { installed: facts.installed(version), warnings, unreadable })
    }
}

/// What we gave on the files that the links point to, for when the name service does not answer.
fn rights_of_current(observed: &ObservedCertificate, folder: &Folder, files: &Files) -> Rights {
    let found = current(observed, &folder.directory).ok().flatten();
    let kept = found.and_then(|(names, _)| open_all(&folder.directory, &names, files).ok().flatten());
    kept.and_then(|kept| kept.last().map(Kept::rights)).unwrap_or_default()
}
