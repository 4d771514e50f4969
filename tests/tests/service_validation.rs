//! What clients will think of a certificate: said in the status as long as it is in use, and no reason to refuse it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tests::agent::{Reported, Substatus};
use tests::fault::{Scope, Times};
use tests::http::Server;
use tests::pkcs12::Pfx;
use tests::pki::{Authority, KeyKind, Request};
use tests::story::{Service, Story, wait_for};
use tests::vault::Secret;
use tests::wire::Wire;

const SOON: Duration = Duration::from_secs(60);

/// The message of this certificate once the service has polled.
fn message(service: &Service, name: &str) -> String {
    let reported = service.reported();
    let part = reported.substatus.iter().find(|part| part.name.as_deref() == Some(name));
    let part = part.unwrap_or_else(|| panic!("{reported:#?}\n{}", service.log().unwrap()));
    assert_eq!(part.status, "success", "{part:?}");
    part.message.clone().unwrap()
}

fn is_installed(part: &Substatus) -> bool {
    part.status == "success"
}

fn started(story: &Story, names: &[&str]) -> Service {
    let service = story.run(&story.observing(names)).unwrap();
    let is_done = |reported: &Reported| !reported.substatus.is_empty() && reported.substatus.iter().all(is_installed);
    service.wait_until(SOON, is_done).unwrap();
    service
}

