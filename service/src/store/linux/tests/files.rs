//! Files of versions: written whole, found whole, repaired when they are not.

use super::*;

#[test]
fn a_new_file_holds_the_certificate_for_root_alone() {
    let world = World::new();
    let observed = world.observed(&[]);
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    assert_eq!(store.find(&observed, &version(NEW)).unwrap(), None);
    let certificate = certificate();
    let placed = store.write(&observed, &version(NEW), &certificate).unwrap();
    assert_eq!(placed.installed.version, version(NEW));
    assert_eq!(placed.installed.thumbprint, certificate.thumbprint());
    assert_eq!(placed.installed.not_after.as_second(), 1_900_000_000);
    assert_eq!(placed.warnings, Vec::<String>::new());
    assert_eq!(fs::read(file(&world, NEW)).unwrap(), pem(&certificate));
    assert_eq!(mode(&file(&world, NEW)), 0o600);
    assert_eq!(names(&world.store()), [format!("contoso.web.{NEW}")]);
    assert_eq!(store.find(&observed, &version(NEW)).unwrap(), Some(placed));
}

#[test]
fn a_pass_that_finds_nothing_changed_changes_nothing() {
    let world = World::new();
    let observed = world.observed(&[user(ALICE), group(STAFF)]);
    let placed = install(&observed, NEW);
    let before = state(&world.path(""));
    for _ in 0..3 {
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        assert_eq!(store.current(&observed).unwrap(), Some(placed.installed));
        assert_eq!(store.find(&observed, &version(NEW)).unwrap(), Some(placed.clone()));
        assert!(!store.point(&observed, &version(NEW)).unwrap());
    }
    assert_eq!(state(&world.path("")), before);
}

#[test]
fn a_damaged_file_is_written_again() {
    let world = World::new();
    let observed = world.observed(&[]);
    let damages: [fn(&Path); 5] = [
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, vec![b'x'; 1024 * 1024]).unwrap(),
        |path| {
            let content = fs::read(path).unwrap();
            fs::write(path, &content[..content.len() - 40]).unwrap();
        },
        |path| {
            let mut content = fs::read(path).unwrap();
            content[100] ^= 1;
            fs::write(path, content).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
    ];
    for damage in damages {
        let placed = install(&observed, NEW);
        damage(&file(&world, NEW));
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        assert_eq!(store.current(&observed).unwrap(), None);
        assert_eq!(store.find(&observed, &version(NEW)).unwrap(), None);
        let certificate = certificate();
        let again = store.write(&observed, &version(NEW), &certificate).unwrap();
        assert_ne!(again, placed);
        assert_eq!(fs::read(file(&world, NEW)).unwrap(), pem(&certificate));
        assert_eq!(store.current(&observed).unwrap(), Some(again.installed));
    }
}

