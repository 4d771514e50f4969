//! The public settings of the extension: from the bytes of a file to values that cannot be wrong.
//!
//! [`Settings::parse`] is the only way in. It accepts every documented form (objects of 3.x, bare URLs of 1.x, a mixture),
//! is generous where the meaning is plain (a [`Finding`] among the warnings says what to write instead) and refuses the
//! rest with one [`Finding`] per mistake, so that a reader mends all of them at once.

mod after_renewal;
mod cloud;
mod collector;
mod document;
mod file;
mod identity;
mod json;
mod keys;
mod logging;
mod observed;
mod reader;
mod slip;
mod target;
#[cfg(test)]
mod tests;
mod url;
mod validation;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use after_renewal::{Action, AfterRenewal, HookName, ServerName, UnitName, Verify};
pub use cloud::{Cloud, Clouds, CloudsError};
pub use collector::{Collector, CollectorEndpoint};
pub use file::{ReadError, read_bounded};
pub use identity::{Endpoint, Identity, Protocol, Selector};
pub use logging::Logging;
pub use observed::ObservedCertificate;
pub use reader::Finding;
pub use target::*;
pub use url::{SecretUrl, UrlError, Version};
pub use validation::ChainValidation;

use keys::Section;
use reader::{Findings, Node};

/// The polling interval when the settings have none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(3600);
/// Shorter intervals are raised to this: vault limits and audit logs are shared by a whole fleet.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);
/// Longer intervals get a warning: a renewal would reach the machine late.
const LONG_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Everything that the service needs to know, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time between two polls, one minute at least.
    pub polling_interval: Duration,
    /// Hold back success until every certificate is installed.
    pub require_initial_sync: bool,
    /// What becomes of certificates that TLS clients would refuse.
    pub chain_validation: ChainValidation,
    /// The identity that asks for certificates without one of their own.
    pub identity: Arc<Identity>,
    /// What to install, in the order of the settings, without exact duplicates.
    pub certificates: Vec<ObservedCertificate>,
    /// Who is told what happens.
    pub logging: Logging,
    /// What was accepted although it should be written differently.
    pub warnings: Vec<Finding>,
}

/// Why settings were refused; each finding names its place in the JSON and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The mistakes.
    pub errors: Vec<Finding>,
    /// What would have been accepted with a warning.
    pub warnings: Vec<Finding>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// Why a settings file gave no settings.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("{path}: {cause}")]
    Read {
        /// The settings file.
        path: String,
        /// Why, and what to give instead.
        cause: ReadError,
    },
    /// The list of further clouds, a local file, is wrong.
    #[error(transparent)]
    Clouds(#[from] CloudsError),
    /// The settings themselves are wrong.
    #[error("{path}: {cause}")]
    Settings {
        /// The settings file.
        path: String,
        /// The findings.
        cause: SettingsError,
    },
}

impl Settings {
    /// Reads `path`: a `.settings` file of the guest agent or bare public settings, with the clouds that this machine knows
    /// and the Azure Arc agent that it may have.
    ///
    /// # Errors
    /// The file cannot be read, or what it says is refused.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let name = path.display().to_string();
        let bytes = read_bounded(path).map_err(|cause| LoadError::Read { path: name.clone(), cause })?;
        let clouds = Clouds::of_this_machine()?;
        let arc = identity::arc_of(|name| std::env::var(name).ok());
        Self::parse_on(&bytes, &clouds, arc.as_deref()).map_err(|cause| LoadError::Settings { path: name, cause })
    }

    /// Reads a whole document: the agent's wrapper, or the public settings themselves.
    ///
    /// # Errors
    /// All mistakes at once, each with its JSON path relative to the public settings.
    pub fn parse(document: &[u8], clouds: &Clouds) -> Result<Self, SettingsError> {
        Self::parse_on(document, clouds, None)
    }

    /// The same on a machine whose Azure Arc agent says that it is at `arc`.
    fn parse_on(document: &[u8], clouds: &Clouds, arc: Option<&str>) -> Result<Self, SettingsError> {
        let mut findings = Findings::default();
        let settings = document::public_settings(document, &mut findings)
            .and_then(|public| Self::from_public(&public, clouds, arc, &mut findings));
        let Findings { errors, warnings } = findings;
        match settings {
            Some(settings) if errors.is_empty() => Ok(Self { warnings, ..settings }),
            _ => Err(SettingsError { errors, warnings }),
        }
    }

    fn from_public(public: &json::Value, clouds: &Clouds, arc: Option<&str>, findings: &mut Findings) -> Option<Self> {
        let root = keys::Root::of(public, findings)?;
        let polling_interval = interval(root.get(Section::SecretsManagement, "pollingIntervalInS", findings), findings);
        let require_initial_sync = root
            .get(Section::SecretsManagement, "requireInitialSync", findings)
            .and_then(|node| node.boolean(findings))
            .unwrap_or(false);
        let identity = identity::parse(&root, arc, findings).map(Arc::new);
        let chain_validation = ChainValidation::parse(&root, findings);
        let defaults = target::Defaults::parse(&root, findings);
        let after_renewal = root
            .get(Section::SecretsManagement, "afterRenewal", findings)
            .and_then(|node| AfterRenewal::parse(&node, findings))
            .map(Arc::new);
        let usual =
            observed::Usual { identity: identity.as_ref(), target: &defaults, after_renewal: after_renewal.as_ref() };
        let logging = root.section(Section::Logging).map(|section| logging::parse(&section, findings));
        let certificates = match root.get(Section::SecretsManagement, "observedCertificates", findings) {
            Some(list) => observed::parse(&list, &usual, clouds, findings),
            None => {
                findings.error(
                    "secretsManagementSettings.observedCertificates",
                    "is missing: write a list of secret URLs, such as [\"https://VAULT.vault.azure.net/secrets/NAME\"]",
                );
                Vec::new()
            }
        };
        Some(Self {
            polling_interval,
            require_initial_sync,
            chain_validation,
            identity: identity?,
            certificates,
            logging: logging.unwrap_or_default(),
            warnings: Vec::new(),
        })
    }
}

fn interval(node: Option<Node<'_>>, findings: &mut Findings) -> Duration {
    let Some((node, seconds)) = node.and_then(|node| node.seconds(findings).map(|seconds| (node, seconds))) else {
        return DEFAULT_INTERVAL;
    };
    let interval = Duration::from_secs(seconds.into());
    if interval < SHORTEST_INTERVAL {
        findings.warning(node.path(), format!("{seconds} s is raised to the shortest interval, 60 s"));
        return SHORTEST_INTERVAL;
    }
    if interval > LONG_INTERVAL {
        findings.warning(node.path(), format!("{seconds} s is more than a day: renewals will arrive late"));
    }
    interval
}