#[test]
fn a_chain_that_leads_to_no_root_of_the_machine_is_said_at_every_poll_and_after_a_restart() {
    const WORDS: &str = "TLS clients that trust what this machine trusts refuse it: its chain ends with";
    let story = Story::begin().unwrap();
    story.put("trusted").unwrap();
    let private = Authority::new("Private", 1).unwrap();
    let issued = private.issue(&Request::new("web.contoso.com").key(KeyKind::P256)).unwrap();
    story.put_bundle("web", issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();

    let service = started(&story, &["web", "trusted"]);
    for _ in 0..2 {
        let said = message(&service, "contoso.web");
        assert!(said.contains(WORDS) && said.contains("leads to no root of this machine"), "{said}");
        assert!(!message(&service, "contoso.trusted").contains("refuse it"));
        service.poll().unwrap();
    }
    drop(service);
    let service = started(&story, &["web", "trusted"]);
    assert!(message(&service, "contoso.web").contains(WORDS));
    assert!(!message(&service, "contoso.trusted").contains("refuse it"));
}

#[test]
fn a_root_that_leaves_the_machines_trust_is_said_at_the_next_poll_and_nothing_is_written() {
    const WORDS: &str = "TLS clients that trust what this machine trusts refuse it";
    let story = Story::begin().unwrap();
    let private = Authority::new("Private", 1).unwrap();
    let root = String::from_utf8(private.root().to_pem().unwrap()).unwrap();
    story.world().trust(&root).unwrap();
    for (name, kind) in [("web", KeyKind::P256), ("app", KeyKind::Rsa2048)] {
        let issued = private.issue(&Request::new(&format!("{name}.contoso.com")).key(kind)).unwrap();
        story.put_bundle(name, issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    }
    let mut settings = story.observing(&["web", "app"]);
    settings["secretsManagementSettings"]["observedCertificates"][1] =
        json!({"url": story.url("app"), "certificateFiles": "split"});
    let names = ["contoso.web", "contoso.app"];
    let service = story.run(&settings).unwrap();
    let is_done = |reported: &Reported| !reported.substatus.is_empty() && reported.substatus.iter().all(is_installed);
    service.wait_until(SOON, is_done).unwrap();
    let refused = || {
        service.poll().unwrap();
        names.map(|name| message(&service, name).contains(WORDS))
    };
    assert_eq!(refused(), [false; 2]);
    let state = || {
        let store = Path::new("/var/lib/waagent/Microsoft.Azure.KeyVault.Store");
        ["contoso.web", "contoso.app.pem", "contoso.app.keyid"]
            .map(|name| (fs::metadata(store.join(name)).unwrap(), fs::read_link(store.join(name)).unwrap()))
            .map(|(found, target)| (found.ino(), found.ctime(), found.ctime_nsec(), target))
    };
    let before = state();
    story.world().distrust(&root).unwrap();
    assert_eq!(refused(), [true; 2]);
    assert_eq!(refused(), [true; 2], "and at the poll after");
    story.world().trust(&root).unwrap();
    assert_eq!(refused(), [false; 2], "it is trusted again");
    assert_eq!(state(), before);
}

#[test]
fn a_root_that_comes_while_its_certificate_is_installed_counts_at_the_next_poll() {
    let story = Story::begin().unwrap();
    let private = Authority::new("Private", 1).unwrap();
    let issued = private.issue(&Request::new("web.contoso.com")).unwrap();
    story.put_bundle("web", issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    story.azure.fault(Scope::Vaults, Wire::Delay(Duration::from_secs(3)), Times::Next(1));
    let service = story.run(&story.observing(&["web"])).unwrap();
    let is_asked = || (!story.azure.requests_to(Server::Vault).is_empty()).then_some(());
    wait_for(SOON, "request", is_asked).unwrap();
    story.world().trust(&String::from_utf8(private.root().to_pem().unwrap()).unwrap()).unwrap();
    service.wait_until(SOON, |reported| reported.substatus.iter().any(is_installed)).unwrap();
    assert!(message(&service, "contoso.web").contains("refuse it"), "judged by what was trusted when the pass began");
    for _ in 0..2 {
        service.poll().unwrap();
        assert!(!message(&service, "contoso.web").contains("refuse it"));
    }
}

#[test]
fn a_chain_that_leads_to_no_root_of_the_machine_is_refused_where_the_settings_say_so() {
    let story = Story::begin().unwrap();
    let (_, good) = story.put("web").unwrap();
    let mut settings = story.observing(&["web"]);
    settings["secretsManagementSettings"]["chainValidation"] = json!("require");
    assert_eq!(story.sync(&settings).unwrap().code(), Some(0));
    let private = Authority::new("Private", 1).unwrap();
    let issued = private.issue(&Request::new("web.contoso.com").key(KeyKind::P256)).unwrap();
    let version = story.put_bundle("web", issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    let synced = story.sync(&settings).unwrap();
    let (code, message) = synced.error(0).unwrap();
    assert!(code == 40 && message.contains("leads to no root of this machine"), "{message}");
    assert!(message.contains("chainValidation"), "{message}");
    assert_eq!(synced.certificate(0)["version"], json!(good), "what is installed stays in use");

    settings["secretsManagementSettings"]["chainValidation"] = json!("Warn");
    let synced = story.sync(&settings).unwrap();
    assert_eq!((synced.code(), &synced.certificate(0)["version"]), (Some(0), &json!(version)));
    settings["secretsManagementSettings"]["chainValidation"] = json!("always");
    let checked = story.sync(&settings).unwrap().finished;
    assert!(checked.code == Some(2) && checked.output.contains("\\\"warn\\\" or \\\"require\\\""), "{checked:?}");
}

#[test]
fn a_chain_that_has_expired_is_said_and_certificates_that_are_not_for_servers_are_not_judged() {
    let story = Story::begin().unwrap();
    let put = |name: &str, authority: &Authority, request: Request| {
        let issued = authority.issue(&request).unwrap();
        story.put_bundle(name, issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    };
    let expired = Authority::with_expired_intermediate("Expired").unwrap();
    story.world().trust(&String::from_utf8(expired.root().to_pem().unwrap()).unwrap()).unwrap();
    put("old", &expired, Request::new("old.contoso.com"));
    let narrow = Authority::with_intermediate_for_clients("Narrow").unwrap();
    story.world().trust(&String::from_utf8(narrow.root().to_pem().unwrap()).unwrap()).unwrap();
    put("narrow", &narrow, Request::new("narrow.contoso.com"));
    let private = Authority::new("Private", 1).unwrap();
    put("client", &private, Request::new("client.contoso.com").for_clients());
    put("server", &private, Request::new("server.contoso.com"));
    let service = started(&story, &["old", "narrow", "client", "server"]);
    let said = message(&service, "contoso.old");
    assert!(said.contains("refuse it: a certificate of its chain has expired"), "{said}");
    let said = message(&service, "contoso.narrow");
    assert!(said.contains("refuse it: a certificate of its chain may not certify TLS servers"), "{said}");
    assert!(!message(&service, "contoso.client").contains("refuse it"));
    assert!(message(&service, "contoso.server").contains("refuse it"));
}

#[test]
fn a_renewal_without_any_of_the_old_names_is_installed_with_a_warning_that_stays() {
    let story = Story::begin().unwrap();
    let put = |names: &[&str]| {
        let request = names[1..].iter().fold(Request::new(names[0]), |request, name| request.name(name));
        let issued = story.authority.issue(&request).unwrap();
        story.put_bundle("web", issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap()
    };
    put(&["www.contoso.com", "contoso.com"]);
    let service = started(&story, &["web"]);
    let version = put(&["CONTOSO.com", "shop.contoso.com"]);
    service.poll().unwrap();
    let said = message(&service, "contoso.web");
    assert!(said.contains(&version) && !said.contains("holds no name"), "one name is enough: {said}");

    let version = put(&["www.fabrikam.com"]);
    for _ in 0..2 {
        service.poll().unwrap();
        let said = message(&service, "contoso.web");
        let words = "it holds no name of the version before: contoso.com, shop.contoso.com then, www.fabrikam.com now";
        assert!(said.contains(&version) && said.contains(words), "{said}");
    }
    put(&["www.fabrikam.com"]);
    service.poll().unwrap();
    assert!(!message(&service, "contoso.web").contains("holds no name"));
}

#[test]
fn the_version_before_the_newest_is_not_said_to_have_lost_the_names_of_the_newest() {
    let story = Story::begin().unwrap();
    let put = |name: &str| {
        let issued = story.authority.issue(&Request::new(name)).unwrap();
        story.put_bundle("web", issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap()
    };
    let (older, newest) = (put("www.contoso.com"), put("www.fabrikam.com"));
    let service = started(&story, &["web"]);
    service.poll().unwrap();
    let disable = |secret: &mut Secret| {
        secret.versions.iter_mut().filter(|found| found.id == newest).for_each(|found| found.enabled = false);
    };
    story.azure.secret("contoso", "web", disable).unwrap();
    service.poll().unwrap();
    let said = message(&service, "contoso.web");
    assert!(said.contains(&older) && said.contains("is disabled") && !said.contains("holds no name"), "{said}");
}

#[test]
fn a_renewal_that_is_clearly_broken_leaves_what_is_installed_in_use() {
    let story = Story::begin().unwrap();
    let (_, good) = story.put("web").unwrap();
    let service = started(&story, &["web"]);
    let now = SystemTime::now();
    let days = |count: u64| Duration::from_secs(count * 86_400);
    let expired = Request::new("web.contoso.com").valid(now - days(20), now - days(1));
    let expired = story.authority.issue(&expired).unwrap();
    let version = story.put_bundle("web", expired.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    service.poll().unwrap();
    let said = message(&service, "contoso.web");
    assert!(said.contains(&good) && said.contains(&version) && said.contains("expired"), "{said}");

    // A key that belongs to another certificate.
    let (one, other) = (story.issue("web").unwrap(), story.issue("web").unwrap());
    let [one, other] = [one, other].map(|issued| issued.pem().unwrap().value);
    let key = other.find("-----BEGIN PRIVATE KEY").map(|at| &other[at..]).unwrap();
    let key = &key[..key.find("-----END PRIVATE KEY-----\n").unwrap() + "-----END PRIVATE KEY-----\n".len()];
    let begin = one.find("-----BEGIN CERTIFICATE").unwrap();
    let certificates: String = one[begin..]
        .split_inclusive("-----END CERTIFICATE-----\n")
        .filter(|part| part.contains("CERTIFICATE"))
        .collect();
    let mut bundle = story.issue("web").unwrap().pem().unwrap();
    bundle.value = format!("{key}{certificates}");
    story.put_bundle("web", bundle).unwrap();
    service.poll().unwrap();
    let reported = service.reported();
    let part = &reported.substatus[0];
    assert_eq!((part.status.as_str(), &part.code), ("error", &json!(40)), "{part:?}");
    assert!(part.message.as_deref().unwrap().contains(&good), "{part:?}");
}
