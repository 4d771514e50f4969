//! The way to the folder: created, walked, refused.

use std::os::unix::fs::{chown, symlink};

use super::*;

fn refusal(observed: &ObservedCertificate) -> StoreError {
    Store::open(std::slice::from_ref(observed), &Network::Own)
        .write(observed, &version(NEW), &certificate())
        .unwrap_err()
}

#[test]
fn parents_are_created_for_all_and_the_last_folder_for_root() {
    let world = World::new();
    let observed = world.observed_in(&world.path("a/b/c"), &[]);
    install(&observed, NEW);
    assert_eq!([mode(&world.path("a")), mode(&world.path("a/b")), mode(&world.path("a/b/c"))], [0o755, 0o755, 0o700]);
    assert_eq!((names(&world.path("a")).len(), names(&world.path("a/b")).len()), (1, 1), "nothing unfinished is left");
}

#[test]
fn a_directory_that_a_crash_left_unfinished_does_not_stay() {
    let world = World::new();
    fs::create_dir(world.path("a")).unwrap();
    fs::create_dir(world.path("a/.akv-0123456789abcdef.tmp")).unwrap();
    install(&world.observed_in(&world.path("a/b"), &[]), NEW);
    assert_eq!(names(&world.path("a")), ["b"]);
}

#[test]
fn a_folder_that_is_removed_between_passes_comes_back() {
    let world = World::new();
    let observed = world.observed(&[user(ALICE)]);
    install(&observed, NEW);
    fs::remove_dir_all(world.store()).unwrap();
    assert_eq!(find(&observed, NEW).unwrap(), None);
    install(&observed, NEW);
    assert_eq!(mode(&world.store()), 0o710, "mode 700 and an entry for the listed account");
}

#[test]
fn a_folder_that_is_removed_within_a_pass_is_an_error_that_names_it() {
    let world = World::new();
    let observed = world.observed(&[]);
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    fs::remove_dir(world.store()).unwrap();
    let error = store.write(&observed, &version(NEW), &certificate()).unwrap_err().to_string();
    assert!(error.contains("/store/contoso.web.") && error.contains("next poll"), "{error}");
}

#[test]
fn links_of_root_lead_to_the_folder() {
    let world = World::new();
    fs::create_dir_all(world.path("real/deep")).unwrap();
    fs::create_dir(world.path("side")).unwrap();
    symlink("../real/./deep", world.path("side/relative")).unwrap();
    symlink(world.path("side/relative"), world.path("absolute")).unwrap();
    symlink("real/new", world.path("dangling")).unwrap();
    install(&world.observed_in(&world.path("absolute/store"), &[]), NEW);
    install(&world.observed_in(&world.path("dangling"), &[]), NEW);
    assert_eq!(names(&world.path("real/deep/store")).len(), 2);
    assert_eq!(names(&world.path("real/new")).len(), 2);
}

#[test]
fn links_that_lead_in_a_circle_are_refused() {
    let world = World::new();
    symlink("two", world.path("one")).unwrap();
    symlink("one", world.path("two")).unwrap();
    let error = refusal(&world.observed_in(&world.path("one/store"), &[]));
    assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
}

#[test]
fn as_many_links_are_followed_as_the_kernel_follows() {
    let world = World::new();
    fs::create_dir(world.path("0")).unwrap();
    for link in 1..=41 {
        symlink((link - 1).to_string(), world.path(&link.to_string())).unwrap();
    }
    for (links, is_followed) in [(40, true), (41, false)] {
        let folder = world.path(&links.to_string());
        assert_eq!(fs::read_dir(&folder).is_ok(), is_followed, "{links}");
        assert_eq!(Store::prepare(&[world.observed_in(&folder, &[])]).is_empty(), is_followed, "{links}");
    }
}

#[test]
fn links_that_somebody_else_may_swap_are_refused() {
    let world = World::new();
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for directory_mode in [0o775, 0o757, 0o1777] {
        let directory = world.path(&format!("mode{directory_mode:o}"));
        fs::create_dir(&directory).unwrap();
        symlink(&elsewhere, directory.join("link")).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(directory_mode)).unwrap();
        let error = refusal(&world.observed_in(&directory.join("link"), &[]));
        assert!(matches!(&error, StoreError::Unsafe { path, .. } if *path == directory.join("link")), "{error}");
    }
    if is_root() {
        let home = world.path("home");
        fs::create_dir(&home).unwrap();
        chown(&home, Some(ALICE), None).unwrap();
        symlink(&elsewhere, home.join("of_root")).unwrap();
        symlink(&elsewhere, world.path("of_alice")).unwrap();
        std::os::unix::fs::lchown(world.path("of_alice"), Some(ALICE), None).unwrap();
        for path in [home.join("of_root"), world.path("of_alice"), world.path("of_alice/store")] {
            let error = refusal(&world.observed_in(&path, &[]));
            assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
        }
    }
    assert_eq!(names(&elsewhere), Vec::<String>::new());
}

