//! What is hidden, and what is not.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn hides_all_but_what_the_service_needs() {
    let known = |needed: &[&str]| known(&in_sight(needed.iter().map(Path::new)));
    assert_eq!(known(&["/srv/certs", "/etc"]), SECRETS);
    assert_eq!(known(&READ), SECRETS);
    let hidden = known(&["/etc/ssl/private", "/home/alice/not/there", "/rooted"]);
    assert!(!hidden.contains(&"/etc/ssl/private") && !hidden.contains(&"/home"), "{hidden:?}");
    assert_eq!(hidden.len(), SECRETS.len() - 2);
    let all = from(&Needed { held: &[Path::new("/srv/certs")], read: &[], trust: &[], looks_up: false });
    assert!(SECRETS.iter().all(|secret| all.iter().filter(|path| path.as_os_str() == *secret).count() == 1), "{all:?}");
    let is_system =
        |path: &PathBuf| ["/", "/usr", "/etc", "/proc", "/srv", "/var/lib"].iter().any(|one| path == Path::new(one));
    assert!(!all.iter().any(is_system) && all.contains(&"/opt".into()), "{all:?}");
}

#[test]
fn hides_what_lies_around_what_is_needed_and_nothing_on_the_way_to_it() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for name in ["data/certs/key", "data/private", "data/others/file", "roots/a", "roots/b", "other/file", "mine"] {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), "").unwrap();
    }
    symlink("hop", path("link")).unwrap();
    symlink("./data/../data", path("hop")).unwrap();
    symlink(path("roots/a"), path("data/certs/root.pem")).unwrap();
    let held = in_sight([&*path("link/certs")].into_iter());
    let roots = links(&path("data/certs"));
    let kept: Vec<_> = held.iter().cloned().chain(in_sight(roots.iter().map(PathBuf::as_path))).collect();
    let hidden = beside(place.path(), &kept, &held, &Mounts::now());
    assert_eq!(hidden, ["mine", "other", "data/others", "data/private", "roots/b"].map(path));
}

#[test]
fn hides_nothing_that_a_link_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink("/root", &link).unwrap();
    let through = link.join("not/there");
    let hidden = known(&in_sight([&*through].into_iter()));
    assert!(!hidden.contains(&"/root") && hidden.contains(&"/home"), "{hidden:?}");
}

#[test]
fn what_is_in_sight_is_so_by_each_of_its_names_and_what_lies_around_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (link, absent) = (folder.path().join("link"), folder.path().join("absent"));
    symlink("/usr", &link).unwrap();
    let below = link.join("not/there");
    let expected = [link.clone(), "/usr".into(), below.clone(), "/usr/not/there".into(), absent.clone()];
    assert_eq!(in_sight([&*link, &*below, &*absent].into_iter()), expected);
}

#[test]
fn hides_configuration_that_not_everybody_may_read() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for (name, mode) in [
        ("open/file", 0o644),
        ("open/key", 0o640),
        ("open/deeper/key", 0o600),
        ("open/deeper/store/key", 0o600),
        ("open/two\nlines", 0o600),
        ("closed/file", 0o644),
        ("proxy/settings", 0o644),
        ("proxy/certs/key", 0o600),
        ("hosts", 0o600),
    ] {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), "").unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (folder, mode) in [("closed", 0o750), ("proxy", 0o751)] {
        fs::set_permissions(path(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink(path("hosts"), path("open/link")).unwrap();
    let needed = ["open/deeper/store", "proxy/certs", "hosts"].map(path);
    let hidden = ["closed", "open/key", "proxy/settings", "open/deeper/key"].map(path);
    assert_eq!(closed(&[place.path()], &needed, &Mounts::now()), hidden);
    assert_eq!(
        closed(&[&path("open/deeper"), &path("hosts")], &[], &Mounts::now()),
        ["open/deeper/key", "open/deeper/store/key"].map(path)
    );
}

#[test]
fn leaves_what_is_mounted_alone() {
    let mounts = Mounts::now();
    let proc = Path::new("/proc");
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink("/root", &link).unwrap();
    assert_eq!((mounts.kind(proc), closed(&[proc, &link], &[], &mounts)), (Some("proc"), vec![]));
}

#[test]
fn what_a_link_may_be_switched_to_stays_in_sight() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir_all(path("releases/41/certs")).unwrap();
    symlink("releases/41", path("current")).unwrap();
    let held = in_sight([&*path("current/certs")].into_iter());
    let found: Vec<PathBuf> = held.iter().filter_map(|path| switched(path)).collect();
    assert_eq!(found, [path("releases")]);
    assert_eq!(switched(Path::new("/bin/true")), None);
}

#[test]
fn from_who_looks_names_up_only_what_not_everybody_may_read_is_hidden() {
    let hidden = from(&Needed { held: &[Path::new("/srv/certs")], read: &[], trust: &[], looks_up: true });
    assert!(!hidden.contains(&"/opt".into()) && hidden.contains(&"/etc/shadow".into()), "{hidden:?}");
}
