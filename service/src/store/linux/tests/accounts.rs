//! Who can read a certificate in the end: tried by other accounts, with the kernel as the judge.

use rustix::fs::XattrFlags;

use super::*;

/// A folder that everybody may pass through, with a file in it that Alice may read.
fn with_alice() -> (World, ObservedCertificate) {
    let world = World::new();
    let observed = world.observed(&[user(ALICE)]);
    world.create_store(0o755);
    install(&observed, NEW);
    (world, observed)
}

fn may_read(world: &World, account: u32) -> bool {
    read_as(account, account, &link(world)).is_some()
}

#[test]
fn listed_accounts_read_through_the_link_and_nobody_else_does() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let observed = world.observed_in(&world.path("a/store"), &[user(ALICE), group(STAFF)]);
    let placed = install(&observed, NEW);
    assert_eq!(placed.warnings, Vec::<String>::new());
    let link = world.path("a/store/contoso.web");
    let content = fs::read(&link).unwrap();
    assert_eq!(read_as(ALICE, ALICE, &link), Some(content.clone()));
    assert_eq!(read_as(BOB, STAFF, &link), Some(content));
    assert_eq!(read_as(BOB, BOB, &link), None);
    let listing = Command::new("ls").arg(world.path("a/store")).uid(ALICE).gid(ALICE).output().unwrap();
    assert!(!listing.status.success(), "to pass through a folder is not to list it");
}

#[test]
fn a_later_pass_lets_new_accounts_in_and_takes_our_own_grants_away() {
    if !is_root() {
        return;
    }
    let world = World::new();
    install(&world.observed(&[user(ALICE)]), NEW);
    setfacl(&format!("u:{STAFF}:r"), &file(&world, NEW));
    setfacl(&format!("u:{STAFF}:x"), &world.store());
    find(&world.observed(&[user(ALICE), user(BOB)]), NEW).unwrap().unwrap();
    assert!(may_read(&world, ALICE) && may_read(&world, BOB));
    find(&world.observed(&[user(BOB)]), NEW).unwrap().unwrap();
    assert!(!may_read(&world, ALICE) && may_read(&world, BOB));
    find(&world.observed(&[]), NEW).unwrap().unwrap();
    assert!(!may_read(&world, BOB) && may_read(&world, STAFF), "the administrator's grant is not ours to take");
    setfacl(&format!("u:{BOB}:r"), &file(&world, NEW));
    let before = state(&world.store());
    find(&world.observed(&[]), NEW).unwrap().unwrap();
    assert_eq!(state(&world.store()), before, "nor is the one that he gives after we took ours");
}

#[test]
fn root_needs_no_entry() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let placed = install(&world.observed(&[Acl::User("root".into()), user(0)]), NEW);
    assert_eq!((placed.warnings.len(), mode(&file(&world, NEW)), mode(&world.store())), (0, 0o600, 0o700));
}

#[test]
fn access_for_everybody_ends_and_missing_grants_come_back() {
    if !is_root() {
        return;
    }
    let (world, observed) = with_alice();
    let path = file(&world, NEW);
    for mode in [0o644, 0o666, 0o600, 0o000, 0o640] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        find(&observed, NEW).unwrap().unwrap();
        assert!(may_read(&world, ALICE) && !may_read(&world, BOB), "{mode:o}");
    }
    for damage in [["-b"].as_slice(), &["-x", "u:61001"], &["-m", "u:61001:-"], &["-m", "m::-"], &["-m", "o::r"]] {
        run("setfacl", &[damage, &[path.to_str().unwrap()]].concat());
        find(&observed, NEW).unwrap().unwrap();
        assert!(may_read(&world, ALICE) && !may_read(&world, BOB), "{damage:?}");
        let before = state(&world.store());
        find(&observed, NEW).unwrap().unwrap();
        assert_eq!(state(&world.store()), before, "{damage:?}");
    }
}