#[test]
fn the_folder_of_another_user_is_used_and_left_as_it_is() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.create_store(0o700);
    chown(world.store(), Some(ALICE), Some(ALICE)).unwrap();
    let observed = world.observed(&[user(ALICE), user(BOB)]);
    let placed = install(&observed, NEW);
    assert_eq!((mode(&world.store()), fs::metadata(world.store()).unwrap().uid()), (0o700, ALICE));
    assert_eq!(mode(&file(&world, NEW)), 0o640);
    assert!(read_as(ALICE, ALICE, &link(&world)).is_some() && read_as(BOB, BOB, &link(&world)).is_none());
    let [warning] = &placed.warnings[..] else { panic!("{:?}", placed.warnings) };
    assert!(warning.contains(&format!("user {BOB}")) && warning.contains(world.store().to_str().unwrap()), "{warning}");
    assert!(warning.contains("setfacl -m"), "{warning}");
}

#[test]
fn a_file_in_place_of_a_folder_is_named_and_stays() {
    let world = World::new();
    fs::write(world.path("file"), "mine").unwrap();
    for path in ["file", "file/store"] {
        let error = refusal(&world.observed_in(&world.path(path), &[]));
        assert_eq!(error, StoreError::NotDirectory { path: world.path("file") });
        assert!(error.to_string().contains("certificateStoreLocation"), "{error}");
    }
    assert_eq!(fs::read_to_string(world.path("file")).unwrap(), "mine");
}

#[test]
fn the_trouble_of_one_folder_is_not_the_trouble_of_another() {
    let world = World::new();
    fs::write(world.path("file"), "").unwrap();
    let all = [world.observed_in(&world.path("file"), &[]), world.observed(&[])];
    let store = Store::open(&all, &Network::Own);
    assert!(store.current(&all[0]).is_err());
    store.write(&all[1], &version(NEW), &certificate()).unwrap();
}

#[test]
fn folders_are_prepared_before_the_first_pass_and_trouble_with_one_is_told() {
    let world = World::new();
    fs::write(world.path("file"), "").unwrap();
    let all = ["file", "a/b", "c"].map(|folder| world.observed_in(&world.path(folder), &[]));
    assert_eq!(Store::prepare(&all), [StoreError::NotDirectory { path: world.path("file") }]);
    assert_eq!([mode(&world.path("a/b")), mode(&world.path("c"))], [0o700, 0o700]);
}

#[test]
fn folders_with_one_parent_let_their_accounts_through_it_at_the_same_time() {
    if !is_root() {
        return;
    }
    for round in 0..10 {
        let world = World::new();
        let parent = world.path("parent");
        install(&world.observed_in(&parent, &[]), NEW);
        let observed: Vec<_> =
            (0..16).map(|i| world.observed_in(&parent.join(i.to_string()), &[user(ALICE + i)])).collect();
        let store = Store::open(&observed, &Network::Own);
        std::thread::scope(|scope| {
            for observed in &observed {
                scope.spawn(|| store.write(observed, &version(NEW), &certificate()).unwrap());
            }
        });
        for (i, observed) in (0..).zip(&observed) {
            let file = observed.target.folder.join(format!("contoso.web.{NEW}"));
            assert!(read_as(ALICE + i, ALICE + i, &file).is_some(), "round {round}, account {i}");
        }
    }
}

#[test]
fn a_folder_costs_one_descriptor_however_many_directories_lead_to_it() {
    let world = World::new();
    let observed: Vec<_> = (0..100).map(|i| world.observed_in(&world.path(&format!("{i}/a/b/c/d/e")), &[])).collect();
    let store = Store::open(&observed, &Network::Own);
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let below =
        descriptors.filter(|path| fs::read_link(path).is_ok_and(|path| path.starts_with(world.temporary.path())));
    assert_eq!(below.count(), 100);
    drop(store);
}
