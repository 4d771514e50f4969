//! Each setting where it does not belong, and as another kind of value than it is.

use serde_json::{Value, json};

use super::*;
use crate::settings::keys::{Place, example, keys};

/// Where the settings of each place are, in a document.
const PLACES: [(Place, &str); 8] = [
    (Place::Section(Section::SecretsManagement), "/secretsManagementSettings"),
    (Place::Section(Section::Authentication), "/authenticationSettings"),
    (Place::Section(Section::Logging), "/loggingSettings"),
    (Place::Certificate, "/secretsManagementSettings/observedCertificates/0"),
    (Place::Reader, "/secretsManagementSettings/observedCertificates/0/acls/0"),
    (Place::Override, "/secretsManagementSettings/observedCertificates/0/authenticationOverride"),
    (Place::AfterRenewal, "/secretsManagementSettings/afterRenewal"),
    (Place::Verify, "/secretsManagementSettings/afterRenewal/verify"),
];

/// A document with every place in it, and this setting at the one that a pointer names.
fn findings(pointer: &str, key: &str, value: Value) -> Vec<String> {
    let mut document = json!({
        "secretsManagementSettings": {
            "observedCertificates": [{"url": WEB, "acls": [{"user": "app1"}],
                "authenticationOverride": {"msiClientId": "00001111-aaaa-2222-bbbb-3333cccc4444"}}],
            "afterRenewal": {"verify": {"connect": "127.0.0.1:443", "serverName": "www.contoso.com"}}},
        "authenticationSettings": {}, "loggingSettings": {"endpoint": "tcp://localhost"}});
    document.pointer_mut(pointer).unwrap()[key] = value;
    let found = match parse(&document.to_string()) {
        Ok(settings) => settings.warnings,
        Err(SettingsError { errors, warnings }) => [errors, warnings].concat(),
    };
    found.iter().filter(|finding| finding.path.ends_with(key)).map(ToString::to_string).collect()
}

