//! Whole documents, as people and tools write them.

#![allow(clippy::unwrap_used)]

mod certificates;
mod files;
mod mutants;
mod places;

use super::*;

fn parse(document: &str) -> Result<Settings, SettingsError> {
    Settings::parse(document.as_bytes(), &Clouds::built_in())
}

/// Settings with the given members in `secretsManagementSettings` and one certificate.
fn with(members: &str) -> String {
    format!(
        r#"{{"secretsManagementSettings": {{{members}, "observedCertificates": ["https://contoso.vault.azure.net/secrets/web"]}}}}"#
    )
}

fn observing(list: &str) -> String {
    format!(r#"{{"secretsManagementSettings": {{"observedCertificates": {list}}}}}"#)
}

const WEB: &str = "https://contoso.vault.azure.net/secrets/web";
const MINIMAL: &str =
    r#"{"secretsManagementSettings": {"observedCertificates": ["https://contoso.vault.azure.net/secrets/web"]}}"#;

#[test]
fn reads_the_documented_example_without_a_word() {
    let settings = parse(
        r#"{
        "secretsManagementSettings": {
            "pollingIntervalInS": "3600", "linkOnRenewal": false, "requireInitialSync": true, "aclEnabled": true,
            "certificateStoreName": "MY",
            "observedCertificates": [
                {"url": "https://myvault.vault.azure.net/secrets/mycertificate1",
                 "certificateStoreLocation": "/var/lib/waagent/Microsoft.Azure.KeyVault.Store", "certificateStoreName": "MY",
                 "customSymbolicLinkName": "app1Cert1",
                 "acls": [{"user": "app1", "group": "appGroup1"}, {"user": "service1"}]},
                {"url": "https://myvault.vault.azure.net/secrets/mycertificate2"}
            ]
        },
        "authenticationSettings": {"msiEndpoint": "http://169.254.169.254/metadata/identity",
                                   "msiClientId": "00001111-aaaa-2222-bbbb-3333cccc4444"}
    }"#,
    )
    .unwrap();
    assert_eq!(settings.warnings, []);
    assert!(settings.require_initial_sync);
    assert_eq!(settings.identity.selector.configured(), Some("00001111-aaaa-2222-bbbb-3333cccc4444"));
    let first = &settings.certificates[0];
    assert_eq!(first.link_name(), "app1Cert1");
    assert_eq!(
        first.target.acls,
        [Acl::User("app1".into()), Acl::Group("appGroup1".into()), Acl::User("service1".into())]
    );
    assert_eq!(settings.certificates[1].link_name(), "myvault.mycertificate2");
    assert_eq!(
        settings.certificates[1].target.folder,
        Path::new("/var/lib/waagent/Microsoft.Azure.KeyVault.Store").into()
    );
}

#[test]
fn has_defaults_for_everything_but_the_certificates() {
    let settings = parse(MINIMAL).unwrap();
    assert_eq!(settings.polling_interval, Duration::from_secs(3600));
    assert!(!settings.require_initial_sync);
    assert_eq!(settings.identity.selector, Selector::SystemAssigned);
    assert_eq!(settings.identity.endpoint, Endpoint::metadata_service());
}

