//! The official SDKs as clients of the emulator: what Microsoft wrote for the real services must not notice the
//! difference. Certificates and host names are verified, challenges too; nothing is switched off.
//!
//! `tests/sdk/setup` installs the SDKs; without them these tests fail and say so.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod sdk;

use std::process::Command;

use sdk::{installed, script};
use serde_json::{Value, json};
use tests::arc::Challenge;
use tests::azure::{Addresses, Azure};
use tests::bundle::Bundle;
use tests::fault::{Scope, Times};
use tests::http::Server;
use tests::pkcs12::Pfx;
use tests::pki::{Authority, KeyKind, Request};
use tests::refusal::Refusal;
use tests::vault::Version;
use tests::world::World;

/// Runs a client in a world with four secrets, and looks at what it got and how it asked.
fn fetches_and_fails_as_from_azure(client: impl FnOnce(&World) -> Command) {
    fetches_and_fails_at(Addresses::real(), client);
}

/// The same with the servers at these addresses.
fn fetches_and_fails_at(addresses: Addresses, client: impl FnOnce(&World) -> Command) {
    let world = World::enter().unwrap();
    let azure = Azure::start(addresses).unwrap();
    azure.create_vault("contoso");
    let authority = Authority::with_keys("Contoso", 1, KeyKind::Rsa2048).unwrap();
    let issue = |kind| authority.issue(&Request::new("www.contoso.com").key(kind)).unwrap();
    let pfx = issue(KeyKind::Rsa2048).pfx(&Pfx::KEY_VAULT).unwrap();
    let pem = issue(KeyKind::P256).pem().unwrap();
    let digests = [pfx.sha256().unwrap(), pem.sha256().unwrap()];
    azure.put("contoso", "web", pem.clone()).unwrap();
    let versions = [azure.put("contoso", "web", pfx).unwrap(), azure.put("contoso", "mail", pem.clone()).unwrap()];
    azure.put("contoso", "private", pem).unwrap();
    let private = Scope::secret("contoso", "private");
    azure.fault(private, Refusal::ForbiddenByRbac, Times::Always);
    world.connect(&azure).unwrap();

    let mut command = client(&world);
    command.arg("https://contoso.vault.azure.net");
    command.args(["web", "mail", "private", "missing"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let got: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        got,
        [
            json!({"name": "web", "version": versions[0], "sha256": digests[0]}),
            json!({"name": "mail", "version": versions[1], "sha256": digests[1]}),
            json!({"name": "private", "status": 403, "code": "Forbidden"}),
            json!({"name": "missing", "status": 404, "code": "SecretNotFound"}),
        ]
    );

    let asked = azure.requests_to(Server::Vault);
    assert_eq!(asked[0].status, Some(401), "the first request asks for the challenge");
    // An empty version in their template becomes a slash at the end.
    assert_eq!(asked[0].path, "/secrets/web/");
    assert_eq!(azure.tokens_issued(), 1);
}

fn python(world: &World) -> Command {
    python_script(world, "python/client.py")
}

fn python_script(world: &World, name: &str) -> Command {
    let mut command = world.command(installed("python/bin/python"));
    command.arg(script(name));
    // Its HTTP library brings its own roots unless it is told of the system's.
    command.env("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt");
    command
}

#[test]
fn the_python_sdk_fetches_certificates_and_understands_errors() {
    fetches_and_fails_as_from_azure(python);
}

#[test]
fn the_python_sdk_lists_versions_page_by_page_and_understands_that_it_may_not() {
    let world = World::enter().unwrap();
    let azure = Azure::start(Addresses::real()).unwrap();
    azure.create_vault("contoso");
    for number in 0..60 {
        azure.put("contoso", "web", Bundle::text(&format!("number {number}"))).unwrap();
    }
    azure.disable("contoso", "web").unwrap();
    world.connect(&azure).unwrap();
    let list = || {
        let mut command = python_script(&world, "python/versions.py");
        let output = command.args(["https://contoso.vault.azure.net", "web"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let mut got = list();
    let by_creation = |item: &Value| item["created"].as_i64();
    assert!(!got.is_sorted_by_key(by_creation), "the order of a list means nothing");
    got.sort_by_key(by_creation);
    let wanted: Vec<Value> = azure
        .secret("contoso", "web", |secret| {
            let item = |version: &Version| json!({"version": version.id, "enabled": version.enabled, "created": version.created});
            secret.versions.iter().map(item).collect()
        })
        .unwrap();
    assert_eq!(got, wanted);
    let pages = azure.requests_for("contoso", "web");
    let statuses: Vec<_> = pages.iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(401), Some(200), Some(200), Some(200)], "25 to a page");

    azure.vault("contoso", |vault| vault.listing = false).unwrap();
    assert_eq!(list(), [json!({"status": 403, "code": "Forbidden"})]);
}

#[test]
fn the_python_sdk_does_so_on_a_machine_of_azure_arc() {
    let client = |world: &World| {
        let mut command = python(world);
        command.env("IDENTITY_ENDPOINT", "http://localhost:40342/metadata/identity/oauth2/token");
        command.env("IMDS_ENDPOINT", "http://localhost:40342");
        command
    };
    fetches_and_fails_at(Addresses::real().with_arc(40342), client);
}

#[test]
fn the_python_sdk_refuses_the_challenges_of_an_impostor_of_azure_arc() {
    let world = World::enter().unwrap();
    let azure = Azure::start(Addresses::real().with_arc(40342)).unwrap();
    azure.create_vault("contoso");
    azure.put("contoso", "web", Bundle::text("a secret")).unwrap();
    world.connect(&azure).unwrap();
    let ask = || {
        let mut command = python(&world);
        command.env("IDENTITY_ENDPOINT", "http://localhost:40342/metadata/identity/oauth2/token");
        command.env("IMDS_ENDPOINT", "http://localhost:40342");
        command.args(["https://contoso.vault.azure.net", "web"]).output().unwrap()
    };
    assert!(ask().status.success());
    let elsewhere = Challenge::Elsewhere("/etc/passwd".to_owned());
    for (challenge, words) in [
        (Challenge::TooBig, "Local key file shall not be larger than 4KB"),
        (Challenge::NoHeader, "Unrecognizable WWW-Authenticate header"),
        // It looks for NAME.key in the agent's folder, whatever path is named.
        (elsewhere, "/var/opt/azcmagent/tokens/passwd.key"),
    ] {
        azure.arc(|agent| agent.challenge = challenge.clone());
        let output = ask();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(words), "{challenge:?}: {errors}");
    }
}

#[test]
fn the_node_sdk_fetches_certificates_and_understands_errors() {
    let modules = installed("node/node_modules");
    let client = |world: &World| {
        let mut command = world.command("node");
        command.arg(script("node/client.mjs")).arg(modules.parent().unwrap());
        // Node brings its own roots, too.
        command.env("NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt");
        command
    };
    fetches_and_fails_as_from_azure(client);
}

#[test]
fn the_rust_sdk_fetches_certificates_and_understands_errors() {
    let program = installed("rust/debug/official-rust-sdk");
    fetches_and_fails_as_from_azure(|world| world.command(program));
}
