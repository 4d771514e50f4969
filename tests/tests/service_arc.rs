//! Azure Arc: the service shows the machine's agent that it may read its key file, and reads and sends nothing else.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::arc::Challenge;
use tests::azure::Addresses;
use tests::fault::{Fault, Scope, Times};
use tests::http::{Response, Server};
use tests::identity::Identity;
use tests::imds::Trouble;
use tests::story::{Story, observing};

const ENDPOINT: &str = "http://localhost:40342/metadata/identity";

/// A machine of Azure Arc with a certificate `web` in its vault.
fn machine() -> Story {
    let story = Story::begin_with(Addresses::real().with_arc(40342)).unwrap();
    story.put("web").unwrap();
    story
}

fn settings(story: &Story, authentication: Value) -> Value {
    let mut settings = observing(&[json!(story.url("web"))]);
    settings["authenticationSettings"] = authentication;
    settings
}

/// The settings of every machine of Azure Arc.
fn web(story: &Story) -> Value {
    settings(story, json!({"msiEndpoint": ENDPOINT}))
}

#[test]
fn the_key_that_the_agent_names_opens_the_way_to_a_token() {
    let story = machine();
    story.world().add_user("himds", 998).unwrap();
    for owner in [0, 998] {
        story.azure.arc(|agent| agent.owner = owner);
        let synced = story.sync(&web(&story)).unwrap();
        synced.place(0).unwrap();
        let asked = story.azure.requests_to(Server::Arc);
        let statuses: Vec<_> = asked.iter().map(|request| request.status).collect();
        assert_eq!(statuses, [Some(401), Some(200)]);
        for request in &asked {
            assert_eq!(request.target.split('?').next(), Some("/metadata/identity/oauth2/token"));
            assert_eq!(request.parameter("api-version"), Some("2020-06-01"));
            assert_eq!(request.parameter("resource"), Some("https://vault.azure.net"));
            assert_eq!(request.header("metadata"), Some("true"));
        }
        assert_eq!(asked.iter().filter(|request| request.header("authorization").is_some()).count(), 1);
        assert!(story.azure.requests_to(Server::Imds).is_empty());
        let client_id = story.azure.machine(|machine| machine.system.clone().unwrap().client_id);
        assert_eq!(synced.result["identity"], format!("the system-assigned identity (client id {client_id})"));
        story.azure.forget_requests();
    }
}

#[test]
fn the_agent_says_where_it_is_when_the_settings_do_not() {
    let story = Story::begin_with(Addresses::real().with_arc(41000)).unwrap();
    story.put("web").unwrap();
    let endpoint = ("IDENTITY_ENDPOINT", "http://localhost:41000/metadata/identity/oauth2/token");
    let companion = ("IMDS_ENDPOINT", "http://localhost:41000");
    let unsaid = observing(&[json!(story.url("web"))]);
    story.sync_with(&unsaid, &[endpoint, companion]).unwrap().place(0).unwrap();
    assert_eq!(story.azure.requests_to(Server::Arc).len(), 2);

    let (code, message) = story.sync_with(&unsaid, &[endpoint]).unwrap().error(0).unwrap();
    assert_eq!(code, 20, "one of the two variables belongs to something else");
    assert!(message.starts_with("http://169.254.169.254/"), "{message}");
    let named = settings(&story, json!({"msiEndpoint": "http://169.254.169.254/metadata/identity"}));
    assert_eq!(story.sync_with(&named, &[endpoint, companion]).unwrap().error(0).unwrap().0, 20);
    let elsewhere = ("IDENTITY_ENDPOINT", "http://evil.example:40342/metadata/identity/oauth2/token");
    let refused = story.sync_with(&unsaid, &[elsewhere, companion]).unwrap();
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.finished.output.contains("IDENTITY_ENDPOINT"), "{refused:?}");
}

#[test]
fn nothing_but_a_key_file_of_the_agent_is_read() {
    let story = machine();
    let canary = "the-canary-that-must-not-travel";
    fs::create_dir_all("/var/opt/azcmagent").unwrap();
    for path in ["/etc/canary", "/etc/canary.key", "/var/opt/azcmagent/canary.key"] {
        fs::write(path, canary).unwrap();
    }
    let cases = [
        (Challenge::Elsewhere("/etc/canary".to_owned()), 27, "is not in /var/opt/azcmagent/tokens"),
        (Challenge::Elsewhere("/etc/canary.key".to_owned()), 27, "is not in /var/opt/azcmagent/tokens"),
        (
            Challenge::Elsewhere("/var/opt/azcmagent/tokens/../canary.key".to_owned()),
            27,
            "is not in /var/opt/azcmagent/tokens",
        ),
        (
            Challenge::Elsewhere("/var/opt/azcmagent/tokens/missing.key".to_owned()),
            27,
            "cannot be opened (No such file",
        ),
        (Challenge::OtherSuffix, 27, "is not called NAME.key"),
        (Challenge::TooBig, 27, "has 4097 bytes: a key has 1 to 4096"),
        (Challenge::Symlink, 27, "is a symbolic link"),
        (Challenge::Owner(1234), 27, "belongs to neither root nor himds"),
        (Challenge::OpenFolder, 27, "others than root and himds may write"),
        (Challenge::NoHeader, 25, "it named no key file"),
        (Challenge::None, 25, "it did not ask for the Azure Arc agent's key"),
    ];
    for (challenge, code, words) in cases {
        story.azure.arc(|agent| agent.challenge = challenge.clone());
        let synced = story.sync(&web(&story)).unwrap();
        let (found, message) = synced.error(0).unwrap();
        assert_eq!((synced.code(), found), (Some(1), code), "{challenge:?}: {message}");
        assert!(message.contains(words), "{challenge:?}: {message}");
        let asked = story.azure.requests_to(Server::Arc);
        assert_eq!(asked.len(), 1, "{challenge:?}: {asked:?}");
        assert_eq!(asked[0].header("authorization"), None, "{challenge:?}");
        assert!(story.azure.requests_to(Server::Vault).is_empty(), "{challenge:?}: no token, no request");
        story.azure.forget_requests();
        story.azure.arc(|agent| agent.challenge = Challenge::Fair);
        story.sync(&web(&story)).unwrap().place(0).unwrap();
        story.azure.forget_requests();
    }
    assert!(Path::new("/etc/canary").exists());
}

