//! What the settings say about renewals, and names that units, hooks and servers may have.

#![allow(clippy::unwrap_used)]

use super::*;

fn parse(setting: &Value) -> Result<AfterRenewal, Vec<String>> {
    let (value, _) = crate::settings::json::read(&setting.to_string()).unwrap();
    let mut findings = Findings::default();
    let parsed = AfterRenewal::parse(&Node::new("afterRenewal", &value).unwrap(), &mut findings);
    let errors = || findings.errors.iter().map(ToString::to_string).collect();
    parsed.ok_or_else(errors)
}

#[test]
fn hooks_come_first_then_units_and_a_look_last_each_once() {
    let setting = json!({
        "verify": {"connect": "localhost:443", "serverName": "www.contoso.com"},
        "restart": ["app.service"], "reload": ["nginx.service", "nginx.service", "php@8-fpm.service"],
        "hooks": ["deploy-tomcat"], "splayInS": "120", "onFirstInstall": "true"});
    let parsed = parse(&setting).unwrap();
    let actions: Vec<String> = parsed.actions.iter().map(ToString::to_string).collect();
    let expected = [
        "hook deploy-tomcat",
        "reload nginx.service",
        "reload php@8-fpm.service",
        "restart app.service",
        "verify 127.0.0.1:443 (www.contoso.com)",
    ];
    assert_eq!(actions, expected);
    assert_eq!(parsed.actions.iter().map(Action::stage).collect::<Vec<_>>(), [0, 1, 1, 1, 2]);
    assert_eq!(parsed.to_json(), json!({"actions": expected, "splayInS": 120, "onFirstInstall": true}));
    assert_eq!((parsed.splay, parsed.on_first_install), (Some(Duration::from_secs(120)), true));
    for seconds in [0, 86_400] {
        assert_eq!(parse(&json!({"splayInS": seconds})).unwrap().splay, Some(Duration::from_secs(seconds)));
    }
    let nothing = AfterRenewal { actions: Vec::new(), splay: None, on_first_install: false };
    assert_eq!(parse(&json!({})), Ok(nothing));
}

#[test]
fn names_that_could_mean_something_else_are_refused_with_their_place() {
    for (setting, path) in [
        (json!({"reload": ["nginx"]}), "afterRenewal.reload[0]"),
        (json!({"reload": ["a.service", "-x.service"]}), "afterRenewal.reload[1]"),
        (json!({"reload": ["../x.service"]}), "afterRenewal.reload[0]"),
        (json!({"reload": ["a b.service"]}), "afterRenewal.reload[0]"),
        (json!({"reload": ["getty@.service"]}), "afterRenewal.reload[0]"),
        (json!({"reload": ["*.service"]}), "afterRenewal.reload[0]"),
        (json!({"reload": "nginx.service"}), "afterRenewal.reload"),
        (json!({"restart": ["akvvm_service.service"]}), "afterRenewal.restart[0]"),
        (json!({"restart": ["reboot.target"]}), "afterRenewal.restart[0]"),
        (json!({"hooks": ["/bin/sh"]}), "afterRenewal.hooks[0]"),
        (json!({"hooks": [".."]}), "afterRenewal.hooks[0]"),
        (json!({"hooks": ["deploy --now"]}), "afterRenewal.hooks[0]"),
        (json!({"hooks": [7]}), "afterRenewal.hooks[0]"),
        (json!({"splayInS": -1}), "afterRenewal.splayInS"),
        (json!({"splayInS": 86_401}), "afterRenewal.splayInS"),
        (json!({"onFirstInstall": "perhaps"}), "afterRenewal.onFirstInstall"),
        (json!({"verify": {"connect": "127.0.0.1:443"}}), "afterRenewal.verify.serverName"),
        (json!({"verify": {"connect": "127.0.0.1", "serverName": "a"}}), "afterRenewal.verify.connect"),
        (json!({"verify": {"connect": "evil.example:443", "serverName": "a"}}), "afterRenewal.verify.connect"),
        (json!({"verify": {"connect": "0.0.0.0:443", "serverName": "a"}}), "afterRenewal.verify.connect"),
        (json!({"verify": {"connect": "127.0.0.1:443", "serverName": "a b"}}), "afterRenewal.verify.serverName"),
        (json!(["nginx.service"]), "afterRenewal"),
    ] {
        let errors = parse(&setting).unwrap_err();
        assert!(errors.iter().any(|error| error.starts_with(&format!("{path}: "))), "{setting}: {errors:?}");
    }
}

#[test]
fn what_is_read_from_a_file_is_held_to_the_same_rules() {
    let action: Action = serde_json::from_value(json!({"reload": "nginx.service"})).unwrap();
    assert_eq!(action.to_string(), "reload nginx.service");
    for forged in [json!({"hook": "../../bin/sh"}), json!({"restart": "akvvm_service.service"})] {
        assert!(serde_json::from_value::<Action>(forged.clone()).is_err(), "{forged}");
    }
}

#[test]
fn what_is_written_to_a_file_is_read_again() {
    let verify = json!({"verify": {"connect": "127.0.0.1:443", "serverName": "www.contoso.com"}});
    for action in [json!({"hook": "deploy-tomcat"}), json!({"restart": "app.service"}), verify] {
        let read: Action = serde_json::from_value(action.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), action);
        let name = match &read {
            Action::Hook(name) => name.as_str(),
            Action::Reload(name) | Action::Restart(name) => name.as_str(),
            Action::Verify(verify) => verify.server_name.as_str(),
        };
        assert!(read.to_string().contains(name) && action.to_string().contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn names_of_units_and_hooks_have_255_bytes_at_most() {
    let unit = |length: usize| UnitName::try_from(format!("{}.service", "a".repeat(length - ".service".len())));
    let hook = |length: usize| HookName::try_from("a".repeat(length));
    assert!(unit(255).is_ok() && hook(255).is_ok());
    for refused in [unit(256).unwrap_err(), hook(256).unwrap_err()] {
        assert!(refused.contains("is too long"), "{refused}");
    }
}
