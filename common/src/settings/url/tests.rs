//! Every spelling of a secret, and what only looks like one.

#![allow(clippy::unwrap_used)]

use super::*;

fn parse(text: &str) -> Result<SecretUrl, UrlError> {
    SecretUrl::parse(text, &Clouds::built_in())
}

#[test]
fn accepts_every_spelling_of_a_secret() {
    for text in [
        "https://contoso.vault.azure.net/secrets/web",
        "https://contoso.vault.azure.net/secrets/web/",
        "https://contoso.vault.azure.net:443/secrets/web",
        "HTTPS://Contoso.Vault.Azure.Net/Secrets/web",
        " https://contoso.vault.azure.net/secrets/web\n",
    ] {
        let url = parse(text).unwrap();
        assert_eq!(url.to_string(), "https://contoso.vault.azure.net/secrets/web");
        assert_eq!((url.vault(), url.name(), url.version()), ("contoso", "web", None));
    }
}

#[test]
fn pins_a_version_in_either_case() {
    let url = parse("https://contoso.vault.azure.net/secrets/web/CA256F81A079427485E0E5D11C666B7F").unwrap();
    let version = *url.version().unwrap();
    assert_eq!(version.as_str(), "ca256f81a079427485e0e5d11c666b7f");
    let newest = parse("https://contoso.vault.azure.net/secrets/web").unwrap();
    assert_eq!(newest.pinned(&version), url);
    assert_eq!(url.to_string(), format!("{newest}/ca256f81a079427485e0e5d11c666b7f"));
}

#[test]
fn takes_the_audience_from_the_cloud() {
    assert_eq!(parse("https://abc-1.vault.azure.cn/secrets/x").unwrap().audience(), "https://vault.azure.cn");
}

#[test]
fn refuses_everything_that_could_send_a_token_elsewhere() {
    for text in [
        "http://contoso.vault.azure.net/secrets/web",
        "contoso.vault.azure.net/secrets/web",
        "https://evil.example/secrets/web",
        "https://contoso.vault.azure.net.evil.example/secrets/web",
        "https://contoso.vault.azure.net@evil.example/secrets/web",
        "https://user:pass@contoso.vault.azure.net/secrets/web",
        "https://evil.example#contoso.vault.azure.net/secrets/web",
        "https://evil.example\\.vault.azure.net/secrets/web",
        "https://evil.example%2f.vault.azure.net/secrets/web",
        "https://contoso.vault.azure.net:8443/secrets/web",
        "https://contoso.vault.azure.net:/secrets/web",
        "https://vault.azure.net/secrets/web",
        "https://a.contoso.vault.azure.net/secrets/web",
        "https://cont\u{043e}so.vault.azure.net/secrets/web",
        "https://contoso.vault.azure.net\u{3002}evil.example/secrets/web",
        "https://contoso.vault.azure.net./secrets/web",
        "https://co.vault.azure.net/secrets/web",
        "https://contoso_1.vault.azure.net/secrets/web",
        "https://contoso.vault.azure.net/secrets/web?api-version=7.4",
        "https://contoso.vault.azure.net/secrets/web#x",
        "https://[::1]/secrets/web",
        "",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn refuses_every_name_that_is_no_name() {
    for text in [
        "https://contoso.vault.azure.net",
        "https://contoso.vault.azure.net/",
        "https://contoso.vault.azure.net/secrets",
        "https://contoso.vault.azure.net/secrets/",
        "https://contoso.vault.azure.net/secrets//web",
        "https://contoso.vault.azure.net/secrets/..",
        "https://contoso.vault.azure.net/secrets/../keys/web",
        "https://contoso.vault.azure.net/secrets/a%2e%2e",
        "https://contoso.vault.azure.net/secrets/a b",
        "https://contoso.vault.azure.net/secrets/web/1",
        "https://contoso.vault.azure.net/secrets/web/ca256f81a079427485e0e5d11c666b7f/x",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    assert!(parse(&format!("https://contoso.vault.azure.net/secrets/{}", "a".repeat(128))).is_err());
}

#[test]
fn quotes_no_more_than_the_start_of_what_is_wrong() {
    let long = "a".repeat(100_000);
    for text in [
        format!("https://{long}.vault.azure.net/secrets/web"),
        format!("https://contoso.vault.azure.net:{long}/secrets/web"),
        format!("https://contoso.vault.azure.net/secrets/{long}"),
        format!("https://contoso.vault.azure.net/secrets/web/{long}"),
        format!("https://contoso.vault.azure.net/{long}/web"),
    ] {
        assert!(parse(&text).unwrap_err().to_string().len() < 400);
    }
}

#[test]
fn says_what_to_write_instead() {
    for (text, advice) in [
        ("https://contoso.vault.azure.net/certificates/web", "write https://contoso.vault.azure.net/secrets/web"),
        ("https://contoso.vault.azure.net/certificates/web", "does not give the private key"),
        ("https://contoso.vault.azure.net/keys/web", "write https://contoso.vault.azure.net/secrets/web"),
        ("https://contoso.vault.azure.net/keys/web", "gives a key only"),
        ("https://contoso.managedhsm.azure.net/secrets/web", "managed HSM"),
        ("https://contoso.privatelink.vaultcore.azure.net/secrets/web", "the vault's own name"),
        ("http://contoso.vault.azure.net/secrets/web", "begin with https://"),
    ] {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(advice), "{message}");
    }
}