#[test]
fn a_whole_file_of_another_release_is_left_alone() {
    let world = World::new();
    let observed = world.observed(&[]);
    let certificate = certificate();
    fs::create_dir(world.store()).unwrap();
    fs::write(file(&world, NEW), pem(&certificate)).unwrap();
    fs::set_permissions(file(&world, NEW), Permissions::from_mode(0o600)).unwrap();
    let before = state(&world.store());
    let placed = find(&observed, NEW).unwrap().unwrap();
    assert_eq!(placed.installed.thumbprint, certificate.thumbprint());
    assert_eq!(state(&world.store()), before);

    fs::set_permissions(file(&world, NEW), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(find(&observed, NEW).unwrap(), Some(placed));
    assert_eq!(mode(&file(&world, NEW)), 0o640, "but for everybody's access");

    let content = pem(&certificate);
    fs::write(file(&world, NEW), &content[..content.len() - 40]).unwrap();
    assert_eq!(find(&observed, NEW).unwrap(), None, "without a record it has to decode");
}

#[test]
fn a_file_with_a_second_name_is_written_as_a_new_one_when_it_must_change() {
    let world = World::new();
    let observed = world.observed(&[]);
    install(&observed, NEW);
    let second = world.path("second");
    fs::hard_link(file(&world, NEW), &second).unwrap();
    let placed = find(&observed, NEW).unwrap().unwrap();
    assert!(placed.warnings[0].contains("hard link"), "{:?}", placed.warnings);

    fs::set_permissions(&second, Permissions::from_mode(0o604)).unwrap();
    let before = state(&second);
    assert_eq!(find(&observed, NEW).unwrap(), None);
    assert_eq!(state(&second), before);
    let placed = install(&observed, NEW);
    assert!(placed.warnings[0].contains("hard link"), "{:?}", placed.warnings);
    assert_ne!(fs::metadata(&second).unwrap().ino(), fs::metadata(file(&world, NEW)).unwrap().ino());
    assert_eq!(mode(&file(&world, NEW)), 0o600);
    assert_eq!(find(&observed, NEW).unwrap().unwrap().warnings, Vec::<String>::new());
}

#[test]
fn the_leaf_in_use_is_the_one_that_the_links_lead_to() {
    let world = World::new();
    for files in ["combined", "split"] {
        let observed = parsed(&world.path(files), &format!(r#", "certificateFiles": "{files}""#));
        let certificate = certificate();
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        store.write(&observed, &version(NEW), &certificate).unwrap();
        assert!(store.leaf_in_use(&observed).is_none(), "{files}: no link yet");
        store.point(&observed, &version(NEW)).unwrap();
        assert_eq!(store.leaf_in_use(&observed).as_ref(), certificate.chain.first(), "{files}");
    }
}

#[test]
fn of_several_files_each_warning_is_told_once_and_no_trouble_is_forgotten() {
    let world = World::new();
    let unreadable = Some(StoreError::AclUnsupported { path: file(&world, NEW) });
    let one = Placed { warnings: vec!["a".into(), "b".into()], ..install(&world.observed(&[]), NEW) };
    let two = Placed { warnings: vec!["b".into(), "c".into()], unreadable: unreadable.clone(), ..one.clone() };
    let both = one.with(two);
    assert_eq!((both.warnings, both.unreadable), (vec!["a".into(), "b".into(), "c".into()], unreadable));
}

#[test]
fn what_a_crash_left_is_swept_and_nothing_else() {
    let world = World::new();
    let observed = world.observed(&[]);
    install(&observed, NEW);
    let stays = [
        ".akv-0123456789abcdef.tm",
        ".akv-0123456789abcde.tmp",
        ".akv-0123456789ABCDEF.tmp",
        "akv-0123456789abcdef.tmp",
        ".akv-full0123456789a.tmp",
    ];
    for name in &stays[..4] {
        fs::write(world.store().join(name), "key").unwrap();
    }
    fs::create_dir_all(world.store().join(stays[4]).join("something")).unwrap();
    fs::write(world.store().join(".akv-0123456789abcdef.tmp"), "key").unwrap();
    std::os::unix::fs::symlink("anything", world.store().join(".akv-aaaaaaaaaaaaaaaa.tmp")).unwrap();
    fs::create_dir(world.store().join(".akv-bbbbbbbbbbbbbbbb.tmp")).unwrap();
    let before = names(&world.store()).len();
    Store::open(std::slice::from_ref(&observed), &Network::Own);
    let after = names(&world.store());
    assert_eq!(after.len(), before - 3, "{after:?}");
    assert!(stays.iter().all(|name| after.iter().any(|left| left == name)), "{after:?}");

    if is_root() {
        let theirs = world.store().join(".akv-cccccccccccccccc.tmp");
        fs::write(&theirs, "").unwrap();
        std::os::unix::fs::chown(&theirs, Some(ALICE), None).unwrap();
        Store::open(std::slice::from_ref(&observed), &Network::Own);
        assert!(theirs.exists());
    }
}

#[test]
fn many_threads_use_one_store() {
    let world = World::new();
    let observed: Vec<_> = (0..32).map(|number| observed(&format!("web{number}"), &world.store(), &[])).collect();
    let store = Store::open(&observed, &Network::Own);
    std::thread::scope(|scope| {
        for part in observed.chunks(2) {
            let store = &store;
            scope.spawn(move || {
                for observed in part {
                    store.write(observed, &version(NEW), &certificate()).unwrap();
                    assert!(store.point(observed, &version(NEW)).unwrap());
                }
            });
        }
    });
    assert_eq!(names(&world.store()).len(), 64);
    assert!(observed.iter().all(|observed| store.current(observed).unwrap().is_some()));
}
