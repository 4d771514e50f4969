//! File systems that cannot do everything, mounted for a test.

use super::*;
use crate::certificate::validation::DISTRUSTED;

/// A file system on the store's folder, unmounted in the end.
struct Mount<'a>(&'a World);

impl<'a> Mount<'a> {
    fn new(world: &'a World, arguments: &[&str]) -> Self {
        fs::create_dir(world.store()).unwrap();
        run("mount", &[arguments, &["none", world.store().to_str().unwrap()]].concat());
        Self(world)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.store().to_str().unwrap()]);
    }
}

#[test]
fn without_access_control_lists_the_file_is_for_root_and_the_failure_is_told() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _mount = Mount::new(&world, &["-t", "ramfs", "-o", "mode=755"]);
    let observed = world.observed(&[user(ALICE)]);
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    let placed = store.write(&observed, &version(NEW), &certificate()).unwrap();
    let error = placed.unreadable.clone().unwrap();
    assert_eq!(error, StoreError::AclUnsupported { path: file(&world, NEW) });
    assert!(error.to_string().contains("ext4"), "{error}");
    assert!(store.point(&observed, &version(NEW)).unwrap());
    assert_eq!(mode(&file(&world, NEW)), 0o600);
    let before = state(&world.store());
    assert_eq!(find(&observed, NEW).unwrap(), Some(placed.clone()));
    assert_eq!(state(&world.store()), before);

    let for_root = world.observed(&[]);
    assert_eq!(find(&for_root, NEW).unwrap().unwrap().installed, placed.installed, "decoded: no record is kept here");
    fs::set_permissions(file(&world, NEW), Permissions::from_mode(0o644)).unwrap();
    find(&for_root, NEW).unwrap().unwrap();
    assert_eq!(mode(&file(&world, NEW)), 0o640);
}

#[test]
fn without_access_control_lists_the_mode_is_put_right_for_owner_and_group() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _mount = Mount::new(&world, &["-t", "ramfs", "-o", "mode=755"]);
    let observed = parsed(&world.store(), r#", "owner": "61001", "group": "61003", "mode": "0640""#);
    let placed = install(&observed, NEW);
    let path = file(&world, NEW);
    let who = || {
        let stat = fs::metadata(&path).unwrap();
        (stat.uid(), stat.gid(), mode(&path))
    };
    assert_eq!((placed.unreadable.as_ref(), who()), (None, (ALICE, STAFF, 0o640)));
    let before = state(&world.store());
    assert_eq!(find(&observed, NEW).unwrap(), Some(placed.clone()));
    assert_eq!(state(&world.store()), before);
    for (user, group, mode) in [(ALICE, STAFF, 0o666), (ALICE, STAFF, 0o400), (0, STAFF, 0o640), (ALICE, 0, 0o640)] {
        std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(find(&observed, NEW).unwrap(), Some(placed.clone()), "{user}:{group} {mode:o}");
        assert_eq!(who(), (ALICE, STAFF, 0o640), "{user}:{group} {mode:o}");
    }
}

#[test]
fn where_nothing_is_remembered_a_chain_is_judged_at_each_look() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _mount = Mount::new(&world, &["-t", "ramfs", "-o", "mode=755"]);
    let observed = world.observed(&[]);
    install(&observed, NEW);
    // Nobody trusts who issues the certificates of these tests.
    let trust = Arc::new(Trust::load(Arc::new(rustls::crypto::ring::default_provider())).unwrap());
    for _ in 0..2 {
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own).judging_by(Some(Arc::clone(&trust)));
        let placed = store.find(&observed, &version(NEW)).unwrap().unwrap();
        assert!(placed.warnings.iter().any(|said| said.starts_with(DISTRUSTED)), "{:?}", placed.warnings);
    }
}

#[test]
fn a_full_disk_leaves_the_old_certificate_and_nothing_half_written() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _mount = Mount::new(&world, &["-t", "tmpfs", "-o", "mode=755,size=64k"]);
    let observed = world.observed(&[user(ALICE)]);
    let placed = install(&observed, OLD);
    let filling = world.store().join("filling");
    fs::write(&filling, vec![0; 256 * 1024]).unwrap_err();
    let before = names(&world.store());
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    let error = store.write(&observed, &version(NEW), &certificate()).unwrap_err().to_string();
    assert!(error.contains(NEW) && error.contains("No space left") && error.contains("free some space"), "{error}");
    assert_eq!(names(&world.store()), before);
    assert_eq!(store.current(&observed).unwrap(), Some(placed.installed));
    fs::remove_file(filling).unwrap();
    store.write(&observed, &version(NEW), &certificate()).unwrap();
}

#[test]
fn a_read_only_file_system_is_named() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _mount = Mount::new(&world, &["-t", "tmpfs", "-o", "mode=755"]);
    let observed = world.observed(&[]);
    install(&observed, OLD);
    run("mount", &["-o", "remount,ro", world.store().to_str().unwrap()]);
    assert!(find(&observed, OLD).unwrap().is_some(), "reading goes on");
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    let error = store.write(&observed, &version(NEW), &certificate()).unwrap_err().to_string();
    assert!(error.contains("Read-only") && error.contains("restart the service"), "{error}");
}
