//! Owner, group and mode of a file, for programs that check them.

use super::*;

/// The certificate with these members in its settings, in a folder that everybody may pass through.
fn owned(world: &World, members: &str) -> ObservedCertificate {
    let _ = fs::create_dir(world.store());
    fs::set_permissions(world.store(), Permissions::from_mode(0o711)).unwrap();
    parsed(&world.store(), members)
}

fn who(path: &Path) -> (u32, u32, u32) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.uid(), stat.gid(), stat.mode() & 0o7777)
}

const POSTGRES: &str = r#", "owner": "61001", "group": "61003", "mode": "0640""#;

/// A certificate that is installed for PostgreSQL, and its file.
fn of_postgres() -> (World, ObservedCertificate, PathBuf) {
    let world = World::new();
    let observed = owned(&world, POSTGRES);
    install(&observed, NEW);
    let path = file(&world, NEW);
    (world, observed, path)
}

#[test]
fn a_file_belongs_to_whom_the_settings_name_and_an_unchanged_pass_writes_nothing() {
    if !is_root() {
        return;
    }
    for (members, expected) in [
        (POSTGRES, (ALICE, STAFF, 0o640)),
        (r#", "owner": "61001""#, (ALICE, 0, 0o600)),
        (r#", "group": "61003""#, (0, STAFF, 0o640)),
        (r#", "owner": "61001", "mode": "0400""#, (ALICE, 0, 0o400)),
        (r#", "mode": "0440""#, (0, 0, 0o440)),
    ] {
        let world = World::new();
        let observed = owned(&world, members);
        let placed = install(&observed, NEW);
        assert_eq!(placed.warnings, Vec::<String>::new(), "{members}");
        assert_eq!(who(&file(&world, NEW)), expected, "{members}");
        let before = state(&world.store());
        assert_eq!(find(&observed, NEW).unwrap(), Some(placed), "{members}");
        assert_eq!(state(&world.store()), before, "{members}");
    }
}

#[test]
fn only_what_is_wrong_is_changed_and_told() {
    if !is_root() {
        return;
    }
    let (world, observed, path) = of_postgres();
    let look = || {
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        let (place, _) = store.place(&observed).unwrap();
        let name = format!("contoso.web.{NEW}");
        let kept = Kept::open(&opened(&place.folder).unwrap().directory, &name, true).unwrap().unwrap();
        kept.put_right(&kept.rights()).unwrap()
    };
    assert_eq!(look(), Access::Right);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!((look(), look()), (Access::Repaired, Access::Right));
    std::os::unix::fs::chown(&path, Some(ALICE), Some(0)).unwrap();
    assert_eq!((look(), look()), (Access::Repaired, Access::Right));
    let second = world.path("second");
    fs::hard_link(&path, &second).unwrap();
    assert_eq!(look(), Access::Right);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(look(), Access::Unsure);
}

#[test]
fn a_group_that_may_not_read_is_not_let_through() {
    if !is_root() {
        return;
    }
    for (mode_of_file, mode_of_folder) in [("0600", 0o700), ("0640", 0o710)] {
        let world = World::new();
        let members = format!(r#", "group": "61003", "mode": "{mode_of_file}""#);
        install(&parsed(&world.store(), &members), NEW);
        assert_eq!(mode(&world.store()), mode_of_folder, "{mode_of_file}");
    }
}

#[test]
fn an_owner_and_accounts_in_acls_read_side_by_side() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let observed = owned(&world, &format!(r#"{POSTGRES}, "acls": [{{"user": "61002"}}]"#));
    install(&observed, NEW);
    assert_eq!(who(&file(&world, NEW)), (ALICE, STAFF, 0o640), "the mask is what the mode would be");
    let reads = |uid: u32, gid: u32| read_as(uid, gid, &link(&world)).is_some();
    assert!(reads(ALICE, ALICE) && reads(BOB, BOB) && reads(61_004, STAFF) && !reads(61_004, 61_004));

    let narrow = owned(&world, r#", "owner": "61001", "acls": [{"user": "61002"}]"#);
    find(&narrow, NEW).unwrap().unwrap();
    assert!(reads(ALICE, ALICE) && reads(BOB, BOB) && !reads(61_004, STAFF));
}

#[test]
fn a_pass_puts_right_what_somebody_changed() {
    if !is_root() {
        return;
    }
    let (_world, observed, path) = of_postgres();
    for mode in [0o600, 0o666, 0o000, 0o440] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        find(&observed, NEW).unwrap().unwrap();
        assert_eq!(who(&path), (ALICE, STAFF, 0o640), "{mode:o}");
    }
    for (user, group) in [(0, STAFF), (ALICE, 0), (0, 0)] {
        std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
        find(&observed, NEW).unwrap().unwrap();
        assert_eq!(who(&path), (ALICE, STAFF, 0o640), "{user}:{group}");
    }
    // Another user may have it open for writing: it is written anew.
    std::os::unix::fs::chown(&path, Some(BOB), None).unwrap();
    assert_eq!(find(&observed, NEW).unwrap(), None);
    let before = fs::metadata(&path).unwrap().ino();
    install(&observed, NEW);
    assert_eq!(who(&path), (ALICE, STAFF, 0o640));
    assert_ne!(fs::metadata(&path).unwrap().ino(), before);
}

#[test]
fn what_the_settings_do_not_say_any_more_is_taken_back_from_every_version() {
    if !is_root() {
        return;
    }
    let world = World::new();
    install(&owned(&world, POSTGRES), OLD);
    install(&owned(&world, POSTGRES), NEW);
    let group_only = owned(&world, r#", "group": "61003""#);
    assert_eq!(find(&group_only, NEW).unwrap(), None, "its owner was another");
    install(&group_only, NEW);
    assert_eq!(who(&file(&world, NEW)), (0, STAFF, 0o640));
    assert_eq!(who(&file(&world, OLD)), (0, STAFF, 0o640));
    let nothing = owned(&world, "");
    find(&nothing, NEW).unwrap().unwrap();
    assert_eq!(who(&file(&world, NEW)), (0, 0, 0o600));
    assert_eq!(who(&file(&world, OLD)), (0, 0, 0o600));
    let before = state(&world.store());
    find(&nothing, NEW).unwrap().unwrap();
    assert_eq!(state(&world.store()), before);
}

#[test]
fn for_accounts_that_do_not_exist_root_stands_in_until_they_do() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let observed = owned(&world, r#", "owner": "no such user", "group": "no such group""#);
    let placed = install(&observed, NEW);
    let [owner, group] = &placed.warnings[..] else { panic!("{:?}", placed.warnings) };
    assert!(owner.starts_with("user no such user does not exist"), "{owner}");
    assert!(group.starts_with("group no such group does not exist"), "{group}");
    assert_eq!(who(&file(&world, NEW)), (0, 0, 0o600));
    assert_eq!(find(&observed, NEW).unwrap().unwrap().warnings, placed.warnings, "at each pass");
    find(&owned(&world, POSTGRES), NEW).unwrap().unwrap();
    assert_eq!(who(&file(&world, NEW)), (ALICE, STAFF, 0o640));
}

#[test]
fn a_damaged_file_of_an_owner_is_written_anew_with_the_same_owner() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let observed = owned(&world, POSTGRES);
    install(&observed, NEW);
    fs::write(file(&world, NEW), "damaged").unwrap();
    assert_eq!(find(&observed, NEW).unwrap(), None);
    install(&observed, NEW);
    assert_eq!(who(&file(&world, NEW)), (ALICE, STAFF, 0o640));
    assert!(find(&observed, NEW).unwrap().is_some());
}

#[test]
fn an_owner_may_own_the_folder_as_well() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let observed = owned(&world, POSTGRES);
    std::os::unix::fs::chown(world.store(), Some(ALICE), Some(STAFF)).unwrap();
    let placed = install(&observed, NEW);
    let before = state(&world.store());
    assert_eq!(find(&observed, NEW).unwrap(), Some(placed));
    assert_eq!(state(&world.store()), before);

    // Her own file without our record is hers.
    fs::write(file(&world, OLD), pem(&certificate())).unwrap();
    std::os::unix::fs::chown(file(&world, OLD), Some(ALICE), None).unwrap();
    assert!(matches!(find(&observed, OLD), Err(StoreError::Foreign { .. })));
}

#[test]
fn an_owner_is_let_through_folders_that_the_service_created() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let folder = world.path("a/store");
    let placed = install(&parsed(&folder, POSTGRES), NEW);
    assert_eq!(placed.warnings, Vec::<String>::new());
    assert!(read_as(ALICE, ALICE, &folder.join("contoso.web")).is_some());
    assert!(read_as(BOB, STAFF, &folder.join("contoso.web")).is_some());
}
