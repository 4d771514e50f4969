//! Linux: a folder, the name of a link in it, and who else may read the file.

mod acl;
mod folder;
mod layout;
mod link_name;
mod ownership;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{link_on_renewal, versions, without_effect};
use crate::settings::keys::{Root, Section};
use crate::settings::reader::{Findings, Node};
use crate::system;
pub use acl::Acl;
use acl::readers;
use folder::folder;
pub use layout::Layout;
use link_name::LONGEST_NAME;
pub use link_name::LinkName;
pub use ownership::{FileMode, Ownership};

/// A folder, a link in it, and its readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Absolute, without `.`, `..` or a trailing slash.
    pub folder: Arc<Path>,
    /// `customSymbolicLinkName`; without one the link is called `<vault>.<certificate>`.
    pub link: Option<LinkName>,
    /// Who may read the file beside root.
    pub acls: Vec<Acl>,
    /// Whom the file belongs to, when it is not root's alone.
    pub ownership: Option<Arc<Ownership>>,
    /// `certificateFiles`; without one, combined, and both where links of release 4.x stand.
    pub layout: Option<Layout>,
    /// How many versions stay on the disk; without a number, all.
    pub keep_versions: Option<NonZeroUsize>,
}

/// What holds for certificates that do not say otherwise.
pub(in crate::settings) struct Defaults {
    folder: Option<Arc<Path>>,
    acl_enabled: bool,
    layout: Option<Layout>,
    keep_versions: Option<NonZeroUsize>,
}

impl Defaults {
    pub(in crate::settings) fn parse(root: &Root<'_>, findings: &mut Findings) -> Self {
        let folder = match root.get(Section::SecretsManagement, "certificateStoreLocation", findings) {
            Some(node) => node.parsed(findings, folder),
            None => Some(Path::new(system::DEFAULT_STORE).into()),
        };
        let acl_enabled = root
            .get(Section::SecretsManagement, "aclEnabled", findings)
            .and_then(|node| node.boolean(findings))
            .unwrap_or(true);
        let [store_name, links, key_storage] = ["certificateStoreName", "linkOnRenewal", "keyStorage"]
            .map(|key| root.get(Section::SecretsManagement, key, findings));
        without_effect(store_name.filter(is_no_store_name), findings);
        without_effect(links.filter(is_no_choice_of_links), findings);
        without_effect(key_storage, findings);
        let layout = root
            .get(Section::SecretsManagement, "certificateFiles", findings)
            .and_then(|node| node.parsed(findings, Layout::parse));
        let keep_versions =
            root.get(Section::SecretsManagement, "keepVersions", findings).and_then(|node| versions(&node, findings));
        Self { folder, acl_enabled, layout, keep_versions }
    }
}

impl Target {
    /// The folder that the certificate's files are in.
    pub fn folder(&self) -> Option<&Arc<Path>> {
        Some(&self.folder)
    }

    /// Whom the settings name, as reader, owner or group.
    pub fn accounts(&self) -> Vec<Acl> {
        let ownership = self.ownership.as_ref();
        let owner = ownership.and_then(|ownership| ownership.owner.clone()).map(Acl::User);
        let group = ownership.and_then(|ownership| ownership.group.clone()).map(Acl::Group);
        self.acls.iter().cloned().chain(owner).chain(group).collect()
    }

    /// The name of the link.
    pub(in crate::settings) fn link_name(&self, base: &str) -> String {
        self.link.as_ref().map_or(base, LinkName::as_str).to_owned()
    }

    /// Whether the version before the newest one is installed, too.
    pub fn keeps_second(&self) -> bool {
        self.keep_versions.is_none_or(|versions| versions.get() > 1)
    }

    /// Whether a file that two entries of the settings share can be as both want it.
    pub(in crate::settings) fn agrees_with(&self, other: &Self) -> bool {
        self.ownership == other.ownership && self.keep_versions == other.keep_versions
    }

