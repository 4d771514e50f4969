//! Chain and key in files of their own, as release 4.x has them.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// When the validity of the tests' certificates begins.
pub(super) const TIME: i64 = 1_700_000_000;

pub(super) fn split(world: &World) -> ObservedCertificate {
    parsed(&world.store(), r#", "certificateFiles": "split""#)
}

fn chain(world: &World, version: &str) -> PathBuf {
    world.store().join(format!("contoso.web.{version}.pem.{TIME}"))
}

fn key(world: &World, version: &str) -> PathBuf {
    world.store().join(format!("contoso.web.{version}.keyid.{TIME}"))
}

pub(super) fn target(world: &World, link: &str) -> String {
    fs::read_link(world.store().join(link)).unwrap().to_str().unwrap().to_owned()
}

pub(super) fn metadata(world: &World) -> serde_json::Value {
    serde_json::from_slice(&fs::read(world.store().join("contoso.web.luma")).unwrap()).unwrap()
}

#[test]
fn chain_and_key_have_files_links_and_metadata_of_their_own() {
    let world = World::new();
    let observed = split(&world);
    let certificate = certificate();
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    let placed = store.write(&observed, &version(NEW), &certificate).unwrap();
    assert_eq!(store.current(&observed).unwrap(), None);
    assert!(store.point(&observed, &version(NEW)).unwrap());
    assert!(!store.point(&observed, &version(NEW)).unwrap());
    assert_eq!(store.current(&observed).unwrap(), Some(placed.installed));
    let (chain, key) = (chain(&world, NEW), key(&world, NEW));
    assert_eq!(names(&world.store()).len(), 5, "{:?}", names(&world.store()));
    assert_eq!(target(&world, "contoso.web.pem"), chain.file_name().unwrap().to_str().unwrap());
    assert_eq!(target(&world, "contoso.web.keyid"), key.file_name().unwrap().to_str().unwrap());
    assert_eq!(fs::read(&chain).unwrap(), certificate.chain_to_pem().ok().unwrap());
    assert_eq!(fs::read(&key).unwrap(), *certificate.key_to_pem().ok().unwrap());
    assert_eq!([&chain, &key].map(|path| mode(path)), [0o600, 0o600]);
    assert_eq!(mode(&world.store().join("contoso.web.luma")), 0o644);
    assert_eq!(
        metadata(&world),
        serde_json::json!({
            "version": NEW,
            "thumbprint": certificate.thumbprint().to_string(),
            "notBefore": "2023-11-14T22:13:20Z",
            "notAfter": "2030-03-17T17:46:40Z",
            "certificate": chain.file_name().unwrap().to_str().unwrap(),
            "privateKey": key.file_name().unwrap().to_str().unwrap(),
        })
    );

    let before = state(&world.store());
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    assert_eq!(store.find(&observed, &version(NEW)).unwrap(), Some(placed));
    assert!(!store.point(&observed, &version(NEW)).unwrap());
    assert_eq!(state(&world.store()), before, "an unchanged pass writes nothing");
}

#[test]
fn both_layouts_stand_side_by_side_and_the_link_of_the_settings_names_them() {
    let world = World::new();
    let observed =
        parsed(&world.store(), r#", "certificateFiles": "both", "customSymbolicLinkName": "tls", "owner": "0""#);
    install(&observed, OLD);
    install(&observed, NEW);
    let links: Vec<_> = names(&world.store()).into_iter().filter(|name| name.starts_with("tls")).collect();
    assert_eq!(links, ["tls", "tls.keyid", "tls.luma", "tls.pem"]);
    assert_eq!(target(&world, "tls"), format!("contoso.web.{NEW}"));
    assert_eq!(target(&world, "tls.pem"), format!("contoso.web.{NEW}.pem.{TIME}"));
    assert_eq!(names(&world.store()).len(), 4 + 6, "older versions stay");
}

#[test]
fn an_older_version_may_be_written_without_the_links() {
    let world = World::new();
    let observed = split(&world);
    install(&observed, NEW);
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    assert_eq!(store.find(&observed, &version(OLD)).unwrap(), None);
    store.write(&observed, &version(OLD), &certificate()).unwrap();
    assert!(store.find(&observed, &version(OLD)).unwrap().is_some());
    assert!(!store.point(&observed, &version(NEW)).unwrap());
    let before = state(&world.store());
    assert!(find(&observed, OLD).unwrap().is_some(), "by the folder, as no link leads to it");
    assert_eq!(state(&world.store()), before);
    assert!(store.point(&observed, &version(OLD)).unwrap(), "and it may become the one in use");
    assert_eq!(metadata(&world)["version"], OLD);
}

#[test]
fn a_damaged_or_missing_part_is_written_anew() {
    let world = World::new();
    let observed = split(&world);
    install(&observed, NEW);
    let damages: [fn(&World); 4] = [
        |world| fs::write(chain(world, NEW), "damaged").unwrap(),
        |world| fs::write(key(world, NEW), "damaged").unwrap(),
        |world| fs::remove_file(key(world, NEW)).unwrap(),
        |world| fs::copy(chain(world, OLD), chain(world, NEW)).map(drop).unwrap(),
    ];
    Store::open(std::slice::from_ref(&observed), &Network::Own)
        .write(&observed, &version(OLD), &certificate())
        .unwrap();
    for (number, damage) in damages.iter().enumerate() {
        damage(&world);
        assert_eq!(find(&observed, NEW).unwrap(), None, "{number}");
        install(&observed, NEW);
        assert!(find(&observed, NEW).unwrap().is_some(), "{number}");
        assert!(openssl_accepts(&world), "{number}");
    }
    let ways: [fn(&World); 6] = [
        |world| fs::remove_file(world.store().join("contoso.web.pem")).unwrap(),
        |world| fs::remove_file(world.store().join("contoso.web.luma")).unwrap(),
        |world| fs::write(world.store().join("contoso.web.luma"), "{}").unwrap(),
        |world| fs::write(world.store().join("contoso.web.luma"), vec![b' '; 64 * 1024]).unwrap(),
        |world| fs::set_permissions(world.store().join("contoso.web.luma"), Permissions::from_mode(0o600)).unwrap(),
        |world| {
            // A crash between the two renames.
            fs::remove_file(world.store().join("contoso.web.keyid")).unwrap();
            symlink(format!("contoso.web.{OLD}.keyid.{TIME}"), world.store().join("contoso.web.keyid")).unwrap();
        },
    ];
    for (number, damage) in ways.iter().enumerate() {
        damage(&world);
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        assert!(store.find(&observed, &version(NEW)).unwrap().is_some(), "{number}");
        assert!(store.point(&observed, &version(NEW)).unwrap(), "{number}");
        assert_eq!(metadata(&world)["version"], NEW, "{number}");
        assert_eq!(mode(&world.store().join("contoso.web.luma")), 0o644, "{number}");
        assert!(openssl_accepts(&world), "{number}");
    }
}

/// Whether what the two links lead to belongs together.
fn openssl_accepts(world: &World) -> bool {
    let read = |link: &str| fs::read(world.store().join(link)).unwrap();
    let leaf = X509::from_pem(&read("contoso.web.pem")).unwrap();
    let key = PKey::private_key_from_pem(&read("contoso.web.keyid")).unwrap();
    leaf.public_key().unwrap().public_eq(&key)
}

#[test]
fn a_reader_finds_chain_and_key_whole_and_rarely_of_two_versions() {
    let world = World::new();
    let observed = split(&world);
    install(&observed, OLD);
    install(&observed, NEW);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut mixed) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                reads += 1;
                mixed += usize::from(!openssl_accepts(&world));
                // The metadata comes last: what it names is there, and belongs together.
                let metadata = metadata(&world);
                let [leaf, key] = ["certificate", "privateKey"]
                    .map(|part| fs::read(world.store().join(metadata[part].as_str().unwrap())).unwrap());
                let leaf = X509::from_pem(&leaf).unwrap();
                assert!(leaf.public_key().unwrap().public_eq(&PKey::private_key_from_pem(&key).unwrap()));
            }
            (reads, mixed)
        });
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        for round in 0..200 {
            let version = version(if round % 2 == 0 { OLD } else { NEW });
            assert!(store.find(&observed, &version).unwrap().is_some());
            assert!(store.point(&observed, &version).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        done.store(true, Ordering::Relaxed);
        let (reads, mixed) = reader.join().unwrap();
        assert!(reads > 0 && mixed < reads, "{mixed} of {reads}");
    });
}

