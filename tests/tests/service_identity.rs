//! The managed identity: whom the service asks for tokens and as whom, and what it says when there is none.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tests::azure::Addresses;
use tests::fault::{Fault, Scope, Times};
use tests::http::{Response, Server};
use tests::identity::{Expiry, Identity};
use tests::imds::Trouble;
use tests::story::{Story, each_in_a_world_of_its_own, observing, wait_for};
use tests::wire::Wire;

const SOON: Duration = Duration::from_secs(30);

fn with_identity(story: &Story, certificates: &[&str], identity: Value) -> Value {
    let urls: Vec<Value> = certificates.iter().map(|name| json!(story.url(name))).collect();
    let mut settings = observing(&urls);
    settings["authenticationSettings"] = identity;
    settings
}

fn web(story: &Story) -> Value {
    observing(&[json!(story.url("web"))])
}

#[test]
fn the_system_assigned_identity_asks_without_naming_itself() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for (round, identity) in [json!({}), json!(null), json!({"msiClientId": ""})].into_iter().enumerate() {
        let synced = story.sync(&with_identity(&story, &["web"], identity)).unwrap();
        synced.place(0).unwrap();
        let requests = story.azure.requests_to(Server::Imds);
        assert_eq!(requests.len(), round + 1);
        let request = requests.last().unwrap();
        assert_eq!(request.target.split('?').next(), Some("/metadata/identity/oauth2/token"));
        assert_eq!(request.parameter("resource"), Some("https://vault.azure.net"));
        assert_eq!(request.parameter("api-version"), Some("2018-02-01"));
        assert_eq!(request.header("metadata"), Some("true"));
        assert_eq!((request.parameter("client_id"), request.parameter("msi_res_id")), (None, None));
        let client_id = story.azure.machine(|machine| machine.system.clone().unwrap().client_id);
        let identity = synced.result["identity"].as_str().unwrap();
        assert_eq!(identity, format!("the system-assigned identity (client id {client_id})"));
    }
}

#[test]
fn a_user_assigned_identity_is_asked_for_by_client_id_or_resource_id() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let (app, other) = (Identity::user("app"), Identity::user("other"));
    story.azure.machine(|machine| (machine.system, machine.users) = (None, vec![other.clone(), app.clone()]));
    story.azure.revoke("contoso", &other).unwrap();
    for (given, parameter, sent) in [
        (app.client_id.clone(), "client_id", app.client_id.clone()),
        (app.client_id.to_uppercase(), "client_id", app.client_id.clone()),
        (app.resource_id.clone(), "msi_res_id", app.resource_id.clone()),
    ] {
        let synced = story.sync(&with_identity(&story, &["web"], json!({"msiClientId": given}))).unwrap();
        synced.place(0).unwrap();
        let request = story.azure.requests_to(Server::Imds).pop().unwrap();
        assert_eq!(request.parameter(parameter), Some(sent.as_str()));
        let named = synced.result["identity"].as_str().unwrap();
        assert!(named.contains(&app.client_id) && named.contains(&sent), "{named}");
    }
}

#[test]
fn an_object_id_given_as_client_id_is_understood_with_a_word_about_the_setting() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let (app, other) = (Identity::user("app"), Identity::user("other"));
    story.azure.machine(|machine| (machine.system, machine.users) = (None, vec![other.clone(), app.clone()]));
    story.azure.revoke("contoso", &other).unwrap();
    let settings = with_identity(&story, &["web"], json!({"msiClientId": app.object_id}));
    let synced = story.sync(&settings).unwrap();
    synced.place(0).unwrap();
    let asked = story.azure.requests_to(Server::Imds);
    let ids: Vec<_> = asked.iter().map(|one| (one.parameter("client_id"), one.parameter("object_id"))).collect();
    let id = Some(app.object_id.as_str());
    assert_eq!(ids, [(id, None), (None, id)]);
    let named = synced.result["identity"].as_str().unwrap();
    assert!(named.contains("write its client id as msiClientId") && named.contains(&app.client_id), "{named}");
    let service = story.run(&settings).unwrap();
    let log = service.wait_for_log(SOON, "write its client id as msiClientId", 1).unwrap();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains(&app.client_id)), "{log}");
    drop(service);

    // It must be the one that was asked for, and else it is as if there were none.
    story.azure.forget_requests();
    story.azure.machine(|machine| machine.answer_as = Some(other));
    let (code, message) = story.sync(&settings).unwrap().error(0).unwrap();
    assert_eq!(code, 21);
    assert!(message.contains(&app.object_id) && message.contains("not its object id"), "{message}");
    assert!(story.azure.requests_to(Server::Vault).is_empty());
}

