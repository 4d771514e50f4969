//! Certificates through the whole chain, from the vault to the file, which OpenSSL's own program judges.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use openssl::hash::MessageDigest;
use openssl::x509::X509;
use serde_json::{Value, json};
use tests::bundle::{Bundle, Part};
use tests::catalogue::Kind;
use tests::hostile;
use tests::pkcs12::{Cipher, Digest, EmptyPassword, Pfx};
use tests::pki::{Authority, Issued, KeyKind, Request};
use tests::story::{Story, finish, observing};

const STORE: &str = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store";

/// Installs all of them in one pass; answers what `sync` said of each, in this order.
fn install(story: &Story, bundles: &[(String, Bundle)]) -> Vec<Value> {
    let mut urls = Vec::new();
    for (name, bundle) in bundles {
        story.put_bundle(name, bundle.clone()).unwrap();
        urls.push(json!(story.url(name)));
    }
    let synced = story.sync(&observing(&urls)).unwrap();
    synced.result["certificates"].as_array().unwrap().clone()
}

/// What the program `openssl` answers; fails with what it complains about.
fn openssl(story: &Story, arguments: &[&str]) -> String {
    let finished = finish(story.world().command("openssl").args(arguments)).unwrap();
    assert_eq!(finished.code, Some(0), "openssl {arguments:?}: {finished:?}");
    finished.output
}

/// The file of a certificate must verify, hold leaf, intermediates and root in this order, and then their key.
fn prove(story: &Story, name: &str, said: &Value, issued: &Issued, chain: usize) {
    assert_eq!((&said["error"], &said["changed"]), (&Value::Null, &json!(true)), "{name}: {said}");
    assert_eq!(said["thumbprint"], json!(issued.thumbprint().unwrap()), "{name}");
    let place = said["place"].as_str().unwrap();
    let text = fs::read_to_string(place).unwrap();
    let certificates = X509::stack_from_pem(text.as_bytes()).unwrap();
    let expected: Vec<_> = issued.chain().iter().take(chain).map(|one| one.to_der().unwrap()).collect();
    let found: Vec<_> = certificates.iter().map(|one| one.to_der().unwrap()).collect();
    assert!(found == expected, "{name}: leaf first, each certifies the one before it");
    let labels: Vec<&str> = text.lines().filter(|line| line.starts_with("-----BEGIN")).collect();
    assert_eq!(labels.last(), Some(&"-----BEGIN PRIVATE KEY-----"), "{name}: the key is last, in PKCS #8");
    assert_eq!(labels.len(), chain + 1, "{name}");
    let of_key = openssl(story, &["pkey", "-in", place, "-pubout"]);
    assert_eq!(openssl(story, &["x509", "-in", place, "-noout", "-pubkey"]), of_key, "{name}: key and leaf fit");
    if let Some(root) = &issued.root {
        let root = story.write_file("root.pem", &root.to_pem().unwrap()).unwrap();
        openssl(story, &["verify", "-x509_strict", "-CAfile", root.to_str().unwrap(), "-untrusted", place, place]);
    }
}

fn forms() -> Vec<(&'static str, Pfx)> {
    let aes = |cipher: fn(Digest) -> Cipher, digest: Digest| Pfx {
        key: cipher(digest),
        certificates: cipher(digest),
        mac: Some(digest),
        ..Pfx::MODERN
    };
    let absent = EmptyPassword::Absent;
    vec![
        ("key-vault", Pfx::KEY_VAULT),
        ("legacy-rc2", Pfx::LEGACY),
        ("all-rc2", Pfx { key: Cipher::Rc2, ..Pfx::LEGACY }),
        ("modern", Pfx::MODERN),
        ("aes128-sha1", aes(Cipher::Aes128, Digest::Sha1)),
        ("aes128-sha256", aes(Cipher::Aes128, Digest::Sha256)),
        ("aes256-sha1", aes(Cipher::Aes256, Digest::Sha1)),
        ("one-round", Pfx { iterations: 1, mac_iterations: 1, ..Pfx::MODERN }),
        ("many-rounds", Pfx { iterations: 20_000, mac_iterations: 20_000, ..Pfx::MODERN }),
        ("no-mac", Pfx { mac: None, ..Pfx::MODERN }),
        ("absent-password", Pfx { password: absent, ..Pfx::KEY_VAULT }),
        ("absent-password-rc2", Pfx { password: absent, ..Pfx::LEGACY }),
        ("absent-password-modern", Pfx { password: absent, ..Pfx::MODERN }),
        ("wrong-mark", Pfx { wrong_local_key_id: true, ..Pfx::KEY_VAULT }),
        ("hostile-name", Pfx { friendly_name: "\u{1b}[2J\r\n-----BEGIN PRIVATE KEY-----", ..Pfx::KEY_VAULT }),
    ]
}

