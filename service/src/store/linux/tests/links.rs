//! The link that applications open.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn the_link_is_relative_and_moves_by_one_rename() {
    let world = World::new();
    let observed = world.observed(&[]);
    install(&observed, OLD);
    assert_eq!(fs::read_link(link(&world)).unwrap(), Path::new(&format!("contoso.web.{OLD}")));
    let before = fs::symlink_metadata(link(&world)).unwrap().ino();
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    let placed = store.write(&observed, &version(NEW), &certificate()).unwrap();
    assert_eq!(store.current(&observed).unwrap().unwrap().version, version(OLD), "writing moves no link");
    assert!(store.point(&observed, &version(NEW)).unwrap());
    assert!(!store.point(&observed, &version(NEW)).unwrap());
    assert_ne!(fs::symlink_metadata(link(&world)).unwrap().ino(), before);
    assert_eq!(store.current(&observed).unwrap(), Some(placed.installed));
    assert_eq!(names(&world.store()).len(), 3, "the older version stays");
}

#[test]
fn a_reader_sees_a_whole_certificate_at_every_moment() {
    let world = World::new();
    let observed = world.observed(&[]);
    install(&observed, OLD);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let text = fs::read_to_string(link(&world)).unwrap();
                assert!(text.starts_with("-----BEGIN") && text.ends_with("PRIVATE KEY-----\n"), "{}", text.len());
                reads += 1;
            }
            reads
        });
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        for round in 0..100 {
            let version = version(if round % 2 == 0 { NEW } else { OLD });
            store.write(&observed, &version, &certificate()).unwrap();
            store.point(&observed, &version).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn what_earlier_releases_left_is_taken_over() {
    for absolute in [true, false] {
        let world = World::new();
        let observed = world.observed(&[]);
        let certificate = certificate();
        let name = format!("contoso.web.{OLD}.1700000000.1900000000.PEM");
        fs::create_dir(world.store()).unwrap();
        fs::write(world.store().join(&name), pem(&certificate)).unwrap();
        symlink(if absolute { world.store().join(&name) } else { name.clone().into() }, link(&world)).unwrap();
        let before = state(&world.store().join(&name));

        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        let current = store.current(&observed).unwrap().unwrap();
        assert_eq!((current.version.as_str(), current.thumbprint), (OLD, certificate.thumbprint()));
        store.write(&observed, &version(NEW), &certificate).unwrap();
        assert!(store.point(&observed, &version(NEW)).unwrap());
        assert_eq!(fs::read_link(link(&world)).unwrap(), Path::new(&format!("contoso.web.{NEW}")));
        assert_eq!(state(&world.store().join(&name)), before);
    }
}

#[test]
fn a_link_that_leads_nowhere_is_swung() {
    let world = World::new();
    let observed = world.observed(&[]);
    install(&observed, OLD);
    fs::remove_file(file(&world, OLD)).unwrap();
    assert_eq!(Store::open(std::slice::from_ref(&observed), &Network::Own).current(&observed).unwrap(), None);
    install(&observed, NEW);
    assert!(fs::read(link(&world)).is_ok());

    fs::remove_file(link(&world)).unwrap();
    symlink("contoso.web.not-a-version", link(&world)).unwrap();
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    assert_eq!(store.current(&observed).unwrap(), None);
    assert!(store.point(&observed, &version(NEW)).unwrap());
}

#[test]
fn the_link_of_the_settings_is_used() {
    let world = World::new();
    let settings = serde_json::json!({"secretsManagementSettings": {"observedCertificates": [{
        "url": "https://contoso.vault.azure.net/secrets/web",
        "certificateStoreLocation": world.store(),
        "customSymbolicLinkName": "tls.pem",
    }]}});
    let settings = Settings::parse(settings.to_string().as_bytes(), &Clouds::built_in()).unwrap();
    install(&settings.certificates[0], NEW);
    assert_eq!(names(&world.store()), [format!("contoso.web.{NEW}"), "tls.pem".into()]);
}

#[test]
fn a_link_that_the_settings_give_to_another_certificate_is_swung() {
    let world = World::new();
    let before = super::observed("before", &world.store(), &[]);
    install(&before, OLD);
    fs::rename(world.store().join("contoso.before"), link(&world)).unwrap();
    let observed = world.observed(&[]);
    assert_eq!(Store::open(std::slice::from_ref(&observed), &Network::Own).current(&observed).unwrap(), None);
    install(&observed, NEW);
    assert_eq!(fs::read_link(link(&world)).unwrap(), Path::new(&format!("contoso.web.{NEW}")));

    // A file without our record could be anybody's.
    fs::remove_file(link(&world)).unwrap();
    fs::write(world.store().join("contoso.other"), "").unwrap();
    symlink("contoso.other", link(&world)).unwrap();
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    assert!(matches!(store.point(&observed, &version(NEW)), Err(StoreError::Foreign { .. })));
}
