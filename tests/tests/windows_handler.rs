//! The extension on Windows, from its deployment to its removal, through the service control manager.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tests::fault::{Scope, Times};
use tests::http::Server;
use tests::pkcs12::Pfx;
use tests::pki::{KeyKind, Request};
use tests::settings::{Extension, Sample};
use tests::story::{Finished, Story, finish, wait_for};
use tests::windows_guest::{Guest, HANDLERS, Handler, Service};
use tests::wine::{Whose, Wine, windows_path};
use tests::wire::Wire;

/// How long is waited for something that takes a second or two on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// `SERVICE_CONTROL_STOP`.
const STOP: u32 = 1;
/// The control that the handler has it poll by.
const POLL: u32 = 128;
/// `SERVICE_CONTROL_PARAMCHANGE`.
const PARAM_CHANGE: u32 = 6;
/// `SERVICE_RUNNING`.
const RUNNING: u32 = 4;
/// `SERVICE_STOPPED`.
const STOPPED: u32 = 1;
const FIRST: &str = "1.0.0";
const SECOND: &str = "98.7.6";

/// Puts a fresh certificate into the vault, and answers its thumbprint.
fn put(story: &Story, name: &str) -> String {
    let request = Request::new(&format!("{name}.contoso.com")).key(KeyKind::Rsa2048);
    let issued = story.authority.issue(&request).unwrap();
    story.put_bundle(name, issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    issued.thumbprint().unwrap()
}

#[track_caller]
fn well(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

fn service(guest: &Guest<'_>) -> Service {
    guest.service().unwrap().unwrap()
}

/// Waits until the status of this number is success.
fn succeeds(handler: &Handler<'_>, sequence: u32) {
    let word = || {
        let reported = handler.reported(sequence);
        (reported.valid() && reported.status.as_deref() == Some("success")).then_some(())
    };
    let waited = wait_for(PATIENCE, "success", word);
    assert!(waited.is_ok(), "{:#?}\n{}", handler.reported(sequence), handler.log());
}

/// Waits until a certificate is in the machine's store.
fn installed(guest: &Guest<'_>, handler: &Handler<'_>, thumbprint: &str) {
    let held = || {
        let store = guest.wine.store(Whose::Machine, "MY").unwrap();
        store.iter().any(|held| held["thumbprint"] == json!(thumbprint)).then_some(())
    };
    let waited = wait_for(PATIENCE, "certificate", held);
    assert!(waited.is_ok(), "{thumbprint}: {}", handler.log());
}

#[test]
fn it_lives_from_its_deployment_to_its_removal() {
    let story = Story::begin().unwrap();
    let guest = Guest::begin(&story).unwrap();
    let first = put(&story, "web");
    let handler = guest.unpack(FIRST).unwrap();
    well(&handler.run("install", 0).unwrap());
    assert_eq!(guest.service().unwrap(), None, "nothing is started before it has settings");
    well(&handler.enable(0, &story.observing(&["web"])).unwrap());
    succeeds(&handler, 0);
    installed(&guest, &handler, &first);
    let begun = service(&guest);
    let program = format!(r#""C:\Program Files\akvvm\versions\{FIRST}\libexec\akvvm_service.exe" run "#);
    assert!(begun.command.starts_with(&program), "{begun:?}");
    assert_eq!((begun.display.as_str(), begun.account.as_str()), ("Key Vault VM Extension", "LocalSystem"));
    assert_eq!((begun.start, begun.kind, begun.state), (2, 16, RUNNING), "by itself, a process of its own: {begun:?}");

    // The agent runs it at every boot and at every goal state.
    well(&handler.run("enable", 0).unwrap());
    assert_eq!(service(&guest), begun);

    // A renewal, while somebody reads the status in a way that lets nobody replace it.
    let second = put(&story, "web");
    let reader = guest.hold(&handler.path(r"Status\0.status")).unwrap();
    guest.control(PARAM_CHANGE).unwrap();
    installed(&guest, &handler, &second);
    drop(reader);
    let third = put(&story, "web");
    guest.control(POLL).unwrap();
    installed(&guest, &handler, &third);
    assert_eq!(service(&guest), begun);

    let mail = put(&story, "mail");
    well(&handler.enable(1, &story.observing(&["web", "mail"])).unwrap());
    succeeds(&handler, 1);
    installed(&guest, &handler, &mail);
    assert_ne!(service(&guest).process, begun.process);

    // An operator stops it; the handler starts it again.
    guest.control(STOP).unwrap();
    let stopped = || Some(service(&guest)).filter(|service| service.state == STOPPED && service.process == 0);
    assert_eq!(wait_for(PATIENCE, "end", stopped).unwrap().exit, 0);
    well(&handler.run("enable", 1).unwrap());
    succeeds(&handler, 1);

    // Whatever it waits for, it ends in time: the handler would not wait longer.
    story.azure.fault(Scope::Vaults, Wire::Hang, Times::Always);
    let asked = story.azure.requests_to(Server::Vault).len();
    guest.control(PARAM_CHANGE).unwrap();
    let asks = || (story.azure.requests_to(Server::Vault).len() > asked).then_some(());
    wait_for(PATIENCE, "request", asks).unwrap();
    well(&handler.run("disable", 1).unwrap());
    story.azure.repair(&Scope::Vaults);
    let disabled = service(&guest);
    assert_eq!((disabled.state, disabled.start, disabled.exit), (STOPPED, 3, 0), "{disabled:?}");
    let status = handler.reported(1);
    assert!(status.valid() && status.terminal() && status.message.clone().unwrap().contains("disabled"), "{status:?}");

    well(&handler.run("enable", 1).unwrap());
    succeeds(&handler, 1);
    guest.wine.shut_down().unwrap();
    let fourth = put(&story, "web");
    guest.wine.boot().unwrap();
    installed(&guest, &handler, &fourth);

    let store = guest.wine.store(Whose::Machine, "MY").unwrap();
    assert!(store.len() == 5 && store.iter().all(|held| held["key"]["signs"] == json!(true)), "{store:#?}");
    well(&handler.run("disable", 1).unwrap());
    well(&handler.run("uninstall", 1).unwrap());
    assert_eq!(guest.service().unwrap(), None);
    assert!(!guest.disk("Program Files/akvvm").exists(), "its folders go with it");
    assert_eq!(guest.wine.store(Whose::Machine, "MY").unwrap(), store, "certificates and keys stay");
}

#[test]
fn a_service_that_crashes_five_times_in_a_row_is_an_error_until_somebody_starts_it_anew() {
    let story = Story::begin().unwrap();
    let guest = Guest::begin(&story).unwrap();
    let certificate = put(&story, "web");
    let handler = guest.unpack(FIRST).unwrap();
    well(&handler.run("install", 0).unwrap());
    well(&handler.enable(0, &story.observing(&["web"])).unwrap());
    succeeds(&handler, 0);
    installed(&guest, &handler, &certificate);
    let status = handler.folder().join("Status/0.status");
    let state = guest.disk("Program Files/akvvm/state");
    let times = || {
        let text = fs::read(state.join("ends.json")).ok()?;
        serde_json::from_slice::<Value>(&text).unwrap()["times"].as_u64()
    };
    // Wine's manager sees only when it is to start the service that it has ended.
    let crash = || {
        let process = service(&guest).process.to_string();
        guest.wine.succeed(&mut guest.wine.command("taskkill", &["/f", "/pid", &process])).unwrap();
    };
    // As the manager does after a failure, which Wine's does not.
    let start = || {
        fs::remove_file(&status).unwrap();
        let start = || guest.wine.succeed(&mut guest.wine.command("sc", &["start", "akvvm_service"])).ok();
        wait_for(PATIENCE, "start", start).unwrap();
    };

    for time in 1..5 {
        crash();
        start();
        succeeds(&handler, 0);
        assert_eq!(times(), Some(time));
    }
    crash();
    start();
    let words = "5 times in a row, last by: process ";
    let is_trouble = || {
        let reported = handler.reported(0);
        let message = reported.message.as_deref().unwrap_or_default();
        let is_told = message.contains(words) && message.contains("; 1 of 1 certificates installed");
        (reported.valid() && reported.status.as_deref() == Some("error") && is_told).then_some(())
    };
    let waited = wait_for(PATIENCE, "error", is_trouble);
    assert!(waited.is_ok(), "{:#?}\n{}", handler.reported(0), handler.log());
    let troubled = service(&guest);
    well(&handler.run("enable", 0).unwrap());
    assert!(service(&guest) == troubled && is_trouble().is_some(), "the agent's look at it is no start");

    // An operator starts it anew.
    guest.control(STOP).unwrap();
    let stopped = || Some(service(&guest)).filter(|service| service.state == STOPPED && service.process == 0);
    wait_for(PATIENCE, "end", stopped).unwrap();
    start();
    succeeds(&handler, 0);
    assert_eq!(times(), None);

    // The machine was booted since.
    crash();
    fs::write(state.join("run.json"), r#"{"process": 7, "since": 7}"#).unwrap();
    start();
    succeeds(&handler, 0);
    assert_eq!(times(), None);
}

#[test]
fn an_update_replaces_a_service_that_runs_and_keeps_what_belongs_to_it() {
    let story = Story::begin().unwrap();
    let guest = Guest::begin(&story).unwrap();
    let certificate = put(&story, "web");
    let settings = story.observing(&["web"]);
    let old = guest.unpack(FIRST).unwrap();
    well(&old.run("install", 0).unwrap());
    well(&old.enable(0, &settings).unwrap());
    succeeds(&old, 0);
    // What an administrator added, which only the manager knows.
    let key = r"HKLM\System\CurrentControlSet\Services\akvvm_service";
    let add = ["add", key, "/v", "Environment", "/t", "REG_MULTI_SZ", "/d", "NO_PROXY=*", "/f"];
    guest.wine.succeed(&mut guest.wine.command("reg", &add)).unwrap();

    let new = guest.unpack(SECOND).unwrap();
    for (handler, verb) in [(&old, "disable"), (&new, "update"), (&old, "uninstall"), (&new, "install")] {
        well(&handler.run(verb, 0).unwrap());
    }
    well(&new.enable(0, &settings).unwrap());
    succeeds(&new, 0);
    let updated = service(&guest);
    assert!(updated.command.contains(SECOND) && updated.state == RUNNING && updated.start == 2, "{updated:?}");
    assert!(!guest.disk("Program Files/akvvm/versions").join(FIRST).exists());
    guest.wine.succeed(&mut guest.wine.command("reg", &["query", key, "/v", "Environment"])).unwrap();
    installed(&guest, &new, &certificate);

    // The program of the version that runs is replaced, which Windows allows to nobody who does not know how.
    let program = guest.disk(&format!("Program Files/akvvm/versions/{SECOND}/libexec/akvvm_service.exe"));
    let packed = new.folder().join("akvvm_service.exe");
    let mut bytes = fs::read(&packed).unwrap();
    bytes.extend(b"rebuilt");
    fs::write(&packed, &bytes).unwrap();
    well(&new.enable(1, &settings).unwrap());
    succeeds(&new, 1);
    assert_eq!(fs::read(program).unwrap(), bytes);
    assert_ne!(service(&guest).process, updated.process);
}

#[test]
fn wrong_settings_and_the_closed_extension_are_refused() {
    let story = Story::begin().unwrap();
    let guest = Guest::begin(&story).unwrap();
    let first = put(&story, "web");
    let handler = guest.unpack(FIRST).unwrap();
    let refused = |sequence: u32, settings: &Value, words: &[&str]| {
        let finished = handler.enable(sequence, settings).unwrap();
        assert_eq!(finished.code, Some(3), "{finished:?}");
        let status = handler.reported(sequence);
        assert!(status.valid() && status.status.as_deref() == Some("error"), "{status:?}");
        for word in words {
            assert!(finished.errors.contains(word), "{finished:?}");
            assert!(status.message.as_ref().unwrap().contains(word), "{status:?}");
        }
    };
    let store = |name: &str| {
        let url = story.url("web");
        json!({"secretsManagementSettings": {"observedCertificates": [{"url": url, "certificateStoreLocation": name}]}})
    };
    refused(0, &store("/etc/ssl"), &["observedCertificates[0].certificateStoreLocation", "no service runs"]);
    assert_eq!(guest.service().unwrap(), None);
    well(&handler.enable(1, &story.observing(&["web"])).unwrap());
    succeeds(&handler, 1);
    installed(&guest, &handler, &first);
    let running = service(&guest);
    refused(2, &json!({"secretsManagementSettings": {}}), &["observedCertificates", "the service goes on with"]);
    assert_eq!(service(&guest), running);

    // Microsoft's extension, by its folder and then by its service.
    let closed = guest.disk(HANDLERS).join("Microsoft.Azure.KeyVault.KeyVaultForWindows/3.5.3041.185");
    fs::create_dir_all(&closed).unwrap();
    let manifest = r#"[{"version": 1.0, "handlerManifest": {"enableCommand": "bin\\enable.cmd"}}]"#;
    fs::write(closed.join("HandlerManifest.json"), manifest).unwrap();
    let in_the_way = |verb: &str| {
        let finished = handler.run(verb, 1).unwrap();
        assert_eq!(finished.code, Some(1), "{finished:?}");
        for word in ["Microsoft's Key Vault extension", "az vm extension delete", "KeyVaultForWindows"] {
            assert!(finished.errors.contains(word), "{finished:?}");
        }
    };
    in_the_way("install");
    in_the_way("enable");
    fs::remove_dir_all(&closed).unwrap();
    well(&handler.run("install", 1).unwrap());
    well(&handler.run("disable", 1).unwrap());
    well(&handler.run("uninstall", 1).unwrap());
    let theirs = r"C:\Packages\Plugins\Contoso.Renamed\3.0.0\akvvm_service.exe";
    guest.services(&["create", "akvvm_service", theirs]).unwrap();
    in_the_way("enable");
    well(&handler.run("uninstall", 1).unwrap());
    assert_eq!(service(&guest).command, theirs, "it is not ours to remove");
}

#[test]
fn it_runs_in_a_terminal_too() {
    let story = Story::begin().unwrap();
    let guest = Guest::begin(&story).unwrap();
    let certificate = put(&story, "web");
    let service = guest.wine.start_service(&story.observing(&["web"])).unwrap();
    service.wait_until(PATIENCE, |reported| reported.status.as_deref() == Some("success")).unwrap();
    let held = || {
        let store = guest.wine.store(Whose::Machine, "MY").unwrap();
        store.iter().any(|held| held["thumbprint"] == json!(certificate)).then_some(())
    };
    assert!(wait_for(PATIENCE, "certificate", held).is_ok(), "{}", service.log().unwrap());
    assert_eq!(guest.service().unwrap(), None, "no manager started it");
}

#[test]
fn check_says_which_settings_are_for_linux_and_which_are_wrong() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let check_all = |settings: Value| {
        let file = windows_path(&story.write_settings(&settings).unwrap());
        let finished = finish(&mut wine.service(&["check", "--json", &file]).unwrap()).unwrap();
        (finished.code, serde_json::from_str::<Value>(&finished.output).unwrap())
    };
    let check = |certificate: Value| {
        let mut observed = certificate;
        observed["url"] = json!(story.url("web"));
        check_all(json!({"secretsManagementSettings": {"observedCertificates": [observed]}}))
    };
    let elsewhere = "http://evil.example/metadata/identity";
    for (url, endpoint, refused) in [
        ("https://contoso.vault.azure.net.evil.example/secrets/web", "http://169.254.169.254/metadata/identity", "url"),
        (r"\\evil.example\secrets\web", "http://169.254.169.254/metadata/identity", "url"),
        ("https://contoso.vault.azure.net/secrets/web", elsewhere, "msiEndpoint"),
    ] {
        let (code, result) = check_all(json!({
            "secretsManagementSettings": {"observedCertificates": [{"url": url}]},
            "authenticationSettings": {"msiEndpoint": endpoint}}));
        assert!(code == Some(2) && result["errors"].to_string().contains(refused), "{url}: {result}");
    }
    let (code, result) = check(json!({
        "certificateStoreName": "WebHosting", "certificateStoreLocation": "currentuser", "keyStorage": "CNG",
        "accounts": [r"CONTOSO\web$", r"NT SERVICE\w3svc", "S-1-5-20"], "keyExportable": "true"}));
    assert_eq!((code, &result["warnings"]), (Some(0), &json!([])), "{result}");
    assert!(result.to_string().contains(r"Cert:\\CurrentUser\\WebHosting"), "{result}");
    for setting in ["customSymbolicLinkName", "acls", "owner", "group", "mode", "certificateFiles"] {
        let (code, result) = check(json!({ setting: "web" }));
        let said = result["warnings"].to_string();
        assert!(code == Some(0) && said.contains(setting) && said.contains("has no effect on Windows"), "{result}");
    }
    for setting in ["aclEnabled", "certificateFiles"] {
        let (code, result) = check_all(json!({"secretsManagementSettings": {
            setting: 7, "observedCertificates": ["https://contoso.vault.azure.net/secrets/web"]}}));
        let said = result["warnings"].to_string();
        assert!(code == Some(0) && said.contains(setting) && said.contains("has no effect on Windows"), "{result}");
    }
    for (setting, value) in [
        ("certificateStoreName", json!("Root")),
        ("certificateStoreName", json!(r"..\MY")),
        ("certificateStoreLocation", json!("/etc/ssl")),
        ("accounts", json!(["a;b"])),
        ("keyStorage", json!("tpm")),
    ] {
        let (code, result) = check(json!({ setting: value }));
        assert!(code == Some(2) && result["errors"].to_string().contains(setting), "{result}");
    }
}

#[test]
fn check_has_nothing_to_say_of_the_samples_for_windows() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    for Sample { name, extension, settings } in tests::settings::samples().unwrap() {
        if extension == Extension::KeyVaultForWindows {
            let file = windows_path(&story.write_settings(&settings).unwrap());
            let finished = finish(&mut wine.service(&["check", "--json", &file]).unwrap()).unwrap();
            let result: Value = serde_json::from_str(&finished.output).unwrap();
            assert_eq!((finished.code, &result["warnings"]), (Some(0), &json!([])), "{name}: {result}");
        }
    }
}