#[test]
fn a_key_that_came_too_late_is_followed_by_one_more_and_no_third() {
    let story = machine();
    story.azure.arc(|agent| agent.challenge = Challenge::Late(1));
    story.sync(&web(&story)).unwrap().place(0).unwrap();
    let statuses = |story: &Story| -> Vec<_> {
        story.azure.requests_to(Server::Arc).iter().map(|request| request.status.unwrap()).collect()
    };
    assert_eq!(statuses(&story), [401, 401, 200], "each answer to a used key holds the next challenge");
    story.azure.forget_requests();
    story.azure.arc(|agent| agent.challenge = Challenge::Late(9));
    let (code, message) = story.sync(&web(&story)).unwrap().error(0).unwrap();
    assert_eq!(code, 24, "{message}");
    assert_eq!(statuses(&story), [401, 401, 401]);
}

#[test]
fn a_user_assigned_identity_counts_only_when_the_agent_confirms_it() {
    let story = machine();
    let app = Identity::user("app");
    story.azure.machine(|machine| machine.users = vec![app.clone()]);
    let as_user = |id: &str| settings(&story, json!({"msiEndpoint": ENDPOINT, "msiClientId": id}));
    for (id, parameter) in [(&app.client_id, "client_id"), (&app.resource_id, "msi_res_id")] {
        story.azure.arc(|agent| agent.knows_users = true);
        let synced = story.sync(&as_user(id)).unwrap();
        synced.place(0).unwrap();
        assert!(synced.result["identity"].as_str().unwrap().contains(&app.client_id), "{synced:?}");
        let asked = story.azure.requests_to(Server::Arc).pop().unwrap();
        assert_eq!(asked.parameter(parameter), Some(id.as_str()));

        story.azure.arc(|agent| agent.knows_users = false);
        story.azure.forget_requests();
        let (code, message) = story.sync(&as_user(id)).unwrap().error(0).unwrap();
        assert_eq!(code, 26, "an old agent answers as the machine");
        assert!(message.contains(id.as_str()) && message.contains("its token is not used"), "{message}");
        let silent = Response::json(200, &json!({"access_token": "opaque", "expires_in": "3600"}));
        story.azure.fault(Scope::Arc, Fault::Answer(silent), Times::Next(1));
        let (code, message) = story.sync(&as_user(id)).unwrap().error(0).unwrap();
        assert_eq!(code, 26);
        assert!(message.contains("did not confirm") && message.contains(id.as_str()), "{message}");
        assert!(story.azure.requests_to(Server::Vault).is_empty());
    }
}

#[test]
fn what_the_agent_refuses_is_said_in_its_words() {
    let story = machine();
    for (trouble, code, words) in [
        (Trouble::IdentityNotFound, 21, "assign it to this machine"),
        (Trouble::Failed(500), 23, "HTTP 500"),
        (Trouble::Throttled(Some(3)), 23, "HTTP 429"),
    ] {
        story.azure.fault(Scope::Arc, trouble, Times::Next(1));
        let (found, message) = story.sync(&web(&story)).unwrap().error(0).unwrap();
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn neither_key_nor_token_is_said_anywhere() {
    let story = machine();
    // Laid down, never used: its text is known here.
    story.azure.arc(|agent| agent.challenge = Challenge::Owner(1234));
    let mut said = story.sync_with(&web(&story), &[("RUST_LOG", "trace")]).unwrap().finished;
    let mut secrets = story.azure.arc(|agent| agent.keys());
    story.azure.arc(|agent| agent.challenge = Challenge::Fair);
    let service = story.run_with(&web(&story), &[("RUST_LOG", "trace")]).unwrap();
    service.wait_for_log(std::time::Duration::from_secs(30), "1 of 1 certificates installed", 1).unwrap();
    secrets.extend(story.azure.token_texts());
    assert_eq!(secrets.len(), 2);
    said.output.push_str(&said.errors);
    said.output.push_str(&service.log().unwrap());
    said.output.push_str(&fs::read_to_string(story.status_folder().join("0.status")).unwrap());
    for secret in secrets {
        assert!(!said.output.contains(&secret));
    }
}
