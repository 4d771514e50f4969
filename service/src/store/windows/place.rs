//! One certificate store: what is in it of each certificate of a vault, and what changes there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use common::report::Thumbprint;
use common::settings::{KeyStorage, LinkOnRenewal, Target, Version};
use jiff::Timestamp;

use super::StoreError;
use super::certificate_store::{self, CertificateStore, Context};
use super::failure::Failure;
use super::notification;
use crate::certificate;
use crate::store::record::{Record, Records};
use crate::store::renewal::{self, Change, Held, Names, Scope};

/// The store of intermediate certificates.
const INTERMEDIATES: &str = "CA";
/// The store whose bindings the system changes when it is told of a renewal.
const PERSONAL: &str = "MY";

/// An open store, and what the settings want of it.
pub(super) struct Place {
    pub(super) is_machine: bool,
    name: String,
    store: CertificateStore,
    intermediates: CertificateStore,
    /// By the base names of the certificates.
    pub(super) wanted: BTreeMap<String, Wanted>,
    /// Held while the store is changed.
    changing: Mutex<()>,
}

/// What the settings want of the keys of one certificate.
pub(super) struct Wanted {
    pub(super) accounts: Vec<String>,
    pub(super) is_exportable: bool,
    pub(super) storage: KeyStorage,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { accounts: Vec::new(), is_exportable: false, storage: KeyStorage::Capi }
    }
}

impl Wanted {
    /// Entries of the settings for the same certificate share its key.
    pub(super) fn add(&mut self, target: &Target) {
        self.is_exportable = target.key_exportable;
        self.storage = target.key_storage;
        for account in &target.accounts {
            if !self.accounts.contains(account) {
                self.accounts.push(account.clone());
            }
        }
    }
}

impl Place {
    pub(super) fn open(is_machine: bool, name: &str, wanted: BTreeMap<String, Wanted>) -> Result<Self, StoreError> {
        let open = |name: &str| {
            let opened = CertificateStore::open(is_machine, name);
            opened.map_err(|failure| failure.at(&certificate_store::path(is_machine, name)))
        };
        Ok(Self {
            is_machine,
            name: name.to_owned(),
            store: open(name)?,
            intermediates: open(INTERMEDIATES)?,
            wanted,
            changing: Mutex::new(()),
        })
    }

    pub(super) fn store_path(&self) -> &Path {
        &self.store.path
    }

    /// A certificate of this store.
    pub(super) fn path(&self, thumbprint: &Thumbprint) -> PathBuf {
        self.store.path.join(thumbprint.to_string())
    }

    pub(super) fn certificate(&self, thumbprint: &Thumbprint) -> Option<Context> {
        self.store.certificates().into_iter().find(|context| context.thumbprint() == *thumbprint)
    }

    /// The certificate that is this version.
    pub(super) fn version(&self, base: &str, version: &Version) -> Option<Context> {
        self.store.certificates().into_iter().find(|context| records(context).has(base, version))
    }

    /// What was remarked on a version when it was put there.
    pub(super) fn remarks(context: &Context, base: &str, version: &Version) -> Vec<String> {
        records(context).find(base, version).map(|record| record.remarks.clone()).unwrap_or_default()
    }

    /// The version in use, and its certificate.
    pub(super) fn in_use(&self, base: &str) -> Option<(Context, Version)> {
        let turns = self.store.certificates().into_iter().filter_map(|context| {
            let record = records(&context).of(base).max_by_key(|record| record.turn).cloned()?;
            (record.turn > 0).then_some((context, record))
        });
        turns.max_by_key(|(_, record)| record.turn).map(|(context, record)| (context, record.version))
    }

