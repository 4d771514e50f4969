//! Why a verb failed, and the two numbers that follow from it.

use common::settings::LoadError;
use common::status::{CODE_SERVICE, CODE_SETTINGS};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Who deployed the extension has to mend its settings.
    #[error("{wrong}; {service}")]
    Settings {
        /// What is wrong with them.
        wrong: LoadError,
        /// What that means for the service.
        service: String,
    },
    /// Something on this machine is in the way.
    #[error("{0:#}")]
    Machine(#[from] anyhow::Error),
}

impl Failure {
    /// What the process ends with; `clap` ends it with 2 when it is called wrongly.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Machine(_) => 1,
            Self::Settings { .. } => 3,
        }
    }

    /// What the status file says.
    pub(crate) fn status_code(&self) -> i32 {
        match self {
            Self::Machine(_) => CODE_SERVICE,
            Self::Settings { .. } => CODE_SETTINGS,
        }
    }
}
