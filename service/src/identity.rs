//! Tokens of the machine's managed identities, asked for once and kept until shortly before they expire.
//!
//! Wire contract: the instance metadata service's `/metadata/identity/oauth2/token`, api-version 2018-02-01.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::settings::{Identity, Selector};
use common::text::excerpt;
use serde::Deserialize;
use ureq::Agent;
use zeroize::Zeroizing;

use crate::http::{self, Answer, TransportError};
use crate::schedule::Retry;

/// A token is replaced this long before its end, or when half of its life is over.
const MARGIN: Duration = Duration::from_secs(300);
/// A token whose end is unknown serves for one pass.
const UNKNOWN: Duration = Duration::from_secs(60);
/// No token of a managed identity is nearly this long.
const LONGEST_TOKEN: usize = 12 * 1024;

/// A bearer token. Its text is shown nowhere.
pub(crate) struct Token {
    text: Zeroizing<String>,
    /// The client id of the identity that answered, when the answer tells.
    client_id: Option<String>,
    refresh_at: Instant,
    expires_at: Instant,
}

impl Token {
    /// The value of an `Authorization` header.
    pub(crate) fn bearer(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", *self.text))
    }

    pub(crate) fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

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
}

impl IdentityError {
    /// Whether and how soon it makes sense to ask again.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Transport { .. } | Self::Malformed { .. } => Retry::Soon,
            Self::Unavailable { retry_after, .. } => {
                retry_after.map_or(Retry::Soon, |wait| Retry::Throttled(Some(wait)))
            }
            Self::NotFound { .. } | Self::Refused { .. } => Retry::NextPoll,
            Self::Several | Self::WrongIdentity { .. } => Retry::Hopeless,
        }
    }
}

/// What a token is for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Purpose {
    identity: Identity,
    audience: String,
}

/// The tokens of this process.
pub(crate) struct Tokens {
    agent: Agent,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    tokens: HashMap<Purpose, Result<Arc<Token>, IdentityError>>,
    /// For what a token that a vault did not accept was replaced in this pass.
    replaced: HashSet<Purpose>,
    /// For what a token that is due for renewal is used on in this pass, because no new one was given.
    kept: HashSet<Purpose>,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        Self { agent: http::metadata_agent(), known: Mutex::default() }
    }

    /// Forgets failures: each pass asks again, once, however many certificates wait for the answer.
    pub(crate) fn begin_pass(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.tokens.retain(|_, token| token.is_ok());
        known.replaced.clear();
        known.kept.clear();
    }

    /// A token of `identity` for `audience`. `refused` is one that a vault did not accept: it is replaced once in a pass,
    /// and given again after that, for a vault that accepts none must not cost a token for each of its certificates.
    ///
    /// # Errors
    /// The metadata service gave none.
    pub(crate) fn get(
        &self,
        identity: &Identity,
        audience: &str,
        refused: Option<&Arc<Token>>,
    ) -> Result<Arc<Token>, IdentityError> {
        let purpose = Purpose { identity: identity.clone(), audience: audience.to_owned() };
        // Held while asking, so that all certificates of a pass wait for one answer.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match (known.tokens.get(&purpose), refused) {
            (Some(Err(error)), _) => return Err(error.clone()),
            (Some(Ok(token)), None) if now < token.refresh_at => return Ok(Arc::clone(token)),
            (Some(Ok(token)), None) if known.kept.contains(&purpose) && now < token.expires_at => {
                return Ok(Arc::clone(token));
            }
            (Some(Ok(token)), Some(refused)) if !Arc::ptr_eq(refused, token) || known.replaced.contains(&purpose) => {
                return Ok(Arc::clone(token));
            }
            _ => {}
        }
        if refused.is_some() {
            known.replaced.insert(purpose.clone());
        }
        // An endpoint that did not answer is asked once a pass: each of its identities would wait for a deadline.
        let silent = known.tokens.iter().find_map(|(other, token)| match token {
            Err(error @ IdentityError::Transport { .. }) if other.identity.endpoint == identity.endpoint => Some(error),
            _ => None,
        });
        let token = match silent {
            Some(error) => Err(error.clone()),
            None => self.request(identity, audience).map(Arc::new),
        };
        if let (Err(error), None, Some(Ok(old))) = (&token, refused, known.tokens.get(&purpose))
            && now < old.expires_at
        {
            log::warn!("the token in use is kept: {error}");
            let old = Arc::clone(old);
            known.kept.insert(purpose);
            return Ok(old);
        }
        known.tokens.insert(purpose, token.clone());
        token
    }

    fn request(&self, identity: &Identity, audience: &str) -> Result<Token, IdentityError> {
        let endpoint = &identity.endpoint;
        let mut query = format!("?api-version=2018-02-01&resource={}", percent_encoded(audience));
        match &identity.selector {
            Selector::SystemAssigned => {}
            Selector::ClientId(id) => query.push_str(&format!("&client_id={}", percent_encoded(id))),
            Selector::ResourceId(id) => query.push_str(&format!("&msi_res_id={}", percent_encoded(id))),
        }
        // By address: `localhost` must not depend on what a name service says.
        let url = format!("http://{}{}{query}", endpoint.address(), endpoint.path());
        let answer = http::get(&self.agent, &url, &[("Metadata", "true")])
            .map_err(|source| IdentityError::Transport { endpoint: endpoint.to_string(), source })?;
        if answer.status != 200 {
            return Err(refusal(&answer, identity));
        }
        accepted(&answer, identity)
    }
}

