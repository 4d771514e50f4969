//! The errors of Key Vault in its own words: status, code, inner code and message, as the service sends them.

use serde_json::{Value, json};

use crate::http::Response;
use crate::identity::{SUBSCRIPTION, TENANT};

/// An error of Key Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401: no bearer token (AKV10000), with the challenge.
    TokenMissing,
    /// 401: a token for this audience (AKV10022).
    InvalidAudience(String),
    /// 401: a token of another tenant (AKV10032).
    InvalidIssuer,
    /// 401: a token that is unknown, changed or expired.
    InvalidToken,
    /// 401 with a challenge that names this resource, which may be anybody's.
    ForeignChallenge(String),
    /// 403: the version asked for, or the newest, is disabled.
    SecretDisabled,
    /// 403: no role assignment.
    ForbiddenByRbac,
    /// 403: no access policy, under its older inner code.
    AccessDenied,
    /// 403: no access policy.
    ForbiddenByPolicy,
    /// 403: the vault's firewall.
    ForbiddenByFirewall,
    /// 403: public network access is disabled.
    ForbiddenByConnection,
    /// 404: never existed, or deleted.
    SecretNotFound,
    /// 400 with this message.
    BadParameter(String),
    /// 409: deleted but recoverable.
    Conflict,
    /// 429, with Retry-After in seconds when given.
    Throttled(Option<u32>),
    /// A 5xx, with Retry-After in seconds when given.
    Unavailable(u16, Option<u32>),
}

/// What the messages of an error mention.
pub struct Scene<'a> {
    /// The vault's host.
    pub host: &'a str,
    /// The secret's name, with `/version` when one was asked for.
    pub secret: &'a str,
    /// `appid=…;oid=…;iss=…` of the caller.
    pub caller: &'a str,
    /// The data action that was tried: `getSecret` or `readMetadata`.
    pub action: &'a str,
}

impl Refusal {
    /// The complete response, but for the headers that every response has.
    pub fn response(&self, scene: &Scene<'_>) -> Response {
        let response = Response::json(self.status(), &self.body(scene));
        match self {
            Self::TokenMissing | Self::InvalidAudience(_) | Self::InvalidIssuer | Self::InvalidToken => {
                let resource = audience_of(scene.host);
                response.header("WWW-Authenticate", &challenge(&resource))
            }
            Self::ForeignChallenge(resource) => response.header("WWW-Authenticate", &challenge(resource)),
            Self::Throttled(Some(seconds)) | Self::Unavailable(_, Some(seconds)) => {
                response.header("Retry-After", &seconds.to_string())
            }
            _ => response,
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::TokenMissing
            | Self::InvalidAudience(_)
            | Self::InvalidIssuer
            | Self::InvalidToken
            | Self::ForeignChallenge(_) => 401,
            Self::SecretDisabled
            | Self::ForbiddenByRbac
            | Self::AccessDenied
            | Self::ForbiddenByPolicy
            | Self::ForbiddenByFirewall
            | Self::ForbiddenByConnection => 403,
            Self::SecretNotFound => 404,
            Self::BadParameter(_) => 400,
            Self::Conflict => 409,
            Self::Throttled(_) => 429,
            Self::Unavailable(status, _) => *status,
        }
    }

    fn body(&self, scene: &Scene<'_>) -> Value {
        let Scene { host, secret, caller, action } = scene;
        let vault = host.split('.').next().unwrap_or_default();
        let error = |code: &str, message: String| json!({"error": {"code": code, "message": message}});
        let forbidden = |inner: &str, message: String| json!({"error": {"code": "Forbidden", "message": message, "innererror": {"code": inner}}});
        let policy = || {
            let caller = caller.replace(";iss=", ";numgroups=0;iss=");
            format!(
                "The user, group or application '{caller}' does not have secrets get permission on key vault \
                 '{vault};location=westeurope'. For help resolving this issue, please see \
                 https://go.microsoft.com/fwlink/?linkid=2125287"
            )
        };
        match self {
            Self::TokenMissing | Self::ForeignChallenge(_) => {
                error("Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.".to_owned())
            }
            Self::InvalidAudience(found) => error(
                "Unauthorized",
                format!("AKV10022: Invalid audience. Expected {}, found: {found}.", audience_of(host)),
            ),
            Self::InvalidIssuer => error(
                "Unauthorized",
                format!(
                    "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/{TENANT}/, found \
                     https://sts.windows.net/00000000-1111-2222-3333-444444444444/."
                ),
            ),
            Self::InvalidToken => error(
                "Unauthorized",
                "Error validating token: IDX10501: Signature validation failed. Unable to match key: kid: \
                 'emulated'."
                    .to_owned(),
            ),
            Self::SecretDisabled => {
                forbidden("SecretDisabled", "Operation get is not allowed on a disabled secret.".to_owned())
            }
            Self::ForbiddenByRbac => forbidden(
                "ForbiddenByRbac",
                format!(
                    "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny \
                     assignments or role definitions were changed recently, please observe propagation \
                     time.\r\nCaller: {caller}\r\nAction: 'Microsoft.KeyVault/vaults/secrets/{action}/action'\r\n\
                     Resource: '/subscriptions/{SUBSCRIPTION}/resourcegroups/emulated/providers/\
                     microsoft.keyvault/vaults/{vault}/secrets/{secret}'\r\nAssignment: (not found)\r\n\
                     DenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\nVault: \
                     {vault};location=westeurope\r\n"
                ),
            ),
            Self::AccessDenied => forbidden("AccessDenied", policy()),
            Self::ForbiddenByPolicy => forbidden("ForbiddenByPolicy", policy()),
            Self::ForbiddenByFirewall => forbidden(
                "ForbiddenByFirewall",
                format!(
                    "Client address is not authorized and caller is not a trusted service.\r\nClient address: \
                     24.47.181.152\r\nCaller: {caller}\r\nVault: {vault};location=westeurope"
                ),
            ),
            Self::ForbiddenByConnection => forbidden(
                "ForbiddenByConnection",
                format!(
                    "Public network access is disabled and request is not from a trusted service nor via an \
                     approved private link.\r\nCaller: {caller}\r\nVault: {vault};location=westeurope"
                ),
            ),
            Self::SecretNotFound => error(
                "SecretNotFound",
                format!(
                    "A secret with (name/id) {secret} was not found in this key vault. If you recently deleted \
                     this secret you may be able to recover it using the correct recovery command. For help \
                     resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"
                ),
            ),
            Self::BadParameter(message) => error("BadParameter", message.clone()),
            Self::Conflict => json!({"error": {
                "code": "Conflict",
                "message": format!(
                    "Secret {secret} is currently in a deleted but recoverable state, and its name cannot be \
                     reused; in this state, the secret can only be recovered or purged."
                ),
                "innererror": {"code": "ObjectIsDeletedButRecoverable"},
            }}),
            Self::Throttled(_) => error(
                "Throttled",
                "Request was not processed because too many requests were received. Reason: \
                 VaultRequestTypeLimitReached"
                    .to_owned(),
            ),
            Self::Unavailable(..) => {
                error("InternalError", "The service is temporarily unavailable. Please retry.".to_owned())
            }
        }
    }
}

/// The audience that tokens for this vault must have.
pub(crate) fn audience_of(host: &str) -> String {
    let suffix = host.split_once('.').map_or(host, |(_, suffix)| suffix);
    format!("https://{suffix}")
}

fn challenge(resource: &str) -> String {
    format!("Bearer authorization=\"https://login.windows.net/{TENANT}\", resource=\"{resource}\"")
}
