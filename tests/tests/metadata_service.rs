//! The emulated metadata service, asked by curl under its real address: tokens, and the words in which they are refused.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod curl;

use curl::{curl, token};
use serde_json::{Value, json};
use tests::azure::{Addresses, Azure};
use tests::fault::{Scope, Times};
use tests::http::Server;
use tests::identity::{Expiry, Identity};
use tests::imds::Trouble;
use tests::world::World;

/// A world with an Azure and no vault.
fn machine() -> (World, Azure) {
    let world = World::enter().unwrap();
    let azure = Azure::start(Addresses::real()).unwrap();
    (world, azure)
}

#[test]
fn gives_tokens_for_the_identity_that_is_asked_for() {
    let (world, azure) = machine();
    let (one, other) = (Identity::user("one"), Identity::user("other"));
    let ask = |query: &str| token(&world, &format!("&resource=https://vault.azure.net{query}"));
    let client = |query: &str| ask(query).json()["client_id"].as_str().unwrap_or_default().to_owned();
    let refused = |query: &str| {
        let answer = ask(query);
        (answer.status, answer.json()["error_description"].as_str().unwrap_or_default().to_owned())
    };
    let system = azure.machine(|machine| machine.system.take()).unwrap();
    assert_eq!(refused(""), (400, "Identity not found".to_owned()));
    azure.machine(|machine| machine.users.push(one.clone()));
    assert_eq!(client(""), one.client_id);
    azure.machine(|machine| machine.users.push(other.clone()));
    assert_eq!(
        ask("").json(),
        json!({"error": "invalid_request", "error_description": "Multiple user assigned identities exist, please \
            specify the clientId / resourceId of the identity in the token request"})
    );
    azure.machine(|machine| machine.system = Some(system.clone()));
    assert_eq!(client(""), system.client_id);
    assert_eq!(client(&format!("&client_id={}", other.client_id)), other.client_id);
    assert_eq!(client(&format!("&object_id={}", one.object_id)), one.client_id);
    assert_eq!(client(&format!("&msi_res_id={}", one.resource_id)), one.client_id);
    assert_eq!(refused("&client_id=11111111-2222-3333-4444-555555555555").0, 400);
    azure.machine(|machine| machine.answer_as = Some(one.clone()));
    assert_eq!(client(&format!("&client_id={}", other.client_id)), one.client_id);
}

#[test]
fn insists_on_the_metadata_header_a_version_and_a_resource() {
    let (world, azure) = machine();
    let url = "http://169.254.169.254/metadata/identity/oauth2/token";
    let good = format!("{url}?api-version=2018-02-01&resource=https://vault.azure.net");
    let answer = curl(&world, &[&good]);
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json(),
        json!({"error": "invalid_request", "error_description": "Required metadata header not specified"})
    );
    for query in ["?api-version=2018-02-01", "?resource=https://vault.azure.net"] {
        assert_eq!(curl(&world, &["-H", "Metadata: true", &format!("{url}{query}")]).status, 400);
    }
    let foreign = token(&world, "&resource=https://contoso.vault.azure.net").json();
    assert_eq!(foreign["error"], json!("invalid_resource"));
    assert_eq!(azure.tokens_issued(), 0);
    // The Node SDK adds a slash.
    let slash = good.replace("token?", "token/?");
    assert_eq!(curl(&world, &["-H", "Metadata: true", &slash]).status, 200);
    let proxied = ["-H", "Metadata: true", "-H", "X-Forwarded-For: 10.0.0.1", &good];
    assert_eq!(curl(&world, &proxied).status, 400);
    assert!(azure.requests_to(Server::Imds).last().unwrap().proxied());
}

#[test]
fn writes_the_end_of_a_token_in_every_way() {
    let (world, azure) = machine();
    let fields = || {
        let body = token(&world, "&resource=https://vault.azure.net").json();
        (body["expires_in"].clone(), body["expires_on"].clone())
    };
    assert_eq!(fields().0, json!("86399"));
    azure.machine(|machine| machine.expiry = Expiry::Number);
    assert_eq!(fields().0, json!(86399));
    azure.machine(|machine| machine.expiry = Expiry::Garbage);
    assert_eq!(fields(), (json!("soon"), json!("tomorrow")));
    azure.machine(|machine| machine.expiry = Expiry::Absent);
    assert_eq!(fields(), (Value::Null, Value::Null));
}

#[test]
fn the_metadata_service_fails_on_demand() {
    let (world, azure) = machine();
    for (trouble, status) in [
        (Trouble::NotFound, 404),
        (Trouble::Gone, 410),
        (Trouble::Throttled(Some(2)), 429),
        (Trouble::Failed(500), 500),
        (Trouble::Denied, 403),
        (Trouble::Unauthorized("unknown_source".to_owned()), 401),
    ] {
        azure.fault(Scope::Imds, trouble, Times::Next(1));
        assert_eq!(token(&world, "&resource=https://vault.azure.net").status, status);
    }
    assert_eq!(token(&world, "&resource=https://vault.azure.net").status, 200);
}
