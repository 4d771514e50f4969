//! Windows: the system's certificate stores, with private keys in the system's keeping.
//!
//! A key is complete, with its policy and its access control list, before a certificate points to it. What a certificate
//! is, and which version is in use, is said by the certificate itself. Certificates that others installed stay as they
//! are, but for the links that lead from them.

mod account;
mod certificate_store;
mod descriptor;
mod error;
mod failure;
mod key;
mod notification;
mod place;
mod sweep;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use common::report::Installed;
use common::settings::{KeyStorage, LinkOnRenewal, Location, ObservedCertificate, Version};
use openssl::x509::{X509, X509Ref, X509VerifyResult};

use super::Placed;
use crate::certificate::{self, Certificate};
use crate::network::Network;
use crate::system::Trust;
use account::Sid;
use certificate_store::Context;
use failure::Failure;
use key::{Form, Key, Service};
use place::{Place, Wanted};

pub(crate) use error::StoreError;

/// The store, open for one pass over all certificates. Many threads may use it at the same time.
pub(crate) struct Store {
    /// By location and lower-case name.
    places: HashMap<(Location, String), Result<Place, StoreError>>,
    /// By their names in the settings; `None` for those that do not exist.
    accounts: HashMap<String, Result<Option<Sid>, Failure>>,
}

impl Store {
    /// Opens every store once, sweeps keys that a crash left, and looks up the accounts of the settings. What is wrong with
    /// a store is reported by the calls for its certificates.
    pub(crate) fn open(certificates: &[ObservedCertificate], _network: &Network) -> Self {
        let mut accounts = HashMap::new();
        let mut wanted = BTreeMap::<(Location, String), BTreeMap<String, Wanted>>::new();
        for observed in certificates {
            for account in &observed.target.accounts {
                accounts.entry(account.clone()).or_insert_with(|| Sid::look_up(account));
            }
            let of_place = wanted.entry(key_of(observed)).or_default();
            of_place.entry(observed.base_name()).or_default().add(&observed.target);
        }
        for is_machine in [true, false] {
            if wanted.keys().any(|(location, _)| self::is_machine(*location) == is_machine) {
                sweep::orphans(is_machine);
            }
        }
        let open = |(key, wanted): ((Location, String), _)| {
            let place = Place::open(is_machine(key.0), &key.1, wanted);
            (key, place)
        };
        Self { places: wanted.into_iter().map(open).collect(), accounts }
    }

    /// What was remarked on a chain stays: this system does not say when its trust changed.
    pub(crate) fn judging_by(self, _trust: Option<Arc<Trust>>) -> Self {
        self
    }

    /// Creates the stores that are missing, and says of which that failed.
    pub(crate) fn prepare(certificates: &[ObservedCertificate]) -> Vec<StoreError> {
        let open = |observed: &ObservedCertificate| {
            let (location, name) = key_of(observed);
            Place::open(is_machine(location), &name, BTreeMap::new()).err()
        };
        certificates.iter().filter_map(open).collect()
    }

    /// The version in use; reads only. `None` when there is none.
    ///
    /// # Errors
    ///
    /// The store cannot be used.
    pub(crate) fn current(&self, observed: &ObservedCertificate) -> Result<Option<Installed>, StoreError> {
        let base = observed.base_name();
        let in_use = self.place(observed)?.in_use(&base);
        Ok(in_use.and_then(|(context, version)| installed(&context, &version)))
    }

    /// The certificate in use, if there is one.
    pub(crate) fn leaf_in_use(&self, observed: &ObservedCertificate) -> Option<X509> {
        let (context, _) = self.place(observed).ok()?.in_use(&observed.base_name())?;
        context.x509()
    }

    /// Whether this version is in place, and its key signs. Missing grants of ours are given again. `None` when it has to be
    /// installed.
    ///
    /// # Errors
    ///
    /// As for [`Store::current`].
    pub(crate) fn find(&self, observed: &ObservedCertificate, version: &Version) -> Result<Option<Placed>, StoreError> {
        let base = observed.base_name();
        let place = self.place(observed)?;
        let Some(context) = place.version(&base, version) else { return Ok(None) };
        let (Some(installed), Some(wanted)) = (installed(&context, version), place.wanted.get(&base)) else {
            return Ok(None);
        };
        let key = match usable_key(&context, wanted.form(place.is_machine)) {
            Ok(Some(key)) => key,
            Ok(None) => return Ok(None),
            Err(failure) => {
                let error = failure.at(&place.path(&installed.thumbprint));
                log::warn!("{base}: the key is not as it should be and is imported again: {error}");
                return Ok(None);
            }
        };
        let mut warnings = Place::remarks(&context, &base, version);
        self.restore_access(place, &base, &key, &installed, &mut warnings);
        Ok(Some(Placed { installed, warnings, unreadable: None }))
    }

