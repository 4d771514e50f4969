//! A directory server (LDAP, SSSD) that stops answering: a module of the C library's name service that hangs.
#![allow(clippy::unwrap_used, clippy::panic)]

mod late_names;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::handler_story::{Extension, observed};
use tests::story::{Service, observing, wait_for};

use late_names::{DOWN, compile, readers};

const STORE: &str = "/srv/certs";
/// What names may take, and as much again for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(15);

/// A new version is in use soon after it is in the vault.
fn renewed(extension: &Extension, service: &Service) -> PathBuf {
    let (_, version) = extension.story.put("web").unwrap();
    let file = Path::new(STORE).join(format!("contoso.web.{version}"));
    let start = Instant::now();
    service.poll().unwrap();
    assert!(start.elapsed() < PATIENCE, "the poll took {:?}", start.elapsed());
    assert_eq!(fs::canonicalize(Path::new(STORE).join("contoso.web")).unwrap(), file);
    file
}

#[test]
fn a_directory_that_hangs_stops_no_renewal_takes_nobodys_access_and_keeps_no_service_from_its_end() {
    let extension = Extension::begin().unwrap();
    let modules = extension.story.folder();
    compile(&extension, modules);
    extension.story.world().add_user("app", 61_001).unwrap();
    fs::write("/etc/nsswitch.conf", "passwd: files late\ngroup: files late\nhosts: files dns\n").unwrap();
    extension.story.put("web").unwrap();
    let accounts = json!({"acls": [{"user": "remote"}, {"user": "app"}]});
    let settings = observing(&[observed("web", STORE, &accounts)]);
    let environment = [("LD_LIBRARY_PATH", &*modules.to_string_lossy())];
    let service = extension.story.run_with(&settings, &environment).unwrap();
    service.wait_for_log(PATIENCE, "next poll in", 1).unwrap();
    assert_eq!(readers(&extension, &renewed(&extension, &service)), [true, true], "{}", service.log().unwrap());

    fs::write(DOWN, "").unwrap();
    for _ in 0..3 {
        let file = renewed(&extension, &service);
        assert_eq!(readers(&extension, &file), [true, true], "{}", service.log().unwrap());
    }
    let told = service.log().unwrap();
    assert!(told.contains("remote") && told.contains("no answer within 5 s"), "{told}");
    let threads = fs::read_dir(format!("/proc/{}/task", service.id())).unwrap().count();
    assert!(threads < 10, "{threads} threads");
    let (code, took) = service.end().unwrap();
    assert!(code == Some(0) && took < Duration::from_secs(5), "{code:?} after {took:?}");

    // A service that finds it down from its first moment.
    let service = extension.story.run_with(&settings, &environment).unwrap();
    service.wait_for_log(PATIENCE, " started with ", 2).unwrap();
    let file = renewed(&extension, &service);
    assert_eq!(readers(&extension, &file), [true, true], "as on the file before it");
    fs::remove_file(DOWN).unwrap();
    let is_quiet = || {
        service.poll().unwrap();
        let log = service.log().unwrap();
        let last = log.rsplit("polling now, as asked").next().unwrap_or_default();
        (!last.contains("no answer within")).then_some(())
    };
    wait_for(PATIENCE, "pass without a warning", is_quiet).unwrap();
    assert_eq!(readers(&extension, &renewed(&extension, &service)), [true, true]);
}
