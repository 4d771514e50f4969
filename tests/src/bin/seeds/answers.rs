//! Answers, as the fuzzers read them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tests::http::Response;
use tests::imds::Trouble;
use tests::refusal::{Refusal, Scene};

use crate::forms;

/// The version of the secret that the fuzzers ask for, and the list of its versions.
const ID: &str = "https://contoso.vault.azure.net/secrets/web/ca256f81a079427485e0e5d11c666b7f";
const LIST: &str = "https://contoso.vault.azure.net/secrets/web/versions";
/// A token of an identity whose client id is x.
const TOKEN: &str = "eyJ0.eyJhcHBpZCI6IngifQ.x";
/// Base64, of claims.
const PAYLOAD: &str = "eyJhcHBpZCI6IjAwMDAxMTExLWFhYWEtMjIyMi1iYmJiLTMzMzNjY2NjNDQ0NCJ9";

/// What a vault says in place of a secret.
fn said_by_vaults() -> Vec<Response> {
    let scene =
        Scene { host: "contoso.vault.azure.net", secret: "web", caller: "appid=x;oid=y;iss=z", action: "getSecret" };
    let refusals = [
        Refusal::TokenMissing,
        Refusal::InvalidAudience("https://management.azure.com".to_owned()),
        Refusal::InvalidIssuer,
        Refusal::InvalidToken,
        Refusal::ForeignChallenge("https://evil.example".to_owned()),
        Refusal::SecretDisabled,
        Refusal::ForbiddenByRbac,
        Refusal::AccessDenied,
        Refusal::ForbiddenByPolicy,
        Refusal::ForbiddenByFirewall,
        Refusal::ForbiddenByConnection,
        Refusal::SecretNotFound,
        Refusal::BadParameter("The request URI contains an invalid name".to_owned()),
        Refusal::Conflict,
        Refusal::Throttled(Some(7)),
        Refusal::Unavailable(503, None),
    ];
    let redirect = Response::new(302, "").header("Location", "https://evil.example");
    refusals.iter().map(|refusal| refusal.response(&scene)).chain([redirect]).collect()
}

/// What the metadata service says: a token in each of its forms, and what it says in place of one.
fn said_by_metadata_services() -> Vec<Response> {
    let tokens = [
        json!({"access_token": TOKEN, "client_id": "x", "expires_in": "3599", "expires_on": "1700000000"}),
        json!({"access_token": TOKEN, "expires_in": 3599, "expires_on": 1_700_000_000, "token_type": "Bearer"}),
        json!({"access_token": TOKEN, "expires_in": "soon", "not_before": null}),
        json!({"access_token": "eyJ0 x\r\n", "expires_in": -1}),
    ];
    let troubles = [
        Trouble::IdentityNotFound,
        Trouble::MultipleIdentities,
        Trouble::MetadataHeaderMissing,
        Trouble::InvalidResource("https://vault.azure.net".to_owned()),
        Trouble::Unauthorized("unknown_source".to_owned()),
        Trouble::Denied,
        Trouble::NotFound,
        Trouble::Gone,
        Trouble::Throttled(Some(7)),
        Trouble::Failed(500),
    ];
    let challenge = Response::new(401, "").header("WWW-Authenticate", "Basic realm=/var/opt/azcmagent/tokens/a.key");
    let tokens = tokens.iter().map(|token| Response::json(200, token));
    tokens.chain(troubles.iter().map(Trouble::response)).chain([challenge]).collect()
}

