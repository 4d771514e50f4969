//! Windows: a certificate store, how the private key is kept, and who may use it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{LinkOnRenewal, link_on_renewal, versions, without_effect};
use crate::settings::keys::{Root, Section};
use crate::settings::reader::{Findings, Node};
use crate::text::{excerpt, is_deceptive};

/// The store when the settings name none.
const DEFAULT_STORE: &str = "MY";
/// Of a store's name, in characters.
const LONGEST_STORE: usize = 128;

/// A certificate store, and how the key of a certificate in it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose stores.
    pub location: Location,
    /// `certificateStoreName`.
    pub store: Arc<str>,
    /// `keyExportable`.
    pub key_exportable: bool,
    /// Who may use the key beside the system and administrators.
    pub accounts: Vec<String>,
    /// `keyStorage`.
    pub key_storage: KeyStorage,
    /// `linkOnRenewal`.
    pub link_on_renewal: LinkOnRenewal,
    /// `keepVersions`: how many versions stay; all where it is not given.
    pub keep_versions: Option<NonZeroUsize>,
}

/// Whose stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// The machine's.
    LocalMachine,
    /// Those of the account that the service runs as.
    CurrentUser,
}

/// Which of the two services of Windows keeps an RSA key; others are always in CNG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStorage {
    /// The older one, which Service Fabric and SQL Server need.
    Capi,
    /// The newer one.
    Cng,
}

/// What holds for certificates that do not say otherwise.
pub(in crate::settings) struct Defaults {
    location: Option<Location>,
    store: Option<Arc<str>>,
    link_on_renewal: LinkOnRenewal,
    key_storage: KeyStorage,
    keep_versions: Option<NonZeroUsize>,
}

impl Defaults {
    pub(in crate::settings) fn parse(root: &Root<'_>, findings: &mut Findings) -> Self {
        let section = Section::SecretsManagement;
        let location = match root.get(section, "certificateStoreLocation", findings) {
            Some(node) => node.parsed(findings, location),
            None => Some(Location::LocalMachine),
        };
        let store = match root.get(section, "certificateStoreName", findings) {
            Some(node) => node.parsed(findings, store),
            None => Some(DEFAULT_STORE.into()),
        };
        let link_on_renewal = root
            .get(section, "linkOnRenewal", findings)
            .map_or(LinkOnRenewal::No, |node| link_on_renewal(&node, findings));
        let key_storage = root
            .get(section, "keyStorage", findings)
            .and_then(|node| node.parsed(findings, key_storage))
            .unwrap_or(KeyStorage::Capi);
        let keep_versions = root.get(section, "keepVersions", findings).and_then(|node| versions(&node, findings));
        let of_linux = ["aclEnabled", "certificateFiles"].map(|key| root.get(section, key, findings));
        without_effect(of_linux.into_iter().flatten(), findings);
        Self { location, store, link_on_renewal, key_storage, keep_versions }
    }
}

impl Target {
    /// Certificates lie in no folder.
    pub fn folder(&self) -> Option<&Arc<Path>> {
        None
    }

    /// Reads the target of an item: an object, or a bare URL that has defaults only.
    pub(in crate::settings) fn parse(item: &Node<'_>, defaults: &Defaults, findings: &mut Findings) -> Option<Self> {
        let of_linux = ["customSymbolicLinkName", "acls", "owner", "group", "mode", "certificateFiles"];
        without_effect(of_linux.iter().filter_map(|key| item.child(key)), findings);
        let location = match item.child("certificateStoreLocation") {
            Some(node) => node.parsed(findings, location),
            None => defaults.location,
        };
        let store = match item.child("certificateStoreName") {
            Some(node) => node.parsed(findings, store),
            None => defaults.store.clone(),
        };
        // All are read before any is missed, so that every mistake is said at once.
        let key_exportable = match item.child("keyExportable") {
            Some(node) => node.boolean(findings),
            None => Some(false),
        };
        let key_storage = match item.child("keyStorage") {
            Some(node) => node.parsed(findings, key_storage),
            None => Some(defaults.key_storage),
        };
        let accounts = match item.child("accounts") {
            Some(list) => list.list(findings).and_then(|list| {
                let read: Vec<_> = list.map(|node| node.parsed(findings, account)).collect();
                read.into_iter().collect()
            }),
            None => Some(Vec::new()),
        };
        let keep_versions = match item.child("keepVersions") {
            Some(node) => versions(&node, findings).map(Some),
            None => Some(defaults.keep_versions),
        };
        Some(Self {
            location: location?,
            store: store?,
            key_exportable: key_exportable?,
            accounts: accounts?,
            key_storage: key_storage?,
            link_on_renewal: defaults.link_on_renewal,
            keep_versions: keep_versions?,
        })
    }

