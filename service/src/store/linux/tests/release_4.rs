//! What release 4.x left: taken over as it is.

use std::os::unix::fs::symlink;

use super::split::{TIME, metadata, split, target};
use super::*;

/// What release 4.x leaves: files with a time of its own, links, metadata.
fn left_by_release_4(world: &World, version: &str) -> Certificate {
    let certificate = certificate();
    let _ = fs::create_dir(world.store());
    let names = [format!("contoso.web.{version}.pem.1711111111"), format!("contoso.web.{version}.keyid.1711111111")];
    fs::write(world.store().join(&names[0]), certificate.chain_to_pem().ok().unwrap()).unwrap();
    fs::write(world.store().join(&names[1]), certificate.key_to_pem().ok().unwrap()).unwrap();
    names.iter().for_each(|name| {
        fs::set_permissions(world.store().join(name), Permissions::from_mode(0o600)).unwrap();
    });
    symlink(&names[0], world.store().join("contoso.web.pem")).unwrap();
    symlink(&names[1], world.store().join("contoso.web.keyid")).unwrap();
    fs::write(world.store().join("contoso.web.luma"), "{}").unwrap();
    certificate
}

#[test]
fn links_of_release_4_go_on_where_the_settings_say_nothing() {
    let world = World::new();
    let observed = world.observed(&[]);
    let theirs = left_by_release_4(&world, OLD);
    let before = state(&world.store());
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    let current = store.current(&observed).unwrap().unwrap();
    assert_eq!((current.version, current.thumbprint), (version(OLD), theirs.thumbprint()));
    assert_eq!(state(&world.store()), before, "looking changes nothing");

    install(&observed, NEW);
    assert_eq!(target(&world, "contoso.web"), format!("contoso.web.{NEW}"));
    assert_eq!(target(&world, "contoso.web.pem"), format!("contoso.web.{NEW}.pem.{TIME}"));
    assert_eq!(target(&world, "contoso.web.keyid"), format!("contoso.web.{NEW}.keyid.{TIME}"));
    assert_eq!(metadata(&world)["version"], NEW);
    let theirs = format!("contoso.web.{OLD}.keyid.1711111111");
    let path = world.store().join(&theirs);
    assert_eq!(state(&path)[&path], before[&path], "its files stay as they are");

    // Also under a name from the settings, which it did not know.
    let named = parsed(&world.store(), r#", "customSymbolicLinkName": "tls""#);
    install(&named, OLD);
    assert_eq!(target(&world, "contoso.web.pem"), format!("contoso.web.{OLD}.pem.{TIME}"));
    assert_eq!(target(&world, "tls"), format!("contoso.web.{OLD}"));
}

#[test]
fn a_version_that_release_4_installed_is_used_as_it_is() {
    let world = World::new();
    let observed = split(&world);
    left_by_release_4(&world, NEW);
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    assert!(store.find(&observed, &version(NEW)).unwrap().is_some());
    assert!(store.point(&observed, &version(NEW)).unwrap(), "its metadata is not ours");
    assert_eq!(metadata(&world)["certificate"], format!("contoso.web.{NEW}.pem.1711111111"));
    fs::write(world.store().join(format!("contoso.web.{NEW}.keyid.1711111111")), "damaged").unwrap();
    assert_eq!(find(&observed, NEW).unwrap(), None);
    install(&observed, NEW);
    assert_eq!(target(&world, "contoso.web.keyid"), format!("contoso.web.{NEW}.keyid.{TIME}"));
}