#[test]
fn every_encryption_of_a_pfx_is_read() {
    let story = Story::begin().unwrap();
    let issued = story.authority.issue(&Request::new("web.contoso.com").key(KeyKind::Rsa2048)).unwrap();
    let bundles: Vec<_> =
        forms().into_iter().map(|(name, form)| (name.to_owned(), issued.pfx(&form).unwrap())).collect();
    for ((name, _), said) in bundles.iter().zip(install(&story, &bundles)) {
        prove(&story, name, &said, &issued, 3);
        assert_eq!(said["warnings"], json!([]), "{name}");
    }
}

#[test]
fn every_kind_of_key_is_installed() {
    let story = Story::begin().unwrap();
    let kinds = [
        ("rsa2048", KeyKind::Rsa2048),
        ("rsa3072", KeyKind::Rsa3072),
        ("rsa4096", KeyKind::Rsa4096),
        ("p256", KeyKind::P256),
        ("p384", KeyKind::P384),
        ("p521", KeyKind::P521),
        ("p256k", KeyKind::P256K),
        ("ed25519", KeyKind::Ed25519),
    ];
    let issued = kinds.map(|(_, kind)| story.authority.issue(&Request::new("web.contoso.com").key(kind)).unwrap());
    let mut bundles = Vec::new();
    for ((name, _), issued) in kinds.iter().zip(&issued) {
        bundles.push((format!("{name}-pfx"), issued.pfx(&Pfx::KEY_VAULT).unwrap()));
        bundles.push((format!("{name}-pem"), issued.pem().unwrap()));
    }
    for (index, said) in install(&story, &bundles).iter().enumerate() {
        prove(&story, &bundles[index].0, said, &issued[index / 2], 3);
    }
}

#[test]
fn a_pem_is_read_in_any_order_and_spelling() {
    let story = Story::begin().unwrap();
    let authority = Authority::with_keys("Deep", 3, KeyKind::P256).unwrap();
    let issued = authority.issue(&Request::new("web.contoso.com")).unwrap();
    let reversed: Vec<Part> = issued.parts().into_iter().rev().collect();
    let mut shuffled = issued.parts();
    shuffled.swap(1, 4);
    shuffled.rotate_left(2);
    let words = || Part::Text("Bag Attributes\n    friendlyName: \u{1b}[2J\n".to_owned());
    let between: Vec<Part> = issued.parts().into_iter().flat_map(|part| [words(), part]).collect();
    let twice = [issued.parts(), issued.parts()].concat();
    let pem = issued.pem().unwrap();
    let changed = |value: String| {
        let mut bundle = pem.clone();
        bundle.value = value;
        bundle
    };
    let bundles = [
        ("service", pem.clone()),
        ("reversed", Bundle::pem(&reversed).unwrap()),
        ("shuffled", Bundle::pem(&shuffled).unwrap()),
        ("text-between", Bundle::pem(&between).unwrap()),
        ("twice", Bundle::pem(&twice).unwrap()),
        ("crlf", changed(pem.value.replace('\n', "\r\n"))),
        ("one-line", changed(pem.value.replace('\n', ""))),
        ("no-last-line-end", changed(pem.value.trim_end().to_owned())),
    ];
    let bundles = bundles.map(|(name, bundle)| (name.to_owned(), bundle));
    for ((name, _), said) in bundles.iter().zip(install(&story, &bundles)) {
        prove(&story, name, &said, &issued, 5);
    }
}

#[test]
fn unusual_but_plain_values_are_installed_with_a_word_about_them() {
    let story = Story::begin().unwrap();
    let issued = story.issue("web").unwrap();
    let stranger = Authority::new("Stranger", 0).unwrap();
    let pfx = issued.pfx(&Pfx::KEY_VAULT).unwrap();
    let pem = issued.pem().unwrap();
    let with_stranger = [issued.parts(), vec![Part::Certificate(stranger.root().clone())]].concat();
    let gap = vec![issued.key_part(), issued.leaf_part(), Part::Certificate(story.authority.root().clone())];
    let leaf_only = vec![issued.key_part(), issued.leaf_part()];
    let cases = [
        ("no-padding", pfx.clone().without_padding(), 3, None),
        ("lines", pfx.clone().with_line_breaks(64, "\r\n"), 3, None),
        ("no-type", pfx.clone().content_type(None), 3, None),
        ("pfx-called-pem", pfx.content_type(Some("application/x-pem-file")), 3, Some("content type")),
        ("pem-called-pfx", pem.clone().content_type(Some("application/x-pkcs12")), 3, Some("content type")),
        ("pem-called-anything", pem.content_type(Some("\u{1b}[2Jtext")), 3, Some("content type")),
        ("stranger", Bundle::pem(&with_stranger).unwrap(), 3, Some("Stranger")),
        ("gap", Bundle::pfx(&gap, &Pfx::KEY_VAULT).unwrap(), 1, Some("chain")),
        ("leaf-only", Bundle::pem(&leaf_only).unwrap(), 1, Some("chain")),
    ];
    let bundles = cases.clone().map(|(name, bundle, ..)| (name.to_owned(), bundle));
    for ((name, _, chain, warning), said) in cases.iter().zip(install(&story, &bundles)) {
        let warnings = said["warnings"].to_string();
        match warning {
            Some(word) => assert!(warnings.contains(word), "{name}: {warnings}"),
            None => assert_eq!(warnings, "[]", "{name}"),
        }
        assert!(!warnings.contains("\\u001b"), "{name}: {warnings}");
        let mut known = issued.clone();
        if *chain == 1 {
            known.root = None;
        }
        prove(&story, name, &said, &known, *chain);
    }
}