/// `expires_in` and `expires_on` are numbers or text, depending on who answers.
#[derive(Deserialize)]
struct TokenAnswer<'a> {
    #[serde(borrow)]
    access_token: Option<&'a str>,
    client_id: Option<String>,
    expires_in: Option<serde_json::Value>,
    expires_on: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorAnswer {
    error: String,
    error_description: String,
}

/// What a token says of whom it was given to. The vault verifies tokens; here it only tells which identity answered.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Claims {
    appid: Option<String>,
    xms_mirid: Option<String>,
}

fn accepted(answer: &Answer, identity: &Identity) -> Result<Token, IdentityError> {
    let malformed =
        |reason: &str| IdentityError::Malformed { endpoint: identity.endpoint.to_string(), reason: reason.to_owned() };
    let parsed: TokenAnswer<'_> =
        serde_json::from_slice(&answer.body).map_err(|_| malformed("it is not the documented JSON"))?;
    let text = parsed.access_token.unwrap_or_default();
    if text.is_empty() || text.len() > LONGEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("access_token is missing or unusable"));
    }
    let claims = claims(text);
    let client_id = parsed.client_id.clone().or(claims.appid).map(|id| id.to_ascii_lowercase());
    let answered = match &identity.selector {
        Selector::SystemAssigned => None,
        Selector::ClientId(wanted) => client_id.as_deref().filter(|id| id != wanted),
        Selector::ResourceId(wanted) => claims.xms_mirid.as_deref().filter(|id| !id.eq_ignore_ascii_case(wanted)),
    };
    if let Some(answered) = answered {
        return Err(IdentityError::WrongIdentity {
            wanted: identity.selector.to_string(),
            answered: excerpt(answered),
        });
    }
    let (now, left) = (Instant::now(), lifetime(&parsed));
    Ok(Token {
        text: Zeroizing::new(text.to_owned()),
        client_id,
        refresh_at: now + left - MARGIN.min(left / 2),
        expires_at: now + left,
    })
}

/// How long the token lives.
fn lifetime(answer: &TokenAnswer<'_>) -> Duration {
    let number = |value: &Option<serde_json::Value>| match value {
        Some(serde_json::Value::Number(number)) => number.as_u64(),
        Some(serde_json::Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let left = number(&answer.expires_in).or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        number(&answer.expires_on)?.checked_sub(now)
    });
    // A hostile number must not overflow the clock; tokens live a day.
    left.map_or(UNKNOWN, |seconds| Duration::from_secs(seconds.min(7 * 24 * 3600)))
}

fn claims(token: &str) -> Claims {
    token
        .split('.')
        .nth(1)
        .and_then(|payload| URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok())
        .and_then(|payload| serde_json::from_slice(&payload).ok())
        .unwrap_or_default()
}

/// Why the metadata service cannot answer now; all of it passes.
fn passing(status: u16) -> &'static str {
    match status {
        404 | 410 => "is being updated, which takes about a minute",
        429 => "limits the number of requests",
        _ => "has failed",
    }
}

fn refusal(answer: &Answer, identity: &Identity) -> IdentityError {
    let status = answer.status;
    let body: ErrorAnswer = serde_json::from_slice(&answer.body).unwrap_or_default();
    // The codes of these two are the same (invalid_request): only their descriptions tell them apart.
    let description = body.error_description.to_ascii_lowercase();
    match status {
        404 | 408 | 410 | 429 | 500..=599 => {
            IdentityError::Unavailable { status, retry_after: http::retry_after(answer) }
        }
        400 if description.contains("identity not found") => {
            IdentityError::NotFound { wanted: identity.selector.to_string() }
        }
        400 if description.contains("multiple user assigned identities") => IdentityError::Several,
        _ => {
            let text = [body.error, body.error_description].join(": ");
            let description = match (text.trim_matches([':', ' ']), status) {
                ("", 403) => "it said no more; does a guest proxy agent keep this program from it?".to_owned(),
                ("", _) => "it said no more".to_owned(),
                (text, _) => excerpt(text),
            };
            IdentityError::Refused { status, description }
        }
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
