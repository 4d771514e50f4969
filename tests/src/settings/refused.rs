//! What is wrong with settings, a line for each mistake.

use serde_json::{Value, json};

use super::{API, Case, Check, GUID, Schema, WEB, object, with, with_section};
use crate::story::observing;

/// Values that would send a token elsewhere, write where nobody should, or ask for what nobody meant.
pub fn refused() -> Vec<Case> {
    let refused = |(settings, place, words), schema| Case { settings, check: Check::Refuses(place, words), schema };
    (wrong_urls().into_iter())
        .chain(wrong_targets())
        .chain(wrong_identities())
        .chain(wrong_sections())
        .chain(wrong_actions())
        .map(|wrong| refused(wrong, Schema::Refuses))
        .chain(beyond_a_schema().into_iter().map(|(why, wrong)| refused(wrong, Schema::LeavesToCheck(why))))
        .collect()
}

type Wrong = (Value, &'static str, &'static str);

const FIRST: &str = "secretsManagementSettings.observedCertificates[0]";

fn url(url: &str) -> Value {
    observing(&[json!(url)])
}

fn store(folder: &str) -> Value {
    observing(&[object(json!({"certificateStoreLocation": folder}))])
}

fn wrong_urls() -> Vec<Wrong> {
    let bare = [
        ("https://evil.example/secrets/web", "recognised Key Vault host"),
        ("https://contoso.vault.azure.net@evil.example/secrets/web", "user names"),
        ("https://user:pass@contoso.vault.azure.net/secrets/web", "user names"),
        ("https://evil.example#contoso.vault.azure.net/secrets/web", "fragments"),
        ("https://evil.example\\.vault.azure.net/secrets/web", "have no place here"),
        ("https://evil.example%2f.vault.azure.net/secrets/web", "escapes"),
        ("https://contoso.vault.azure.net:8443/secrets/web", "443 only"),
        ("http://contoso.vault.azure.net/secrets/web", "begin with https://"),
        ("contoso.vault.azure.net/secrets/web", "is not a URL"),
        ("https://cont\u{43e}so.vault.azure.net/secrets/web", "U+043E"),
        ("https://co.vault.azure.net/secrets/web", "3 to 24"),
        ("https://a.b.vault.azure.net/secrets/web", "recognised Key Vault host"),
        ("https://[::1]/secrets/web", "recognised Key Vault host"),
        ("https://contoso.vault.azure.net/secrets/web?api-version=7.4", "queries"),
        ("https://contoso.vault.azure.net/certificates/web", "write https://contoso.vault.azure.net/secrets/web"),
        ("https://contoso.vault.azure.net/keys/web", "/secrets/web"),
        ("https://contoso.vault.azure.net", "has no path"),
        ("https://contoso.vault.azure.net/secrets/../keys/web", "/secrets/NAME"),
        ("https://contoso.vault.azure.net/secrets/..", "secret's name"),
        ("https://contoso.vault.azure.net/secrets/a%2fb", "escapes"),
        ("https://contoso.vault.azure.net/secrets/web/latest", "32 hexadecimal"),
        ("https://contoso.vault.azure.net/secrets/web\r\nHost: evil.example", "U+000D"),
        ("", "is not a URL"),
    ];
    let others = [
        (observing(&[json!(7)]), FIRST, "must be the URL"),
        (observing(&[json!(null)]), FIRST, "is null"),
        (
            observing(&[json!({"certificateStoreLocation": "/srv/certs"})]),
            "secretsManagementSettings.observedCertificates[0].url",
            "is missing",
        ),
        (
            observing(&[json!({"url": 5})]),
            "secretsManagementSettings.observedCertificates[0].url",
            "must be a string such as \"https://VAULT.vault.azure.net/secrets/NAME\", not a number",
        ),
    ];
    bare.into_iter().map(|(text, words)| (url(text), FIRST, words)).chain(others).collect()
}

