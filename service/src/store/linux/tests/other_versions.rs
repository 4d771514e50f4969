//! Who loses access to the version in use loses it to the older ones, and nobody else does.

use super::*;

fn reads(world: &World, account: u32, version: &str) -> bool {
    read_as(account, account, &file(world, version)).is_some()
}

#[test]
fn an_account_that_is_not_listed_any_more_loses_the_older_versions_too() {
    if !is_root() {
        return;
    }
    for is_renewed in [false, true] {
        let world = World::new();
        world.create_store(0o711);
        let both = world.observed(&[user(ALICE), user(BOB)]);
        install(&both, OLD);
        setfacl(&format!("u:{STAFF}:r"), &file(&world, OLD));
        if !is_renewed {
            install(&both, NEW);
        }
        let before = state(&file(&world, OLD));
        let bob = world.observed(&[user(BOB)]);
        if is_renewed {
            install(&bob, NEW);
        } else {
            find(&bob, NEW).unwrap().unwrap();
        }
        assert_ne!(state(&file(&world, OLD)), before);
        let readers = [ALICE, BOB, STAFF].map(|account| reads(&world, account, OLD));
        assert_eq!(readers, [false, true, true], "renewed: {is_renewed}");
    }
}

#[test]
fn an_account_that_is_called_by_its_number_now_keeps_the_older_versions() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.create_store(0o711);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    let [by_name, by_number] = ["nobody".to_owned(), nobody.to_string()].map(|name| world.observed(&[Acl::User(name)]));
    install(&by_name, OLD);
    install(&by_name, NEW);
    let before = state(&file(&world, OLD));
    find(&by_number, NEW).unwrap().unwrap();
    assert!(reads(&world, nobody, OLD) && reads(&world, nobody, NEW));
    assert_eq!(state(&file(&world, OLD)), before);
}

#[test]
fn an_account_that_is_not_listed_any_more_keeps_other_certificates() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.create_store(0o711);
    let web = world.observed(&[user(ALICE)]);
    let api = super::observed("api", &world.store(), &[user(ALICE)]);
    install(&api, OLD);
    install(&web, OLD);
    install(&web, NEW);
    find(&world.observed(&[]), NEW).unwrap().unwrap();
    assert!(!reads(&world, ALICE, OLD) && !reads(&world, ALICE, NEW));
    assert!(read_as(ALICE, ALICE, &world.store().join(format!("contoso.api.{OLD}"))).is_some());
}
