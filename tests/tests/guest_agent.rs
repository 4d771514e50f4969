//! The extension under the real guest agent, on a machine without systemd.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};
use tests::agent::Verb;
use tests::guest::{Guest, Kind};
use tests::handler_story::observed;
use tests::story::observing;

fn settings(names: &[&str]) -> Value {
    let certificates: Vec<Value> = names.iter().map(|name| observed(name, "/srv/certs", &json!({}))).collect();
    observing(&certificates)
}

#[test]
fn a_first_deployment_is_installed_and_enabled_and_its_status_uploaded() {
    let guest = Guest::begin(Kind::Bare).unwrap();
    guest.story.put("web").unwrap();
    let handler = guest.apply(&[guest.extension(0, &settings(&["web"]))]).unwrap().unwrap();
    assert!(handler.handler.ready, "{handler:#?}\n{}", guest.logs());
    let verbs: Vec<Verb> = guest.commands().unwrap().iter().map(|command| command.verb).collect();
    assert_eq!(verbs, [Verb::Install, Verb::Enable]);
    let handler = guest.wait_for("success").unwrap();
    assert_eq!(handler.status.unwrap().substatus.len(), 1);
}
