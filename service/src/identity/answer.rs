//! An answer of the metadata service or the Azure Arc agent → a token, or why there is none.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::settings::{Identity, Protocol, Selector};
use common::text::excerpt;
use serde::Deserialize;

use super::{IdentityError, Token};
use crate::http::{self, Answer};

/// A token is replaced this long before its end, or when half of its life is over.
const MARGIN: Duration = Duration::from_secs(300);
/// A token whose end is unknown serves for one pass.
const UNKNOWN: Duration = Duration::from_secs(60);
/// No token of a managed identity is nearly this long.
const LONGEST_TOKEN: usize = 12 * 1024;

/// `expires_in` and `expires_on` are numbers or text, depending on who answers.
#[derive(Deserialize)]
struct TokenAnswer<'a> {
    #[serde(borrow)]
    access_token: Option<&'a str>,
    client_id: Option<String>,
    msi_res_id: Option<String>,
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
    oid: Option<String>,
    xms_mirid: Option<String>,
}

/// Which identity answered: by the answer, and by the token in it.
struct Told {
    client_ids: [Option<String>; 2],
    resource_ids: [Option<String>; 2],
    /// By the token alone: the answer repeats the one that was asked for.
    object_id: [Option<String>; 1],
}

impl Told {
    /// Older agents of Azure Arc do not know user-assigned identities and answer with the system-assigned one: there,
    /// silence is no consent, and nowhere is it for an id that the settings did not mean.
    fn check(&self, identity: &Identity) -> Result<(), IdentityError> {
        let (wanted, told) = match &identity.selector {
            Selector::SystemAssigned => return Ok(()),
            Selector::ClientId(wanted) => (wanted, self.client_ids.as_slice()),
            Selector::ResourceId(wanted) => (wanted, self.resource_ids.as_slice()),
            Selector::ObjectId(wanted) => (wanted, self.object_id.as_slice()),
        };
        if let Some(answered) = told.iter().flatten().find(|id| !id.eq_ignore_ascii_case(wanted)) {
            let wanted = identity.selector.to_string();
            return Err(IdentityError::WrongIdentity { wanted, answered: excerpt(answered) });
        }
        let must_tell =
            identity.endpoint.protocol() == Protocol::Arc || matches!(identity.selector, Selector::ObjectId(_));
        if must_tell && told.iter().all(Option::is_none) {
            return Err(IdentityError::Unconfirmed { wanted: identity.selector.to_string() });
        }
        Ok(())
    }
}

/// The token in an answer.
///
/// # Errors
/// It is a refusal, no token, or the token of another identity than the one that was asked for.
pub(crate) fn read(answer: &Answer, identity: &Identity) -> Result<Token, IdentityError> {
    if answer.status != 200 {
        return Err(refusal(answer, identity));
    }
    let malformed = |reason: &str| IdentityError::malformed(identity, reason);
    let parsed: TokenAnswer<'_> =
        serde_json::from_slice(&answer.body).map_err(|_| malformed("it is not the documented JSON"))?;
    let text = parsed.access_token.unwrap_or_default();
    if text.is_empty() || text.len() > LONGEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("access_token is missing or unusable"));
    }
    let bearer = http::secret_header(format!("Bearer {text}"));
    let bearer = bearer.ok_or_else(|| malformed("access_token is missing or unusable"))?;
    let claims = claims(text);
    let told = Told {
        client_ids: [parsed.client_id.clone(), claims.appid],
        resource_ids: [parsed.msi_res_id.clone(), claims.xms_mirid],
        object_id: [claims.oid],
    };
    told.check(identity)?;
    let client_id = told.client_ids.into_iter().flatten().next().map(|id| id.to_ascii_lowercase());
    let (now, left) = (Instant::now(), lifetime(&parsed));
    Ok(Token {
        bearer,
        selector: identity.selector.clone(),
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
