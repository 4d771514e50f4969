//! Certificates on Windows, from the vault to the certificate store and the key in the system's keeping.
//!
//! Each story runs the production executable for Windows under Wine, and looks at its stores with a program of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use serde_json::{Value, json};
use tests::bundle::Bundle;
use tests::pkcs12::Pfx;
use tests::pki::{DAY, Issued, KeyKind, Request};
use tests::story::{Story, finish, observing};
use tests::wine::{Whose, Wine, windows_path};

/// `CRYPT_MACHINE_KEYSET`.
const MACHINE_KEYSET: u64 = 0x20;
/// `AT_KEYEXCHANGE`.
const KEY_EXCHANGE: u64 = 1;
/// `PROV_RSA_AES`.
const RSA_AES: u64 = 24;
/// What the system's own descriptors of keys look like: in CAPI with rights for all kinds of objects, in CNG for files. Wine
/// forgets of a key in CAPI that nothing is inherited.
const CAPI_OWNERS: &str = "D:(A;;GA;;;SY)(A;;GA;;;BA)";
const CNG_OWNERS: &str = "D:P(A;;FA;;;SY)(A;;FA;;;BA)";

/// A certificate of this kind for `NAME.contoso.com`.
fn issue(story: &Story, name: &str, kind: KeyKind) -> Issued {
    story.authority.issue(&Request::new(&format!("{name}.contoso.com")).key(kind)).unwrap()
}

/// Puts a fresh certificate with an RSA key into the vault; answers it and its version.
fn put(story: &Story, name: &str) -> (Issued, String) {
    let issued = issue(story, name, KeyKind::Rsa2048);
    let version = story.put_bundle(name, issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    (issued, version)
}

/// An entry of `observedCertificates` with these values beside its URL.
fn entry(story: &Story, name: &str, values: &Value) -> Value {
    let mut entry = values.clone();
    entry["url"] = json!(story.url(name));
    entry
}

/// Settings with these values beside the certificates.
fn settings(certificates: &[Value], values: &Value) -> Value {
    let mut settings = observing(certificates);
    for (key, value) in values.as_object().unwrap() {
        settings["secretsManagementSettings"][key] = value.clone();
    }
    settings
}

fn thumbprint(issued: &Issued) -> String {
    issued.thumbprint().unwrap()
}

/// What a store says of a certificate.
fn one<'a>(store: &'a [Value], issued: &Issued) -> &'a Value {
    let wanted = thumbprint(issued);
    store.iter().find(|held| held["thumbprint"] == json!(wanted)).unwrap_or_else(|| panic!("{wanted}: {store:#?}"))
}

/// A pass that finds nothing wrong; whether it changed each certificate.
fn sync(wine: &Wine<'_>, settings: &Value) -> Vec<bool> {
    let synced = wine.sync(settings).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:?}");
    let certificates = synced.result["certificates"].as_array().unwrap();
    certificates.iter().map(|certificate| certificate["changed"].as_bool().unwrap()).collect()
}

