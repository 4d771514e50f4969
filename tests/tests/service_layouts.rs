//! What programs that are particular about their files find: files of an owner, with a mode; chain and key apart.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::x509::X509;
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

fn names() -> Vec<String> {
    let entries = fs::read_dir(STORE).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Everything in the folder with what a write of any kind would change.
fn state() -> Vec<(String, u64, i64, i64)> {
    let look = |name: String| {
        let stat = fs::symlink_metadata(path(&name)).unwrap();
        (name, stat.ino(), stat.ctime(), stat.ctime_nsec())
    };
    names().into_iter().map(look).collect()
}

fn target(link: &str) -> String {
    fs::read_link(path(link)).unwrap().to_str().unwrap().to_owned()
}

fn metadata() -> Value {
    serde_json::from_slice(&fs::read(path("contoso.web.luma")).unwrap()).unwrap()
}

/// Whether the links lead to a chain and a key that belong together.
fn is_pair() -> bool {
    let leaf = X509::from_pem(&fs::read(path("contoso.web.pem")).unwrap()).unwrap();
    let key = PKey::private_key_from_pem(&fs::read(path("contoso.web.keyid")).unwrap()).unwrap();
    leaf.public_key().unwrap().public_eq(&key)
}

#[test]
fn chain_and_key_are_renewed_together_and_the_metadata_says_so() {
    let (mut extension, first) = machine();
    fs::create_dir_all(STORE).unwrap();
    let settings = web(&json!({"certificateFiles": "split", "acls": [{"user": "app"}]}));
    let status = extension.deploy_and_wait(&settings).unwrap();
    assert!(status.part("contoso.web").unwrap().message.as_ref().unwrap().contains("contoso.web.pem"), "{status:#?}");
    let part = |name: &str| target(&format!("contoso.web.{name}"));
    let of = |version: &str, name: &str| format!("contoso.web.{version}.{name}.");
    let leads_to = |version: &str| ["pem", "keyid"].iter().all(|name| part(name).starts_with(&of(version, name)));
    assert!(leads_to(&first) && is_pair(), "{:?}", names());
    assert_eq!(names().len(), 5, "{:?}", names());
    assert_eq!((metadata()["version"].clone(), who(&path("contoso.web.luma"))), (json!(first), (0, 0, 0o644)));
    let text = fs::read_to_string(path("contoso.web.pem")).unwrap();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY"), "{text}");
    for link in ["contoso.web.pem", "contoso.web.keyid"] {
        assert!(extension.can_read("app", &path(link)).unwrap(), "{link}");
        assert!(!extension.can_read("database", &path(link)).unwrap(), "{link}");
    }

    let before = state();
    extension.poll().unwrap();
    assert_eq!(state(), before, "a poll that finds nothing changed writes nothing");

    let (_, second) = extension.story.put("web").unwrap();
    extension.poll().unwrap();
    assert!(leads_to(&second) && is_pair(), "{:?}", names());
    assert_eq!(metadata()["version"], json!(second));
    assert_eq!(names().len(), 7, "older versions stay: {:?}", names());

    fs::write(path(&part("keyid")), "damaged").unwrap();
    fs::remove_file(path("contoso.web.luma")).unwrap();
    extension.poll().unwrap();
    assert!(is_pair());
    assert_eq!(metadata()["version"], json!(second));
}

/// The kernel ends the process between the renames of the two links.
#[test]
fn a_crash_between_chain_and_key_is_put_right_by_the_next_pass() {
    let (extension, _) = machine();
    let settings = web(&json!({"certificateFiles": "both"}));
    assert_eq!(extension.sync(&settings).unwrap().code(), Some(0));
    let (_, second) = extension.story.put("web").unwrap();
    let file = extension.story.write_settings(&settings).unwrap();
    let service = tests::handler_story::program("akvvm_service").unwrap();
    // Three files and the link to the first of them get their names before.
    let arguments =
        ["-f", "-qq", "-e", "trace=renameat,renameat2", "-e", "inject=renameat,renameat2:signal=KILL:when=6"];
    let words = [&arguments[..], &[service.to_str().unwrap(), "sync", file.to_str().unwrap()]].concat();
    let crashed = extension.attempt("strace", &words);
    assert!(crashed.is_err() || crashed.unwrap().code != Some(0));
    assert_eq!(target("contoso.web"), format!("contoso.web.{second}"));
    assert!(names().iter().any(|name| name.ends_with(".tmp")), "{:?}", names());
    assert!(!is_pair(), "{:?}", names());
    assert_eq!(extension.sync(&settings).unwrap().code(), Some(0));
    assert!(is_pair());
    assert_eq!(metadata()["version"], json!(second));
    assert!(!names().iter().any(|name| name.ends_with(".tmp")), "{:?}", names());
}

#[test]
fn links_that_release_4_left_are_renewed_without_a_word_in_the_settings() {
    let (extension, version) = machine();
    fs::create_dir_all(STORE).unwrap();
    let old = "0123456789abcdef0123456789abcdef";
    for part in ["pem", "keyid"] {
        let name = format!("contoso.web.{old}.{part}.1711111111");
        fs::write(path(&name), "of another release").unwrap();
        symlink(&name, path(&format!("contoso.web.{part}"))).unwrap();
    }
    fs::write(path("contoso.web.luma"), "of another release").unwrap();
    assert_eq!(extension.sync(&web(&json!({}))).unwrap().code(), Some(0));
    assert_eq!(target("contoso.web"), format!("contoso.web.{version}"));
    assert!(target("contoso.web.keyid").starts_with(&format!("contoso.web.{version}.keyid.")));
    assert!(is_pair());
    assert_eq!(metadata()["version"], json!(version));
    let theirs = fs::read_to_string(path(&format!("contoso.web.{old}.keyid.1711111111"))).unwrap();
    assert_eq!(theirs, "of another release");
}

fn versions() -> usize {
    let is_version = |name: &String| name.strip_prefix("contoso.web.").is_some_and(|version| version.len() == 32);
    names().iter().filter(|name| is_version(name)).count()
}

#[test]
fn older_versions_go_only_after_a_pass_without_a_failure() {
    let (extension, _) = machine();
    let unlimited = web(&json!({}));
    for _ in 0..3 {
        extension.story.put("web").unwrap();
        assert_eq!(extension.sync(&unlimited).unwrap().code(), Some(0));
    }
    assert_eq!(versions(), 3);
    let limited = web(&json!({"keepVersions": 2}));
    // The newest version cannot be written: a directory is in its place.
    let (_, newest) = extension.story.put("web").unwrap();
    let obstacle = path(&format!("contoso.web.{newest}"));
    fs::create_dir(&obstacle).unwrap();
    assert_eq!(extension.sync(&limited).unwrap().code(), Some(1));
    assert_eq!(versions(), 4, "nothing goes: {:?}", names());
    fs::remove_dir(obstacle).unwrap();
    let synced = extension.sync(&limited).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:#?}");
    assert_eq!(versions(), 2, "{:?}", names());
    assert_eq!(target("contoso.web"), format!("contoso.web.{newest}"));
    let before = state();
    assert_eq!(extension.sync(&limited).unwrap().code(), Some(0));
    assert_eq!(state(), before);
}

#[test]
fn where_one_version_is_enough_the_one_before_it_is_not_fetched_at_each_start() {
    let (extension, _) = machine();
    let (_, newest) = extension.story.put("web").unwrap();
    let settings = web(&json!({"keepVersions": 1}));
    for start in 0..3 {
        let service = extension.story.run(&settings).unwrap();
        service.wait_for_log(Duration::from_secs(30), "next poll in", start + 1).unwrap();
        assert_eq!(names(), ["contoso.web".to_owned(), format!("contoso.web.{newest}")], "{start}");
    }
    let requests = extension.story.azure.requests_for("contoso", "web");
    let lists = requests.iter().filter(|request| request.segments().last() == Some(&"versions"));
    assert_eq!((requests.len(), lists.count()), (3, 2), "one fetch, and a list at each start");
}
