//! What is not ours and stands where something of ours belongs: named, and never touched.

use std::os::unix::fs::{lchown, symlink};
use std::os::unix::net::UnixListener;

use super::*;

type Obstacle = (&'static str, fn(&Path));

/// Puts something in a place and expects every call that would change it to refuse.
fn stays(
    obstacle: &Obstacle,
    place: fn(&World) -> PathBuf,
    calls: &[fn(&Store, &ObservedCertificate) -> Option<StoreError>],
) {
    let world = World::new();
    let observed = world.observed(&[user(ALICE)]);
    fs::create_dir(world.store()).unwrap();
    let (name, put) = obstacle;
    put(&place(&world));
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    let before = state(&world.store());
    for call in calls {
        let error = call(&store, &observed).unwrap_or_else(|| panic!("{name}: not refused"));
        assert!(matches!(&error, StoreError::Foreign { path, .. } if *path == place(&world)), "{name}: {error}");
        assert!(error.to_string().contains("untouched"), "{name}: {error}");
    }
    assert_eq!(state(&world.store()), before, "{name}");
}

#[test]
fn in_place_of_a_file() {
    let obstacles: [Obstacle; 6] = [
        ("directory", |path| fs::create_dir(path).unwrap()),
        ("fifo", |path| run("mkfifo", &[path.to_str().unwrap()])),
        ("socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("link", |path| symlink("/etc/hostname", path).unwrap()),
        ("large", |path| fs::write(path, vec![b'x'; 1024 * 1024 + 1]).unwrap()),
        ("another user's", |path| {
            fs::write(path, pem(&certificate())).unwrap();
            std::os::unix::fs::chown(path, Some(ALICE), None).unwrap();
        }),
    ];
    let count = if is_root() { obstacles.len() } else { obstacles.len() - 1 };
    for obstacle in &obstacles[..count] {
        stays(
            obstacle,
            |world| file(world, NEW),
            &[
                |store, observed| store.find(observed, &version(NEW)).err(),
                |store, observed| store.write(observed, &version(NEW), &certificate()).err(),
            ],
        );
    }
}

#[test]
fn in_place_of_the_link() {
    let obstacles: [Obstacle; 8] = [
        ("file", |path| fs::write(path, "mine").unwrap()),
        ("directory", |path| fs::create_dir(path).unwrap()),
        ("fifo", |path| run("mkfifo", &[path.to_str().unwrap()])),
        ("link out", |path| symlink(format!("/etc/contoso.web.{NEW}"), path).unwrap()),
        ("link up", |path| symlink(format!("../contoso.web.{NEW}"), path).unwrap()),
        ("another certificate's", |path| symlink(format!("contoso.web2.{NEW}"), path).unwrap()),
        ("no file of ours", |path| symlink("server.pem", path).unwrap()),
        ("another user's", |path| {
            symlink(format!("contoso.web.{OLD}"), path).unwrap();
            lchown(path, Some(ALICE), None).unwrap();
        }),
    ];
    let count = if is_root() { obstacles.len() } else { obstacles.len() - 1 };
    for obstacle in &obstacles[..count] {
        stays(
            obstacle,
            link,
            &[
                |store, observed| store.current(observed).err(),
                |store, observed| store.point(observed, &version(NEW)).err(),
            ],
        );
    }
}

#[test]
fn in_place_of_the_metadata() {
    let obstacles: [Obstacle; 6] = [
        ("directory", |path| fs::create_dir(path).unwrap()),
        ("fifo", |path| run("mkfifo", &[path.to_str().unwrap()])),
        ("socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("link", |path| symlink("/etc/hostname", path).unwrap()),
        ("large", |path| fs::write(path, vec![b' '; 64 * 1024 + 1]).unwrap()),
        ("another user's", |path| {
            fs::write(path, "{}").unwrap();
            std::os::unix::fs::chown(path, Some(ALICE), None).unwrap();
        }),
    ];
    let count = if is_root() { obstacles.len() } else { obstacles.len() - 1 };
    for (name, put) in &obstacles[..count] {
        let world = World::new();
        let observed = parsed(&world.store(), r#", "certificateFiles": "split""#);
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
        store.write(&observed, &version(NEW), &certificate()).unwrap();
        let metadata = world.store().join("contoso.web.luma");
        put(&metadata);
        let before = fs::symlink_metadata(&metadata).unwrap().ino();
        let error = store.point(&observed, &version(NEW)).unwrap_err();
        assert!(matches!(&error, StoreError::Foreign { path, .. } if *path == metadata), "{name}: {error}");
        assert_eq!(fs::symlink_metadata(&metadata).unwrap().ino(), before, "{name}");
    }
}