#[test]
fn installs_each_kind_of_certificate_where_the_settings_say_with_its_key_closed() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let pfx = |issued: &Issued| issued.pfx(&Pfx::KEY_VAULT).unwrap();
    let pem = |issued: &Issued| issued.pem().unwrap();
    type Form<'a> = &'a dyn Fn(&Issued) -> Bundle;
    let cases: [(&str, KeyKind, Form<'_>, Whose, &str, Value); 6] = [
        ("one", KeyKind::Rsa2048, &pfx, Whose::Machine, "MY", json!({})),
        ("two", KeyKind::P256, &pem, Whose::Machine, "MY", json!({"accounts": ["NETWORK SERVICE", "S-1-5-19"]})),
        ("three", KeyKind::P256, &pfx, Whose::User, "MY", json!({"certificateStoreLocation": "CURRENTUSER"})),
        (
            "four",
            KeyKind::Rsa2048,
            &pem,
            Whose::Machine,
            "WebHosting",
            json!({"certificateStoreName": "WebHosting", "accounts": ["Network Service", "Local Service"]}),
        ),
        ("five", KeyKind::Rsa3072, &pfx, Whose::Machine, "MY", json!({"keyStorage": "cng"})),
        (
            "six",
            KeyKind::Rsa2048,
            &pem,
            Whose::User,
            "TrustedPeople",
            json!({"certificateStoreLocation": "currentuser", "certificateStoreName": "TrustedPeople",
                "keyExportable": true}),
        ),
    ];
    let mut issued = Vec::new();
    let mut entries = Vec::new();
    for (name, kind, form, _, _, values) in &cases {
        let certificate = issue(&story, name, *kind);
        let version = story.put_bundle(name, form(&certificate)).unwrap();
        entries.push(entry(&story, name, values));
        issued.push((certificate, version));
    }
    let settings = observing(&entries);
    assert_eq!(sync(&wine, &settings), [true; 6]);

    let look = || cases.each_ref().map(|(.., whose, store, _)| wine.store(*whose, store).unwrap());
    let stores = look();
    for ((case, store), (issued, version)) in cases.iter().zip(&stores).zip(&issued) {
        let (name, kind, _, whose, _, values) = case;
        let held = one(store, issued);
        assert_eq!(held["name"], json!(format!("contoso.{name}.{version}")));
        let key = &held["key"];
        let is_capi = matches!(kind, KeyKind::Rsa2048);
        let keyset = if matches!(whose, Whose::Machine) { MACHINE_KEYSET } else { 0 };
        let (provider, spec) = if is_capi { (RSA_AES, KEY_EXCHANGE) } else { (0, 0) };
        assert_eq!(
            (&key["type"], &key["flags"], &key["spec"]),
            (&json!(provider), &json!(keyset), &json!(spec)),
            "{name}: {key}"
        );
        let exports = values["keyExportable"] == json!(true);
        assert_eq!((&key["signs"], &key["exports"]), (&json!(true), &json!(exports)), "{name}: {key}");
        let (owners, read) = if is_capi { (CAPI_OWNERS, "GR") } else { (CNG_OWNERS, "FR") };
        let readers =
            if values["accounts"].is_null() { String::new() } else { format!("(A;;{read};;;NS)(A;;{read};;;LS)") };
        assert_eq!(key["access"], json!(format!("{owners}{readers}")), "{name}");
    }
    let keys = || [Whose::Machine, Whose::User].map(|whose| wine.keys(whose).unwrap());
    let before = keys();
    assert_eq!(before.each_ref().map(Vec::len), [4, 2], "{before:?}");

    let chain = issued[0].0.chain();
    let (intermediate, root) = (digest(&chain[1]), digest(&chain[2]));
    for whose in [Whose::Machine, Whose::User] {
        let holds = |name: &str, wanted: &str| {
            let store = wine.store(whose, name).unwrap();
            store.iter().any(|held| held["thumbprint"] == json!(wanted))
        };
        assert!(holds("CA", &intermediate) && !holds("CA", &root), "{whose:?}");
        assert!(!holds("MY", &intermediate) && !holds("MY", &root), "{whose:?}");
    }

    assert_eq!(sync(&wine, &settings), [false; 6]);
    assert_eq!((look(), keys()), (stores, before), "an unchanged poll changes nothing");
}

