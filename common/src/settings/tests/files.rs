//! What the settings say about the files of a certificate.

use super::*;

#[test]
fn reads_owner_group_and_mode() {
    let read = |members: &str| {
        let settings = parse(&observing(&format!(r#"[{{"url": "{WEB}", {members}}}]"#))).unwrap();
        assert_eq!(settings.warnings, []);
        let ownership = settings.certificates[0].target.ownership.clone().unwrap();
        (ownership.owner.clone(), ownership.group.clone(), ownership.mode.bits())
    };
    let postgres = || Some("postgres".to_owned());
    assert_eq!(read(r#""owner": "postgres""#), (postgres(), None, 0o600));
    assert_eq!(read(r#""group": "postgres""#), (None, postgres(), 0o640));
    assert_eq!(read(r#""owner": "postgres", "group": "postgres", "mode": "0400""#), (postgres(), postgres(), 0o400));
    assert_eq!(read(r#""owner": "postgres", "acls": [{"user": "app1"}]"#), (postgres(), None, 0o600));
    assert_eq!(read(r#""mode": "0640", "acls": [{"user": "app1"}]"#), (None, None, 0o640));
    assert_eq!(parse(MINIMAL).unwrap().certificates[0].target.ownership, None);
}

#[test]
fn shows_owner_group_and_mode_only_where_one_of_them_is_given() {
    let shown = |members: &str| {
        let settings = parse(&observing(&format!(r#"[{{"url": "{WEB}"{members}}}]"#))).unwrap();
        settings.certificates[0].target.to_json()
    };
    let plain = shown("");
    let members: Vec<_> = plain.as_object().unwrap().keys().collect();
    assert_eq!(members, ["acls", "certificateFiles", "keepVersions", "link", "store"]);
    let owned = shown(r#", "group": "postgres""#);
    assert_eq!((&owned["owner"], &owned["group"], &owned["mode"]), (&().into(), &"postgres".into(), &"0640".into()));
}

#[test]
fn refuses_a_mode_that_is_too_open_or_shuts_out_the_accounts_in_acls() {
    let path = |members: &str| {
        let error = parse(&observing(&format!(r#"[{{"url": "{WEB}", {members}}}]"#))).unwrap_err();
        error
            .errors
            .into_iter()
            .map(|finding| finding.path.replace("secretsManagementSettings.", ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(path(r#""mode": "0644""#), ["observedCertificates[0].mode"]);
    assert_eq!(path(r#""mode": 640"#), ["observedCertificates[0].mode"]);
    assert_eq!(path(r#""owner": "a:b""#), ["observedCertificates[0].owner"]);
    assert_eq!(path(r#""group": 50"#), ["observedCertificates[0].group"]);
    assert_eq!(path(r#""mode": "0600", "acls": [{"group": "app1"}]"#), ["observedCertificates[0].mode"]);
}

#[test]
fn says_every_mistake_of_an_entry_at_once() {
    let entry = r#"[{"url": "https://example.com/", "certificateStoreLocation": "certs", "customSymbolicLinkName": "a/b",
        "acls": "app1", "mode": "0666", "certificateFiles": "splitt", "keepVersions": 0}]"#;
    let error = parse(&observing(entry)).unwrap_err();
    let mut keys: Vec<_> = error.errors.iter().filter_map(|finding| finding.path.rsplit('.').next()).collect();
    keys.sort_unstable();
    let wrong = ["acls", "certificateFiles", "certificateStoreLocation", "customSymbolicLinkName"];
    assert_eq!(keys, [&wrong[..], &["keepVersions", "mode", "url"]].concat());
}

#[test]
fn refuses_two_entries_that_want_the_same_file_for_different_owners() {
    let list = |second: &str| {
        observing(&format!(
            r#"[{{"url": "{WEB}", "owner": "app1"}}, {{"url": "{WEB}", "customSymbolicLinkName": "second"{second}}}]"#
        ))
    };
    assert!(parse(&list(r#", "owner": "app1""#)).is_ok());
    let error = parse(&list("")).unwrap_err();
    assert_eq!(error.errors[0].path, "secretsManagementSettings.observedCertificates[1]");
    assert!(error.to_string().contains("observedCertificates[0]"), "{error}");
}

#[test]
fn a_layout_is_for_all_certificates_or_for_one() {
    let layouts = |members: &str, item: &str| {
        let document = format!(
            r#"{{"secretsManagementSettings": {{{members} "observedCertificates": [{{"url": "{WEB}"{item}}}, "{WEB}2"]}}}}"#
        );
        let settings = parse(&document).unwrap();
        assert_eq!(settings.warnings, []);
        [0, 1].map(|index: usize| (settings.certificates[index].target.layout, settings.certificates[index].place()))
    };
    let store = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store";
    let (first, second) = (format!("{store}/contoso.web"), format!("{store}/contoso.web2"));
    assert_eq!(layouts("", ""), [(None, first.clone()), (None, second.clone())]);
    let split = (Some(Layout::Split), format!("{second}.pem"));
    assert_eq!(
        layouts(r#""certificateFiles": "split","#, r#", "certificateFiles": "Both""#),
        [(Some(Layout::Both), first), split]
    );
    let error = parse(&with(r#""certificateFiles": "pkcs12""#)).unwrap_err();
    assert_eq!(error.errors[0].path, "secretsManagementSettings.certificateFiles");
}

#[test]
fn refuses_names_that_a_layout_of_another_certificate_takes() {
    for (first, second, is_refused) in [
        (r#""certificateFiles": "split""#, r#""customSymbolicLinkName": "contoso.web.pem""#, true),
        (r#""customSymbolicLinkName": "contoso.web2.luma""#, r#""certificateFiles": "both""#, true),
        (r#""certificateFiles": "split""#, r#""customSymbolicLinkName": "contoso.web""#, false),
        (
            r#""certificateFiles": "split", "customSymbolicLinkName": "tls""#,
            r#""certificateFiles": "split", "customSymbolicLinkName": "tls""#,
            true,
        ),
    ] {
        let list = format!(r#"[{{"url": "{WEB}", {first}}}, {{"url": "{WEB}2", {second}}}]"#);
        assert_eq!(parse(&observing(&list)).is_err(), is_refused, "{list}");
    }
    let is_accepted = |length: usize, layout: &str| {
        let link = "a".repeat(length);
        let item =
            format!(r#"[{{"url": "{WEB}", "customSymbolicLinkName": "{link}", "certificateFiles": "{layout}"}}]"#);
        parse(&observing(&item)).is_ok()
    };
    assert!(is_accepted(255, "combined") && is_accepted(249, "split") && !is_accepted(250, "split"));
}

#[test]
fn reads_how_many_versions_are_kept() {
    let read = |members: &str, item: &str| {
        let document = format!(
            r#"{{"secretsManagementSettings": {{{members} "observedCertificates": [{{"url": "{WEB}"{item}}}]}}}}"#
        );
        parse(&document).map(|settings| {
            let target = &settings.certificates[0].target;
            (target.keep_versions.map(std::num::NonZero::get), target.keeps_second())
        })
    };
    assert_eq!(read("", ""), Ok((None, true)));
    assert_eq!(read(r#""keepVersions": 2,"#, ""), Ok((Some(2), true)));
    assert_eq!(read(r#""keepVersions": 3,"#, r#", "keepVersions": "1""#), Ok((Some(1), false)));
    for wrong in ["0", "-1", "1.5", "true", "\"all\""] {
        let error = read("", &format!(r#", "keepVersions": {wrong}"#)).unwrap_err();
        assert_eq!(error.errors[0].path, "secretsManagementSettings.observedCertificates[0].keepVersions", "{wrong}");
        assert!(read(&format!(r#""keepVersions": {wrong},"#), "").is_err(), "{wrong}");
    }
}

#[test]
fn names_every_account_and_the_folder_of_a_certificate() {
    let entry = format!(
        r#"[{{"url": "{WEB}", "certificateStoreLocation": "/srv/certs", "owner": "app1", "group": "apps",
            "mode": "0640", "acls": [{{"user": "backup", "group": "audit"}}]}}]"#
    );
    let target = parse(&observing(&entry)).unwrap().certificates.remove(0).target;
    assert_eq!(target.folder().map(|folder| &**folder), Some(Path::new("/srv/certs")));
    let accounts: Vec<String> = target.accounts().iter().map(ToString::to_string).collect();
    assert_eq!(accounts, ["user backup", "group audit", "user app1", "group apps"]);
}
