//! What programs that are particular about their files find: files of an owner, with a mode.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::handler_story::{Extension, observed};
use tests::story::observing;

const STORE: &str = "/srv/certs";
const DATABASE: u32 = 61_026;

/// A machine with a database's account, and one certificate `web`.
fn machine() -> (Extension, String) {
    let extension = Extension::begin().unwrap();
    extension.story.world().add_user("database", DATABASE).unwrap();
    extension.story.world().add_user("app", 61_001).unwrap();
    let (_, version) = extension.story.put("web").unwrap();
    (extension, version)
}

fn web(extra: &Value) -> Value {
    observing(&[observed("web", STORE, extra)])
}

fn path(name: &str) -> PathBuf {
    Path::new(STORE).join(name)
}

fn who(path: &Path) -> (u32, u32, u32) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.uid(), stat.gid(), stat.mode() & 0o7777)
}

#[test]
fn a_database_finds_a_key_of_its_own_with_the_mode_that_it_insists_on() {
    let (mut extension, version) = machine();
    let settings = web(&json!({"owner": "database", "group": "database", "mode": "0640"}));
    let status = extension.deploy_and_wait(&settings).unwrap();
    assert!(!status.part("contoso.web").unwrap().message.as_ref().unwrap().contains("warning"), "{status:#?}");
    let file = path(&format!("contoso.web.{version}"));
    assert_eq!(who(&file), (DATABASE, DATABASE, 0o640));
    let link = path("contoso.web");
    assert!(extension.can_read("database", &link).unwrap() && !extension.can_read("app", &link).unwrap());

    let stat = |path: &Path| {
        let stat = fs::symlink_metadata(path).unwrap();
        (stat.ino(), stat.ctime(), stat.ctime_nsec())
    };
    let before = stat(&file);
    extension.poll().unwrap();
    assert_eq!(stat(&file), before, "a poll that finds nothing changed writes nothing");

    chown(&file, Some(0), Some(0)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    extension.poll().unwrap();
    assert_eq!(who(&file), (DATABASE, DATABASE, 0o640));

    let (_, renewed) = extension.story.put("web").unwrap();
    extension.poll().unwrap();
    assert_eq!(who(&path(&format!("contoso.web.{renewed}"))), (DATABASE, DATABASE, 0o640));
}

#[test]
fn an_owner_that_appears_later_gets_the_file_at_the_next_poll() {
    let (mut extension, version) = machine();
    let settings = web(&json!({"owner": "late", "acls": [{"user": "app"}]}));
    let status = extension.deploy_and_wait(&settings).unwrap();
    let message = status.part("contoso.web").unwrap().message.clone().unwrap();
    assert!(message.contains("user late does not exist"), "{message}");
    let file = path(&format!("contoso.web.{version}"));
    assert_eq!(who(&file), (0, 0, 0o640), "the mask of the list");
    assert!(extension.can_read("app", &file).unwrap());
    extension.story.world().add_user("late", 61_020).unwrap();
    extension.poll().unwrap();
    assert_eq!(who(&file), (61_020, 0, 0o640));
    assert!(extension.can_read("late", &file).unwrap() && extension.can_read("app", &file).unwrap());
}

/// The order of the system calls: nobody can open the file between two of them who is not meant to.
#[test]
fn a_key_has_its_owner_and_its_list_before_it_has_a_name_and_no_chmod_after_them() {
    let (extension, version) = machine();
    let folder = extension.story.folder().join("traces");
    fs::create_dir(&folder).unwrap();
    let trace = folder.join("trace");
    let settings = web(&json!({"owner": "database", "mode": "0640", "acls": [{"user": "app"}]}));
    let strace = ["strace", "-ff", "-y", "-s", "60", "-o", trace.to_str().unwrap()];
    let synced = extension.sync_under(&strace, &settings).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:#?}");
    let key = format!("\"contoso.web.{version}\"");
    let traces = fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let traces: Vec<String> = traces.collect();
    let installs = traces.iter().find(|trace| trace.contains("rename") && trace.contains(&key)).unwrap();
    let lines: Vec<&str> = installs.lines().collect();
    let named = lines.iter().position(|line| line.contains("rename") && line.contains(&key)).unwrap();
    let temporary = lines[named].split('"').nth(1).unwrap();
    let calls: Vec<&str> = lines[..=named]
        .iter()
        .filter(|line| line.contains(temporary))
        .map(|line| line.split('(').next().unwrap_or_default())
        .filter(|call| ["openat", "fchown", "fsetxattr", "fsync", "fchmod", "chmod", "renameat"].contains(call))
        .collect();
    assert_eq!(calls, ["openat", "fsetxattr", "fchown", "fsetxattr", "fsync", "renameat"], "record, owner, list");
    let after = &lines[named + 1..];
    assert!(!after.iter().any(|line| line.contains("chmod(") || line.contains("chown(")), "{after:#?}");
}
