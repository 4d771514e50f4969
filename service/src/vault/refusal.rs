//! A vault's refusals: one typed error that keeps the service's code and adds what to do about it.

use std::time::Duration;

use common::settings::SecretUrl;
use common::text::{bounded, excerpt};
use serde::Deserialize;

use crate::http::{self, Answer, TransportError};
use crate::schedule::Retry;

/// How much of the vault's own text the local log keeps.
const LONGEST_TEXT: usize = 1500;

/// Why there is no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("{host}: {source}")]
    Transport { host: String, source: TransportError },
    #[error("{url}: HTTP {status} {}: {}", .reason.code(), .reason.advice())]
    Refused {
        url: String,
        status: u16,
        reason: Reason,
        /// The vault's own words, with object ids and addresses: for the local log only.
        text: String,
    },
    #[error("{host}: the vault limits the number of requests (HTTP 429): all its certificates wait")]
    Throttled { host: String, retry_after: Option<Duration> },
    #[error("{url}: the vault is not available (HTTP {status})")]
    Unavailable { url: String, status: u16, retry_after: Option<Duration> },
    #[error(
        "{url}: was redirected (HTTP {status}), which a vault never does: check proxies on the way; the token was not sent on"
    )]
    Redirected { url: String, status: u16 },
    #[error(
        "{url}: the vault wants a token for {resource}, which is not its cloud's ({audience}): no token is sent there"
    )]
    Audience { url: String, resource: String, audience: String },
    #[error("{url}: the answer cannot be used: {reason}")]
    Malformed { url: String, reason: String },
    #[error("{url}: the vault answered with another secret than the one that was asked for")]
    WrongSecret { url: String },
}

/// The inner code of a refusal, or its outer one where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    ForbiddenByRbac,
    ForbiddenByPolicy,
    AccessDenied,
    ForbiddenByFirewall,
    ForbiddenByConnection,
    SecretDisabled,
    SecretNotFound,
    Unauthorized,
    BadParameter,
    Other(String),
}

impl Reason {
    fn parse(code: &str, status: u16) -> Self {
        match code {
            "ForbiddenByRbac" => Self::ForbiddenByRbac,
            "ForbiddenByPolicy" => Self::ForbiddenByPolicy,
            "AccessDenied" => Self::AccessDenied,
            "ForbiddenByFirewall" => Self::ForbiddenByFirewall,
            "ForbiddenByConnection" => Self::ForbiddenByConnection,
            "SecretDisabled" => Self::SecretDisabled,
            "SecretNotFound" => Self::SecretNotFound,
            "Unauthorized" => Self::Unauthorized,
            "BadParameter" => Self::BadParameter,
            "" => Self::Other(format!("status {status}")),
            other => Self::Other(excerpt(other)),
        }
    }