#[test]
fn one_certificate_may_have_an_identity_of_its_own() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    story.put("api").unwrap();
    let app = Identity::user("app");
    story.azure.machine(|machine| machine.users = vec![app.clone()]);
    let own = json!({"url": story.url("api"), "authenticationOverride": {"msiClientId": app.client_id}});
    let synced = story.sync(&observing(&[json!(story.url("web")), own])).unwrap();
    synced.place(1).unwrap();
    assert_eq!(story.azure.tokens_issued(), 2);
    let web = story.azure.requests_for("contoso", "web")[0].token;
    assert_ne!(web, story.azure.requests_for("contoso", "api")[0].token);
    let named = synced.result["identity"].as_str().unwrap();
    assert!(named.contains("the system-assigned identity") && named.contains(&app.client_id), "{named}");
}

#[test]
fn identities_work_side_by_side_and_one_that_fails_harms_its_certificate_only() {
    let story = Story::begin().unwrap();
    for name in ["web", "api", "mail", "lost"] {
        story.put(name).unwrap();
    }
    let (app, post) = (Identity::user("app"), Identity::user("post"));
    story.azure.machine(|machine| machine.users = vec![app.clone(), post.clone()]);
    let own = |name: &str, id: &str| json!({"url": story.url(name), "authenticationOverride": {"msiClientId": id}});
    let unknown = "11111111-2222-3333-4444-555555555555";
    let certificates =
        [json!(story.url("web")), own("api", &app.client_id), own("mail", &post.resource_id), own("lost", unknown)];
    let service = story.run(&observing(&certificates)).unwrap();
    service.wait_for_log(SOON, "3 of 4 certificates installed", 1).unwrap();
    service.poll().unwrap();

    let token = |name: &str| {
        let asked = story.azure.requests_for("contoso", name);
        assert!(asked.len() >= 2 && asked.iter().all(|request| request.token == asked[0].token), "{asked:?}");
        asked[0].token.unwrap()
    };
    let mut tokens = vec![token("web"), token("api"), token("mail")];
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!((tokens.len(), story.azure.tokens_issued()), (3, 3), "one each, kept from poll to poll");
    assert!(story.azure.requests_for("contoso", "lost").is_empty());

    let reported = service.reported();
    let message = reported.message.clone().unwrap();
    let system = story.azure.machine(|machine| machine.system.clone().unwrap().client_id);
    for id in [&system, &app.client_id, &post.client_id] {
        assert!(message.contains(id.as_str()), "{message}");
    }
    for name in ["web", "api", "mail"] {
        assert_eq!(reported.part(&format!("contoso.{name}")).unwrap().status, "success");
    }
    let lost = reported.part("contoso.lost").unwrap();
    assert_eq!(lost.code, 21);
    assert!(lost.message.clone().unwrap().contains(unknown), "{lost:?}");

    story.azure.revoke("contoso", &app).unwrap();
    service.poll().unwrap();
    let reported = service.reported();
    assert_eq!(reported.part("contoso.api").unwrap().code, 31);
    assert_eq!(reported.part("contoso.web").unwrap().status, "success");
}

#[test]
fn every_spelling_of_the_endpoint_reaches_the_metadata_service() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for spelling in [
        "http://169.254.169.254",
        "http://169.254.169.254/",
        "http://169.254.169.254:80/metadata/identity",
        "http://169.254.169.254/metadata/identity/",
        "http://169.254.169.254/metadata/identity/oauth2/token",
        "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01",
        " HTTP://169.254.169.254/metadata/identity\n",
        "",
    ] {
        let synced = story.sync(&with_identity(&story, &["web"], json!({"msiEndpoint": spelling}))).unwrap();
        assert_eq!(synced.code(), Some(0), "{spelling:?}: {synced:?}");
        let request = story.azure.requests_to(Server::Imds).pop().unwrap();
        assert!(request.target.starts_with("/metadata/identity/oauth2/token?api-version=2018-02-01&"), "{request:?}");
    }
}

#[test]
fn localhost_is_this_machine_whatever_the_hosts_file_says() {
    let story = Story::begin_with(Addresses::loopback()).unwrap();
    story.put("web").unwrap();
    fs::write("/etc/hosts", "192.0.2.1 localhost contoso.vault.azure.net\n").unwrap();
    let environment = story.azure.environment();
    let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let endpoint = story.azure.msi_endpoint();
    for spelling in
        [endpoint.clone(), endpoint.replace("127.0.0.1", "localhost"), endpoint.replace("127.0.0.1", "LocalHost")]
    {
        let settings = with_identity(&story, &["web"], json!({"msiEndpoint": spelling}));
        let synced = story.sync_with(&settings, &environment).unwrap();
        assert_eq!(synced.code(), Some(0), "{spelling}: {synced:?}");
    }
    assert_eq!(story.azure.requests_to(Server::Imds).len(), 3);
    let settings = with_identity(&story, &["web"], json!({"msiEndpoint": "http://[::1]:40342/metadata/identity"}));
    let (code, message) = story.sync(&settings).unwrap().error(0).unwrap();
    assert_eq!(code, 20);
    assert!(
        message.starts_with(
            "http://[::1]:40342/metadata/identity/oauth2/token: the connection failed (Connection refused"
        ),
        "{message}"
    );
}

