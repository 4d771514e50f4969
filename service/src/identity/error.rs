//! Why there is no token, and what a person can do about it.

use std::time::Duration;

use common::settings::Identity;

use crate::http::TransportError;
use crate::schedule::Retry;

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("{endpoint}: {source}; the metadata service must be reachable without a proxy")]
    Transport { endpoint: String, source: TransportError },
    #[error(
        "{wanted} was not found: assign it to this machine, and write its client id (not its object id) as msiClientId; a new assignment takes minutes"
    )]
    NotFound { wanted: String },
    #[error(
        "this machine has several user-assigned identities: write the client id of the one to use as authenticationSettings.msiClientId"
    )]
    Several,
    #[error("the metadata service {} (HTTP {status}): it is asked again", passing(*.status))]
    Unavailable { status: u16, retry_after: Option<Duration> },
    #[error("the metadata service refused (HTTP {status}: {description})")]
    Refused { status: u16, description: String },
    #[error("{endpoint} did not answer with a token ({reason}): does something else answer there?")]
    Malformed { endpoint: String, reason: String },
    #[error("{wanted} was asked for, but {answered} answered: its token is not used")]
    WrongIdentity { wanted: String, answered: String },
    #[error(
        "the Azure Arc agent did not confirm that its token is of {wanted}: it is not used; bring the agent up to date, or \
         leave msiClientId out to use the system-assigned identity"
    )]
    Unconfirmed { wanted: String },
    #[error("the Azure Arc agent's key file is not used: {path} {reason}")]
    KeyFile { path: String, reason: String },
}

impl IdentityError {
    /// An answer for this identity that cannot be used, and why.
    pub(super) fn malformed(identity: &Identity, reason: &str) -> Self {
        Self::Malformed { endpoint: identity.endpoint.to_string(), reason: reason.to_owned() }
    }

    /// Whether and how soon it makes sense to ask again.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Transport { .. } | Self::Malformed { .. } | Self::KeyFile { .. } => Retry::Soon,
            Self::Unavailable { retry_after, .. } => {
                retry_after.map_or(Retry::Soon, |wait| Retry::Throttled(Some(wait)))
            }
            Self::NotFound { .. } | Self::Refused { .. } => Retry::NextPoll,
            Self::Several | Self::WrongIdentity { .. } | Self::Unconfirmed { .. } => Retry::Hopeless,
        }
    }
}

/// Why the metadata service cannot answer now; all of it passes.
fn passing(status: u16) -> &'static str {
    match status {
        404 | 410 => "is being updated, which takes about a minute",
        429 => "limits the number of requests",
        _ => "has failed",
    }
}