#[test]
fn a_repair_gives_nobody_else_access() {
    if !is_root() {
        return;
    }
    let (world, observed) = with_alice();
    setfacl(&format!("u:{BOB}:r"), &file(&world, NEW));
    run("setfacl", &["-m", "m::-", file(&world, NEW).to_str().unwrap()]);
    find(&observed, NEW).unwrap().unwrap();
    assert!(may_read(&world, ALICE) && !may_read(&world, BOB), "the mask shut him out before");
}

#[test]
fn readers_that_others_added_stay_when_a_damaged_file_is_written_again() {
    if !is_root() {
        return;
    }
    let (world, observed) = with_alice();
    let path = file(&world, NEW);
    setfacl(&format!("u:{BOB}:r"), &path);
    setfacl("g::r", &path);
    std::os::unix::fs::chown(&path, None, Some(STAFF)).unwrap();
    fs::write(&path, "damaged").unwrap();
    assert_eq!(find(&observed, NEW).unwrap(), None);
    install(&observed, NEW);
    assert!(may_read(&world, ALICE) && may_read(&world, BOB) && may_read(&world, STAFF));
    assert!(!may_read(&world, 61_004));
    assert_eq!(fs::metadata(&path).unwrap().gid(), 0);
}

#[test]
fn a_new_file_takes_no_readers_from_its_folder() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.create_store(0o755);
    setfacl(&format!("d:u:{BOB}:rwx"), &world.store());
    for acls in [vec![], vec![user(ALICE)]] {
        install(&world.observed(&acls), NEW);
        let path = file(&world, NEW);
        run("setfacl", &["-m", "m::rwx", path.to_str().unwrap()]);
        assert!(!may_read(&world, BOB));
    }
}

#[test]
fn accounts_that_do_not_exist_are_a_warning() {
    let world = World::new();
    let observed = world.observed(&[Acl::User("no such user".into()), Acl::Group("no such group".into())]);
    let placed = install(&observed, NEW);
    assert_eq!(placed.warnings.len(), 2);
    assert!(placed.warnings[0].starts_with("user no such user does not exist"), "{:?}", placed.warnings);
    assert!(placed.warnings[1].starts_with("group no such group does not exist"), "{:?}", placed.warnings);
    assert_eq!(find(&observed, NEW).unwrap().unwrap().warnings, placed.warnings, "at each pass");
    assert_eq!(mode(&file(&world, NEW)), 0o600);
}

#[test]
fn only_directories_that_the_service_created_are_opened() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let theirs = world.path("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::set_permissions(&theirs, Permissions::from_mode(0o750)).unwrap();
    let observed = world.observed_in(&theirs.join("store"), &[user(ALICE)]);
    let placed = install(&observed, NEW);
    assert_eq!(mode(&theirs), 0o750);
    assert_eq!(mode(&theirs.join("store")), 0o710);
    let [warning] = &placed.warnings[..] else { panic!("{:?}", placed.warnings) };
    let hint = warning.split("run ").nth(1).unwrap();
    assert_eq!(read_as(ALICE, ALICE, &theirs.join("store/contoso.web")), None);
    run("sh", &["-c", hint]);
    assert!(read_as(ALICE, ALICE, &theirs.join("store/contoso.web")).is_some(), "the hint helps: {hint}");
    assert_eq!(find(&observed, NEW).unwrap().unwrap().warnings, Vec::<String>::new());
}

#[test]
fn a_mark_counts_only_where_nobody_else_could_have_set_it() {
    if !is_root() {
        return;
    }
    for (owner, mode_bits) in [(ALICE, 0o700), (0, 0o720)] {
        let world = World::new();
        fs::create_dir(world.store()).unwrap();
        rustix::fs::setxattr(world.store(), "user.akvvm.created", b"1", XattrFlags::empty()).unwrap();
        fs::set_permissions(world.store(), Permissions::from_mode(mode_bits)).unwrap();
        std::os::unix::fs::chown(world.store(), Some(owner), None).unwrap();
        let placed = install(&world.observed(&[user(BOB)]), NEW);
        assert_eq!(mode(&world.store()), mode_bits);
        assert_eq!(placed.warnings.len(), 1, "{:?}", placed.warnings);
    }
}