#[test]
fn tokens_are_never_asked_for_through_a_proxy() {
    let story = Story::begin_with(Addresses::real().with_proxy()).unwrap();
    story.put("web").unwrap();
    let proxy = story.azure.proxy_url().unwrap();
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let synced = story.sync_with(&web(&story), &names.map(|name| (name, proxy.as_str()))).unwrap();
    synced.place(0).unwrap();
    let proxied = story.azure.requests_to(Server::Proxy);
    let seen: Vec<&str> = proxied.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(seen, ["contoso.vault.azure.net:443"], "vaults only");
    let asked = story.azure.requests_to(Server::Imds);
    assert!(asked.len() == 1 && !asked[0].proxied(), "{asked:?}");
}

#[test]
fn many_certificates_and_polls_share_one_token() {
    let story = Story::begin().unwrap();
    story.azure.create_vault("fabrikam");
    story.world().connect(&story.azure).unwrap();
    let mut urls = Vec::new();
    for number in 0..10 {
        let name = format!("c{number}");
        for vault in ["contoso", "fabrikam"] {
            let bundle = story.issue(&name).unwrap().pem().unwrap();
            story.azure.put(vault, &name, bundle).unwrap();
            urls.push(json!(story.azure.url(vault, &name)));
        }
    }
    let service = story.run(&observing(&urls)).unwrap();
    service.wait_for_log(SOON, "20 of 20 certificates installed", 1).unwrap();
    for _ in 0..3 {
        service.poll().unwrap();
    }
    assert_eq!(story.azure.requests_to(Server::Vault).len(), 80);
    assert_eq!((story.azure.tokens_issued(), story.azure.requests_to(Server::Imds).len()), (1, 1));
    assert!(story.azure.requests_to(Server::Vault).iter().all(|request| request.status == Some(200)));
}

#[test]
fn a_token_is_replaced_well_before_its_end() {
    each_in_a_world_of_its_own([Expiry::Text, Expiry::Number], |story, expiry| {
        story.put("web").unwrap();
        story.azure.machine(|machine| {
            machine.token_lifetime = Duration::from_secs(20);
            machine.expiry = expiry;
        });
        let service = story.run(&story.observing(&["web"])).unwrap();
        service.wait_for_log(SOON, "1 of 1 certificates installed", 1).unwrap();
        wait_for(SOON, "second token", || {
            service.poll().unwrap();
            (story.azure.tokens_issued() == 2).then_some(())
        })
        .unwrap();
        let asked = story.azure.requests_to(Server::Imds);
        let age = asked[1].at.duration_since(asked[0].at).unwrap();
        assert!(age < Duration::from_secs(18), "{expiry:?}: {age:?}");
        assert!(story.azure.requests_to(Server::Vault).iter().all(|request| request.status == Some(200)));
    });
}

#[test]
fn a_token_without_a_usable_end_is_used_all_the_same() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for expiry in [Expiry::Garbage, Expiry::Absent] {
        story.azure.machine(|machine| machine.expiry = expiry);
        story.sync(&web(&story)).unwrap().place(0).unwrap();
    }
    story.azure.machine(|machine| (machine.expiry, machine.token_lifetime) = (Expiry::Text, Duration::from_secs(120)));
    story.sync(&web(&story)).unwrap().place(0).unwrap();
}

