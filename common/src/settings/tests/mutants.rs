//! Good documents with a few bytes changed: what is still accepted must be as safe as what people write.

use std::time::{Duration, Instant};

use super::*;

/// Everything that settings can say, so that a change meets every reader.
const FULL: &str = r#"{"runtimeSettings": [{"handlerSettings": {"publicSettings": {
    "secretsManagementSettings": {
        "pollingIntervalInS": "3600", "linkOnRenewal": false, "requireInitialSync": true, "aclEnabled": true,
        "certificateStoreLocation": "/var/lib/certificates", "keepVersions": 3,
        "observedCertificates": [
            {"url": "https://contoso.vault.azure.net/secrets/web/0123456789abcdef0123456789abcdef",
             "certificateStoreLocation": "/srv/web", "customSymbolicLinkName": "web.pem",
             "acls": [{"user": "app1", "group": "appGroup1"}, {"user": "service1"}]},
            {"url": "https://contoso.vault.azure.cn:443/secrets/Mail/", "owner": "mail", "group": "mail", "mode": "0640"},
            "https://fabrikam.vault.usgovcloudapi.net/secrets/api"]},
    "authenticationSettings": {"msiEndpoint": "http://169.254.169.254/metadata/identity",
                               "msiClientId": "00001111-aaaa-2222-bbbb-3333cccc4444"}}}}]}"#;

/// What turns a safe value into an unsafe one, if anything does.
const PIECES: [&str; 18] = [
    "../",
    "/",
    "\\",
    "\\u0000",
    "\\n",
    "\\u001b[31m",
    "@",
    "#",
    "?",
    "%2f",
    ".evil.example",
    ":8443",
    "..",
    "[",
    "{",
    "\"",
    "null",
    "18446744073709551616",
];

fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..=3) {
        let at = random.usize(..bytes.len());
        let end = (at + random.usize(1..12)).min(bytes.len());
        match random.u8(..6) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => drop(bytes.splice(at..at, PIECES[random.usize(..PIECES.len())].bytes())),
        }
    }
}

fn is_safe(certificate: &ObservedCertificate) -> bool {
    let (label, suffix) = certificate.url.host().split_once('.').unwrap();
    let plain = |text: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || char == '-');
    let folder = Path::new(&*certificate.target.folder);
    let link = certificate.link_name();
    (3..=24).contains(&label.len())
        && plain(label)
        && plain(certificate.url.name())
        && ["vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net", "vault.microsoftazure.de"].contains(&suffix)
        && certificate.url.audience() == format!("https://{suffix}")
        && folder.is_absolute()
        && folder.components().all(|part| part != std::path::Component::ParentDir)
        && !link.is_empty()
        && !link.starts_with('.')
        && !link.contains(['/', '\\'])
        && !certificate.place().contains(char::is_control)
}

#[test]
fn damaged_settings_are_refused_or_still_safe() {
    let mut random = fastrand::Rng::with_seed(6);
    let whole = Settings::parse(FULL.as_bytes(), &Clouds::built_in()).unwrap();
    assert!(whole.certificates.len() == 3 && whole.certificates.iter().all(is_safe));
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..5000 {
        let mut document = FULL.as_bytes().to_vec();
        mutate(&mut document, &mut random);
        let begun = Instant::now();
        let outcome = Settings::parse(&document, &Clouds::built_in());
        let shown = String::from_utf8_lossy(&document);
        // Milliseconds, so that a busy machine cannot make it fail; a reader without an end does.
        assert!(begun.elapsed() < Duration::from_secs(30), "{shown}");
        let findings = match outcome {
            Ok(settings) => {
                accepted += 1;
                assert!(settings.certificates.iter().all(is_safe), "{shown}");
                assert!(settings.polling_interval >= SHORTEST_INTERVAL, "{shown}");
                let address = settings.identity.endpoint.address();
                assert!(address.ip().is_loopback() || address.ip().to_string() == "169.254.169.254", "{shown}");
                settings.warnings
            }
            Err(error) => {
                refused += 1;
                assert!(!error.errors.is_empty(), "{shown}");
                [error.errors, error.warnings].concat()
            }
        };
        for finding in findings {
            assert!(
                !finding.message.is_empty() && !finding.to_string().contains(['\n', '\r', '\0', '\x1b']),
                "{finding}"
            );
        }
    }
    assert!(accepted > 200 && refused > 2000, "{accepted} accepted, {refused} refused");
}
