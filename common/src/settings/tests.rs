//! Whole documents, as people and tools write them.

#![allow(clippy::unwrap_used)]

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
fn mixes_bare_urls_and_objects() {
    let settings = parse(&observing(&format!(
        r#"["{WEB}", {{"url": "https://contoso.vault.azure.net/secrets/api", "certificateStoreLocation": "/srv/certs"}}]"#
    )))
    .unwrap();
    assert_eq!(settings.certificates.len(), 2);
    assert_eq!(settings.certificates[1].target.folder, Path::new("/srv/certs").into());
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
    for (seconds, words) in [("30", "raised"), ("90000", "more than a day")] {
        let settings = parse(&with(&format!(r#""pollingIntervalInS": {seconds}"#))).unwrap();
        assert!(settings.warnings[0].message.contains(words), "{:?}", settings.warnings);
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
        (r#""linkOnRenewal": 7"#, "linkOnRenewal"),
        (r#""certificateStoreLocation": "certs""#, "certificateStoreLocation"),
        (r#""certificateStoreLocation": 1"#, "certificateStoreLocation"),
    ] {
        let error = parse(&with(members)).unwrap_err();
        assert_eq!(error.errors[0].path, format!("secretsManagementSettings.{path}"), "{members}: {error}");
    }
}

#[test]
fn names_the_index_of_a_wrong_certificate_and_finds_all_mistakes_at_once() {
    let error = parse(&observing(&format!(
        r#"["{WEB}", "http://contoso.vault.azure.net/secrets/a", {{"url": 5}}, {{"customSymbolicLinkName": "a/b"}}, 7, null,
            {{"url": "https://contoso.vault.azure.net/secrets/api", "acls": [{{"user": "app1"}}, {{}}, {{"user": 1}}, "app1"]}}]"#
    )))
    .unwrap_err();
    let paths: Vec<&str> =
        error.errors.iter().map(|finding| finding.path.trim_start_matches("secretsManagementSettings.")).collect();
    assert_eq!(
        paths,
        [
            "observedCertificates[5]",
            "observedCertificates[1]",
            "observedCertificates[2].url",
            "observedCertificates[3].url",
            "observedCertificates[4]",
            "observedCertificates[6].acls[1]",
            "observedCertificates[6].acls[2].user",
            "observedCertificates[6].acls[3]",
        ]
    );
}

#[test]
fn refuses_a_missing_or_misshapen_list_but_only_warns_about_an_empty_one() {
    assert!(parse("{}").unwrap_err().to_string().contains("observedCertificates: is missing"));
    assert!(parse(&observing("{}")).is_err());
    assert!(parse(&observing(&format!(r#""{WEB}""#))).unwrap_err().to_string().contains("must be a list"));
    assert!(parse(r#"{"secretsManagementSettings": []}"#).is_err());
    let settings = parse(&observing("[]")).unwrap();
    assert!(settings.warnings[0].message.contains("empty"));
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
    for document in ["", "  \n", r#"{"runtimeSettings":[{"handlerSettings":{"publicSettings":null}}]}"#] {
        let message = parse(document).unwrap_err().to_string();
        assert!(message.contains("secretsManagementSettings"), "{message}");
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
            "belongs under authenticationSettings.msiClientId",
        ),
        (
            format!(
                r#"{{"observedCertificates": ["{WEB}"], "authenticationSettings": {{"msiClientId": "00001111-aaaa-2222-bbbb-3333cccc4444"}}}}"#
            ),
            "belongs under secretsManagementSettings.observedCertificates",
        ),
    ] {
        let settings = parse(&document).unwrap();
        assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
        assert!(settings.warnings[0].message.contains(place), "{:?}", settings.warnings);
        assert_eq!(settings.identity.selector.configured(), Some("00001111-aaaa-2222-bbbb-3333cccc4444"));
        assert_eq!(settings.certificates.len(), 1);
    }
}

#[test]
fn suggests_the_setting_that_was_meant() {
    let settings = parse(&with(r#""pollingIntervallInS": 60, "autoUpgradeMinorVersion": true"#)).unwrap();
    let said: Vec<String> = settings.warnings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|s| s.contains("did you mean pollingIntervalInS?")), "{said:?}");
    assert!(
        said.iter().any(|s| s.contains("autoUpgradeMinorVersion: is not a known setting: it is ignored")),
        "{said:?}"
    );
}

#[test]
fn refuses_two_certificates_at_one_place_and_keeps_one_of_two_equal_entries() {
    let error = parse(&observing(&format!(
        r#"[{{"url": "{WEB}", "customSymbolicLinkName": "x"}}, {{"url": "https://contoso.vault.azure.net/secrets/api", "customSymbolicLinkName": "x"}}]"#
    )))
    .unwrap_err();
    assert!(error.to_string().contains("observedCertificates[1]: would take the same place"), "{error}");
    assert!(error.to_string().contains("observedCertificates[0]"), "{error}");

    let settings = parse(&observing(&format!(r#"["{WEB}", "{WEB}"]"#))).unwrap();
    assert_eq!((settings.certificates.len(), settings.warnings.len()), (1, 1));

    let twice = format!(r#"["{WEB}", {{"url": "{WEB}", "certificateStoreLocation": "/srv/certs"}}]"#);
    assert_eq!(parse(&observing(&twice)).unwrap().certificates.len(), 2);
}

#[test]
fn an_entry_that_is_refused_leads_to_no_further_error() {
    let error = parse(&observing(&format!(
        r#"["{WEB}", {{"url": "{WEB}2", "customSymbolicLinkName": "contoso.web"}}, {{"url": "{WEB}3", "owner": "app1"}},
            {{"url": "{WEB}2", "owner": "app2"}}]"#
    )))
    .unwrap_err();
    let paths: Vec<&str> = error.errors.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(paths, ["secretsManagementSettings.observedCertificates[1]"], "{error}");
}

#[test]
fn a_secret_that_is_spelled_in_two_cases_is_one() {
    let other_case = "https://Contoso.vault.azure.net/secrets/WEB";
    let settings = parse(&observing(&format!(r#"["{WEB}", "{other_case}"]"#))).unwrap();
    assert_eq!(settings.certificates.len(), 1);
    assert_eq!(settings.certificates[0].base_name(), "contoso.web");
    let said: Vec<String> = settings.warnings.iter().map(ToString::to_string).collect();
    assert!(said[0].starts_with("secretsManagementSettings.observedCertificates[1]: names a secret that"), "{said:?}");
    assert!(said[1].contains("is the same as secretsManagementSettings.observedCertificates[0]"), "{said:?}");

    let two_links = format!(r#"["{WEB}", {{"url": "{other_case}", "customSymbolicLinkName": "x"}}]"#);
    let settings = parse(&observing(&two_links)).unwrap();
    let served: Vec<_> = settings.certificates.iter().map(|one| (one.base_name(), one.link_name())).collect();
    let both = ["contoso.web", "x"].map(|link| ("contoso.web".to_owned(), link.to_owned()));
    assert_eq!(served, both, "two links to one file");
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
fn ignores_acls_when_they_are_disabled_and_says_so() {
    let document = format!(
        r#"{{"secretsManagementSettings": {{"aclEnabled": "false", "observedCertificates": [{{"url": "{WEB}", "acls": [{{"user": "app1"}}]}}]}}}}"#
    );
    let settings = parse(&document).unwrap();
    assert_eq!(settings.certificates[0].target.acls, []);
    assert!(settings.warnings[0].message.contains("aclEnabled is false"));
}

#[test]
fn takes_an_identity_of_its_own_for_one_certificate() {
    let document = observing(&format!(
        r#"["{WEB}", {{"url": "https://contoso.vault.azure.net/secrets/api", "authenticationOverride": {{"msiClientId": "00001111-aaaa-2222-bbbb-3333cccc4444"}}}}]"#
    ));
    let settings = parse(&document).unwrap();
    assert_eq!(settings.certificates[0].identity.selector, Selector::SystemAssigned);
    assert_eq!(settings.certificates[1].identity.selector.configured(), Some("00001111-aaaa-2222-bbbb-3333cccc4444"));
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
