//! A directory server (LDAP, SSSD) that stops answering: a module of the C library's name service that hangs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::handler_story::{Extension, observed};
use tests::story::{Service, observing, wait_for};

/// An account `remote` of a directory that hangs while `/srv/down` exists (nss(5): the functions of a module).
const MODULE: &str = r#"
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>
static void answer(void) { while (access("/srv/down", F_OK) == 0) usleep(10000); }
enum nss_status _nss_late_getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, int *error) {
    answer();
    if (strcmp(name, "remote") != 0) return NSS_STATUS_NOTFOUND;
    strcpy(buffer, "remote");
    *entry = (struct passwd){buffer, buffer, 62001, 62001, buffer, buffer, buffer};
    return NSS_STATUS_SUCCESS;
}
enum nss_status _nss_late_initgroups_dyn(const char *name, gid_t group, long *start, long *size, gid_t **groups,
                                         long limit, int *error) {
    answer();
    return NSS_STATUS_NOTFOUND;
}
"#;

const STORE: &str = "/srv/certs";
/// What names may take, and as much again for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(15);

/// The folder with the module, compiled.
fn module(extension: &Extension) -> String {
    let folder = extension.story.folder();
    let source = extension.story.write_file("late.c", MODULE.as_bytes()).unwrap();
    let (source, module) = (source.to_string_lossy(), folder.join("libnss_late.so.2"));
    extension.run("gcc", &["-shared", "-fPIC", "-o", &module.to_string_lossy(), &source]).unwrap();
    folder.to_string_lossy().into_owned()
}

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

fn readers(extension: &Extension, file: &Path) -> [bool; 2] {
    let list = extension.run("getfacl", &["--numeric", "--absolute-names", &file.to_string_lossy()]).unwrap();
    ["user:62001:r--", "user:61001:r--"].map(|entry| list.lines().any(|line| line == entry))
}

#[test]
fn a_directory_that_hangs_stops_no_renewal_takes_nobodys_access_and_keeps_no_service_from_its_end() {
    let extension = Extension::begin().unwrap();
    let modules = module(&extension);
    extension.story.world().add_user("app", 61_001).unwrap();
    fs::write("/etc/nsswitch.conf", "passwd: files late\ngroup: files late\nhosts: files dns\n").unwrap();
    extension.story.put("web").unwrap();
    let accounts = json!({"acls": [{"user": "remote"}, {"user": "app"}]});
    let settings = observing(&[observed("web", STORE, &accounts)]);
    let environment = [("LD_LIBRARY_PATH", modules.as_str())];
    let service = extension.story.run_with(&settings, &environment).unwrap();
    service.wait_for_log(PATIENCE, "next poll in", 1).unwrap();
    assert_eq!(readers(&extension, &renewed(&extension, &service)), [true, true], "{}", service.log().unwrap());

    fs::write("/srv/down", "").unwrap();
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
    fs::remove_file("/srv/down").unwrap();
    let is_quiet = || {
        service.poll().unwrap();
        let log = service.log().unwrap();
        let last = log.rsplit("polling now, as asked").next().unwrap_or_default();
        (!last.contains("no answer within")).then_some(())
    };
    wait_for(PATIENCE, "pass without a warning", is_quiet).unwrap();
    assert_eq!(readers(&extension, &renewed(&extension, &service)), [true, true]);
}
