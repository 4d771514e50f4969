//! Certificates on Windows, from the vault to the certificate store and the key in the system's keeping.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};
use tests::pkcs12::Pfx;
use tests::pki::{Issued, KeyKind, Request};
use tests::story::Story;
use tests::wine::{Whose, Wine};

/// `CRYPT_MACHINE_KEYSET`.
const MACHINE_KEYSET: u64 = 0x20;
/// `AT_KEYEXCHANGE`.
const KEY_EXCHANGE: u64 = 1;
/// `PROV_RSA_AES`.
const RSA_AES: u64 = 24;

/// Settings with one certificate that has these values beside its URL.
fn settings(story: &Story, certificate: &Value, further: &Value) -> Value {
    let mut certificate = certificate.clone();
    certificate["url"] = json!(story.url("web"));
    let mut section = further.clone();
    section["observedCertificates"] = json!([certificate]);
    json!({"secretsManagementSettings": section})
}

/// Puts a fresh certificate with an RSA key into the vault.
fn put(story: &Story) -> (Issued, String) {
    let request = Request::new("web.contoso.com").key(KeyKind::Rsa2048);
    let issued = story.authority.issue(&request).unwrap();
    let version = story.put_bundle("web", issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    (issued, version)
}

fn thumbprint(issued: &Issued) -> String {
    issued.thumbprint().unwrap()
}

fn one<'a>(store: &'a [Value], issued: &Issued) -> &'a Value {
    let wanted = thumbprint(issued);
    store.iter().find(|held| held["thumbprint"] == json!(wanted)).unwrap_or_else(|| panic!("{wanted}: {store:#?}"))
}

#[test]
#[ignore = "needs Wine, mingw-w64 and the executables for Windows"]
fn installs_a_certificate_with_its_key_in_the_machines_store() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let (issued, version) = put(&story);
    let settings = settings(&story, &json!({"accounts": ["NETWORK SERVICE", "nobody-here"]}), &json!({}));
    let synced = wine.sync(&settings).unwrap();
    assert_eq!((synced.code(), synced.certificate(0)["changed"].as_bool()), (Some(0), Some(true)), "{synced:?}");
    let warnings = synced.certificate(0)["warnings"].to_string();
    assert!(warnings.contains("nobody-here does not exist"), "{warnings}");

    let store = wine.store(Whose::Machine, "MY").unwrap();
    let held = one(&store, &issued);
    assert_eq!(store.len(), 1, "{store:#?}");
    assert_eq!(held["name"], json!(format!("contoso.web.{version}")));
    let key = &held["key"];
    assert_eq!(
        (&key["type"], &key["flags"], &key["spec"]),
        (&json!(RSA_AES), &json!(MACHINE_KEYSET), &json!(KEY_EXCHANGE))
    );
    assert_eq!((&key["signs"], &key["exports"]), (&json!(true), &json!(false)), "{key}");
    assert_eq!(key["access"], json!("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GR;;;NS)"));

    let again = wine.sync(&settings).unwrap();
    assert_eq!(again.certificate(0)["changed"], json!(false), "{again:?}");
    assert_eq!(wine.store(Whose::Machine, "MY").unwrap(), store, "an unchanged poll writes nothing");

    let chain: Vec<String> = issued.chain().iter().skip(1).map(|one| hex_sha1(&one.to_der().unwrap())).collect();
    let held = |name: &str| -> Vec<Value> {
        let store = wine.store(Whose::Machine, name).unwrap();
        store
            .iter()
            .map(|held| held["thumbprint"].clone())
            .filter(|one| chain.iter().any(|of| json!(of) == *one))
            .collect()
    };
    assert_eq!(held("CA"), [json!(chain[0])], "the intermediate");
    assert_eq!(held("Root"), [] as [Value; 0], "a root is never installed");
}

#[test]
#[ignore = "needs Wine, mingw-w64 and the executables for Windows"]
fn imports_again_a_key_that_was_lost_and_gives_missing_grants_again() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let (issued, _) = put(&story);
    let settings = settings(&story, &json!({"accounts": ["S-1-5-19"]}), &json!({}));
    let synced = wine.sync(&settings).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:?}");
    let key = || one(&wine.store(Whose::Machine, "MY").unwrap(), &issued)["key"].clone();
    let first = key();
    let container = first["container"].as_str().unwrap();
    assert_eq!(first["access"], json!("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GR;;;LS)"));

    wine.set_access(Whose::Machine, container, "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;NS)").unwrap();
    let synced = wine.sync(&settings).unwrap();
    assert_eq!(synced.certificate(0)["changed"], json!(false), "{synced:?}");
    assert_eq!(key()["access"], json!("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;NS)(A;;GR;;;LS)"), "what others gave stays");

    wine.delete_key(Whose::Machine, container).unwrap();
    let synced = wine.sync(&settings).unwrap();
    assert_eq!(synced.certificate(0)["changed"], json!(true), "{synced:?}");
    let second = key();
    assert_ne!(second["container"], first["container"]);
    assert_eq!((&second["signs"], &second["exports"]), (&json!(true), &json!(false)), "{second}");
}

fn hex_sha1(der: &[u8]) -> String {
    openssl::sha::sha1(der).iter().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
#[ignore = "needs Wine, mingw-w64 and the executables for Windows"]
fn adds_a_renewed_certificate_and_links_the_old_one() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let (old, _) = put(&story);
    let settings = settings(&story, &json!({"certificateStoreName": "WebHosting"}), &json!({"linkOnRenewal": true}));
    let synced = wine.sync(&settings).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:?}");
    let (new, _) = put(&story);
    let synced = wine.sync(&settings).unwrap();
    assert_eq!(synced.certificate(0)["thumbprint"], json!(thumbprint(&new)), "{synced:?}");
    let store = wine.store(Whose::Machine, "WebHosting").unwrap();
    assert_eq!(store.len(), 2, "{store:#?}");
    assert_eq!(one(&store, &old)["renewal"], json!(thumbprint(&new)));
    assert_eq!(one(&store, &new)["renewal"], Value::Null);
}

#[test]
#[ignore = "needs Wine, mingw-w64 and the executables for Windows"]
fn keeps_an_exportable_key_of_the_user() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let (issued, _) = put(&story);
    let certificate = json!({"certificateStoreLocation": "currentuser", "keyExportable": true});
    let synced = wine.sync(&settings(&story, &certificate, &json!({}))).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:?}");
    let store = wine.store(Whose::User, "MY").unwrap();
    let key = &one(&store, &issued)["key"];
    assert_eq!((&key["flags"], &key["signs"], &key["exports"]), (&json!(0), &json!(true), &json!(true)), "{key}");
    assert_eq!(wine.keys(Whose::User).unwrap(), [key["container"].clone()]);

    // What a crash between key and certificate leaves, and what somebody else has.
    for name in ["akvvm-0123456789abcdef0123456789abcdef", "theirs"] {
        wine.create_key(Whose::User, name).unwrap();
    }
    let again = wine.sync(&settings(&story, &certificate, &json!({}))).unwrap();
    assert_eq!(again.certificate(0)["changed"], json!(false), "{again:?}");
    let mut keys = wine.keys(Whose::User).unwrap();
    keys.sort_by_key(ToString::to_string);
    assert_eq!(keys, [key["container"].clone(), json!("theirs")]);
}
