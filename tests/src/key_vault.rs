//! Key Vault's side of the wire: authenticates a request, finds what it asks for and writes the answer with the
//! service's headers.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fault::{Fault, spoil};
use crate::http::{Incoming, Request, Response};
use crate::identity::{Identity, guid};
use crate::refusal::{Refusal, Scene, audience_of};
use crate::state::State;
use crate::vault::{Secret, Vault, Version};
use crate::wire::Wire;

/// The versions of the interface that the service knows.
const API_VERSIONS: &[&str] =
    &["2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-06-01-preview", "2025-07-01", "2026-04-01"];

/// The most items on one page of a list, and how many there are when the client does not say.
const PAGE: usize = 25;

/// Answers one request to whichever vault its host names.
pub(crate) fn answer(state: &mut State, incoming: &mut Incoming) -> (Response, Option<Wire>) {
    let request = &mut incoming.request;
    let identity = authenticate(state, request, incoming.authorization.as_deref());
    let fault = match &identity {
        Ok(_) => state.faults.strike(request),
        Err(_) => None,
    };
    let Some(vault) = state.vaults.get_mut(&request.host) else {
        // Without the vault there would be no such host; this is what a gateway could say.
        return (Response::new(404, "no such vault"), None);
    };
    let page = identity.clone().and_then(|identity| match &fault {
        Some(Fault::Refuse(refusal)) => Err(refusal.clone()),
        Some(Fault::Id(id)) => page(vault, &identity, request).map(|mut page| {
            page["id"] = json!(id);
            page
        }),
        _ => page(vault, &identity, request),
    });
    let (response, wire) = spoil(respond(request, identity.ok().as_ref(), page), fault);
    (with_service_headers(response, request, vault.clock_skew), wire)
}

/// Who asks; notes the number of the token in the request.
fn authenticate(state: &State, request: &mut Request, authorization: Option<&str>) -> Result<Identity, Refusal> {
    let bearer = authorization.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    let text = bearer.ok_or(Refusal::TokenMissing)?;
    let token = state.tokens.find(text).ok_or(Refusal::InvalidToken)?;
    request.token = Some(token.number);
    if token.audience.trim_end_matches('/') != audience_of(&request.host) {
        return Err(Refusal::InvalidAudience(token.audience.clone()));
    }
    if token.expires < SystemTime::now() {
        return Err(Refusal::InvalidToken);
    }
    Ok(token.identity.clone())
}

/// What an authenticated request gets when nothing is made to go wrong.
fn page(vault: &mut Vault, identity: &Identity, request: &Request) -> Result<Value, Refusal> {
    vault.accesses += 1;
    if !vault.admit() {
        return Err(Refusal::Throttled(vault.retry_after));
    }
    let version = request.parameter("api-version");
    let version = version.ok_or_else(|| Refusal::BadParameter("api-version must be specified".to_owned()))?;
    if !API_VERSIONS.contains(&version) {
        return Err(Refusal::BadParameter(format!(
            "The specified version ({version}) is not recognized. Consider using the latest supported version (7.4)."
        )));
    }
    if request.method != "GET" {
        return Err(Refusal::BadParameter(format!("Method {} is not supported here.", request.method)));
    }
    if !vault.allows(identity) {
        return Err(Refusal::ForbiddenByRbac);
    }
    match request.segments().as_slice() {
        ["secrets"] => list(vault, request, secrets(vault)),
        ["secrets", name, "versions"] => list(vault, request, versions(vault, name)),
        ["secrets", name] => {
            let secret = find(vault, name)?;
            let newest = secret.newest().ok_or(Refusal::SecretNotFound)?;
            read(vault, secret, newest, request)
        }
        ["secrets", name, id] => {
            let secret = find(vault, name)?;
            let version = secret.version(id).ok_or(Refusal::SecretNotFound)?;
            read(vault, secret, version, request)
        }
        _ => Err(Refusal::BadParameter(format!("The request URI contains an invalid path: {}", request.path))),
    }
}

fn find<'a>(vault: &'a Vault, name: &str) -> Result<&'a Secret, Refusal> {
    let valid = |character: char| character.is_ascii_alphanumeric() || character == '-';
    if name.len() > 127 || !name.chars().all(valid) {
        return Err(Refusal::BadParameter(format!("The request URI contains an invalid name: {name}")));
    }
    let secret = vault.secret(name).filter(|secret| !secret.deleted);
    secret.ok_or(Refusal::SecretNotFound)
}

fn read(vault: &Vault, secret: &Secret, version: &Version, request: &Request) -> Result<Value, Refusal> {
    let as_pem = match request.parameter("outContentType") {
        None => false,
        Some("application/x-pem-file") if knows_conversion(request) => true,
        Some(other) => {
            return Err(Refusal::BadParameter(format!("The specified outContentType ({other}) is not supported.")));
        }
    };
    match version.enabled {
        true => Ok(version.bundle_json(&vault.host, &secret.name, as_pem)),
        false => Err(Refusal::SecretDisabled),
    }
}