    /// What applications find a certificate by; on Windows it has no name but its own.
    pub(in crate::settings) fn link_name(&self, base: &str) -> String {
        base.to_owned()
    }

    /// Whether a certificate that two entries of the settings share can be as both want it.
    pub(in crate::settings) fn agrees_with(&self, other: &Self) -> bool {
        self.key_exportable == other.key_exportable
            && self.key_storage == other.key_storage
            && self.keep_versions == other.keep_versions
    }

    /// A certificate in the store, as PowerShell writes it.
    pub(in crate::settings) fn place(&self, name: &str) -> String {
        format!(r"Cert:\{}\{}\{name}", self.location, self.store)
    }

    /// The names that applications use.
    pub(in crate::settings) fn names(&self, link: &str) -> Vec<String> {
        vec![link.to_owned()]
    }

    /// Whether the version before the newest one is installed, too.
    pub fn keeps_second(&self) -> bool {
        self.keep_versions.is_none_or(|versions| versions.get() > 1)
    }

    /// Its values, as `check --json` shows them; `null` keeps all versions.
    pub fn to_json(&self) -> Value {
        json!({
            "store": format!(r"Cert:\{}\{}", self.location, self.store),
            "keyExportable": self.key_exportable,
            "keyStorage": match self.key_storage { KeyStorage::Capi => "capi", KeyStorage::Cng => "cng" },
            "accounts": self.accounts,
            "linkOnRenewal": match self.link_on_renewal {
                LinkOnRenewal::No => json!(false),
                LinkOnRenewal::SameCertificate => json!("sameCertificate"),
                LinkOnRenewal::Yes => json!(true),
            },
            "keepVersions": self.keep_versions,
        })
    }

    /// The same target, sharing what it has in common with `other`.
    pub(in crate::settings) fn sharing(mut self, other: &Self) -> Self {
        if self.store == other.store {
            self.store = Arc::clone(&other.store);
        }
        self
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LocalMachine => "LocalMachine",
            Self::CurrentUser => "CurrentUser",
        })
    }
}

fn location(text: &str) -> Result<Location, String> {
    [Location::LocalMachine, Location::CurrentUser]
        .into_iter()
        .find(|location| text.eq_ignore_ascii_case(&location.to_string()))
        .ok_or_else(|| format!("\"{}\" is no location of stores: write LocalMachine or CurrentUser", excerpt(text)))
}

fn key_storage(text: &str) -> Result<KeyStorage, String> {
    match text {
        _ if text.eq_ignore_ascii_case("capi") => Ok(KeyStorage::Capi),
        _ if text.eq_ignore_ascii_case("cng") => Ok(KeyStorage::Cng),
        _ => Err(format!("\"{}\" is no way to keep a key: write \"capi\" or \"cng\"", excerpt(text))),
    }
}

fn store(text: &str) -> Result<Arc<str>, String> {
    let refused = |reason: &str| Err(format!("\"{}\" {reason}: write the name of a store such as MY", excerpt(text)));
    if text.is_empty() || text.contains(['\\', '/']) || text.chars().any(is_deceptive) {
        return refused("is not the name of a store");
    }
    if text.chars().count() > LONGEST_STORE {
        return refused("is too long");
    }
    // What is in there is trusted, or distrusted, by the whole machine: that is its owner's to say.
    if ["Root", "AuthRoot", "TrustedPublisher", "Disallowed", "CA"].iter().any(|name| text.eq_ignore_ascii_case(name)) {
        return refused("is a store that says whom this machine trusts");
    }
    Ok(text.into())
}

/// Accounts are looked up by the system; here only what could never be a name is refused.
fn account(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.len() > 256 || text.chars().any(|c| is_deceptive(c) || ";()/,".contains(c)) {
        return Err(format!("\"{}\" is not the name of an account: write one name an entry", excerpt(text)));
    }
    Ok(text.to_owned())
}