#[test]
fn understands_numbers_and_booleans_in_either_spelling() {
    for (members, seconds) in [
        (r#""pollingIntervalInS": "3600""#, 3600),
        (r#""pollingIntervalInS": 3600"#, 3600),
        (r#""pollingIntervalInS": 3600.0"#, 3600),
        (r#""pollingIntervalInS": " 90 ""#, 90),
        (r#""pollingIntervalInS": 30"#, 60),
        (r#""pollingIntervalInS": null"#, 3600),
    ] {
        assert_eq!(parse(&with(members)).unwrap().polling_interval, Duration::from_secs(seconds), "{members}");
    }
    for (members, wanted) in [
        (r#""requireInitialSync": "True""#, true),
        (r#""requireInitialSync": "false""#, false),
        (r#""requireInitialSync": true"#, true),
    ] {
        assert_eq!(parse(&with(members)).unwrap().require_initial_sync, wanted, "{members}");
    }
}

#[test]
fn warns_about_intervals_that_are_raised_or_long() {
    let warnings = |seconds| parse(&with(&format!(r#""pollingIntervalInS": {seconds}"#))).unwrap().warnings;
    for (seconds, words) in [(59, "raised"), (86_401, "more than a day")] {
        assert!(warnings(seconds)[0].message.contains(words), "{:?}", warnings(seconds));
    }
    for seconds in [60, 86_400] {
        assert_eq!(warnings(seconds), [], "{seconds}");
    }
}

#[test]
fn refuses_wrong_values_with_their_path() {
    for (members, path) in [
        (r#""pollingIntervalInS": 0"#, "pollingIntervalInS"),
        (r#""pollingIntervalInS": -5"#, "pollingIntervalInS"),
        (r#""pollingIntervalInS": 1.5"#, "pollingIntervalInS"),
        (r#""pollingIntervalInS": "1e3""#, "pollingIntervalInS"),
        (r#""pollingIntervalInS": "one hour""#, "pollingIntervalInS"),
        (r#""pollingIntervalInS": """#, "pollingIntervalInS"),
        (r#""pollingIntervalInS": 1e300"#, "pollingIntervalInS"),
        (r#""pollingIntervalInS": [1]"#, "pollingIntervalInS"),
        (r#""requireInitialSync": "yes""#, "requireInitialSync"),
        (r#""requireInitialSync": 1"#, "requireInitialSync"),
        (r#""aclEnabled": {}"#, "aclEnabled"),
        (r#""certificateStoreLocation": "certs""#, "certificateStoreLocation"),
        (r#""certificateStoreLocation": 1"#, "certificateStoreLocation"),
    ] {
        let error = parse(&with(members)).unwrap_err();
        assert_eq!(error.errors[0].path, format!("secretsManagementSettings.{path}"), "{members}: {error}");
    }
}

#[test]
fn accepts_settings_inside_strings_wrappers_and_marks() {
    let quoted = serde_json::to_string(MINIMAL).unwrap();
    let twice = serde_json::to_string(&quoted).unwrap();
    let agent = |public: &str| {
        format!(
            r#"{{"runtimeSettings":[{{"handlerSettings":{{"publicSettings":{public},"protectedSettings":null,"protectedSettingsCertThumbprint":null}}}}]}}"#
        )
    };
    let inner = r#"{"secretsManagementSettings": "{\"observedCertificates\": \"[\\\"https://contoso.vault.azure.net/secrets/web\\\"]\"}"}"#;
    for document in [
        quoted.clone(),
        twice,
        agent(&quoted),
        format!("\u{feff}{MINIMAL}"),
        format!(r#"{{"settings": {MINIMAL}}}"#),
        inner.to_owned(),
    ] {
        let settings = parse(&document).unwrap();
        assert_eq!(settings.certificates.len(), 1, "{document}");
        assert!(!settings.warnings.is_empty(), "{document}");
    }
    for document in [agent(MINIMAL), format!(r#"{{"publicSettings": {MINIMAL}}}"#), MINIMAL.replace(' ', "\r\n")] {
        assert_eq!(parse(&document).unwrap().warnings, [], "{document}");
    }
}

#[test]
fn says_what_an_empty_settings_file_lacks() {
    let wrapped = r#"{"runtimeSettings":[{"handlerSettings":{"publicSettings":null}}]}"#;
    for (document, words) in [("", "is empty"), ("  \n", "is empty"), (wrapped, "publicSettings are missing")] {
        let message = parse(document).unwrap_err().to_string();
        assert!(message.starts_with(words) && message.contains("secretsManagementSettings"), "{message}");
    }
}

#[test]
fn says_what_the_agents_wrapper_must_hold() {
    for wrapper in ["[]", r#""x""#, "{}", "7", r#"["x"]"#, "[null]"] {
        let error = parse(&format!(r#"{{"runtimeSettings": {wrapper}}}"#)).unwrap_err();
        assert_eq!((error.errors.len(), error.warnings.len()), (1, 0), "{wrapper}: {error}");
        assert_eq!(error.errors[0].path, "runtimeSettings", "{wrapper}");
        assert!(error.errors[0].message.contains("handlerSettings"), "{wrapper}: {error}");
    }
}

#[test]
fn says_what_to_write_where_the_text_is_no_json() {
    let error = parse(&MINIMAL.replace("web\"]", "web\",]")).unwrap_err().to_string();
    assert!(error.starts_with("is not JSON: trailing comma at line 1 column ") && error.contains("remove the comma"));
}

#[test]
fn refuses_what_is_given_twice_with_its_place() {
    let errors = |document: &str| -> Vec<String> {
        parse(document).unwrap_err().errors.into_iter().map(|finding| finding.path).collect()
    };
    let twice = with(r#""pollingIntervalInS": 60, "pollingIntervalInS": 7200"#);
    let interval = "secretsManagementSettings.pollingIntervalInS";
    assert_eq!(errors(&twice), [interval]);
    assert_eq!(errors(&serde_json::to_string(&twice).unwrap()), [interval], "in a string");
    let wrapped = format!(r#"{{"runtimeSettings": [{{"handlerSettings": {{"publicSettings": {twice}}}}}]}}"#);
    assert_eq!(errors(&wrapped), [interval], "in the agent's wrapper");
    let item = format!(r#"[{{"url": "{WEB}", "acls": [], "acls": [{{"user": "app1"}}]}}]"#);
    let acls = "secretsManagementSettings.observedCertificates[0].acls";
    assert_eq!(errors(&observing(&item)), [acls]);
    assert_eq!(errors(&observing(&serde_json::to_string(&item).unwrap())), [acls], "in an inner string");
}

#[test]
fn a_bad_log_target_never_stops_certificates() {
    for logging in [r#""fluentd""#, "[]", "7", r#"{"logger": "fluentd", "endpoint": 7}"#] {
        let document = format!(
            r#"{{"loggingSettings": {logging}, "secretsManagementSettings": {{"observedCertificates": ["{WEB}"]}}}}"#
        );
        assert_eq!(parse(&document).unwrap().warnings.len(), 1, "{logging}");
    }
}

#[test]
fn survives_hostile_documents() {
    for document in [
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        format!("{}{}", "[".repeat(100), "]".repeat(100)),
        "\u{0}".to_owned(),
        "nul".to_owned(),
        "42".to_owned(),
        "[]".to_owned(),
    ] {
        assert!(parse(&document).is_err());
    }
    assert!(Settings::parse(&[0xff, 0xfe, b'{', 0], &Clouds::built_in()).is_err());
}

#[test]
fn telemetry_events_are_sent_only_when_they_are_asked_for_in_so_many_words() {
    let parsed = |logging: &str| {
        let document = format!(
            r#"{{"loggingSettings": {logging}, "secretsManagementSettings": {{"observedCertificates": ["{WEB}"]}}}}"#
        );
        let settings = parse(&document).unwrap();
        (settings.logging.telemetry_events, settings.warnings.len())
    };
    for (logging, wanted) in [
        (r#"{"telemetryEvents": true}"#, (true, 0)),
        (r#"{"telemetryEvents": "True"}"#, (true, 0)),
        (r#"{"telemetryEvents": false}"#, (false, 0)),
        (r#"{"telemetryEvents": null}"#, (false, 0)),
        (r#"{"telemetryEvents": 1}"#, (false, 1)),
        (r#"{"telemetryEvents": true, "logger": "fluentd"}"#, (true, 1)),
        ("{}", (false, 0)),
    ] {
        assert_eq!(parsed(logging), wanted, "{logging}");
    }
}

#[test]
fn asks_the_arc_agent_where_the_settings_name_no_endpoint() {
    let on_arc = |document: &str, arc: &str| Settings::parse_on(document.as_bytes(), &Clouds::built_in(), Some(arc));
    let agent = "http://localhost:40342/metadata/identity/oauth2/token";
    assert_eq!(on_arc(MINIMAL, agent).unwrap().identity.endpoint.protocol(), Protocol::Arc);
    let named = format!(
        r#"{{"authenticationSettings": {{"msiEndpoint": "http://169.254.169.254"}}, {}"#,
        MINIMAL.strip_prefix('{').unwrap()
    );
    assert_eq!(on_arc(&named, agent).unwrap().identity.endpoint, Endpoint::metadata_service());
    let error = on_arc(MINIMAL, "http://evil.example:40342/").unwrap_err().to_string();
    assert!(error.contains("IDENTITY_ENDPOINT") && error.contains("localhost"), "{error}");
    assert!(on_arc(&named, "http://evil.example:40342/").is_ok(), "what does not count is not looked at");
}
