//! Which setting belongs where, and where else people put it.

use super::json::Value;
use super::reader::{Findings, Node};

/// A section of the public settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    SecretsManagement,
    Authentication,
    Logging,
}

impl Section {
    const ALL: [Self; 3] = [Self::SecretsManagement, Self::Authentication, Self::Logging];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SecretsManagement => "secretsManagementSettings",
            Self::Authentication => "authenticationSettings",
            Self::Logging => "loggingSettings",
        }
    }

    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::SecretsManagement => &[
                "pollingIntervalInS",
                "linkOnRenewal",
                "requireInitialSync",
                "aclEnabled",
                "certificateStoreName",
                "certificateStoreLocation",
                "certificateFiles",
                "keepVersions",
                "afterRenewal",
                "keyStorage",
                "chainValidation",
                "observedCertificates",
            ],
            Self::Authentication => &["msiEndpoint", "msiClientId"],
            Self::Logging => &["logger", "endpoint", "format", "servicename", "telemetryEvents"],
        }
    }
}

/// The keys of an observed certificate.
pub(super) const CERTIFICATE: &[&str] = &[
    "url",
    "certificateStoreName",
    "certificateStoreLocation",
    "keyExportable",
    "accounts",
    "keyStorage",
    "customSymbolicLinkName",
    "acls",
    "owner",
    "group",
    "mode",
    "certificateFiles",
    "keepVersions",
    "afterRenewal",
    "authenticationOverride",
];

/// The public settings, whose sections and keys are found wherever they were put.
pub(super) struct Root<'a> {
    root: Node<'a>,
    sections: Vec<(Section, Node<'a>)>,
}

impl<'a> Root<'a> {
    /// Finds the sections and warns about what is in none of them.
    pub(super) fn of(public: &'a Value, findings: &mut Findings) -> Option<Self> {
        let root = Node::new("", public)?;
        let mut sections = Vec::new();
        for section in Section::ALL {
            let misplaced = || {
                let outer = root.child(Section::SecretsManagement.name())?.child(section.name())?;
                Some((outer, true))
            };
            let found = root.child(section.name()).map(|node| (node, false)).or_else(misplaced);
            let Some((node, moved)) = found else { continue };
            if moved {
                findings.warning(
                    node.path(),
                    format!("belongs one level up, beside {}", Section::SecretsManagement.name()),
                );
            }
            if !node.is_object() && section != Section::Logging {
                findings.error(node.path(), format!("must be an object ({{…}}), not {}", node.kind()));
                continue;
            }
            sections.push((section, node));
        }
        let found = Self { root, sections };
        found.warn_about_unknown(findings);
        Some(found)
    }

    pub(super) fn section(&self, wanted: Section) -> Option<Node<'a>> {
        self.sections.iter().find(|(section, _)| *section == wanted).map(|(_, node)| node.clone())
    }

    /// The value of `key`, which belongs into `home`; found elsewhere, it counts with a warning that names the right place.
    pub(super) fn get(&self, home: Section, key: &str, findings: &mut Findings) -> Option<Node<'a>> {
        let right = self.section(home).and_then(|node| node.child(key));
        let elsewhere = self
            .sections
            .iter()
            .filter(|(section, _)| *section != home && *section != Section::Logging)
            .map(|(_, node)| node)
            .chain([&self.root])
            .find_map(|node| node.child(key));
        if let Some(node) = &elsewhere {
            let place = format!("{}.{key}", home.name());
            findings.warning(
                node.path(),
                match right {
                    Some(_) => format!("is ignored: {place} is given as well"),
                    None => format!("belongs under {place}"),
                },
            );
        }
        right.or(elsewhere)
    }

    fn warn_about_unknown(&self, findings: &mut Findings) {
        let movable: Vec<&str> = [Section::SecretsManagement, Section::Authentication]
            .into_iter()
            .flat_map(|section| section.keys())
            .copied()
            .chain(Section::ALL.map(Section::name))
            .collect();
        self.root.warn_about_unknown(&movable, findings);
        for (section, node) in &self.sections {
            let known = if *section == Section::Logging { section.keys() } else { &movable };
            node.warn_about_unknown(known, findings);
        }
    }
}