    /// The version in use, with its grants put right as by [`Store::find`], for when it stays in use.
    ///
    /// # Errors
    ///
    /// As for [`Store::current`].
    pub(crate) fn keep(&self, observed: &ObservedCertificate) -> Result<Option<Placed>, StoreError> {
        let base = observed.base_name();
        let place = self.place(observed)?;
        let Some((context, version)) = place.in_use(&base) else { return Ok(None) };
        let Some(installed) = installed(&context, &version) else { return Ok(None) };
        let mut warnings = Place::remarks(&context, &base, &version);
        match context.key().map(|place| Key::open(&place)) {
            Some(Ok(key)) => self.restore_access(place, &base, &key, &installed, &mut warnings),
            Some(Err(failure)) => warnings.push(failure.at(&place.path(&installed.thumbprint)).to_string()),
            None => {}
        }
        Ok(Some(Placed { installed, warnings, unreadable: None }))
    }

    /// Gives a version's key to the system's keeping, and puts the version into its store. Which version is in use stays as
    /// it is.
    ///
    /// # Errors
    ///
    /// As for [`Store::current`], or the system does not keep the key as it should.
    pub(crate) fn install(
        &self,
        observed: &ObservedCertificate,
        version: &Version,
        certificate: &Certificate,
        remarks: Vec<String>,
    ) -> Result<Placed, StoreError> {
        let base = observed.base_name();
        let place = self.place(observed)?;
        let path = place.path(&certificate.thumbprint());
        let encode_failed = |_| StoreError::Encode { path: path.clone() };
        let failed = |failure: Failure| failure.at(&path);
        let form = place
            .wanted
            .get(&base)
            .map_or_else(|| Wanted::default().form(true), |wanted| wanted.form(place.is_machine));
        let mut warnings = remarks.clone();
        let readers = self.readers(place, &base, &mut warnings);

        let is_root = |at: usize| certificate.chain.get(at + 1).is_none() && certified_itself(&certificate.chain[at]);
        let mut intermediates = Vec::new();
        for at in (1..certificate.chain.len()).filter(|at| !is_root(*at)) {
            let der = certificate.chain[at].to_der().map_err(encode_failed)?;
            intermediates.push(Context::new(&der).map_err(failed)?);
        }
        let leaf = Context::new(&certificate.chain[0].to_der().map_err(encode_failed)?).map_err(failed)?;
        // The closed extension, or a hand, may have installed the very same one.
        let there = place.certificate(&certificate.thumbprint());
        let kept = there.as_ref().and_then(|there| usable_key(there, form).ok().flatten());
        let key = match &kept {
            Some(kept) => {
                if kept.restore_access(&readers).map_err(failed)? {
                    log::info!("{}: accounts that were missing may use the key", path.display());
                }
                leaf.set_key(kept.place()).map_err(failed)?;
                log::info!("{}: is there with its key, and is taken over", path.display());
                None
            }
            None => {
                let key = Key::import(&certificate.key, form, &readers).map_err(failed)?;
                leaf.set_key(key.place()).map_err(failed)?;
                Some(key)
            }
        };
        let installed = Installed {
            version: *version,
            thumbprint: certificate.thumbprint(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
        };
        if let Err(failure) = place.put(&base, version, &leaf, &intermediates, &remarks) {
            // No certificate points to it.
            if let Some(Err(failure)) = key.map(Key::delete) {
                log::debug!("{base}: {}", failure.at(&path));
            }
            return Err(failure.at(&path));
        }
        log::info!("certificate: {}: {base}.{}: installed", path.display(), version.as_str());
        Ok(Placed { installed, warnings, unreadable: None })
    }

    /// Makes a version the one in use; true when it was not.
    ///
    /// # Errors
    ///
    /// As for [`Store::find`], or the version is not in place.
    pub(crate) fn point(&self, observed: &ObservedCertificate, version: &Version) -> Result<bool, StoreError> {
        let base = observed.base_name();
        let place = self.place(observed)?;
        let taken = place.put_in_use(&base, version);
        let gone = || StoreError::Gone { path: PathBuf::from(observed.place()) };
        taken.map_err(|failure| failure.at(place.store_path()))?.ok_or_else(gone)
    }

    /// Lets older certificates lead to those that are in use now, where the settings want it, and tells the system.
    /// Then removes older versions, where the settings say how many stay.
    pub(crate) fn finish<'a>(&self, certificates: impl Iterator<Item = &'a ObservedCertificate>) {
        let certificates: Vec<_> = certificates.collect();
        let mut places: Vec<(Location, String)> = Vec::new();
        for observed in &certificates {
            let key = key_of(observed);
            if observed.target.link_on_renewal != LinkOnRenewal::No && !places.contains(&key) {
                if let Some(Ok(place)) = self.places.get(&key) {
                    place.link(observed.target.link_on_renewal);
                }
                places.push(key);
            }
        }
        let mut pruned = BTreeSet::new();
        for observed in certificates {
            if let (Some(versions), Ok(place)) = (observed.target.keep_versions, self.place(observed))
                && place.prune(&observed.base_name(), versions)
            {
                pruned.insert(place.is_machine);
            }
        }
        pruned.into_iter().for_each(sweep::orphans);
    }

