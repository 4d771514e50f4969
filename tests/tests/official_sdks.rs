//! The official SDKs as clients of the emulator: what Microsoft wrote for the real services must not notice the
//! difference. Certificates and host names are verified, challenges too; nothing is switched off.
//!
//! `tests/sdk/setup` installs the SDKs; without them these tests fail and say so.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tests::azure::{Addresses, Azure};
use tests::fault::{Scope, Times};
use tests::http::Server;
use tests::pkcs12::Pfx;
use tests::pki::{Authority, KeyKind, Request};
use tests::refusal::Refusal;
use tests::world::World;

/// Where `tests/sdk/setup` puts what it installs.
fn installed(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("sdk").join(path);
    assert!(path.exists(), "{}: run tests/sdk/setup first", path.display());
    path
}

fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(path)
}

/// Runs a client in a world with four secrets, and looks at what it got and how it asked.
fn fetches_and_fails_as_from_azure(client: impl FnOnce(&World) -> Command) {
    let world = World::enter().unwrap();
    let azure = Azure::start(Addresses::real()).unwrap();
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

#[test]
fn the_python_sdk_fetches_certificates_and_understands_errors() {
    let python = installed("python/bin/python");
    let client = |world: &World| {
        let mut command = world.command(python);
        command.arg(script("python/client.py"));
        // Its HTTP library brings its own roots unless it is told of the system's.
        command.env("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt");
        command
    };
    fetches_and_fails_as_from_azure(client);
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