    /// Puts a version there with these remarks on it, first what certifies it. What is known of the same certificate
    /// stays known.
    pub(super) fn put(
        &self,
        base: &str,
        version: &Version,
        leaf: &Context,
        intermediates: &[Context],
        remarks: &[String],
    ) -> Result<(), Failure> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        for intermediate in intermediates {
            if self.intermediates.put_new(intermediate)? {
                let thumbprint = intermediate.thumbprint();
                log::info!(
                    "certificate: {}: installed",
                    self.intermediates.path.join(thumbprint.to_string()).display()
                );
            }
        }
        let there = self.certificate(&leaf.thumbprint());
        let mut known = there.as_ref().map(records).unwrap_or_default();
        known.add(base, version, remarks);
        leaf.set_description(&known.to_string())?;
        leaf.set_friendly_name(&format!("{base}.{}", version.as_str()))?;
        if let Some(link) = there.and_then(|there| there.renewal()) {
            leaf.set_renewal(Some(link))?;
        }
        self.store.put(leaf)
    }

    /// Makes a version the one in use; false when it was already, `None` when it is not there.
    pub(super) fn put_in_use(&self, base: &str, version: &Version) -> Result<Option<bool>, Failure> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.store.certificates();
        let turns = all.iter().map(records).flat_map(|records| records.of(base).cloned().collect::<Vec<_>>());
        let turns: Vec<Record> = turns.collect();
        let highest = turns.iter().map(|record| record.turn).max().unwrap_or_default();
        let Some(context) = all.iter().find(|context| records(context).has(base, version)) else { return Ok(None) };
        let is_in_use = |record: &Record| record.version == *version && record.turn == highest && highest > 0;
        if turns.iter().any(is_in_use) {
            return Ok(Some(false));
        }
        let mut known = records(context);
        known.set_turn(base, version, highest + 1);
        context.set_description(&known.to_string())?;
        self.store.commit()?;
        Ok(Some(true))
    }

    /// Removes older versions of a certificate beyond the newest `versions`, never the one in use. `false` when all
    /// stay. Their keys are no certificate's any more then.
    pub(super) fn prune(&self, base: &str, versions: NonZeroUsize) -> bool {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.store.certificates();
        let mut ours: Vec<(Timestamp, Record, &Context)> = Vec::new();
        for context in &all {
            let Some((not_before, _)) = context.x509().and_then(|x509| certificate::validity(&x509)) else { continue };
            ours.extend(records(context).of(base).map(|record| (not_before, record.clone(), context)));
        }
        ours.sort_by_key(|(not_before, record, _)| Reverse((*not_before, record.turn)));
        let in_use = ours.iter().map(|(_, record, _)| record.turn).max();
        let mut pruned = false;
        for (_, record, context) in ours.iter().skip(versions.get()) {
            if Some(record.turn) == in_use {
                continue;
            }
            let path = self.path(&context.thumbprint());
            match self.remove(context, record) {
                Ok(()) => log::info!("{}: removed, as newer versions are enough by keepVersions", path.display()),
                Err(failure) => log::warn!("{}", failure.at(&path)),
            }
            pruned = true;
        }
        pruned
    }

    /// A certificate that is also another version stays for that.
    fn remove(&self, context: &Context, record: &Record) -> Result<(), Failure> {
        let mut known = records(context);
        if known.remove(&record.base, &record.version) {
            context.set_description(&known.to_string())?;
        } else {
            self.store.remove(context)?;
        }
        self.store.commit()
    }

    /// Lets each older certificate lead to the newest that may stand for it, and says so.
    pub(super) fn link(&self, links: LinkOnRenewal) {
        let scope = match links {
            LinkOnRenewal::No => return,
            LinkOnRenewal::SameCertificate => Scope::SameCertificate,
            LinkOnRenewal::Yes => Scope::Store,
        };
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.store.certificates();
        let held = held(&all);
        let by_thumbprint = |thumbprint: &Thumbprint| all.iter().find(|context| context.thumbprint() == *thumbprint);
        let mut renewed = Vec::new();
        for change in renewal::plan(&held, scope) {
            let (from, to) = match change {
                Change::Set { from, to, .. } => (from, Some(to)),
                Change::Clear { from } => (from, None),
            };
            let Some(context) = by_thumbprint(&from) else { continue };
            if let Some(to) = &to
                && !by_thumbprint(to).is_some_and(is_usable)
            {
                continue;
            }
            let done = context.set_renewal(to).and_then(|()| self.store.commit());
            let path = self.path(&from);
            match (done, change) {
                (Err(failure), _) => log::warn!("{}", failure.at(&path)),
                (Ok(()), Change::Set { to, is_same, .. }) => {
                    let why =
                        if is_same { "a newer version of the same certificate" } else { "which has all its names" };
                    log::info!("{}: leads to {to}, {why}", path.display());
                    renewed.push((from, to));
                }
                (Ok(()), Change::Clear { .. }) => {
                    log::info!("{}: leads nowhere any more: what it led to is no longer to be used", path.display());
                }
            }
        }
        if self.is_machine && self.name.eq_ignore_ascii_case(PERSONAL) && !renewed.is_empty() {
            notification::raise(&renewed);
        }
    }
}

/// Whether the key of a certificate signs, whoever keeps it.
fn is_usable(context: &Context) -> bool {
    let Some((place, public)) = context.key().zip(context.x509().and_then(|x509| x509.public_key().ok())) else {
        return false;
    };
    super::Key::open(&place).and_then(|key| key.prove(&public)).is_ok()
}

fn records(context: &Context) -> Records {
    context.description().map(|text| Records::parse(&text)).unwrap_or_default()
}

/// What the store holds, as the rules of links see it.
fn held(all: &[Context]) -> Vec<Held> {
    let mut highest = HashMap::<String, u32>::new();
    for record in all.iter().flat_map(|context| records(context).0) {
        let turn = highest.entry(record.base).or_default();
        *turn = record.turn.max(*turn);
    }
    let held = |context: &Context| {
        let x509 = context.x509()?;
        let (not_before, not_after) = certificate::validity(&x509)?;
        let Records(records) = records(context);
        let in_use = records.iter().find(|record| record.turn > 0 && highest.get(&record.base) == Some(&record.turn));
        Some(Held {
            thumbprint: context.thumbprint(),
            names: Names::of(&x509),
            not_before,
            not_after,
            source: in_use.or(records.first()).map(|record| record.base.clone()),
            is_in_use: in_use.is_some() && context.key().is_some(),
            link: context.renewal(),
        })
    };
    all.iter().filter_map(held).collect()
}