fn wrong_targets() -> Vec<Wrong> {
    let of = |key: &'static str, value: Value| observing(&[object(json!({ key: value }))]);
    const STORE: &str = "secretsManagementSettings.observedCertificates[0].certificateStoreLocation";
    const LINK: &str = "secretsManagementSettings.observedCertificates[0].customSymbolicLinkName";
    const MODE: &str = "secretsManagementSettings.observedCertificates[0].mode";
    let stores = [("certs", "absolute"), ("C:\\certs", "absolute"), ("/", "/")].into_iter().chain([
        ("/srv/../etc/cron.d", ".."),
        ("/srv/\u{0}x", "control"),
        ("", "absolute"),
    ]);
    let links = [
        ("../web", "is a path"),
        ("/etc/passwd", "is a path"),
        ("..", "is not a name"),
        ("a\nb", "control characters"),
        ("", "is not a name"),
        (".akv-1", "temporary files"),
        ("web.ca256f81a079427485e0e5d11c666b7f", "files of versions"),
    ];
    let modes = [("0644", "no mode for a private key"), ("rw", "octal"), ("0200", "no mode for a private key")];
    let others = [
        (of("acls", json!([{}])), "secretsManagementSettings.observedCertificates[0].acls[0]", "names nobody"),
        (of("acls", json!(["app1"])), "secretsManagementSettings.observedCertificates[0].acls[0]", "must be an object"),
        (of("acls", json!({"user": "app1"})), "secretsManagementSettings.observedCertificates[0].acls", "a list"),
        (
            of("acls", json!([{"user": "u:b,g:c"}])),
            "secretsManagementSettings.observedCertificates[0].acls[0].user",
            "name of an account",
        ),
        (of("owner", json!(" ")), "secretsManagementSettings.observedCertificates[0].owner", "name of an account"),
        (of("group", json!(0)), "secretsManagementSettings.observedCertificates[0].group", "must be a string such as"),
        (of("mode", json!(640)), MODE, "must be a string such as"),
        (observing(&[object(json!({"acls": [{"user": "app1"}], "mode": "0600"}))]), MODE, "shut out everybody"),
        (
            of("certificateFiles", json!("pem")),
            "secretsManagementSettings.observedCertificates[0].certificateFiles",
            "write \"combined\", \"split\" or \"both\"",
        ),
        (
            of("keepVersions", json!(0)),
            "secretsManagementSettings.observedCertificates[0].keepVersions",
            "a whole number from 1",
        ),
    ];
    (stores.map(|(text, words)| (store(text), STORE, words)))
        .chain(links.map(|(text, words)| (of("customSymbolicLinkName", json!(text)), LINK, words)))
        .chain(modes.map(|(text, words)| (of("mode", json!(text)), MODE, words)))
        .chain(others)
        .collect()
}

