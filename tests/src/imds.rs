//! The instance metadata service's side of the wire: tokens for the machine's managed identities.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::fault::{Fault, spoil};
use crate::http::{Incoming, Request, Response};
use crate::identity::{Expiry, Identity, Machine, TENANT};
use crate::state::State;
use crate::tls::VAULT_SUFFIXES;
use crate::wire::Wire;
use crate::x509::unix_seconds;

/// An error of the metadata service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 400: no identity is assigned, or none with this id.
    IdentityNotFound,
    /// 400: several user-assigned identities and no word which one.
    MultipleIdentities,
    /// 400: the `Metadata: true` header is missing.
    MetadataHeaderMissing,
    /// 400: nothing is known under this resource.
    InvalidResource(String),
    /// 400 with this description.
    InvalidRequest(String),
    /// 401 with this error code, such as `unknown_source` or `unauthorized_client`.
    Unauthorized(String),
    /// 403: the guest proxy agent does not let this process through.
    Denied,
    /// 404: the endpoint is being updated.
    NotFound,
    /// 410: the service goes through updates and is back within 70 seconds.
    Gone,
    /// 429, with Retry-After in seconds when given.
    Throttled(Option<u32>),
    /// A 5xx.
    Failed(u16),
}

impl Trouble {
    /// The complete response, but for the headers that every response has.
    pub fn response(&self) -> Response {
        let error = |status: u16, code: &str, description: &str| {
            let body = json!({"error": code, "error_description": description});
            Response::json(status, &body)
        };
        match self {
            Self::IdentityNotFound => error(400, "invalid_request", "Identity not found"),
            Self::MultipleIdentities => error(
                400,
                "invalid_request",
                "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity \
                 in the token request",
            ),
            Self::MetadataHeaderMissing => error(400, "invalid_request", "Required metadata header not specified"),
            Self::InvalidResource(resource) => error(
                400,
                "invalid_resource",
                &format!(
                    "AADSTS50001: The application named {resource} was not found in the tenant named {TENANT}. This \
                     can happen if the application has not been installed by the administrator of the tenant or \
                     consented to by any user in the tenant. You might have sent your authentication request to the \
                     wrong tenant."
                ),
            ),
            Self::InvalidRequest(description) => error(400, "invalid_request", description),
            Self::Unauthorized(code) => error(401, code, "The caller is not authorized."),
            Self::Denied => Response::new(403, "").header("Content-Type", "text/plain"),
            Self::NotFound => error(404, "not_found", "IMDS endpoint is updating"),
            Self::Gone => error(410, "gone", "IMDS is going through updates"),
            Self::Throttled(wait) => {
                let response = error(429, "too_many_requests", "Too many requests");
                match wait {
                    Some(seconds) => response.header("Retry-After", &seconds.to_string()),
                    None => response,
                }
            }
            Self::Failed(status) => error(*status, "unknown", "Failed to retrieve token from the Active directory"),
        }
    }
}

/// Answers one request to the metadata service.
pub(crate) fn answer(state: &mut State, incoming: &mut Incoming) -> (Response, Option<Wire>) {
    let request = &incoming.request;
    let fault = state.faults.strike(request);
    let response = match &fault {
        Some(Fault::Imds(trouble)) => trouble.response(),
        _ => match token(state, request) {
            Ok(body) => Response::json(200, &body),
            Err(trouble) => trouble.response(),
        },
    };
    let response = response.header("Server", "IMDS/150.870.65.1854");
    spoil(response, fault)
}

/// The token that a request asks for, as JSON.
pub(crate) fn token(state: &mut State, request: &Request) -> Result<Value, Trouble> {
    let invalid = |text: &str| Trouble::InvalidRequest(text.to_owned());
    if request.segments() != ["metadata", "identity", "oauth2", "token"] {
        return Err(Trouble::NotFound);
    }
    if request.header("metadata") != Some("true") {
        return Err(Trouble::MetadataHeaderMissing);
    }
    if request.header("x-forwarded-for").is_some() {
        return Err(invalid("Request contains a forbidden header: X-Forwarded-For"));
    }
    match request.parameter("api-version") {
        None => return Err(invalid("Required query variable 'api-version' is missing")),
        // Dates compare as text; the token endpoint exists since 2018-02-01.
        Some(version) if version < "2018-02-01" => {
            return Err(invalid("Query variable 'api-version' is not supported"));
        }
        Some(_) => {}
    }
    let resource =
        request.parameter("resource").ok_or_else(|| invalid("Required query variable 'resource' is missing"))?;
    let audience = resource.trim_end_matches('/');
    let host = audience.strip_prefix("https://").unwrap_or_default();
    if host != "management.azure.com" && !VAULT_SUFFIXES.contains(&host) {
        return Err(Trouble::InvalidResource(resource.to_owned()));
    }
    let asked = choose(&state.machine, request)?;
    let identity = state.machine.answer_as.clone().unwrap_or(asked);
    let lifetime = state.machine.token_lifetime;
    let now = SystemTime::now();
    let text = state.tokens.issue(&identity, resource, lifetime);
    let mut body = json!({
        "access_token": text,
        "client_id": identity.client_id,
        "ext_expires_in": lifetime.as_secs().to_string(),
        "not_before": unix_seconds(now).to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    let (left, end) = (lifetime.as_secs(), unix_seconds(now + lifetime));
    let fields = match state.machine.expiry {
        Expiry::Text => Some((json!(left.to_string()), json!(end.to_string()))),
        Expiry::Number => Some((json!(left), json!(end))),
        Expiry::Garbage => Some((json!("soon"), json!("tomorrow"))),
        Expiry::Absent => None,
    };
    if let Some((expires_in, expires_on)) = fields {
        body["expires_in"] = expires_in;
        body["expires_on"] = expires_on;
    }
    for name in ["object_id", "msi_res_id"] {
        if let Some(value) = request.parameter(name) {
            body[name] = json!(value);
        }
    }
    Ok(body)
}

/// The identity that a request asks for, by one of three ids or by none.
fn choose(machine: &Machine, request: &Request) -> Result<Identity, Trouble> {
    let everyone = || machine.users.iter().chain(&machine.system);
    let found = |matches: &dyn Fn(&Identity) -> bool| {
        everyone().find(|identity| matches(identity)).cloned().ok_or(Trouble::IdentityNotFound)
    };
    if let Some(id) = request.parameter("client_id") {
        return found(&|identity| identity.client_id.eq_ignore_ascii_case(id));
    }
    if let Some(id) = request.parameter("object_id") {
        return found(&|identity| identity.object_id.eq_ignore_ascii_case(id));
    }
    if let Some(id) = request.parameter("msi_res_id") {
        return found(&|identity| identity.resource_id.eq_ignore_ascii_case(id));
    }
    match (&machine.system, machine.users.as_slice()) {
        (Some(system), _) => Ok(system.clone()),
        (None, []) => Err(Trouble::IdentityNotFound),
        // The service does so: a lone user-assigned identity answers for the machine.
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Trouble::MultipleIdentities),
    }
}
