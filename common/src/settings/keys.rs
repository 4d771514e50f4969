//! Which setting belongs where, and where else people put it.

use super::json::Value;
use super::reader::{Findings, Node};
use crate::system;

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
}

/// What settings are in: a section, or something inside one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Section(Section),
    Certificate,
    Reader,
    Override,
    AfterRenewal,
    Verify,
}

impl Place {
    /// For "it belongs …".
    const fn words(self) -> &'static str {
        match self {
            Self::Section(Section::SecretsManagement) => "under secretsManagementSettings",
            Self::Section(Section::Authentication) => "under authenticationSettings",
            Self::Section(Section::Logging) => "under loggingSettings",
            Self::Certificate => "in an object of secretsManagementSettings.observedCertificates",
            Self::Reader => "in an entry of a certificate's acls",
            Self::Override => "under a certificate's authenticationOverride",
            Self::AfterRenewal => "under afterRenewal",
            Self::Verify => "under verify of afterRenewal",
        }
    }
}

/// Every setting by where it belongs, and what one may write.
const SETTINGS: &[(Place, &[(&str, &str)])] = &[
    (
        Place::Section(Section::SecretsManagement),
        &[
            ("pollingIntervalInS", "\"3600\""),
            ("linkOnRenewal", "false"),
            ("requireInitialSync", "true"),
            ("aclEnabled", "true"),
            ("certificateStoreName", "\"MY\""),
            ("certificateStoreLocation", system::STORE_LOCATION),
            ("certificateFiles", "\"combined\", \"split\" or \"both\""),
            ("keepVersions", "3"),
            ("afterRenewal", "{\"reload\": [\"nginx.service\"]}"),
            ("keyStorage", "\"capi\" or \"cng\""),
            ("chainValidation", "\"warn\" or \"require\""),
            ("observedCertificates", "[\"https://VAULT.vault.azure.net/secrets/NAME\"]"),
        ],
    ),
    (
        Place::Section(Section::Authentication),
        &[("msiEndpoint", "\"http://169.254.169.254/metadata/identity\""), ("msiClientId", CLIENT_ID)],
    ),
    (
        Place::Section(Section::Logging),
        &[
            ("logger", "\"fluentd\""),
            ("endpoint", "\"tcp://localhost:24224\""),
            ("format", "\"forward\""),
            ("servicename", "\"akvvm_service\""),
            ("telemetryEvents", "true"),
        ],
    ),
    (
        Place::Certificate,
        &[
            ("url", "\"https://VAULT.vault.azure.net/secrets/NAME\""),
            ("certificateStoreName", "\"MY\""),
            ("certificateStoreLocation", system::STORE_LOCATION),
            ("keyExportable", "false"),
            ("accounts", "[\"Network Service\"]"),
            ("keyStorage", "\"capi\" or \"cng\""),
            ("customSymbolicLinkName", "\"app1Cert1\""),
            ("acls", "[{\"user\": \"NAME\"}]"),
            ("owner", "\"postgres\""),
            ("group", "\"ssl-cert\""),
            ("mode", "\"0640\""),
            ("certificateFiles", "\"combined\", \"split\" or \"both\""),
            ("keepVersions", "3"),
            ("afterRenewal", "{\"reload\": [\"nginx.service\"]}"),
            ("authenticationOverride", "{\"msiClientId\": \"00001111-aaaa-2222-bbbb-3333cccc4444\"}"),
        ],
    ),
    (Place::Reader, &[("user", "\"app1\""), ("group", "\"apps\"")]),
    (Place::Override, &[("msiClientId", CLIENT_ID)]),
    (
        Place::AfterRenewal,
        &[
            ("reload", "[\"nginx.service\"]"),
            ("restart", "[\"app.service\"]"),
            ("hooks", "[\"deploy-tomcat\"]"),
            ("splayInS", "120"),
            ("onFirstInstall", "true"),
            ("verify", "{\"connect\": \"127.0.0.1:443\", \"serverName\": \"www.contoso.com\"}"),
        ],
    ),
    (Place::Verify, &[("connect", "\"127.0.0.1:443\""), ("serverName", "\"www.contoso.com\"")]),
];
const CLIENT_ID: &str = "\"00001111-aaaa-2222-bbbb-3333cccc4444\"";

/// The names of the settings of a place.
pub(super) fn keys(place: Place) -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().filter(move |(home, _)| *home == place).flat_map(|(_, settings)| *settings).map(|(name, _)| *name)
}

/// What one may write as a setting, as JSON.
pub(super) fn example(name: &str) -> Option<&'static str> {
    let mut settings = SETTINGS.iter().flat_map(|(_, settings)| *settings);
    settings.find(|(known, _)| *known == name).map(|(_, example)| *example)
}

/// Where a setting belongs, for "it belongs …"; `None` when there is no such setting.
pub(super) fn home(name: &str) -> Option<String> {
    let is_home =
        |(_, settings): &&(Place, &[(&str, &str)])| settings.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let homes: Vec<&str> = SETTINGS.iter().filter(is_home).map(|(place, _)| place.words()).collect();
    (!homes.is_empty()).then(|| homes.join(" or "))
}

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
            let inner = root.child(Section::SecretsManagement.name()).and_then(|outer| outer.child(section.name()));
            let node = match (root.child(section.name()), inner) {
                (None, None) => continue,
                (None, Some(inner)) => {
                    let neighbour = Section::SecretsManagement.name();
                    findings.warning(inner.path(), format!("belongs one level up, beside {neighbour}"));
                    inner
                }
                (Some(node), inner) => {
                    if let Some(inner) = inner {
                        findings.warning(inner.path(), format!("is ignored: {} is given as well", node.path()));
                    }
                    node
                }
            };
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

    /// The value of `key`, which belongs under `home`; found elsewhere, it counts with a warning that names the right place.
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
            findings.warning(
                node.path(),
                match right {
                    Some(_) => format!("is ignored: {}.{key} is given as well", home.name()),
                    None => format!("belongs under {}", home.name()),
                },
            );
        }
        right.or(elsewhere)
    }

    fn warn_about_unknown(&self, findings: &mut Findings) {
        let movable: Vec<&str> = [Section::SecretsManagement, Section::Authentication]
            .into_iter()
            .flat_map(|section| keys(Place::Section(section)))
            .collect();
        let with_sections = [movable.as_slice(), &Section::ALL.map(Section::name)].concat();
        self.root.warn_about_unknown(&with_sections, findings);
        for (section, node) in &self.sections {
            match section {
                Section::SecretsManagement => node.warn_about_unknown(&with_sections, findings),
                Section::Authentication => node.warn_about_unknown(&movable, findings),
                Section::Logging => node.warn_about_all_but(Place::Section(*section), findings),
            }
        }
    }
}