#[test]
fn a_self_signed_certificate_and_a_chain_that_has_no_end_are_installed_as_far_as_they_go() {
    let story = Story::begin().unwrap();
    let own = Request::new("web.contoso.com").self_signed().unwrap();
    let endless = hostile::endless_chain().unwrap();
    let said = install(&story, &[("own".to_owned(), own.pem().unwrap()), ("endless".to_owned(), endless)]);
    prove(&story, "own", &said[0], &own, 1);
    assert_eq!(said[1]["error"], Value::Null, "{}", said[1]);
    let place = said[1]["place"].as_str().unwrap();
    let certificates = X509::stack_from_pem(&fs::read(place).unwrap()).unwrap();
    assert!((2..=3).contains(&certificates.len()), "each certificate once");
    assert!(certificates[0].verify(&certificates[1].public_key().unwrap()).unwrap());
}

#[test]
fn every_kind_of_the_catalogue_does_what_its_name_says() {
    use Kind::*;

    let story = Story::begin().unwrap();
    let usable = [RsaPfx, RsaLegacyPfx, RsaModernPfx, EcPfx, RsaPem, EcPem, ReversedPem, Expired, Expiring];
    let useless = [
        (NoKey, "exportable"),
        (WrongKey, "belongs to its private key"),
        (Password, "no certificate (neither PKCS #12 in base64 nor PEM)"),
    ];
    let all: Vec<Kind> = usable.into_iter().chain(useless.map(|(kind, _)| kind)).collect();
    let bundle = |kind: &Kind| kind.bundle(&story.authority, "web.contoso.com").unwrap();
    let bundles: Vec<_> = all.iter().enumerate().map(|(index, kind)| (format!("c{index}"), bundle(kind))).collect();
    for ((kind, (_, bundle)), said) in all.iter().zip(&bundles).zip(install(&story, &bundles)) {
        match useless.iter().find(|(useless, _)| useless == kind) {
            None => assert_eq!(said["error"], Value::Null, "{kind:?}: {said}"),
            Some((_, word)) => {
                assert_eq!(said["error"]["code"], json!(40), "{kind:?}: {said}");
                let message = said["error"]["message"].as_str().unwrap();
                assert!(message.contains(word), "{kind:?}: {message}");
                assert!(!message.contains(&bundle.value[..20.min(bundle.value.len())]), "{kind:?}: {message}");
            }
        }
    }
}

#[test]
fn hostile_values_are_refused_quickly_one_by_one_and_quote_nothing() {
    let story = Story::begin().unwrap();
    let issued = story.issue("web").unwrap();
    let hostile = hostile::all(&issued).unwrap();
    let mut bundles: Vec<(String, Bundle)> =
        hostile.iter().enumerate().map(|(index, (_, bundle))| (format!("h{index}"), bundle.clone())).collect();
    bundles.push(("fine".to_owned(), issued.pfx(&Pfx::KEY_VAULT).unwrap()));
    let started = std::time::Instant::now();
    let said = install(&story, &bundles);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    for ((case, bundle), said) in hostile.iter().zip(&said) {
        assert_eq!(said["error"]["code"], json!(40), "{case}: {said}");
        let message = said["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("the secret cannot be used: "), "{case}: {message}");
        assert!(message.contains(": ") && message.len() < 300, "{case}: {message}");
        assert!(!message.chars().any(char::is_control), "{case}: {message}");
        let start: String = bundle.value.chars().take(24).collect();
        assert!(
            start.trim().is_empty() || start.starts_with("-----") || !message.contains(&start),
            "{case}: {message}"
        );
    }
    assert_eq!(said.last().unwrap()["error"], Value::Null);
    let names: Vec<String> = fs::read_dir(Path::new(STORE))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().all(|name| name.starts_with("contoso.fine")) && names.len() == 2, "{names:?}");
    let leaf = issued.leaf.digest(MessageDigest::sha1()).unwrap();
    assert_eq!(said.last().unwrap()["thumbprint"].as_str().unwrap().len(), 2 * leaf.len());
}