fn digest(certificate: &openssl::x509::X509) -> String {
    openssl::sha::sha1(&certificate.to_der().unwrap()).iter().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn imports_a_lost_key_again_and_gives_missing_grants_again() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let (old, _) = put(&story, "old");
    let new = issue(&story, "new", KeyKind::P256);
    story.put_bundle("new", new.pem().unwrap()).unwrap();
    let values = json!({"accounts": ["S-1-5-19"]});
    let settings = observing(&[entry(&story, "old", &values), entry(&story, "new", &values)]);
    assert_eq!(sync(&wine, &settings), [true; 2]);
    let keys = || {
        let store = wine.store(Whose::Machine, "MY").unwrap();
        [(&old, "capi"), (&new, "cng")].map(|(issued, service)| (one(&store, issued)["key"].clone(), service))
    };
    let first = keys();
    for (key, service) in &first {
        let list = "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;NS)";
        wine.inspect(&["access", "machine", service, key["container"].as_str().unwrap(), list]).unwrap();
    }
    assert_eq!(sync(&wine, &settings), [false; 2]);
    let restored = keys().map(|(key, _)| key["access"].clone());
    let expected = ["(A;;GA;;;NS)(A;;GR;;;LS)", "(A;;FA;;;NS)(A;;FR;;;LS)"];
    let expected = [(CAPI_OWNERS, expected[0]), (CNG_OWNERS, expected[1])];
    assert_eq!(restored, expected.map(|(owners, others)| json!(format!("{owners}{others}"))), "what others gave stays");

    for (key, service) in &first {
        wine.inspect(&["delete", "machine", service, key["container"].as_str().unwrap()]).unwrap();
    }
    assert_eq!(sync(&wine, &settings), [true; 2]);
    for ((second, _), (first, _)) in keys().iter().zip(&first) {
        assert_ne!(second["container"], first["container"]);
        assert_eq!((&second["signs"], &second["exports"]), (&json!(true), &json!(false)), "{second}");
    }
}

#[test]
fn lets_an_account_in_once_it_exists() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let (issued, _) = put(&story, "web");
    let settings = observing(&[entry(&story, "web", &json!({"accounts": ["webapp"], "keyStorage": "cng"}))]);
    for changed in [true, false] {
        let synced = wine.sync(&settings).unwrap();
        assert_eq!((synced.code(), &synced.certificate(0)["changed"]), (Some(0), &json!(changed)), "{synced:?}");
        let warnings = synced.certificate(0)["warnings"].to_string();
        assert!(warnings.contains("the account webapp does not exist (yet)"), "{warnings}");
    }
    let access = || one(&wine.store(Whose::Machine, "MY").unwrap(), &issued)["key"]["access"].clone();
    assert_eq!(access(), json!(CNG_OWNERS));

    // The one account that Wine has is called as its user is outside.
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    std::fs::write("/etc/passwd", accounts.replace("root:x:0", "webapp:x:0")).unwrap();
    let synced = wine.sync(&settings).unwrap();
    assert_eq!((&synced.certificate(0)["changed"], &synced.certificate(0)["warnings"]), (&json!(false), &json!([])));
    let access = access();
    let added = access.as_str().unwrap().strip_prefix(CNG_OWNERS).unwrap();
    assert!(added.starts_with("(A;;FR;;;S-1-5-21-") && added.matches("A;;").count() == 1, "{access}");
}

#[test]
fn sweeps_only_keys_of_its_own_that_no_certificate_points_to() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let (issued, _) = put(&story, "web");
    let settings = observing(&[entry(&story, "web", &json!({"certificateStoreLocation": "CurrentUser"}))]);
    sync(&wine, &settings);
    let store = wine.store(Whose::User, "MY").unwrap();
    let container = one(&store, &issued)["key"]["container"].as_str().unwrap();
    for name in ["akvvm-0123456789abcdef0123456789abcdef", "theirs"] {
        wine.inspect(&["create", "user", name]).unwrap();
    }
    assert_eq!(sync(&wine, &settings), [false]);
    assert_eq!(wine.keys(Whose::User).unwrap(), [container, "theirs"]);
    assert_eq!(wine.store(Whose::User, "MY").unwrap(), store);
}