#[test]
fn each_setting_at_another_place_is_told_where_it_belongs() {
    for (home, _) in PLACES {
        for key in keys(home) {
            for (place, pointer) in PLACES {
                if keys(place).all(|known| known != key) {
                    let said = findings(pointer, key, json!(true));
                    assert!(
                        said.iter().any(|said| said.contains("belongs ") || said.contains("is given as well")),
                        "{key} at {pointer}: {said:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn each_setting_of_another_kind_is_told_what_to_write() {
    for (place, pointer) in PLACES {
        for key in keys(place) {
            let other = if example(key).unwrap().starts_with('{') { json!([]) } else { json!({}) };
            let said = findings(pointer, key, other);
            let advice = ["such as ", "must be true", "must be \"", "letters, digits", "has no effect"];
            assert!(said.iter().any(|said| advice.iter().any(|words| said.contains(words))), "{key}: {said:?}");
        }
    }
}

#[test]
fn the_schema_has_the_same_settings_at_each_place() {
    let schema: Value = serde_json::from_str(include_str!("../../../../docs/settings.schema.json")).unwrap();
    let certificate = "/$defs/observedCertificate";
    let definition = |place| match place {
        Place::Section(section) => format!("/$defs/{}", section.name()),
        Place::Certificate => certificate.to_owned(),
        Place::Reader => "/$defs/acl".to_owned(),
        Place::Override => format!("{certificate}/properties/authenticationOverride"),
        Place::AfterRenewal => "/$defs/afterRenewal".to_owned(),
        Place::Verify => "/$defs/afterRenewal/properties/verify".to_owned(),
    };
    for (place, _) in PLACES {
        let properties = schema.pointer(&definition(place)).unwrap()["properties"].as_object().unwrap();
        let mut described: Vec<&str> = properties
            .iter()
            .filter(|(_, setting)| setting.get("deprecated").is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        let mut known: Vec<&str> = keys(place).collect();
        described.sort_unstable();
        known.sort_unstable();
        assert_eq!(described, known, "{place:?}: the schema on the left");
    }
}

#[test]
fn a_setting_is_told_every_place_where_it_belongs() {
    let (root, certificate) = ("/secretsManagementSettings", "/secretsManagementSettings/observedCertificates/0");
    for (pointer, key, words) in [
        ("/loggingSettings", "requireInitialSync", "it belongs under secretsManagementSettings"),
        ("/loggingSettings", "msiEndpoint", "it belongs under authenticationSettings"),
        (certificate, "servicename", "it belongs under loggingSettings"),
        (root, "keyExportable", "it belongs in an object of secretsManagementSettings.observedCertificates"),
        ("/loggingSettings", "user", "it belongs in an entry of a certificate's acls"),
        (
            certificate,
            "msiClientId",
            "it belongs under authenticationSettings or under a certificate's authenticationOverride",
        ),
        (certificate, "hooks", "it belongs under afterRenewal"),
        (certificate, "serverName", "it belongs under verify of afterRenewal"),
    ] {
        let said = findings(pointer, key, json!(true));
        assert!(said[0].ends_with(words) || said[0].contains(&format!("{words}, ")), "{key} at {pointer}: {said:?}");
    }
    let in_other_case = findings(root, "AclEnabled", json!(true));
    assert!(in_other_case[0].ends_with("is not a known setting: did you mean aclEnabled?"), "{in_other_case:?}");
}

#[test]
fn a_value_of_another_kind_is_called_by_what_it_is() {
    let root = "/secretsManagementSettings";
    for (key, value, words) in [
        ("certificateStoreLocation", json!(true), "not a boolean"),
        ("certificateStoreLocation", json!(7), "not a number"),
        ("certificateStoreLocation", json!([]), "not a list"),
        ("certificateStoreLocation", json!({}), "not an object"),
        ("observedCertificates", json!("app1"), "not a string"),
        ("requireInitialSync", json!("yes"), "not \"yes\""),
    ] {
        let said = findings(root, key, value);
        assert!(said[0].ends_with(words), "{key}: {said:?}");
    }
}

#[test]
fn accepts_misplaced_sections_and_keys_with_the_right_place() {
    for (document, place) in [
        (
            format!(
                r#"{{"secretsManagementSettings": {{"authenticationSettings": {{"msiClientId": "00001111-aaaa-2222-bbbb-3333cccc4444"}}, "observedCertificates": ["{WEB}"]}}}}"#
            ),
            "belongs one level up",
        ),
        (
            format!(
                r#"{{"msiClientId": "00001111-aaaa-2222-bbbb-3333cccc4444", "secretsManagementSettings": {{"observedCertificates": ["{WEB}"]}}}}"#
            ),
            "msiClientId: belongs under authenticationSettings",
        ),
        (
            format!(
                r#"{{"observedCertificates": ["{WEB}"], "authenticationSettings": {{"msiClientId": "00001111-aaaa-2222-bbbb-3333cccc4444"}}}}"#
            ),
            "observedCertificates: belongs under secretsManagementSettings",
        ),
    ] {
        let settings = parse(&document).unwrap();
        assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
        assert!(settings.warnings[0].to_string().contains(place), "{:?}", settings.warnings);
        assert_eq!(settings.identity.selector.configured(), Some("00001111-aaaa-2222-bbbb-3333cccc4444"));
        assert_eq!(settings.certificates.len(), 1);
    }
}

#[test]
fn suggests_the_setting_that_was_meant() {
    for other in ["InSeconds", "Seconds", "InSec", "InMinutes", "Minutes", "InHours", "", "ls"] {
        let settings = parse(&with(&format!(r#""pollingInterval{other}": 60"#))).unwrap();
        let said: Vec<&str> = settings.warnings.iter().map(|warning| &*warning.message).collect();
        assert_eq!(said, ["is not a known setting: did you mean pollingIntervalInS?"], "{other}");
    }
    let settings = parse(&with(r#""pollingIntervallInS": 60, "autoUpgradeMinorVersion": true"#)).unwrap();
    let said: Vec<String> = settings.warnings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|s| s.contains("did you mean pollingIntervalInS?")), "{said:?}");
    assert!(
        said.iter().any(|s| s.contains("autoUpgradeMinorVersion: is not a known setting: it is ignored")),
        "{said:?}"
    );
}
