//! How the service on Windows gets its tokens and reaches vaults: by the Azure Arc agent's key, and through proxies.

#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::{Value, json};
use tests::arc::Challenge;
use tests::azure::Addresses;
use tests::http::Server;
use tests::story::{Story, finish};
use tests::wine::{Wine, windows_path};

/// A pass with these settings and variables; what it gave, and what it logged.
fn sync(wine: &Wine<'_>, settings: &Value, variables: &[(&str, &str)]) -> (Value, String) {
    let file = windows_path(&wine.story().write_settings(settings).unwrap());
    let mut command = wine.service(&["sync", &file, "--json"]).unwrap();
    let finished = finish(command.envs(variables.iter().copied())).unwrap();
    (serde_json::from_str(&finished.output).unwrap(), finished.errors)
}

#[test]
fn the_key_in_the_folder_of_the_azure_arc_agent_opens_the_way_to_a_token() {
    let story = Story::begin_with(Addresses::real().with_arc(40342)).unwrap();
    let wine = Wine::install(&story).unwrap();
    story.put("web").unwrap();
    story.azure.arc(|agent| agent.windows = Some(wine.prefix().join("drive_c")));
    let mut settings = story.observing(&["web"]);
    settings["authenticationSettings"] = json!({"msiEndpoint": "http://localhost:40342/metadata/identity"});
    for challenge in [
        Challenge::Elsewhere(r"C:\windows\win.ini".to_owned()),
        Challenge::Elsewhere(r"C:\ProgramData\AzureConnectedMachineAgent\Tokens\..\x.key".to_owned()),
        Challenge::OtherSuffix,
        Challenge::TooBig,
    ] {
        story.azure.arc(|agent| agent.challenge = challenge.clone());
        let (result, log) = sync(&wine, &settings, &[]);
        assert_eq!(result["certificates"][0]["error"]["code"], json!(27), "{challenge:?}: {result} {log}");
        let answered = story.azure.requests_to(Server::Arc);
        assert!(answered.iter().all(|request| request.header("authorization").is_none()), "{challenge:?}");
    }
    story.azure.arc(|agent| agent.challenge = Challenge::Fair);
    let (result, log) = sync(&wine, &settings, &[]);
    assert_eq!(result["certificates"][0]["changed"], json!(true), "{result} {log}");
    assert!(story.azure.requests_to(Server::Imds).is_empty());
}

#[test]
fn a_proxy_of_the_environment_is_for_vaults_alone_and_not_for_those_that_are_excepted() {
    let story = Story::begin_with(Addresses::real().with_proxy()).unwrap();
    let wine = Wine::install(&story).unwrap();
    story.put("web").unwrap();
    let proxy = story.azure.proxy_url().unwrap();
    let settings = story.observing(&["web"]);
    let variables = |except: &'static str| [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", except)];
    for (except, expected) in [("", 1), (".vault.azure.net", 0)] {
        story.azure.forget_requests();
        let (result, log) = sync(&wine, &settings, &variables(except));
        assert_eq!(result["certificates"][0]["error"], Value::Null, "{result} {log}");
        assert_eq!(story.azure.requests_to(Server::Proxy).len(), expected, "{except}");
        assert_eq!(story.azure.requests_to(Server::Imds).len(), 1);
    }
    // No other way: the name is not known here, and the metadata service is asked all the same.
    fs::write("/etc/hosts", "127.0.0.1 localhost\n").unwrap();
    let (result, log) = sync(&wine, &settings, &variables(""));
    assert_eq!(result["certificates"][0]["error"], Value::Null, "{result} {log}");
    let (result, _) = sync(&wine, &settings, &variables(".vault.azure.net"));
    assert_eq!(result["certificates"][0]["error"]["code"], json!(30), "{result}");
}