/// Answers of vaults: with these values, refusals, and with each form of each of their parts.
pub(crate) fn of_vaults(values: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let secrets = [
        "@",
        "[@]",
        r#"{"id":@}"#,
        r#"{"id":"ID","value":@}"#,
        r#"{"id":"ID","value":"","contentType":@}"#,
        r#"{"other":@,"id":"ID","value":""}"#,
    ];
    let lists = [
        r#"{"value":@}"#,
        r#"{"value":[],"nextLink":@}"#,
        r#"{"value":[{"id":@,"attributes":{"enabled":true,"created":1}}]}"#,
        r#"{"value":[{"id":"ID","attributes":@}]}"#,
        r#"{"value":[{"id":"ID","attributes":{"enabled":@,"created":1}}]}"#,
        r#"{"value":[{"id":"ID","attributes":{"enabled":true,"created":@}}]}"#,
    ];
    let refusals = [
        "@",
        "[@]",
        r#"{"error":@}"#,
        r#"{"error":[@]}"#,
        r#"{"error":{"code":@}}"#,
        r#"{"error":{"message":@}}"#,
        r#"{"error":{"innererror":@}}"#,
        r#"{"error":{"innererror":{"code":@}}}"#,
    ];
    let given = [
        r#"{"id":"ID","value":"\u00e9","contentType":"x","attributes":{"enabled":true,"exp":1.5}}"#,
        r#"{"value":[{"id":"ID","attributes":{"enabled":true,"created":1}}],"nextLink":"LIST?a=b"}"#,
        r#"{"id":"ID","id":"ID"}"#,
        r#"{"id":"ID","value":"x","value":"x"}"#,
        r#"{"id":"ID","contentType":"x","contentType":"x"}"#,
        r#"{"value":[],"value":[]}"#,
        r#"{"value":[],"nextLink":"x","nextLink":"x"}"#,
        r#"{"value":[{"id":"x","id":"x"}]}"#,
        r#"{"value":[{"attributes":{"enabled":true,"created":1},"attributes":{}}]}"#,
        r#"{"value":[{"attributes":{"enabled":true,"enabled":true}}]}"#,
        r#"{"value":[{"attributes":{"created":1,"created":1}}]}"#,
    ];
    let refused = [
        r#"{"error":{"code":"x","message":"x","innererror":{"code":"x"}}}"#,
        r#"{"error":{},"error":{}}"#,
        r#"{"error":{"code":"","code":""}}"#,
        r#"{"error":{"message":"","message":""}}"#,
        r#"{"error":{"innererror":{},"innererror":{}}}"#,
        r#"{"error":{"innererror":{"code":"","code":""}}}"#,
    ];
    [
        values.iter().map(|value| holding(value)).collect(),
        said_by_vaults().iter().map(raw).collect(),
        filled("200\n\n", &secrets, &forms::json()),
        filled("200\n\n", &lists, &forms::json()),
        filled("403\n\n", &refusals, &forms::json()),
        filled("429\nRetry-After: ", &["@\n\n"], &forms::dates()),
        filled("200\nDate: ", &["@\n\n{\"id\":\"ID\",\"value\":\"\"}"], &forms::dates()),
        filled("200\n\n", &[r#"{"id":"ID","value":"@"}"#], &forms::spoilt(PAYLOAD)),
        given.iter().flat_map(|answer| spoilt("200\n\n", answer)).collect(),
        refused.iter().flat_map(|answer| spoilt("403\n\n", answer)).collect(),
    ]
    .concat()
}

/// Answers of metadata services: those of the tests, and with each form of each of their parts.
pub(crate) fn of_metadata_services() -> Vec<Vec<u8>> {
    let tokens = [
        "@",
        "[@]",
        r#"{"access_token":@}"#,
        r#"{"access_token":"TOKEN","client_id":@}"#,
        r#"{"access_token":"TOKEN","msi_res_id":@}"#,
        r#"{"access_token":"TOKEN","expires_in":@}"#,
        r#"{"access_token":"TOKEN","expires_on":@}"#,
        r#"{"other":@,"access_token":"TOKEN"}"#,
    ];
    let refusals = ["@", "[@]", r#"{"error":@}"#, r#"{"error_description":@}"#];
    let claims = ["@", "[@]", r#"{"appid":@}"#, r#"{"oid":@}"#, r#"{"xms_mirid":@}"#, r#"{"other":@}"#];
    let given = [
        r#"{"access_token":"TOKEN","client_id":"x","msi_res_id":"x","expires_in":"1","expires_on":1}"#,
        r#"{"access_token":"x","access_token":"x"}"#,
        r#"{"client_id":"x","client_id":"x"}"#,
        r#"{"msi_res_id":"x","msi_res_id":"x"}"#,
        r#"{"expires_in":"x","expires_in":"x"}"#,
        r#"{"expires_on":"x","expires_on":"x"}"#,
    ];
    let refused = [
        r#"{"error":"x","error_description":"x"}"#,
        r#"{"error":"x","error":"x"}"#,
        r#"{"error_description":"x","error_description":"x"}"#,
    ];
    let challenge = r#"Basic realm="/var/opt/azcmagent/tokens/a.key""#;
    let claims = filled("", &claims, &forms::json());
    let payloads = claims.iter().map(|claims| URL_SAFE_NO_PAD.encode(claims).into_bytes());
    let payloads: Vec<_> = payloads.chain(forms::spoilt(PAYLOAD)).collect();
    [
        said_by_metadata_services().iter().map(raw).collect(),
        filled("200\n\n", &tokens, &forms::json()),
        filled("400\n\n", &refusals, &forms::json()),
        filled("429\nRetry-After: ", &["@\n\n"], &forms::dates()),
        filled("200\n\n", &[r#"{"access_token":"x.@.x"}"#], &payloads),
        given.iter().flat_map(|answer| spoilt("200\n\n", answer)).collect(),
        refused.iter().flat_map(|answer| spoilt("400\n\n", answer)).collect(),
        filled("401\nWWW-Authenticate: ", &["@\n\n"], &forms::spoilt(challenge)),
    ]
    .concat()
}

/// An answer as it is, and with one change anywhere, behind what it begins with.
fn spoilt(beginning: &str, answer: &str) -> Vec<Vec<u8>> {
    filled(beginning, &["@"], &forms::spoilt(&named(answer)))
}

/// Each template, behind what they begin with, with each of these in the place of `@`.
fn filled(beginning: &str, templates: &[&str], forms: &[impl AsRef<[u8]>]) -> Vec<Vec<u8>> {
    let each = templates.iter().flat_map(|template| forms.iter().map(move |form| (template, form)));
    each.filter_map(|(template, form)| {
        let template = named(template);
        let (before, after) = template.split_once('@')?;
        Some([beginning.as_bytes(), before.as_bytes(), form.as_ref(), after.as_bytes()].concat())
    })
    .collect()
}

/// Names in their places.
fn named(text: &str) -> String {
    text.replace("ID", ID).replace("LIST", LIST).replace("TOKEN", TOKEN)
}

/// An answer as the fuzzers read it: a status, lines of headers, an empty line, a body.
fn raw(answer: &Response) -> Vec<u8> {
    let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    [format!("{}\n{headers}\n", answer.status).as_bytes(), &answer.body].concat()
}

/// An answer of a vault with this value.
fn holding(value: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(value);
    let secret = match text.contains("-----BEGIN ") {
        true => json!({"value": text, "id": ID, "contentType": "application/x-pem-file"}),
        false => json!({"value": STANDARD.encode(value), "id": ID}),
    };
    format!("200\n\n{secret}").into_bytes()
}
