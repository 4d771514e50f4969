//! Linux: a folder, the name of a link in it, and who else may read the file.

mod layout;
mod ownership;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::settings::keys::{Root, Section};
use crate::settings::reader::{Findings, Node};
use crate::system;
use crate::text::{excerpt, is_deceptive};
pub use layout::Layout;
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
    pub ownership: Option<Ownership>,
    /// `certificateFiles`; without one, combined, and both where links of release 4.x stand.
    pub layout: Option<Layout>,
    /// How many versions stay on the disk; without a number, all.
    pub keep_versions: Option<NonZeroUsize>,
}

/// Of a name in a folder, in bytes.
const LONGEST_NAME: usize = 255;

/// A file name that is nothing but a name, and none that the store uses itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkName(String);

/// A user or a group, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Acl {
    /// A user's name.
    User(String),
    /// A group's name.
    Group(String),
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
        // Settings of the Windows extension that documented samples carry to Linux: checked, without effect.
        if let Some(node) = root.get(Section::SecretsManagement, "certificateStoreName", findings) {
            node.string(findings);
        }
        if let Some(node) = root.get(Section::SecretsManagement, "linkOnRenewal", findings)
            && node.text() != Some("sameCertificate")
        {
            node.boolean(findings);
        }
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

    /// `store`, `link` and `acls`, and `owner`, `group`, `mode`, `certificateFiles` and `keepVersions` when they are given, as `check --json`
    /// shows them.
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
        });
        if let Some(Ownership { owner, group, mode }) = &self.ownership {
            shown["owner"] = json!(owner);
            shown["group"] = json!(group);
            shown["mode"] = json!(format!("{:04o}", mode.bits()));
        }
        if let Some(layout) = self.layout {
            shown["certificateFiles"] = json!(layout.name());
        }
        if let Some(versions) = self.keep_versions {
            shown["keepVersions"] = json!(versions);
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
        for key in ["keyExportable", "accounts"] {
            if let Some(node) = item.child(key) {
                findings.warning(node.path(), "has no effect on Linux");
            }
        }
        let folder = match item.child("certificateStoreLocation") {
            Some(node) => node.parsed(findings, folder),
            None => defaults.folder.clone(),
        };
        let link = match item.child("customSymbolicLinkName") {
            Some(node) => Some(node.parsed(findings, LinkName::parse)?),
            None => None,
        };
        let mut acls = Vec::new();
        if let Some(list) = item.child("acls") {
            acls = list.list(findings)?.iter().filter_map(|entry| readers(entry, findings)).flatten().collect();
            if !acls.is_empty() && !defaults.acl_enabled {
                findings.warning(list.path(), "is ignored because aclEnabled is false");
                acls.clear();
            }
        }
        let ownership = Ownership::parse(item, findings)?;
        if let (Some(mode), Some(ownership), false) = (item.child("mode"), &ownership, acls.is_empty())
            && !ownership.mode.lets_group_read()
        {
            findings.error(
                mode.path(),
                "would shut out everybody in acls, as the group's part of a mode limits them all: write \"0640\" or \"0440\"",
            );
            return None;
        }
        let layout = match item.child("certificateFiles") {
            Some(node) => Some(node.parsed(findings, Layout::parse)?),
            None => defaults.layout,
        };
        if let (Some(node), Some(link)) = (item.child("customSymbolicLinkName"), &link)
            && layout.is_some_and(Layout::is_split)
            && link.0.len() + layout::LONGEST_ENDING > LONGEST_NAME
        {
            findings.error(node.path(), "is too long for names that end with .keyid: write a shorter one");
            return None;
        }
        let keep_versions = match item.child("keepVersions") {
            Some(node) => Some(versions(&node, findings)?),
            None => defaults.keep_versions,
        };
        Some(Self { folder: folder?, link, acls, ownership, layout, keep_versions })
    }
}