#[test]
fn a_later_pass_lets_accounts_through_directories_that_an_earlier_one_created() {
    if !is_root() {
        return;
    }
    let world = World::new();
    install(&world.observed(&[]), NEW);
    assert_eq!(mode(&world.store()), 0o700);
    let placed = find(&world.observed(&[user(ALICE)]), NEW).unwrap().unwrap();
    assert_eq!(placed.warnings, Vec::<String>::new());
    assert!(may_read(&world, ALICE));
}

#[test]
fn a_key_under_the_name_of_another_is_not_opened_to_its_readers() {
    if !is_root() {
        return;
    }
    for has_record in [true, false] {
        let world = World::new();
        let observed = world.observed(&[user(ALICE)]);
        fs::create_dir(world.store()).unwrap();
        std::os::unix::fs::chown(world.store(), Some(ALICE), None).unwrap();
        install(&observed, NEW);
        // The folder's owner moves a key that she may not read to the name of one that she may.
        let secret = world.store().join(format!("contoso.secret.{NEW}"));
        install(&super::observed("secret", &world.store(), &[]), NEW);
        if !has_record {
            rustix::fs::removexattr(&secret, record::ATTRIBUTE).unwrap();
        }
        fs::rename(&secret, file(&world, NEW)).unwrap();
        let before = state(&world.store());
        assert_eq!(find(&observed, NEW).unwrap(), None);
        assert_eq!(state(&world.store()), before);

        // Nor does she gain by a file that she may read: its readers are not taken over.
        setfacl(&format!("u:{ALICE}:r"), &file(&world, NEW));
        install(&world.observed(&[]), NEW);
        assert!(!may_read(&world, ALICE));
        assert_eq!(mode(&file(&world, NEW)), 0o600);
    }
}

#[test]
fn two_links_to_one_certificate_let_the_accounts_of_both_in() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let settings = |name: &str| {
        serde_json::json!({
            "url": "https://contoso.vault.azure.net/secrets/web",
            "certificateStoreLocation": world.store(),
            "customSymbolicLinkName": name,
        })
    };
    let settings = serde_json::json!({"secretsManagementSettings": {
        "observedCertificates": [settings("alice.pem"), settings("bob.pem")],
    }});
    let mut observed = Settings::parse(settings.to_string().as_bytes(), &Clouds::built_in()).unwrap().certificates;
    observed[0].target.acls = vec![user(ALICE)];
    observed[1].target.acls = vec![user(BOB)];
    let store = Store::open(&observed, &Network::Own);
    store.write(&observed[0], &version(NEW), &certificate()).unwrap();
    let pass = |store: &Store| {
        for observed in &observed {
            store.find(observed, &version(NEW)).unwrap().unwrap();
            store.point(observed, &version(NEW)).unwrap();
        }
    };
    pass(&store);
    for (account, link) in [(ALICE, "alice.pem"), (BOB, "bob.pem")] {
        assert!(read_as(account, account, &world.store().join(link)).is_some(), "{link}");
    }
    let before = state(&world.store());
    pass(&Store::open(&observed, &Network::Own));
    assert_eq!(state(&world.store()), before, "neither entry takes away what the other gives");
}

#[test]
fn the_file_of_a_link_that_stays_is_put_right_too() {
    if !is_root() {
        return;
    }
    let world = World::new();
    install(&world.observed(&[]), OLD);
    fs::set_permissions(world.store(), Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(file(&world, OLD), Permissions::from_mode(0o604)).unwrap();
    let observed = world.observed(&[user(ALICE)]);
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    let current = store.current(&observed).unwrap();
    assert!(may_read(&world, BOB), "reading changes nothing");
    let kept = store.keep(&observed).unwrap().unwrap();
    assert_eq!((Some(kept.installed), kept.warnings.len()), (current, 0));
    assert!(may_read(&world, ALICE) && !may_read(&world, BOB));
    let before = state(&world.store());
    assert!(store.keep(&observed).unwrap().is_some());
    assert_eq!(state(&world.store()), before);
    fs::remove_file(link(&world)).unwrap();
    assert_eq!(store.keep(&observed).unwrap(), None);
}