#[test]
fn accounts_in_acls_read_chain_and_key() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let observed =
        parsed(&world.store(), r#", "certificateFiles": "split", "owner": "61002", "acls": [{"user": "61001"}]"#);
    let placed = install(&observed, NEW);
    assert_eq!(placed.warnings, Vec::<String>::new());
    let reads = |account: u32, link: &str| read_as(account, account, &world.store().join(link)).is_some();
    for link in ["contoso.web.pem", "contoso.web.keyid", "contoso.web.luma"] {
        assert!(reads(ALICE, link) && reads(BOB, link), "{link}");
        assert!(!reads(STAFF, link), "{link}");
    }
    run("setfacl", &["-b", key(&world, NEW).to_str().unwrap()]);
    run("setfacl", &["-b", chain(&world, NEW).to_str().unwrap()]);
    find(&observed, NEW).unwrap().unwrap();
    assert!(reads(ALICE, "contoso.web.pem") && reads(ALICE, "contoso.web.keyid"));
    install(&split(&world), OLD);
    let older = [chain(&world, NEW), key(&world, NEW)];
    assert!(older.iter().all(|path| read_as(ALICE, ALICE, path).is_none() && read_as(BOB, BOB, path).is_none()));
}

#[test]
fn split_links_of_another_certificate_are_no_reason_for_own_ones() {
    let world = World::new();
    install(&split(&world), NEW);
    install(&super::observed("api", &world.store(), &[]), NEW);
    let own: Vec<_> = names(&world.store()).into_iter().filter(|name| name.starts_with("contoso.api")).collect();
    assert_eq!(own, ["contoso.api".to_owned(), format!("contoso.api.{NEW}")]);
}