/// Whether the version of the interface has `outContentType`; the dated versions have it since 2025.
fn knows_conversion(request: &Request) -> bool {
    let version = request.parameter("api-version");
    version.is_some_and(|version| version.starts_with("2025-") || version.starts_with("2026-"))
}

/// All secrets, by name: the newest version of each, under an id without a version.
fn secrets(vault: &Vault) -> Vec<Value> {
    let present = vault.secrets.values().filter(|secret| !secret.deleted);
    let item = |secret: &Secret| {
        let id = format!("https://{}/secrets/{}", vault.host, secret.name);
        secret.newest().map(|newest| Value::Object(newest.item_json(&id)))
    };
    present.filter_map(item).collect()
}

/// All versions of a secret, in the order of their ids: the service does not sort them by time.
fn versions(vault: &Vault, name: &str) -> Vec<Value> {
    let Some(secret) = vault.secret(name).filter(|secret| !secret.deleted) else {
        return Vec::new();
    };
    let mut versions: Vec<&Version> = secret.versions.iter().collect();
    versions.sort_by(|one, other| one.id.cmp(&other.id));
    let item = |version: &Version| {
        let id = format!("https://{}/secrets/{}/{}", vault.host, secret.name, version.id);
        Value::Object(version.item_json(&id))
    };
    versions.into_iter().map(item).collect()
}

/// One page of a list, with the address of the next one.
fn list(vault: &Vault, request: &Request, items: Vec<Value>) -> Result<Value, Refusal> {
    if !vault.listing {
        return Err(Refusal::ForbiddenByRbac);
    }
    let size = match request.parameter("maxresults").map(str::parse) {
        None => PAGE,
        Some(Ok(size)) if (1..=PAGE).contains(&size) => size,
        Some(_) => {
            return Err(Refusal::BadParameter("maxresults is not in the range of 1 to 25.".to_owned()));
        }
    };
    let start = request.parameter("$skiptoken").map_or(Some(0), |token| {
        let decoded = URL_SAFE_NO_PAD.decode(token).ok()?;
        String::from_utf8(decoded).ok()?.parse().ok()
    });
    let start: usize = start.ok_or_else(|| Refusal::BadParameter("The skiptoken is invalid.".to_owned()))?;
    let end = (start + size).min(items.len());
    let next = (end < items.len()).then(|| {
        format!(
            "https://{}:443{}?api-version={}&$skiptoken={}&maxresults={size}",
            vault.host,
            request.path.trim_end_matches('/'),
            request.parameter("api-version").unwrap_or_default(),
            URL_SAFE_NO_PAD.encode(end.to_string()),
        )
    });
    let page = items.into_iter().skip(start).take(size);
    Ok(json!({"value": page.collect::<Vec<_>>(), "nextLink": next}))
}

/// The response to a page or a refusal.
fn respond(request: &Request, identity: Option<&Identity>, page: Result<Value, Refusal>) -> Response {
    let refusal = match page {
        Ok(page) => return Response::json(200, &page),
        Err(refusal) => refusal,
    };
    let segments = request.segments();
    let listing = segments.len() < 2 || segments.get(2) == Some(&"versions");
    refusal.response(&Scene {
        host: &request.host,
        secret: &segments.get(1..).unwrap_or_default().join("/"),
        caller: &identity.map(Identity::caller).unwrap_or_default(),
        action: if listing { "readMetadata" } else { "getSecret" },
    })
}

/// The headers that every answer of the service carries.
fn with_service_headers(mut response: Response, request: &Request, skew: i64) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs() as i64) + skew;
    let date = Timestamp::from_second(now).unwrap_or_default();
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut headers = vec![
        ("Cache-Control", "no-cache".to_owned()),
        ("Pragma", "no-cache".to_owned()),
        ("Expires", "-1".to_owned()),
        ("x-ms-keyvault-region", "westeurope".to_owned()),
        ("x-ms-request-id", guid()),
        ("x-ms-keyvault-service-version", "1.9.2164.2".to_owned()),
        ("x-ms-keyvault-network-info", "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;".to_owned()),
        ("X-Content-Type-Options", "nosniff".to_owned()),
        ("Strict-Transport-Security", "max-age=31536000;includeSubDomains".to_owned()),
        ("Date", date),
    ];
    if let Some(id) = request.header("x-ms-client-request-id") {
        headers.push(("x-ms-client-request-id", id.to_owned()));
    }
    let headers = headers.into_iter();
    response.headers.extend(headers.map(|(name, value)| (name.to_owned(), value)));
    response
}