    fn place(&self, observed: &ObservedCertificate) -> Result<&Place, StoreError> {
        match self.places.get(&key_of(observed)) {
            Some(place) => place.as_ref().map_err(Clone::clone),
            None => Err(StoreError::Gone { path: PathBuf::from(observed.place()) }),
        }
    }

    /// Who may use the keys of a certificate, as far as they exist.
    fn readers(&self, place: &Place, base: &str, warnings: &mut Vec<String>) -> Vec<Sid> {
        let accounts = place.wanted.get(base).map(|wanted| wanted.accounts.as_slice()).unwrap_or_default();
        let mut readers = Vec::new();
        for account in accounts {
            match self.accounts.get(account) {
                Some(Ok(Some(sid))) => readers.push(sid.clone()),
                Some(Err(failure)) => warnings.push(format!(
                    "the account {account} cannot be looked up and may not use the key yet: {}",
                    std::io::Error::from_raw_os_error(failure.code)
                )),
                _ => {
                    warnings
                        .push(format!("the account {account} does not exist (yet): create it, or correct accounts"));
                }
            }
        }
        readers
    }

    fn restore_access(&self, place: &Place, base: &str, key: &Key, installed: &Installed, warnings: &mut Vec<String>) {
        let readers = self.readers(place, base, warnings);
        let path = place.path(&installed.thumbprint);
        match key.restore_access(&readers) {
            Ok(true) => log::info!("{}: accounts that were missing may use the key again", path.display()),
            Ok(false) => {}
            Err(failure) => warnings.push(failure.at(&path).to_string()),
        }
    }
}

fn key_of(observed: &ObservedCertificate) -> (Location, String) {
    (observed.target.location, observed.target.store.to_ascii_uppercase())
}

fn is_machine(location: Location) -> bool {
    location == Location::LocalMachine
}

/// The key of a certificate, if it is kept in this form; it was made to sign.
fn usable_key(context: &Context, form: Form) -> Result<Option<Key>, Failure> {
    let (Some(place), Some(x509)) = (context.key(), context.x509()) else { return Ok(None) };
    let Ok(public) = x509.public_key() else { return Ok(None) };
    let key = Key::open(&place)?;
    key.prove(&public)?;
    Ok(key.has(form, public.id())?.then_some(key))
}

fn installed(context: &Context, version: &Version) -> Option<Installed> {
    let (not_before, not_after) = certificate::validity(context.x509()?.as_ref())?;
    Some(Installed { version: *version, thumbprint: context.thumbprint(), not_before, not_after })
}

fn certified_itself(certificate: &X509Ref) -> bool {
    certificate.issued(certificate) == X509VerifyResult::OK
}

impl Wanted {
    fn form(&self, is_machine: bool) -> Form {
        let service = match self.storage {
            KeyStorage::Capi => Service::Capi,
            KeyStorage::Cng => Service::Cng,
        };
        Form { service, is_machine, is_exportable: self.is_exportable }
    }
}
