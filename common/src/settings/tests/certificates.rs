//! The list of certificates, and what its entries have to do with each other.

use super::*;

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
    assert_eq!(error.to_string(), error.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
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
    let files = settings.certificates.iter().map(ObservedCertificate::files);
    assert!(files.eq(["/var/lib/waagent/Microsoft.Azure.KeyVault.Store/contoso.web"; 2]));
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
fn entries_of_one_vault_and_one_folder_share_memory() {
    let urls = [WEB, "https://contoso.vault.azure.net/secrets/api", "https://fabrikam.vault.azure.net/secrets/mail"];
    let list = urls.map(|url| format!(r#"{{"url": "{url}", "certificateStoreLocation": "/srv/certs"}}"#)).join(", ");
    let certificates = parse(&observing(&format!("[{list}]"))).unwrap().certificates;
    assert_eq!(certificates.iter().map(|one| one.url.to_string()).collect::<Vec<_>>(), urls);
    assert_eq!(certificates.capacity(), urls.len());
    assert!(std::ptr::eq(certificates[0].url.host(), certificates[1].url.host()));
    assert!(certificates.iter().all(|one| Arc::ptr_eq(&one.target.folder, &certificates[0].target.folder)));
}
