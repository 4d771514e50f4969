//! Settings with what is to be said of them: one table for `check`, for `sync` and for the schema that editors use.

mod refused;
mod samples;

use serde_json::{Value, json};

use crate::story::observing;
pub use refused::refused;
pub use samples::{Extension, Sample, samples};

/// Settings, and what the program and the schema make of them.
#[derive(Debug)]
pub struct Case {
    /// The public settings.
    pub settings: Value,
    /// What `check` says.
    pub check: Check,
    /// What `docs/settings.schema.json` says.
    pub schema: Schema,
}

/// What `check` says of settings. Places are JSON paths as it writes them; words are a part of its message.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// They are valid, and nothing is said.
    Accepts,
    /// They are valid, with a warning at a place.
    Warns(&'static str, &'static str),
    /// They are refused, with an error at a place.
    Refuses(&'static str, &'static str),
}

/// What the schema says of settings.
#[derive(Debug, Clone, Copy)]
pub enum Schema {
    /// They are valid.
    Accepts,
    /// They are not.
    Refuses,
    /// They are valid, because a schema cannot say what is wrong; the reason.
    LeavesToCheck(&'static str),
}

/// Any client id.
pub const GUID: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";
const WEB: &str = "https://contoso.vault.azure.net/secrets/web";
const API: &str = "https://contoso.vault.azure.net/secrets/api";

/// An observed certificate with these members beside its URL.
pub fn object(members: Value) -> Value {
    merged(json!({"url": WEB}), &members)
}

/// Settings with one certificate, and these members beside the list.
pub fn with(members: Value) -> Value {
    let mut settings = observing(&[json!(WEB)]);
    let section = merged(settings["secretsManagementSettings"].take(), &members);
    settings["secretsManagementSettings"] = section;
    settings
}

/// Settings with one certificate, and this section of that name.
pub fn with_section(name: &str, members: Value) -> Value {
    merged(with(json!({})), &json!({ name: members }))
}

fn merged(mut object: Value, members: &Value) -> Value {
    for (key, value) in members.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

/// Every case of the table.
pub fn cases() -> Vec<Case> {
    accepted().into_iter().chain(warned()).chain(refused()).collect()
}

/// Every documented form and spelling.
fn accepted() -> Vec<Case> {
    let resource = format!(
        "/subscriptions/{GUID}/resourcegroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app1"
    );
    let items = [
        json!(WEB),
        json!("HTTPS://Contoso.vault.azure.net:443/Secrets/web/"),
        json!("https://contoso.vault.azure.cn/secrets/web/ca256f81a079427485e0e5d11c666b7f"),
        object(json!({"certificateStoreLocation": "/etc/nginx/ssl/", "customSymbolicLinkName": "web.pem"})),
        object(json!({"acls": [{"user": "app1", "group": "apps"}, {"user": "app2"}], "mode": "0640"})),
        object(json!({"acls": [], "mode": "600"})),
        object(json!({"owner": "postgres", "group": "ssl-cert", "mode": "0440"})),
        object(json!({"certificateFiles": "Split", "keepVersions": "3", "afterRenewal": {}})),
        object(json!({"authenticationOverride": {"msiClientId": resource}})),
        object(json!({"certificateStoreName": "MY", "customSymbolicLinkName": null, "acls": null})),
    ];
    let sections = [
        json!({"pollingIntervalInS": "3600", "requireInitialSync": "True", "aclEnabled": "false", "keepVersions": 2}),
        json!({"pollingIntervalInS": 3600.0, "requireInitialSync": true, "aclEnabled": true, "keepVersions": null}),
        json!({"linkOnRenewal": false, "certificateStoreName": "MY", "certificateStoreLocation": "/srv/certs"}),
        json!({"linkOnRenewal": "sameCertificate", "certificateFiles": "both"}),
        json!({"chainValidation": "Require"}),
        json!({"chainValidation": null, "keyStorage": null, "linkOnRenewal": "SameCertificate"}),
        json!({"afterRenewal": {
            "hooks": ["deploy-tomcat"], "reload": ["nginx.service"], "restart": ["php@8-fpm.service"], "splayInS": "0",
            "onFirstInstall": "true", "verify": {"connect": "[::1]:443", "serverName": "www.contoso.com"}}}),
        json!({"afterRenewal": {"splayInS": 86400, "verify": {"connect": "localhost:8443", "serverName": "localhost"}}}),
    ];
    let identities = [
        json!({}),
        json!(null),
        json!({"msiClientId": ""}),
        json!({"msiEndpoint": "", "msiClientId": GUID.to_uppercase()}),
        json!({"msiEndpoint": "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01"}),
        json!({"msiEndpoint": "HTTP://LOCALHOST:40342", "msiClientId": resource}),
        json!({"msiEndpoint": "http://[::1]:40342/metadata/identity"}),
    ];
    let loggings = [
        json!({"telemetryEvents": "true"}),
        json!({"logger": "Fluentd", "endpoint": "tcp://127.0.0.1", "format": "forward", "servicename": "kv.web"}),
        json!({"endpoint": "unix:///var/run/mdsd/default_fluent.socket"}),
    ];
    (items.into_iter().map(|item| observing(&[item])))
        .chain([observing(&[json!(WEB), json!({"url": API})])])
        .chain(sections.map(with))
        .chain(identities.map(|members| with_section("authenticationSettings", members)))
        .chain(loggings.map(|members| with_section("loggingSettings", members)))
        .map(|settings| Case { settings, check: Check::Accepts, schema: Schema::Accepts })
        .collect()
}

/// What is understood, and should be written differently.
fn warned() -> Vec<Case> {
    let list = json!([WEB]);
    let item = |members: Value| observing(&[object(members)]);
    let logging = |members: Value| with_section("loggingSettings", members);
    let said = |settings, place, words, schema| Case { settings, check: Check::Warns(place, words), schema };
    let deprecated = [
        (json!({"observedCertificates": list}), "observedCertificates", "belongs under secretsManagementSettings"),
        (
            json!({"observedCertificates": list, "msiClientId": GUID}),
            "msiClientId",
            "belongs under authenticationSettings",
        ),
        (
            with(json!({"authenticationSettings": {"msiClientId": GUID}})),
            "secretsManagementSettings.authenticationSettings",
            "belongs one level up",
        ),
        (
            with(json!({"loggingSettings": {"telemetryEvents": true}})),
            "secretsManagementSettings.loggingSettings",
            "belongs one level up",
        ),
        (
            merged(
                with(json!({"authenticationSettings": {"msiClientId": GUID}})),
                &json!({"authenticationSettings": {"msiClientId": GUID}}),
            ),
            "secretsManagementSettings.authenticationSettings",
            "is ignored: authenticationSettings is given as well",
        ),
        (observing(&[]), "secretsManagementSettings.observedCertificates", "is empty"),
        (
            with(json!({"pollingIntervalInS": 30})),
            "secretsManagementSettings.pollingIntervalInS",
            "raised to the shortest interval",
        ),
        (
            item(json!({"keyExportable": false})),
            "secretsManagementSettings.observedCertificates[0].keyExportable",
            "has no effect on Linux",
        ),
        (
            item(json!({"accounts": ["Network Service"]})),
            "secretsManagementSettings.observedCertificates[0].accounts",
            "has no effect on Linux",
        ),
        (
            item(json!({"keyStorage": "CAPI"})),
            "secretsManagementSettings.observedCertificates[0].keyStorage",
            "has no effect on Linux",
        ),
        (with(json!({"keyStorage": "cng"})), "secretsManagementSettings.keyStorage", "has no effect on Linux"),
    ];
    let refused_by_the_schema = [
        (
            with(json!({"pollingIntervallInS": 60})),
            "secretsManagementSettings.pollingIntervallInS",
            "did you mean pollingIntervalInS?",
        ),
        (with_section("autoUpgradeMinorVersion", json!(true)), "autoUpgradeMinorVersion", "is not a known setting"),
        (
            item(json!({"customSymbolicLink": "web"})),
            "secretsManagementSettings.observedCertificates[0].customSymbolicLink",
            "is not a known setting",
        ),
        (
            with_section("authenticationSettings", json!({"loggingSettings": {}})),
            "authenticationSettings.loggingSettings",
            "is not a known setting",
        ),
        (
            item(json!({"chainValidation": "require"})),
            "secretsManagementSettings.observedCertificates[0].chainValidation",
            "it belongs under secretsManagementSettings",
        ),
        (
            with(json!({"owner": "app1"})),
            "secretsManagementSettings.owner",
            "it belongs in an object of secretsManagementSettings.observedCertificates",
        ),
        (
            item(json!({"reload": ["nginx.service"]})),
            "secretsManagementSettings.observedCertificates[0].reload",
            "it belongs under afterRenewal",
        ),
        (
            item(json!({"certificateStoreName": 1})),
            "secretsManagementSettings.observedCertificates[0].certificateStoreName",
            "has no effect on Linux",
        ),
        (
            with(json!({"certificateStoreName": 1})),
            "secretsManagementSettings.certificateStoreName",
            "has no effect on Linux",
        ),
        (
            with(json!({"linkOnRenewal": "sameCert"})),
            "secretsManagementSettings.linkOnRenewal",
            "has no effect on Linux",
        ),
        (with(json!({"keyStorage": "tpm"})), "secretsManagementSettings.keyStorage", "has no effect on Linux"),
        (json!({"settings": with(json!({}))}), "settings", "is not needed"),
        (json!(with(json!({})).to_string()), "", "is JSON inside a string"),
        (
            json!({"secretsManagementSettings": {"observedCertificates": list.to_string()}}),
            "secretsManagementSettings.observedCertificates",
            "is JSON inside a string",
        ),
        (with_section("loggingSettings", json!("fluentd")), "loggingSettings", "must be an object"),
        (logging(json!({"logger": "syslog"})), "loggingSettings.logger", "must be \"fluentd\""),
        (logging(json!({"logger": "fluentd"})), "loggingSettings.endpoint", "is missing"),
        (
            logging(json!({"endpoint": "tcp://collector.example:24224"})),
            "loggingSettings.endpoint",
            "is not on this machine",
        ),
        (logging(json!({"endpoint": "unix://run/x"})), "loggingSettings.endpoint", "absolute path"),
        (
            logging(json!({"endpoint": "tcp://localhost", "format": "json"})),
            "loggingSettings.format",
            "must be \"forward\"",
        ),
        (
            logging(json!({"endpoint": "tcp://localhost", "servicename": "a b"})),
            "loggingSettings.servicename",
            "letters, digits",
        ),
        (logging(json!({"telemetryEvents": 1})), "loggingSettings.telemetryEvents", "must be true or false"),
    ];
    let beyond = said(
        observing(&[json!(WEB), json!(WEB)]),
        "secretsManagementSettings.observedCertificates[1]",
        "is the same as",
        Schema::LeavesToCheck("equal entries in two spellings"),
    );
    (deprecated.into_iter().map(|(settings, place, words)| said(settings, place, words, Schema::Accepts)))
        .chain(
            refused_by_the_schema
                .into_iter()
                .map(|(settings, place, words)| said(settings, place, words, Schema::Refuses)),
        )
        .chain([beyond])
        .collect()
}