fn wrong_identities() -> Vec<Wrong> {
    const ENDPOINT: &str = "authenticationSettings.msiEndpoint";
    const CLIENT: &str = "authenticationSettings.msiClientId";
    const OVERRIDE: &str = "secretsManagementSettings.observedCertificates[0].authenticationOverride";
    let of = |key: &'static str, value: Value| with_section("authenticationSettings", json!({ key: value }));
    let endpoints = [
        ("http://evil.example/metadata/identity", "neither the metadata service"),
        ("http://169.254.169.254@evil.example/", "has no place here"),
        ("http://169.254.169.254.evil.example/", "neither the metadata service"),
        ("http://10.0.0.1/metadata/identity", "neither the metadata service"),
        ("https://169.254.169.254/metadata/identity", "must begin with http://"),
        ("http://localhost:0/", "port"),
        ("http://localhost.evil.example/", "neither the metadata service"),
        ("http://169.254.169.254/../other", "has . or .."),
        ("file:///etc/shadow", "must begin with http://"),
    ];
    let clients = [
        ("00001111-aaaa-2222-bbbb-3333cccc4444&resource=https://graph.microsoft.com", "client id"),
        ("app1", "client id"),
        ("/subscriptions/00001111-aaaa-2222-bbbb-3333cccc4444/resourceGroups/a&b=c", "resource id"),
    ];
    let overriding = |value: Value| observing(&[object(json!({"authenticationOverride": value}))]);
    let others = [
        (of("msiClientId", json!(7)), CLIENT, "must be a string such as"),
        (with_section("authenticationSettings", json!(GUID)), "authenticationSettings", "must be an object"),
        (overriding(json!(GUID)), OVERRIDE, "must be an object"),
        (overriding(json!({})), OVERRIDE, "has no msiClientId"),
        (
            overriding(json!({"msiClientId": "app1"})),
            "secretsManagementSettings.observedCertificates[0].authenticationOverride.msiClientId",
            "client id",
        ),
    ];
    (endpoints.into_iter().map(|(text, words)| (of("msiEndpoint", json!(text)), ENDPOINT, words)))
        .chain(clients.into_iter().map(|(text, words)| (of("msiClientId", json!(text)), CLIENT, words)))
        .chain(others)
        .collect()
}

fn wrong_sections() -> Vec<Wrong> {
    const INTERVAL: &str = "secretsManagementSettings.pollingIntervalInS";
    const LIST: &str = "secretsManagementSettings.observedCertificates";
    let intervals = [json!(0), json!(-1), json!(1.5), json!("1e3"), json!("one hour"), json!(""), json!([1])]
        .map(|value| (with(json!({"pollingIntervalInS": value})), INTERVAL, "whole number of seconds"));
    let others = [
        (
            with(json!({"requireInitialSync": "yes"})),
            "secretsManagementSettings.requireInitialSync",
            "must be true or false, not \"yes\"",
        ),
        (with(json!({"requireInitialSync": 1})), "secretsManagementSettings.requireInitialSync", "true or false"),
        (with(json!({"aclEnabled": {}})), "secretsManagementSettings.aclEnabled", "true or false"),
        (
            with(json!({"certificateStoreLocation": "x"})),
            "secretsManagementSettings.certificateStoreLocation",
            "absolute",
        ),
        (
            with(json!({"chainValidation": 1})),
            "secretsManagementSettings.chainValidation",
            "\"warn\" or \"require\", not a number",
        ),
        (
            with(json!({"certificateFiles": 1})),
            "secretsManagementSettings.certificateFiles",
            "\"combined\", \"split\" or \"both\", not a number",
        ),
        (with(json!({"keepVersions": "all"})), "secretsManagementSettings.keepVersions", "whole number"),
        (json!({}), LIST, "is missing"),
        (json!({"secretsManagementSettings": {}}), LIST, "is missing"),
        (json!({"secretsManagementSettings": {"observedCertificates": {}}}), LIST, "must be a list"),
        (json!({"secretsManagementSettings": {"observedCertificates": WEB}}), LIST, "must be a list"),
        (json!({"secretsManagementSettings": []}), "secretsManagementSettings", "must be an object"),
        (json!([]), "", "must be a JSON object"),
        (json!("no settings"), "", "a string that is not JSON"),
    ];
    intervals.into_iter().chain(others).collect()
}