#[test]
fn each_trouble_of_the_metadata_service_has_its_own_message_and_heals() {
    let story = Story::begin().unwrap();
    let answer = |body: Value| Fault::Answer(Response::json(200, &body));
    let cases: Vec<(&str, Fault, i64, &[&str])> = vec![
        ("404", Trouble::NotFound.into(), 23, &["being updated", "HTTP 404"]),
        ("410", Trouble::Gone.into(), 23, &["being updated", "HTTP 410"]),
        ("429", Trouble::Throttled(Some(3)).into(), 23, &["limits the number of requests", "HTTP 429"]),
        ("500", Trouble::Failed(500).into(), 23, &["has failed", "HTTP 500"]),
        ("503", Trouble::Failed(503).into(), 23, &["HTTP 503"]),
        (
            "not found",
            Trouble::IdentityNotFound.into(),
            21,
            &["assign it to this machine", "client id", "takes minutes"],
        ),
        ("several", Trouble::MultipleIdentities.into(), 22, &["several", "authenticationSettings.msiClientId"]),
        ("refused", Trouble::Unauthorized("unknown_source".to_owned()).into(), 24, &["HTTP 401", "unknown_source"]),
        ("denied", Trouble::Denied.into(), 24, &["HTTP 403", "proxy agent"]),
        ("resource", Trouble::InvalidResource("x".to_owned()).into(), 24, &["HTTP 400", "AADSTS50001"]),
        ("reset", Wire::Reset.into(), 20, &["169.254.169.254", "without a proxy"]),
        ("closed", Wire::Close.into(), 20, &["169.254.169.254", "without a proxy"]),
        ("garbage", Wire::Garbage.into(), 20, &["169.254.169.254", "cannot be read as HTTP"]),
        ("truncated", Wire::Truncated.into(), 20, &["169.254.169.254"]),
        ("html", Fault::Html, 25, &["did not answer with a token", "something else answer"]),
        ("big", Fault::Big(5_000_000), 20, &["larger than 1048576 bytes"]),
        ("empty", answer(json!({"access_token": "", "expires_in": "3600"})), 25, &["access_token is missing"]),
        ("no token", answer(json!({"expires_in": "3600"})), 25, &["access_token is missing"]),
        ("header", answer(json!({"access_token": "a\r\nX-Evil: 1", "expires_in": "3600"})), 25, &["did not answer"]),
        ("not json", answer(json!([1])), 25, &["did not answer with a token"]),
        ("redirect", Fault::Redirect("http://evil.example/".to_owned()), 24, &["HTTP 302"]),
    ];
    story.put("web").unwrap();
    for (case, fault, code, words) in cases {
        story.azure.fault(Scope::Imds, fault, Times::Always);
        let synced = story.sync(&web(&story)).unwrap();
        let (found, message) = synced.error(0).unwrap();
        assert_eq!((synced.code(), found), (Some(1), code), "{case}: {message}");
        for word in words {
            assert!(message.contains(word), "{case}: {message}");
        }
        assert!(!message.chars().any(char::is_control), "{case}: {message}");
        assert!(story.azure.requests_to(Server::Vault).is_empty(), "{case}: no token, no request");
        story.azure.repair(&Scope::Imds);
        let settings = web(&story);
        story.sync(&settings).unwrap().place(0).unwrap();
        story.azure.forget_requests();
    }
}

#[test]
fn a_machine_without_a_metadata_service_says_where_nobody_answers() {
    let story = Story::begin_with(Addresses::loopback()).unwrap();
    let (code, message) = story.sync(&web(&story)).unwrap().error(0).unwrap();
    assert_eq!(code, 20);
    assert!(
        message.contains(
            "http://169.254.169.254/metadata/identity/oauth2/token: the connection failed (Connection refused"
        ),
        "{message}"
    );
    assert!(message.contains("must be reachable without a proxy"), "{message}");
    assert!(!message.contains("HTTPS_PROXY"), "it does not count here: {message}");
}

#[test]
fn several_identities_without_a_word_which_one_are_an_error_that_names_the_setting() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let users = vec![Identity::user("app"), Identity::user("other")];
    story.azure.machine(|machine| (machine.system, machine.users) = (None, users));
    let (code, message) = story.sync(&web(&story)).unwrap().error(0).unwrap();
    assert_eq!(code, 22);
    assert!(message.contains("several user-assigned identities") && message.contains("msiClientId"), "{message}");
}

#[test]
fn the_token_of_another_identity_than_the_one_asked_for_is_not_used() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let (app, other) = (Identity::user("app"), Identity::user("other"));
    story.azure.machine(|machine| (machine.users, machine.answer_as) = (vec![app.clone()], Some(other.clone())));
    for (asked, answered) in [(&app.client_id, &other.client_id), (&app.resource_id, &other.resource_id)] {
        let synced = story.sync(&with_identity(&story, &["web"], json!({"msiClientId": asked}))).unwrap();
        let (code, message) = synced.error(0).unwrap();
        assert_eq!(code, 26);
        assert!(message.contains(asked.as_str()), "{message}");
        assert!(message.contains(&answered[..90.min(answered.len())]), "{message}");
    }
    assert!(story.azure.requests_to(Server::Vault).is_empty());
}

#[test]
fn an_identity_that_is_assigned_later_installs_the_certificate_soon_after() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let system = story.azure.machine(|machine| machine.system.take());
    let service = story.run(&web(&story)).unwrap();
    let failing = service.wait_until(SOON, |reported| reported.part("contoso.web").is_some_and(|part| part.code == 21));
    let message = failing.unwrap().message.unwrap();
    assert!(message.contains("the system-assigned identity was not found: assign it to this machine"), "{message}");
    story.azure.machine(|machine| machine.system = system);
    let healed = service.wait_until(Duration::from_secs(60), |reported| {
        reported.part("contoso.web").is_some_and(|part| part.status == "success")
    });
    assert!(healed.unwrap().message.unwrap().starts_with("1 of 1 certificates installed"));
}
