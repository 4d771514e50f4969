//! A name service that does not answer: a real one, glibc's cache daemon, whose socket is taken by somebody who
//! accepts and says nothing.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use super::*;

/// Tells the inner test where the store of the outer one is.
const STORE: &str = "AKVVM_TEST_STORE";

fn listed() -> Vec<Acl> {
    vec![Acl::User("nobody".into()), Acl::User("daemon".into())]
}

#[test]
fn readers_stay_while_the_name_service_is_silent() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    install(&world.observed(&listed()[..1]), OLD);
    let this = std::env::current_exe().unwrap();
    let inner = format!("{}::in_a_world_of_its_own", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /run && mkdir /run/nscd && exec \"$@\"", "sh"]);
    command.arg(this).args(["--exact", &inner, "--ignored", "--nocapture"]).env(STORE, world.store());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_link(link(&world)).unwrap(), Path::new(&format!("contoso.web.{NEW}")));
    assert!(read_as(nobody, ALICE, &link(&world)).is_some(), "the new version has the readers of the old one");
}

#[test]
#[ignore = "started by readers_stay_while_the_name_service_is_silent, with a /run of its own"]
fn in_a_world_of_its_own() {
    let Some(folder) = std::env::var_os(STORE) else { return };
    let silent = UnixListener::bind("/run/nscd/socket").unwrap();
    let observed = observed("web", Path::new(&folder), &listed());
    let started = Instant::now();
    let store = Store::open(std::slice::from_ref(&observed), &Network::Own);
    assert!(started.elapsed() < Duration::from_secs(1), "opening does not wait");
    let before = state(Path::new(&folder));
    let found = store.find(&observed, &version(OLD)).unwrap().unwrap();
    assert_eq!(state(Path::new(&folder)), before);
    let placed = store.write(&observed, &version(NEW), &certificate()).unwrap();
    store.point(&observed, &version(NEW)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // Passes that follow do not each send one more thread into it: the one that is there may call again.
    silent.set_nonblocking(true).unwrap();
    let calls = || std::iter::from_fn(|| silent.accept().ok()).count();
    assert!(calls() > 0);
    let _stores: Vec<_> = (0..8).map(|_| Store::open(std::slice::from_ref(&observed), &Network::Own)).collect();
    std::thread::sleep(Duration::from_millis(300));
    let more = calls();
    assert!(more < 4, "{more} calls");
    for warnings in [found.warnings, placed.warnings] {
        assert_eq!(warnings.len(), 2);
        assert!(warnings.iter().all(|warning| warning.contains("name service")), "{warnings:?}");
    }
}

#[test]
fn readers_stay_while_the_name_service_is_broken() {
    if !is_root() {
        return;
    }
    let world = World::new();
    install(&world.observed(&listed()), NEW);
    let this = std::env::current_exe().unwrap();
    let inner = format!("{}::without_accounts", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /etc && mount -t tmpfs none /run && exec \"$@\"", "sh"]);
    command.arg(this).args(["--exact", &inner, "--ignored", "--nocapture"]).env(STORE, world.store());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "started by readers_stay_while_the_name_service_is_broken, with an empty /etc: its source of accounts is gone"]
fn without_accounts() {
    let Some(folder) = std::env::var_os(STORE) else { return };
    let observed = observed("web", Path::new(&folder), &listed());
    let before = state(Path::new(&folder));
    let found = find(&observed, NEW).unwrap().unwrap();
    assert_eq!(state(Path::new(&folder)), before);
    assert_eq!(found.warnings.len(), 2);
    assert!(found.warnings.iter().all(|warning| warning.contains("name service")), "{:?}", found.warnings);
}