impl LinkName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let refused =
            |reason: &str| Err(format!("\"{}\" {reason}: write a file name such as app1Cert1", excerpt(text)));
        if text.is_empty() || text == "." || text == ".." {
            refused("is not a name")
        } else if text.contains(['/', '\\']) {
            refused("is a path: the link lies in certificateStoreLocation")
        } else if text.chars().any(is_deceptive) {
            refused("holds control characters")
        } else if text.len() > LONGEST_NAME {
            refused("is longer than 255 bytes")
        } else if text.starts_with(".akv-") {
            refused("begins with .akv-, as temporary files of the store do")
        } else if is_version_file(text) {
            refused("ends as the files of versions do")
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// `….<32 hexadecimal digits>`, what a version's file is called, also with `.pem.<time>` or `.keyid.<time>` behind.
fn is_version_file(name: &str) -> bool {
    let mut ends = name.rsplit('.');
    let is_version = |end: Option<&str>| end.is_some_and(|end| crate::settings::Version::parse(end).is_some());
    let is_part = |time: Option<&str>, part: Option<&str>| {
        time.is_some_and(|time| !time.is_empty() && time.bytes().all(|digit| digit.is_ascii_digit()))
            && matches!(part, Some("pem" | "keyid"))
    };
    is_version(ends.clone().next()) || (is_part(ends.next(), ends.next()) && is_version(ends.next()))
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// `{"user": …}`, `{"group": …}` or both in one entry.
fn readers(entry: &Node<'_>, findings: &mut Findings) -> Option<Vec<Acl>> {
    let form = "write {\"user\": \"NAME\"}, {\"group\": \"NAME\"} or both";
    if entry.entries().is_none() {
        findings.error(entry.path(), format!("must be an object, not {}: {form}", entry.kind()));
        return None;
    }
    entry.warn_about_unknown(&["user", "group"], findings);
    let mut readers = Vec::new();
    if let Some(node) = entry.child("user") {
        readers.push(Acl::User(node.parsed(findings, account)?));
    }
    if let Some(node) = entry.child("group") {
        readers.push(Acl::Group(node.parsed(findings, account)?));
    }
    if readers.is_empty() {
        findings.error(entry.path(), format!("names nobody: {form}"));
        return None;
    }
    Some(readers)
}

/// Accounts are looked up by the system's name service; here only what could never be a name is refused.
fn account(text: &str) -> Result<String, String> {
    if text.trim().is_empty()
        || text.len() > 256
        || text.chars().any(|c| is_deceptive(c) || matches!(c, ':' | ',' | '/'))
    {
        return Err(format!("\"{}\" is not the name of an account: write one name an entry", excerpt(text)));
    }
    Ok(text.to_owned())
}

/// How many versions stay, one at least.
fn versions(node: &Node<'_>, findings: &mut Findings) -> Option<NonZeroUsize> {
    node.count(findings).and_then(|count| NonZeroUsize::new(usize::try_from(count).ok()?))
}

/// Folders that hold code, policy or the kernel's files: nothing that settings name may ever be written there.
const REFUSED_TREES: [&str; 47] = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/boot",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/root",
    "/etc/sudoers.d",
    "/etc/pam.d",
    "/etc/systemd",
    "/etc/profile.d",
    "/etc/ld.so.conf.d",
    "/etc/init.d",
    "/etc/security",
    "/etc/ssh",
    "/etc/akvvm",
    "/etc/default",
    "/etc/apt",
    "/etc/udev",
    "/etc/polkit-1",
    "/etc/dbus-1",
    "/etc/NetworkManager",
    "/etc/init",
    "/etc/kernel",
    "/etc/selinux",
    "/etc/xdg",
    "/etc/skel",
    "/etc/alternatives",
    "/etc/network",
    "/etc/initramfs-tools",
    "/etc/dpkg",
    "/etc/yum",
    "/etc/dnf",
    "/var/spool/cron",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/lib/akvvm",
    "/etc/ssl/certs",
    "/etc/pki/ca-trust",
    "/etc/ca-certificates",
];

fn folder(text: &str) -> Result<Arc<Path>, String> {
    let advice = format!("write an absolute folder such as {}", system::DEFAULT_STORE);
    let refused = |reason: &str| Err(format!("\"{}\" {reason}: {advice}", excerpt(text)));
    if text.eq_ignore_ascii_case("LocalMachine") || text.eq_ignore_ascii_case("CurrentUser") {
        return refused("is a store of Windows");
    }
    if text.contains('\\') || text.get(1..2) == Some(":") {
        return refused("is a path of Windows");
    }
    if !text.starts_with('/') {
        return refused("is not absolute");
    }
    if text.chars().any(is_deceptive) {
        return refused("holds control characters");
    }
    if text.split('/').any(|part| matches!(part, "." | "..")) {
        return refused("holds . or ..");
    }
    if text.len() > 3000 || text.split('/').any(|part| part.len() > 255) {
        return refused("is too long");
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let folder = format!("/{}", parts.join("/"));
    let is_in = |tree: &str| folder.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(tree) = REFUSED_TREES.iter().find(|tree| is_in(tree)) {
        return refused(&format!("lies in {tree}, which belongs to the system"));
    }
    let is_policy = |name: &str| name.starts_with("cron") || name.ends_with(".d");
    if matches!(
        parts[..],
        [] | ["etc" | "var" | "home" | "opt" | "srv" | "mnt" | "tmp"] | ["var", "lib" | "log" | "tmp"]
    ) || matches!(parts[..], ["var", "lib", "waagent"])
        || matches!(parts[..], ["etc", name, ..] if is_policy(name))
        || parts.contains(&".ssh")
    {
        return refused("is a folder of the system");
    }
    if let ["var", "lib", "waagent", name, ..] = parts[..]
        && is_handler_folder(name)
    {
        return refused("is a folder that the guest agent deletes");
    }
    Ok(Path::new(&folder).into())
}

/// The guest agent removes every `<name>-<version>` below its folder that is not in the goal state.
fn is_handler_folder(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, end)| end.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_folders_and_writes_them_one_way() {
        for (text, meant) in [
            ("/srv/certs", "/srv/certs"),
            ("/srv//certs/", "/srv/certs"),
            ("/etc/nginx/ssl", "/etc/nginx/ssl"),
            ("/var/lib/waagent/Microsoft.Azure.KeyVault.Store/", "/var/lib/waagent/Microsoft.Azure.KeyVault.Store"),
            ("/home/app1/größe 1", "/home/app1/größe 1"),
        ] {
            assert_eq!(folder(text), Ok(Path::new(meant).into()), "{text}");
        }
    }

    #[test]
    fn refuses_folders_of_the_system_and_what_is_no_folder() {
        for text in [
            "",
            "/",
            "//",
            "certs",
            "./certs",
            "../certs",
            "~/certs",
            "/srv/../etc",
            "/srv/./certs",
            "C:\\certs",
            "C:/certs",
            "\\\\server\\share",
            "/proc/self",
            "/sys/fs",
            "/dev/shm",
            "/run/certs",
            "/var/run/certs",
            "/usr/local/certs",
            "/bin",
            "/lib64/x",
            "/root/certs",
            "/etc",
            "/etc/",
            "/etc/cron.d",
            "/etc/cron.daily/x",
            "/etc/sudoers.d",
            "/etc/systemd/system",
            "/etc/pam.d",
            "/srv/a\nb",
            "/srv/a\u{0}b",
            "/srv/\u{202e}b",
            "LocalMachine",
            "/var/lib/waagent/Contoso.X-1.2",
            "/etc/udev/rules.d",
            "/etc/modprobe.d",
            "/etc/logrotate.d/x",
            "/etc/rc3.d",
            "/var/spool/cron/crontabs",
            "/var/lib",
            "/var/lib/waagent",
            "/home/app1/.ssh",
            "/tmp",
            "/etc/bash_completion.d",
            "/etc/ssl/certs",
            "/etc/pki/ca-trust/source/anchors",
            "/etc/ca-certificates",
        ] {
            assert!(folder(text).is_err(), "{text:?}");
        }
        assert!(folder(&format!("/srv/{}", "a".repeat(256))).is_err());
    }

    #[test]
    fn refuses_link_names_that_are_paths_or_the_stores_own() {
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "/etc/passwd",
            "..\\x",
            "a\nb",
            "a\u{202e}nimda",
            "a\u{200b}",
            ".akv-1.tmp",
            "contoso.web.ca256f81a079427485e0e5d11c666b7f",
            "contoso.web.ca256f81a079427485e0e5d11c666b7f.keyid.1700000000",
        ] {
            assert!(LinkName::parse(text).is_err(), "{text:?}");
        }
        assert!(LinkName::parse(&"a".repeat(256)).is_err());
        assert!(LinkName::parse("app1Cert1.pem").is_ok());
    }

    #[test]
    fn refuses_accounts_that_would_be_more_than_one_entry() {
        for text in ["", " ", "a:rwx", "u:b,g:c", "a\nb", "a\u{200b}", "a/b"] {
            assert!(account(text).is_err(), "{text:?}");
        }
        for text in ["app1", "DOMAIN\\app1", "app1@example.com", "svc$", "1001"] {
            assert!(account(text).is_ok(), "{text:?}");
        }
    }
}
