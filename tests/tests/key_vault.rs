//! The emulated Key Vault, asked by curl under its real names: what it answers when nothing is made to go wrong, and in
//! which words it refuses.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod curl;

use std::time::Duration;

use curl::{ask, bearer, curl, token};
use serde_json::{Value, json};
use tests::azure::{Addresses, Azure};
use tests::bundle::Bundle;
use tests::fault::{Scope, Times};
use tests::http::Server;
use tests::pkcs12::Pfx;
use tests::pki::{Authority, Request};
use tests::refusal::Refusal;
use tests::world::World;

/// A world with an Azure that has one vault with one certificate.
fn contoso() -> (World, Azure, String) {
    let world = World::enter().unwrap();
    let azure = Azure::start(Addresses::real()).unwrap();
    azure.create_vault("contoso");
    let version = azure.put("contoso", "Web", certificate()).unwrap();
    world.connect(&azure).unwrap();
    (world, azure, version)
}

fn certificate() -> Bundle {
    let authority = Authority::new("Contoso", 1).unwrap();
    let issued = authority.issue(&Request::new("www.contoso.com")).unwrap();
    issued.pfx(&Pfx::KEY_VAULT).unwrap()
}

const GET: &str = "/secrets/web?api-version=7.4";

#[test]
fn gives_a_secret_with_the_fields_and_headers_of_the_service() {
    let (world, azure, version) = contoso();
    let url = "https://contoso.vault.azure.net/secrets/web?api-version=7.4";
    let id = "x-ms-client-request-id: 4711";
    let answer = curl(&world, &["-H", &bearer(&world), "-H", id, url]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let secret = answer.json();
    let host = "https://contoso.vault.azure.net";
    assert_eq!(secret["id"], json!(format!("{host}/secrets/Web/{version}")));
    assert_eq!(secret["kid"], json!(format!("{host}/keys/Web/{version}")));
    assert_eq!(secret["managed"], json!(true));
    assert_eq!(secret["contentType"], json!("application/x-pkcs12"));
    assert_eq!(secret["attributes"]["enabled"], json!(true));
    let attributes = &secret["attributes"];
    let (from, until) = (attributes["nbf"].as_i64(), attributes["exp"].as_i64());
    assert_eq!(until.unwrap() - from.unwrap(), 91 * 86_400);
    assert_eq!(answer.header("x-ms-client-request-id"), "4711");
    assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
    for name in ["x-ms-request-id", "x-ms-keyvault-service-version", "x-ms-keyvault-network-info"] {
        assert!(!answer.header(name).is_empty(), "{name}");
    }
    assert!(answer.header("date").ends_with(" GMT"));
    azure.vault("contoso", |vault| vault.clock_skew = -86_400).unwrap();
    assert_ne!(ask(&world, &azure, GET).header("date")[..16], answer.header("date")[..16]);
}

#[test]
fn understands_every_spelling_of_the_address() {
    let (world, azure, version) = contoso();
    for path in [
        "/secrets/WEB/?api-version=7.0".to_owned(),
        "/secrets/web?api%2Dversion=2025-07-01".to_owned(),
        format!("/secrets/web/{version}?api-version=2016-10-01"),
        format!("/secrets/web/{}/?api-version=7.6", version.to_uppercase()),
    ] {
        assert_eq!(ask(&world, &azure, &path).status, 200, "{path}");
    }
    let url = "https://contoso.vault.azure.net:443/secrets/web?api-version=7.4";
    assert_eq!(curl(&world, &["-H", &bearer(&world), url]).status, 200);
}

#[test]
fn challenges_who_brings_no_token_a_foreign_one_or_an_old_one() {
    let (world, azure, _) = contoso();
    let url = "https://contoso.vault.azure.net/secrets/web?api-version=7.4";
    let answer = curl(&world, &[url]);
    assert_eq!(answer.status, 401);
    let message = "AKV10000: Request is missing a Bearer or PoP token.";
    assert_eq!(answer.json(), json!({"error": {"code": "Unauthorized", "message": message}}));
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer authorization=\"https://login.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47\", \
         resource=\"https://vault.azure.net\""
    );
    let arm = token(&world, "&resource=https://management.azure.com/").json();
    let arm = format!("Authorization: Bearer {}", arm["access_token"].as_str().unwrap());
    let answer = curl(&world, &["-H", &arm, url]);
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.error().2,
        "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://management.azure.com/."
    );
    let good = bearer(&world);
    assert_eq!(curl(&world, &["-H", &good, url]).status, 200);
    assert_eq!(curl(&world, &["-H", &format!("{good}x"), url]).status, 401);
    azure.revoke_tokens();
    assert_eq!(curl(&world, &["-H", &good, url]).status, 401);
    azure.machine(|machine| machine.token_lifetime = Duration::from_secs(1));
    let short = bearer(&world);
    assert_eq!(curl(&world, &["-H", &short, url]).status, 200);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(curl(&world, &["-H", &short, url]).status, 401);
}