    /// The path of a name in the folder.
    pub(in crate::settings) fn place(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The names that applications use, which two certificates must not share; the first is the one to show.
    pub(in crate::settings) fn names(&self, link: &str) -> Vec<String> {
        layout::names(link, self.layout.unwrap_or(Layout::Combined))
    }

    /// Its values as `check --json` shows them; `owner`, `group` and `mode` when they are given. `null` is a name that follows
    /// the certificate's, files that follow what is on the disk, and all versions.
    pub fn to_json(&self) -> Value {
        let acls: Vec<Value> = self
            .acls
            .iter()
            .map(|acl| match acl {
                Acl::User(name) => json!({ "user": name }),
                Acl::Group(name) => json!({ "group": name }),
            })
            .collect();
        let mut shown = json!({
            "store": &*self.folder,
            "link": self.link.as_ref().map(LinkName::as_str),
            "acls": acls,
            "certificateFiles": self.layout.map(Layout::name),
            "keepVersions": self.keep_versions,
        });
        if let Some(Ownership { owner, group, mode }) = self.ownership.as_deref() {
            shown["owner"] = json!(owner);
            shown["group"] = json!(group);
            shown["mode"] = json!(format!("{:04o}", mode.bits()));
        }
        shown
    }

    /// The same target, sharing what it has in common with `other`.
    pub(in crate::settings) fn sharing(mut self, other: &Self) -> Self {
        if self.folder == other.folder {
            self.folder = Arc::clone(&other.folder);
        }
        self
    }

    /// Reads the target of an item: an object, or a bare URL that has defaults only.
    pub(in crate::settings) fn parse(item: &Node<'_>, defaults: &Defaults, findings: &mut Findings) -> Option<Self> {
        without_effect(["keyExportable", "accounts", "keyStorage"].iter().filter_map(|key| item.child(key)), findings);
        without_effect(item.child("certificateStoreName").filter(is_no_store_name), findings);
        // All are read before any is missed, so that every mistake is said at once.
        let folder = match item.child("certificateStoreLocation") {
            Some(node) => node.parsed(findings, folder),
            None => defaults.folder.clone(),
        };
        let link = match item.child("customSymbolicLinkName") {
            Some(node) => node.parsed(findings, LinkName::parse).map(Some),
            None => Some(None),
        };
        let acls = match item.child("acls") {
            Some(list) => acls(&list, defaults, findings),
            None => Some(Vec::new()),
        };
        let ownership = Ownership::parse(item, findings);
        let layout = match item.child("certificateFiles") {
            Some(node) => node.parsed(findings, Layout::parse).map(Some),
            None => Some(defaults.layout),
        };
        let keep_versions = match item.child("keepVersions") {
            Some(node) => versions(&node, findings).map(Some),
            None => Some(defaults.keep_versions),
        };
        let target = Self {
            folder: folder?,
            link: link?,
            acls: acls?,
            ownership: ownership?.map(Arc::new),
            layout: layout?,
            keep_versions: keep_versions?,
        };
        target.fits_together(item, findings).then_some(target)
    }

    /// Whether the parts of an item that are each right are so together, too.
    fn fits_together(&self, item: &Node<'_>, findings: &mut Findings) -> bool {
        if let (Some(mode), Some(ownership), false) = (item.child("mode"), &self.ownership, self.acls.is_empty())
            && !ownership.mode.lets_group_read()
        {
            findings.error(
                mode.path(),
                "would shut out everybody in acls, as the group's part of a mode limits them all: write \"0640\" or \"0440\"",
            );
            return false;
        }
        if let (Some(node), Some(link)) = (item.child("customSymbolicLinkName"), &self.link)
            && self.layout.is_some_and(Layout::is_split)
            && link.as_str().len() + layout::LONGEST_ENDING > LONGEST_NAME
        {
            findings.error(node.path(), "is too long for names that end with .keyid: write a shorter one");
            return false;
        }
        true
    }
}

// The documented settings carry two of Windows to Linux, so that nothing is said of what would be right there.

fn is_no_store_name(node: &Node<'_>) -> bool {
    node.text().is_none()
}

fn is_no_choice_of_links(node: &Node<'_>) -> bool {
    let mut mistakes = Findings::default();
    link_on_renewal(node, &mut mistakes);
    !mistakes.errors.is_empty()
}

/// The readers of an item; those that are wrong are left out, and said.
fn acls(list: &Node<'_>, defaults: &Defaults, findings: &mut Findings) -> Option<Vec<Acl>> {
    let acls: Vec<_> = list.list(findings)?.filter_map(|entry| readers(&entry, findings)).flatten().collect();
    if !acls.is_empty() && !defaults.acl_enabled {
        findings.warning(list.path(), "is ignored because aclEnabled is false");
        return Some(Vec::new());
    }
    Some(acls)
}