#[test]
fn from_one_layout_to_another_the_old_links_lead_to_whole_files() {
    let world = World::new();
    let combined = parsed(&world.store(), r#", "certificateFiles": "combined""#);
    install(&combined, OLD);
    install(&split(&world), NEW);
    assert_eq!(target(&world, "contoso.web"), format!("contoso.web.{OLD}"), "it does not move any more");
    assert!(fs::read(link(&world)).is_ok());
    install(&combined, NEW);
    let stays = target(&world, "contoso.web.keyid");
    install(&combined, OLD);
    assert_eq!(target(&world, "contoso.web.keyid"), stays);
    assert!(openssl_accepts(&world));
}

#[test]
fn what_is_not_ours_stays_where_a_link_or_the_metadata_belongs() {
    for name in ["contoso.web.pem", "contoso.web.keyid", "contoso.web.luma"] {
        let world = World::new();
        let observed = split(&world);
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        store.write(&observed, &version(NEW), &certificate()).unwrap();
        fs::create_dir(world.store().join(name)).unwrap();
        let error = store.point(&observed, &version(NEW)).unwrap_err();
        assert!(matches!(&error, StoreError::Foreign { path, .. } if path.ends_with(name)), "{name}: {error}");
        assert!(fs::symlink_metadata(world.store().join(name)).unwrap().is_dir(), "{name}");
        let left: Vec<_> = names(&world.store()).into_iter().filter(|left| left.ends_with(".tmp")).collect();
        assert_eq!(left, Vec::<String>::new(), "{name}");
    }
}