#[test]
fn follows_a_secret_through_its_life() {
    let (world, azure, first) = contoso();
    let second = azure.put("contoso", "web", certificate()).unwrap();
    let id = |answer: &curl::Answer| answer.json()["id"].as_str().unwrap().to_owned();
    assert!(id(&ask(&world, &azure, GET)).ends_with(&second));
    let old = format!("/secrets/web/{first}?api-version=7.4");
    assert!(id(&ask(&world, &azure, &old)).ends_with(&first));

    azure.disable("contoso", "web").unwrap();
    let answer = ask(&world, &azure, GET);
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.json(),
        json!({"error": {"code": "Forbidden", "message": "Operation get is not allowed on a disabled secret.",
            "innererror": {"code": "SecretDisabled"}}})
    );
    assert_eq!(ask(&world, &azure, &old).status, 200);
    azure.enable_newest("contoso", "web", true).unwrap();
    assert_eq!(ask(&world, &azure, GET).status, 200);

    azure.delete("contoso", "web").unwrap();
    let answer = ask(&world, &azure, GET);
    assert_eq!(answer.status, 404);
    let (code, _, message) = answer.error();
    assert_eq!(code, "SecretNotFound");
    assert!(message.starts_with("A secret with (name/id) web was not found in this key vault."), "{message}");
    assert!(ask(&world, &azure, &old).error().2.contains(&format!("web/{first}")));
    azure.put("contoso", "web", certificate()).unwrap();
    assert_eq!(ask(&world, &azure, GET).status, 200);
}