#[test]
fn takes_over_what_is_installed_already_without_a_second_import() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let (issued, version) = put(&story, "web");
    let certificate = story.write_file("leaf.der", &issued.leaf.to_der().unwrap()).unwrap();
    let key = story.write_file("key.der", &issued.key.rsa().unwrap().private_key_to_der().unwrap()).unwrap();
    let [certificate, key] = [certificate, key].map(|path| windows_path(&path));
    wine.inspect(&["install", "machine", "MY", &certificate, &key, "of-the-closed-extension"]).unwrap();

    let settings = observing(&[entry(&story, "web", &json!({"accounts": ["NETWORK SERVICE"]}))]);
    assert_eq!(sync(&wine, &settings), [true]);
    let store = wine.store(Whose::Machine, "MY").unwrap();
    let held = one(&store, &issued);
    assert_eq!((store.len(), &held["name"]), (1, &json!(format!("contoso.web.{version}"))));
    assert_eq!(held["key"]["container"], json!("of-the-closed-extension"));
    assert!(held["key"]["access"].as_str().unwrap().contains("(A;;GR;;;NS)"), "{held}");
    assert_eq!(wine.keys(Whose::Machine).unwrap(), ["of-the-closed-extension"]);
    assert_eq!(sync(&wine, &settings), [false]);
}

#[test]
fn adds_a_renewed_certificate_and_links_what_the_settings_say() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let mut issued = Vec::new();
    for (name, names) in [("alice", vec!["alice"]), ("bob", vec!["bob.com", "bob.net"])] {
        issued.push(put_named(&story, name, &names));
    }
    let of = |names: &[&str], link: &Value| {
        let entries: Vec<_> = names.iter().map(|name| entry(&story, name, &json!({}))).collect();
        settings(&entries, &json!({"linkOnRenewal": link}))
    };
    sync(&wine, &of(&["alice", "bob"], &json!(true)));
    issued.push(put_named(&story, "mallory", &["alice", "bob.com", "mallory"]));
    let links = || {
        let store = wine.store(Whose::Machine, "MY").unwrap();
        issued.iter().map(|issued| one(&store, issued)["renewal"].clone()).collect::<Vec<_>>()
    };
    let all = ["alice", "bob", "mallory"];
    sync(&wine, &of(&all, &json!(false)));
    assert_eq!(links(), [Value::Null, Value::Null, Value::Null]);
    sync(&wine, &of(&all, &json!("sameCertificate")));
    assert_eq!(links(), [Value::Null, Value::Null, Value::Null], "Service Fabric must not follow");
    let log = logged(&wine, &of(&all, &json!(true)));
    assert_eq!(links(), [json!(thumbprint(&issued[2])), Value::Null, Value::Null]);

    let [old, new] = [&issued[0], &issued[2]].map(thumbprint);
    let lines = [
        format!(r"Cert:\LocalMachine\MY\{old}: leads to {new}, which has all its names"),
        format!("the system was told that {new} replaces {old} (event 1001)"),
    ];
    assert!(lines.iter().all(|line| log.contains(line)), "{log}");

    let told = |from: &Issued, to: &Issued| {
        let words =
            r"Switch-Certificate -OldCert Cert:\LocalMachine\My\{} -NewCert Cert:\LocalMachine\My\{} -NotifyOnly;";
        words.replacen("{}", &thumbprint(from), 1).replacen("{}", &thumbprint(to), 1)
    };
    let powershell = wine.powershell();
    assert!(powershell.contains("-NoProfile -NonInteractive -Command"), "{powershell}");
    assert!(powershell.matches("Switch-Certificate").count() == 1, "{powershell}");
    assert!(powershell.contains(&told(&issued[0], &issued[2])), "{powershell}");

    let renewed = put_named(&story, "bob", &["bob.com", "bob.net"]);
    let bob = of(&all, &json!("sameCertificate"));
    let log = logged(&wine, &bob);
    assert!(log.contains("a newer version of the same certificate"), "{log}");
    assert_eq!(sync(&wine, &bob), [false; 3]);
    assert_eq!(links()[1], json!(thumbprint(&renewed)));
    assert_eq!(one(&wine.store(Whose::Machine, "MY").unwrap(), &renewed)["renewal"], Value::Null);
    let before = wine.store(Whose::Machine, "MY").unwrap();
    assert_eq!(before.len(), 4, "older versions stay");
    assert!(wine.powershell().contains(&told(&issued[1], &renewed)), "{}", wine.powershell());
    sync(&wine, &bob);
    assert_eq!(wine.store(Whose::Machine, "MY").unwrap(), before);
    assert_eq!(wine.powershell().matches("Switch-Certificate").count(), 2, "each link is told once");
}