fn wrong_actions() -> Vec<Wrong> {
    let of = |key: &'static str, value: Value| with(json!({"afterRenewal": { key: value }}));
    let verify = |connect: &str, name: &str| of("verify", json!({"connect": connect, "serverName": name}));
    const RELOAD: &str = "secretsManagementSettings.afterRenewal.reload[0]";
    const HOOK: &str = "secretsManagementSettings.afterRenewal.hooks[0]";
    const CONNECT: &str = "secretsManagementSettings.afterRenewal.verify.connect";
    let units = ["nginx", "../x.service", "a b.service", "getty@.service", "*.service", "-x.service"]
        .map(|unit| (of("reload", json!([unit])), RELOAD, "write a name such as nginx.service"));
    let hooks = [("/bin/sh", "is a path"), ("deploy --now", "hooks get no arguments"), ("..", "is not the name")]
        .map(|(hook, words)| (of("hooks", json!([hook])), HOOK, words));
    let addresses = ["127.0.0.1", "evil.example:443", "127.0.0.1:0"]
        .map(|address| (verify(address, "www.contoso.com"), CONNECT, "address of this machine"));
    let others = [
        (
            of("restart", json!(["akvvm_service.service"])),
            "secretsManagementSettings.afterRenewal.restart[0]",
            "this extension's own unit",
        ),
        (of("reload", json!("nginx.service")), "secretsManagementSettings.afterRenewal.reload", "must be a list"),
        (of("splayInS", json!(-1)), "secretsManagementSettings.afterRenewal.splayInS", "from 0 to 86400"),
        (of("splayInS", json!(86_401)), "secretsManagementSettings.afterRenewal.splayInS", "from 0 to 86400"),
        (
            of("onFirstInstall", json!("perhaps")),
            "secretsManagementSettings.afterRenewal.onFirstInstall",
            "true or false",
        ),
        (
            of("verify", json!({"connect": "127.0.0.1:443"})),
            "secretsManagementSettings.afterRenewal.verify.serverName",
            "is missing",
        ),
        (verify("127.0.0.1:443", "a b"), "secretsManagementSettings.afterRenewal.verify.serverName", "is no host name"),
        (
            with(json!({"afterRenewal": ["nginx.service"]})),
            "secretsManagementSettings.afterRenewal",
            "must be an object",
        ),
    ];
    units.into_iter().chain(hooks).chain(addresses).chain(others).collect()
}

/// What is wrong only beside something else, or by what the machine alone knows.
fn beyond_a_schema() -> Vec<(&'static str, Wrong)> {
    const SECOND: &str = "secretsManagementSettings.observedCertificates[1]";
    const STORE: &str = "secretsManagementSettings.observedCertificates[0].certificateStoreLocation";
    let hosts = [
        "https://contoso.vault.azure.net.evil.example/secrets/web",
        "https://sub.contoso.vault.azure.net/secrets/web",
        "https://169.254.169.254/secrets/web",
    ];
    let folders = [
        ("/proc/self", "/proc"),
        ("/etc/cron.d", "folder of the system"),
        ("/etc", "folder of the system"),
        ("/usr/lib/x", "/usr"),
        ("/var/lib/waagent/Contoso.Extension-1.0.0", "the guest agent deletes"),
    ];
    let named = |link: &str| object(json!({"customSymbolicLinkName": link}));
    let others = [
        ("the schema is that of both systems", (store("LocalMachine"), STORE, "store of Windows")),
        (
            "two certificates with one link",
            (
                observing(&[named("one"), json!({"url": API, "customSymbolicLinkName": "one"})]),
                SECOND,
                "would take the same place",
            ),
        ),
        (
            "two entries that share a file",
            (
                observing(&[
                    object(json!({"owner": "app1"})),
                    object(json!({"owner": "app2", "customSymbolicLinkName": "two"})),
                ]),
                SECOND,
                "shares its file with",
            ),
        ),
        (
            "numbers as text have no upper limit in a schema",
            (
                with(json!({"pollingIntervalInS": "9999999999"})),
                "secretsManagementSettings.pollingIntervalInS",
                "from 1 to 4294967295",
            ),
        ),
    ];
    (hosts.into_iter())
        .map(|text| ("the machine may know further clouds", (url(text), FIRST, "recognised Key Vault host")))
        .chain(
            (folders.into_iter())
                .map(|(text, words)| ("which folders belong to the system", (store(text), STORE, words))),
        )
        .chain(others)
        .collect()
}