#[test]
fn refuses_what_the_service_refuses() {
    let (world, azure, _) = contoso();
    for path in [
        "/secrets/web",
        "/secrets/web?api-version=6.0",
        "/secrets/we_b?api-version=7.4",
        "/secrets?api-version=7.4&maxresults=26",
        "/keys/web?api-version=7.4",
        "/secrets/web?api-version=7.4&outContentType=application/x-pem-file",
        "/secrets/web?api-version=2025-07-01&outContentType=application/zip",
    ] {
        let answer = ask(&world, &azure, path);
        assert_eq!((answer.status, answer.error().0.as_str()), (400, "BadParameter"), "{path}");
    }
    let path = "/secrets/web?api-version=2025-07-01&outContentType=application/x-pem-file";
    let converted = ask(&world, &azure, path).json();
    assert_eq!(converted["contentType"], json!("application/x-pem-file"));
    let text = converted["value"].as_str().unwrap();
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn lists_in_pages_and_versions_by_their_ids() {
    let (world, azure, _) = contoso();
    for number in 0..60 {
        azure.put("contoso", &format!("s{number:02}"), Bundle::text("x")).unwrap();
    }
    for _ in 0..7 {
        azure.put("contoso", "web", Bundle::text("x")).unwrap();
    }
    let mut path = "/secrets?api-version=7.4".to_owned();
    let mut sizes = Vec::new();
    let mut ids = Vec::new();
    loop {
        let page = ask(&world, &azure, &path).json();
        let items = page["value"].as_array().unwrap();
        sizes.push(items.len());
        ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        assert!(items.iter().all(|item| item.get("value").is_none()));
        let Some(next) = page["nextLink"].as_str() else {
            break;
        };
        path = next.strip_prefix("https://contoso.vault.azure.net:443").unwrap().to_owned();
    }
    assert_eq!(sizes, [25, 25, 11]);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 61);
    let versions = ask(&world, &azure, "/secrets/web/versions?api-version=7.4&maxresults=5").json();
    let versions = versions["value"].as_array().unwrap();
    let of = |item: &Value| item["id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(versions.len(), 5);
    assert!(versions.is_sorted_by_key(of));
    azure.vault("contoso", |vault| vault.listing = false).unwrap();
    assert_eq!(ask(&world, &azure, "/secrets?api-version=7.4").status, 403);
    assert_eq!(ask(&world, &azure, GET).status, 200);
}

#[test]
fn throttles_in_fixed_windows() {
    let (world, azure, _) = contoso();
    azure.vault("contoso", |vault| vault.throttle = Some(3)).unwrap();
    let statuses: Vec<u16> = (0..5).map(|_| ask(&world, &azure, GET).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(ask(&world, &azure, GET).header("retry-after"), "10");
}

#[test]
fn refuses_an_identity_until_it_gets_its_role() {
    let (world, azure, _) = contoso();
    let identity = azure.machine(|machine| machine.system.clone()).unwrap();
    azure.revoke("contoso", &identity).unwrap();
    let answer = ask(&world, &azure, GET);
    let (code, inner, message) = answer.error();
    assert_eq!((answer.status, code.as_str(), inner.as_str()), (403, "Forbidden", "ForbiddenByRbac"));
    assert!(message.contains(&format!("appid={};oid={}", identity.client_id, identity.object_id)));
    assert!(message.contains("Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\n"));
    azure.grant("contoso", &identity).unwrap();
    assert_eq!(ask(&world, &azure, GET).status, 200);
}

#[test]
fn refuses_on_demand_in_the_words_of_the_service() {
    let (world, azure, _) = contoso();
    let scope = Scope::secret("contoso", "WEB");
    for (refusal, status, code, inner, words) in [
        (Refusal::ForbiddenByRbac, 403, "Forbidden", "ForbiddenByRbac", "Assignment: (not found)"),
        (Refusal::AccessDenied, 403, "Forbidden", "AccessDenied", "does not have secrets get permission"),
        (Refusal::ForbiddenByPolicy, 403, "Forbidden", "ForbiddenByPolicy", "'contoso;location=westeurope'"),
        (Refusal::ForbiddenByFirewall, 403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized"),
        (
            Refusal::ForbiddenByConnection,
            403,
            "Forbidden",
            "ForbiddenByConnection",
            "Public network access is disabled",
        ),
        (Refusal::SecretDisabled, 403, "Forbidden", "SecretDisabled", "disabled secret"),
        (Refusal::SecretNotFound, 404, "SecretNotFound", "", "recover it"),
        (Refusal::BadParameter("no".to_owned()), 400, "BadParameter", "", "no"),
        (Refusal::Conflict, 409, "Conflict", "ObjectIsDeletedButRecoverable", "recoverable"),
        (Refusal::Throttled(Some(7)), 429, "Throttled", "", "VaultRequestTypeLimitReached"),
        (Refusal::Throttled(None), 429, "Throttled", "", "too many requests"),
        (Refusal::Unavailable(503, Some(7)), 503, "InternalError", "", "retry"),
        (Refusal::InvalidIssuer, 401, "Unauthorized", "", "AKV10032"),
        (Refusal::InvalidToken, 401, "Unauthorized", "", "IDX10501"),
        (Refusal::ForeignChallenge("https://evil.example".to_owned()), 401, "Unauthorized", "", "AKV10000"),
    ] {
        let seconds = matches!(refusal, Refusal::Throttled(Some(_)) | Refusal::Unavailable(..));
        let foreign = matches!(refusal, Refusal::ForeignChallenge(_));
        azure.fault(scope.clone(), refusal, Times::Next(1));
        let answer = ask(&world, &azure, GET);
        let (found, found_inner, message) = answer.error();
        assert_eq!((answer.status, found.as_str(), found_inner.as_str()), (status, code, inner));
        assert!(message.contains(words), "{message}");
        assert_eq!(answer.header("retry-after"), if seconds { "7" } else { "" });
        assert_eq!(answer.header("www-authenticate").contains("evil.example"), foreign);
    }
    assert_eq!(ask(&world, &azure, GET).status, 200);
    azure.fault(Scope::vault("contoso"), Refusal::ForbiddenByFirewall, Times::Always);
    assert_eq!(ask(&world, &azure, GET).status, 403);
    assert_eq!(ask(&world, &azure, "/secrets?api-version=7.4").status, 403);
    azure.repair(&Scope::vault("contoso"));
    assert_eq!(ask(&world, &azure, GET).status, 200);
}

#[test]
fn remembers_requests_but_no_credentials() {
    let (world, azure, _) = contoso();
    azure.forget_requests();
    ask(&world, &azure, GET);
    let requests = azure.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].server, Server::Imds);
    assert_eq!(requests[0].parameter("resource"), Some("https://vault.azure.net"));
    let get = &azure.requests_for("contoso", "web")[0];
    assert_eq!((get.token, get.status), (Some(1), Some(200)));
    assert_eq!(get.header("authorization"), Some("Bearer …"));
    assert_eq!(azure.connections(Server::Vault), 1);
    let texts = azure.token_texts();
    assert!(!format!("{requests:?}").contains(&texts[0]));
    assert_eq!(azure.vault("contoso", |vault| vault.accesses).unwrap(), 1);
}