#[test]
fn keeps_as_many_versions_as_the_settings_say_and_no_key_without_a_certificate() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let mut all = Vec::new();
    let settings = observing(&[entry(&story, "web", &json!({"keepVersions": 2}))]);
    for day in (1..4).rev() {
        let now = SystemTime::now();
        let request = Request::new("web.contoso.com").key(KeyKind::Rsa2048).valid(now - day * DAY, now + 9 * DAY);
        let issued = story.authority.issue(&request).unwrap();
        story.put_bundle("web", issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
        assert_eq!(sync(&wine, &settings), [true]);
        all.push(thumbprint(&issued));
    }
    let store = wine.store(Whose::Machine, "MY").unwrap();
    let mut kept: Vec<_> = store.iter().map(|held| held["thumbprint"].as_str().unwrap()).collect();
    kept.sort_by_key(|kept| all.iter().position(|one| one == kept));
    assert_eq!(kept, all[1..]);
    let mut used: Vec<_> = store.iter().map(|held| held["key"]["container"].as_str().unwrap()).collect();
    used.sort_unstable();
    assert_eq!(wine.keys(Whose::Machine).unwrap(), used);
}

/// What a pass logs that finds nothing wrong.
fn logged(wine: &Wine<'_>, settings: &Value) -> String {
    let settings = windows_path(&wine.story().write_settings(settings).unwrap());
    let finished = finish(wine.service(&["sync", &settings]).unwrap().env("RUST_LOG", "info")).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.errors
}

/// Puts a certificate for these names into the vault.
fn put_named(story: &Story, name: &str, names: &[&str]) -> Issued {
    let request = Request::new(names[0]).key(KeyKind::Rsa2048);
    let request = names[1..].iter().fold(request, |request, name| request.name(name));
    let issued = story.authority.issue(&request).unwrap();
    story.put_bundle(name, issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    issued
}

#[test]
fn learns_of_further_clouds_only_from_a_file_that_nobody_else_may_write() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let url = "https://contoso.vault.private.example/secrets/web";
    let settings = windows_path(&story.write_settings(&observing(&[json!(url)])).unwrap());
    let check = || finish(&mut wine.service(&["check", &settings, "--json"]).unwrap()).unwrap();
    assert_eq!(check().code, Some(2), "nobody knows this cloud");
    let file = wine.prefix().join("drive_c/Program Files/akvvm/clouds.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let clouds = json!({"clouds": [{"suffix": "vault.private.example", "audience": "https://vault.private.example"}]});
    std::fs::write(&file, clouds.to_string()).unwrap();
    // Wine makes access control lists of these.
    for (mode, code) in [(0o644, 0), (0o666, 2), (0o600, 0)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let checked = check();
        assert_eq!(checked.code, Some(code), "{mode:o}: {checked:?}");
        assert_eq!(format!("{checked:?}").contains("is not trusted"), code != 0, "{mode:o}: {checked:?}");
    }
}

/// Wine says of each library where it looks for it: for those of the start also beside the program, which only administrators
/// can write to, and for the providers of keys, which come later, no more.
#[test]
fn looks_for_libraries_in_the_systems_folder_alone() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    put(&story, "web");
    let settings = settings(&[entry(&story, "web", &json!({}))], &json!({}));
    let settings = windows_path(&story.write_settings(&settings).unwrap());
    let mut command = wine.service(&["sync", &settings, "--json"]).unwrap();
    let finished = finish(command.env("WINEDEBUG", "+module")).unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.output);
    let searches = finished.errors.lines().filter_map(|line| line.split_once("looking for L")?.1.split_once(" in "));
    let searches: Vec<_> = searches.skip_while(|(library, _)| !library.contains("rsaenh.dll")).collect();
    assert!(searches.len() > 1, "{}", finished.errors);
    for (library, places) in searches {
        assert_eq!(places, r#"L"C:\\windows\\system32\\""#, "{library}");
    }
}
