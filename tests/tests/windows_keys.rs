//! Keys in CNG on Windows, where the system can keep them better than in files.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};
use tests::pkcs12::Pfx;
use tests::pki::{KeyKind, Request};
use tests::story::{Story, finish, observing};
use tests::wine::{Whose, Wine, windows_path};

/// What a store says of the key of a certificate.
fn key_of<'a>(store: &'a [Value], thumbprint: &str) -> &'a Value {
    let held = store.iter().find(|held| held["thumbprint"] == json!(thumbprint));
    &held.unwrap_or_else(|| panic!("{thumbprint}: {store:#?}"))["key"]
}

#[test]
fn keeps_keys_on_every_curve_that_vaults_have_and_lets_each_sign() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let put = |(name, kind): (&str, KeyKind)| {
        let issued = story.authority.issue(&Request::new(&format!("{name}.contoso.com")).key(kind)).unwrap();
        story.put_bundle(name, issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
        (issued.thumbprint().unwrap(), json!(story.url(name)))
    };
    let (issued, entries): (Vec<_>, Vec<_>) =
        [("p256", KeyKind::P256), ("p384", KeyKind::P384), ("p521", KeyKind::P521)].map(put).into_iter().unzip();
    let settings = observing(&entries);
    for changed in [true, false] {
        let synced = wine.sync(&settings).unwrap();
        let all: Vec<_> = (0..3).map(|at| synced.certificate(at)["changed"].clone()).collect();
        assert_eq!(all, [changed; 3], "{synced:?}");
        let store = wine.store(Whose::Machine, "MY").unwrap();
        for thumbprint in &issued {
            let key = key_of(&store, thumbprint);
            assert_eq!((&key["type"], &key["signs"], &key["policy"]), (&json!(0), &json!(true), &json!(0)), "{key}");
        }
    }
}

#[test]
fn asks_for_keyguard_and_says_where_a_machine_has_none() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    for is_there in [false, true] {
        if is_there {
            // What the provider of the tests takes for it.
            std::fs::write(wine.prefix().join("drive_c/vbs"), "").unwrap();
        }
        let cases = [("rsa", KeyKind::Rsa2048, false), ("ec", KeyKind::P256, false), ("open", KeyKind::P256, true)];
        let observe = |(name, kind, exports): (&str, KeyKind, bool)| {
            let name = format!("{name}-{is_there}");
            let issued = story.authority.issue(&Request::new(&format!("{name}.contoso.com")).key(kind)).unwrap();
            story.put_bundle(&name, issued.pem().unwrap()).unwrap();
            let entry = json!({"url": story.url(&name), "keyStorage": "cng", "keyExportable": exports});
            ((issued.thumbprint().unwrap(), exports), entry)
        };
        let (issued, entries): (Vec<_>, Vec<Value>) = cases.into_iter().map(observe).unzip();
        let settings = windows_path(&story.write_settings(&observing(&entries)).unwrap());
        let mut sync = wine.service(&["sync", &settings]).unwrap();
        let synced = finish(sync.env("RUST_LOG", "info")).unwrap();
        assert_eq!(synced.code, Some(0), "{synced:?}");
        let said = synced.errors.matches("is kept without KeyGuard").count();
        // What can be taken out again is nothing for KeyGuard, and is not asked for.
        assert_eq!(said, if is_there { 0 } else { 2 }, "{}", synced.errors);
        let store = wine.store(Whose::Machine, "MY").unwrap();
        for (thumbprint, exports) in issued {
            let key = key_of(&store, &thumbprint);
            // `NCRYPT_ALLOW_EXPORT_FLAG`, as a key has it that is imported from an exportable PFX.
            let (guarded, policy) = (json!(is_there && !exports), json!(u32::from(exports)));
            assert_eq!((&key["guarded"], &key["policy"], &key["signs"]), (&guarded, &policy, &json!(true)), "{key}");
        }
        // A key stays where it is whatever the machine has.
        if is_there {
            let synced = wine.sync(&observing(&entries)).unwrap();
            let changed: Vec<_> = (0..3).map(|at| synced.certificate(at)["changed"].clone()).collect();
            assert_eq!(changed, [false; 3], "{synced:?}");
        }
    }
}