    pub(crate) fn code(&self) -> &str {
        match self {
            Self::ForbiddenByRbac => "ForbiddenByRbac",
            Self::ForbiddenByPolicy => "ForbiddenByPolicy",
            Self::AccessDenied => "AccessDenied",
            Self::ForbiddenByFirewall => "ForbiddenByFirewall",
            Self::ForbiddenByConnection => "ForbiddenByConnection",
            Self::SecretDisabled => "SecretDisabled",
            Self::SecretNotFound => "SecretNotFound",
            Self::Unauthorized => "Unauthorized",
            Self::BadParameter => "BadParameter",
            Self::Other(code) => code,
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::ForbiddenByRbac => {
                "give the identity the role Key Vault Secrets User on the vault; a new role takes minutes, and a template \
                 that assigns it after the extensions never gets there: grant a user-assigned identity beforehand"
            }
            Self::ForbiddenByPolicy | Self::AccessDenied => {
                "give the identity the secret permissions get and list in the vault's access policy; a template that does \
                 so after the extensions never gets there: grant a user-assigned identity beforehand"
            }
            Self::ForbiddenByFirewall => "allow this machine's address or subnet in the vault's firewall",
            Self::ForbiddenByConnection => {
                "the vault takes private connections only: give it a private endpoint in this network, and DNS that \
                 resolves to it"
            }
            Self::SecretDisabled => {
                "the newest version is disabled: enable it, or add a new version; what is installed stays"
            }
            Self::SecretNotFound => {
                "there is no such secret: check the name, and whether the certificate was deleted (it can be recovered)"
            }
            Self::Unauthorized => {
                "the vault accepted neither the identity's token nor a fresh one: is the vault in another tenant?"
            }
            Self::BadParameter => "the vault did not understand the request: check the name in the URL",
            Self::Other(_) => "the local log holds the vault's own text",
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Envelope {
    error: Body,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    code: String,
    message: String,
    innererror: Option<Inner>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Inner {
    code: String,
}

/// Reads an answer that is no success.
pub(super) fn of(answer: &Answer, url: &SecretUrl) -> VaultError {
    let status = answer.status;
    let named = url.to_string();
    let Envelope { error } = serde_json::from_slice(&answer.body).unwrap_or_default();
    match status {
        300..=399 => return VaultError::Redirected { url: named, status },
        429 => return VaultError::Throttled { host: url.host().to_owned(), retry_after: http::retry_after(answer) },
        408 | 500..=599 => {
            return VaultError::Unavailable { url: named, status, retry_after: http::retry_after(answer) };
        }
        401 => {
            if let Some(resource) = challenged_resource(answer).filter(|resource| resource != url.audience()) {
                return VaultError::Audience { url: named, resource, audience: url.audience().to_owned() };
            }
        }
        _ => {}
    }
    let code = error.innererror.map(|inner| inner.code).filter(|code| !code.is_empty()).unwrap_or(error.code);
    VaultError::Refused {
        url: named,
        status,
        reason: Reason::parse(&code, status),
        text: bounded(&error.message, LONGEST_TEXT),
    }
}

/// `resource="…"` or `scope="…/.default"` of a Bearer challenge (RFC 6750), without a trailing slash.
fn challenged_resource(answer: &Answer) -> Option<String> {
    let challenge = answer.header("www-authenticate")?;
    let value = |key: &str| {
        let start = challenge.find(&format!("{key}=\""))? + key.len() + 2;
        challenge[start..].split('"').next()
    };
    let resource = value("resource").or_else(|| value("scope").map(|scope| scope.trim_end_matches("/.default")))?;
    Some(excerpt(resource.trim_end_matches('/')))
}

impl VaultError {
    /// Whether a fresh token may help.
    pub(crate) fn is_stale_token(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }

    /// Whether the newest version, or the one that was asked for, is disabled.
    pub(crate) fn is_disabled(&self) -> bool {
        matches!(self, Self::Refused { reason: Reason::SecretDisabled, .. })
    }

    /// Whether the vault is only unable to answer now.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether another request would fare no better: nobody answered, or fewer are wanted.
    pub(crate) fn concerns_every_request(&self) -> bool {
        matches!(self, Self::Transport { .. } | Self::Throttled { .. })
    }

    /// The vault's own words, for the local log.
    pub(crate) fn detail(&self) -> Option<&str> {
        match self {
            Self::Refused { text, .. } if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Transport { .. } => 30,
            Self::Refused { reason: Reason::SecretNotFound, .. } => 32,
            Self::Refused { reason: Reason::SecretDisabled, .. } => 33,
            Self::Refused { .. } | Self::Audience { .. } => 31,
            Self::Throttled { .. } => 34,
            Self::Unavailable { .. } => 35,
            Self::Redirected { .. } | Self::Malformed { .. } | Self::WrongSecret { .. } => 36,
        }
    }

    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Transport { .. } | Self::Malformed { .. } | Self::Redirected { .. } => Retry::Soon,
            Self::Throttled { retry_after, .. } => Retry::Throttled(*retry_after),
            Self::Unavailable { retry_after, .. } => {
                retry_after.map_or(Retry::Soon, |wait| Retry::Throttled(Some(wait)))
            }
            Self::Refused { .. } | Self::Audience { .. } | Self::WrongSecret { .. } => Retry::NextPoll,
        }
    }
}
