//! What the service leaves on a disk: real files of a real pass, read by real accounts, and put right when somebody or
//! something damaged them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::handler_story::{DISK, Extension, PATIENCE, observed};
use tests::pki::Issued;
use tests::story::{Synced, observing, wait_for};

const STORE: &str = "/srv/certs";

/// A machine with accounts, a folder for certificates that everybody can reach, and one certificate `web`.
fn machine() -> (Extension, Issued, String) {
    let extension = Extension::begin().unwrap();
    for (name, id) in [("app", 61_001), ("other", 61_002), ("member", 61_003)] {
        extension.story.world().add_user(name, id).unwrap();
    }
    extension.story.world().add_group("readers", 61_010, &["member"]).unwrap();
    let (issued, version) = extension.story.put("web").unwrap();
    (extension, issued, version)
}

fn web(extra: &Value) -> Value {
    observing(&[observed("web", STORE, extra)])
}

/// A pass that installs everything.
fn sync(extension: &Extension, settings: &Value) -> Synced {
    let synced = extension.sync(settings).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:#?}");
    synced
}

fn file(version: &str) -> PathBuf {
    Path::new(STORE).join(format!("contoso.web.{version}"))
}

fn link() -> PathBuf {
    Path::new(STORE).join("contoso.web")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Everything below a folder with all that a write of any kind would change, the time of the change included.
fn state(folder: &str) -> BTreeMap<PathBuf, [i64; 9]> {
    let mut state = BTreeMap::new();
    let mut pending = vec![PathBuf::from(folder)];
    while let Some(path) = pending.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let what = [stat.ino().cast_signed(), stat.size().cast_signed()];
        let who = [i64::from(stat.mode()), i64::from(stat.uid()), i64::from(stat.gid())];
        let [ino, size] = what;
        let [mode, user, group] = who;
        let when = [stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()];
        state.insert(path, [ino, size, mode, user, group, when[0], when[1], when[2], when[3]]);
    }
    state
}

/// A pass, and the system calls of each of its threads: one that is interrupted by others would be in two lines.
fn traced(extension: &Extension, settings: &Value) -> (Synced, Vec<String>) {
    let folder = extension.story.folder().join("traces");
    fs::create_dir(&folder).unwrap();
    let trace = folder.join("trace");
    let synced = extension.sync_under(&["strace", "-ff", "-y", "-s", "60", "-o", trace.to_str().unwrap()], settings);
    let traces = fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    (synced.unwrap(), traces.collect())
}

fn on_the_disk(trace: &str) -> Vec<&str> {
    trace.lines().filter(|line| line.contains(DISK)).collect()
}

/// Leaf first, then what certifies it, and the key last.
fn expected(issued: &Issued) -> String {
    let mut certificates = vec![issued.leaf.clone()];
    certificates.extend(issued.intermediates.clone());
    certificates.extend(issued.root.clone());
    let mut text: String = certificates.iter().map(|one| String::from_utf8(one.to_pem().unwrap()).unwrap()).collect();
    text += &String::from_utf8(issued.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    text
}

#[test]
fn a_first_pass_leaves_private_files_behind_relative_links() {
    let (extension, issued, version) = machine();
    let folder = "/srv/new/deep/certs";
    let settings = observing(&[
        observed("web", folder, &json!({"customSymbolicLinkName": "web.pem"})),
        observed("mail", folder, &json!({})),
    ]);
    let (_, mail) = extension.story.put("mail").unwrap();
    let synced = sync(&extension, &settings);
    assert_eq!(synced.place(0).unwrap(), Path::new(folder).join("web.pem"));
    for (path, mode) in [(DISK, 0o755), ("/srv/new", 0o755), ("/srv/new/deep", 0o755), (folder, 0o700)] {
        assert_eq!(self::mode(Path::new(path)), mode, "{path}");
    }
    let (web, mail) = (format!("contoso.web.{version}"), format!("contoso.mail.{mail}"));
    assert_eq!(names(folder), ["contoso.mail", &mail, &web, "web.pem"]);
    let path = |name: &str| Path::new(folder).join(name);
    assert_eq!(fs::read_link(path("web.pem")).unwrap(), Path::new(&web));
    assert_eq!(fs::read_link(path("contoso.mail")).unwrap(), Path::new(&mail));
    let stat = fs::symlink_metadata(path(&web)).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid(), stat.nlink()), (0o600, 0, 0, 1));
    assert_eq!(fs::read_to_string(path("web.pem")).unwrap(), expected(&issued));
    assert!(!extension.can_read("app", &path("web.pem")).unwrap());
}

#[test]
fn those_in_acls_read_the_file_and_nobody_else_does() {
    let (extension, _, version) = machine();
    let folder = "/srv/new/certs";
    let acls = json!({"acls": [{"user": "app"}, {"group": "readers"}]});
    sync(&extension, &observing(&[observed("web", folder, &acls)]));
    let link = Path::new(folder).join("contoso.web");
    for (account, may) in [("app", true), ("member", true), ("other", false)] {
        assert_eq!(extension.can_read(account, &link).unwrap(), may, "{account}");
    }
    let list = |path: &str| extension.run("getfacl", &["--omit-header", "--absolute-names", path]).unwrap();
    let of_file = list(&format!("{folder}/contoso.web.{version}"));
    assert_eq!(of_file.trim(), "user::rw-\nuser:app:r--\ngroup::---\ngroup:readers:r--\nmask::r--\nother::---");
    let of_folder = list(folder);
    assert_eq!(of_folder.trim(), "user::rwx\nuser:app:--x\ngroup::---\ngroup:readers:--x\nmask::--x\nother::---");
    let listed = extension.attempt_as("app", &["ls", folder]).unwrap();
    assert!(listed.errors.contains("Permission denied"), "passing through is not looking around: {listed:?}");
}

#[test]
fn an_account_that_appears_later_is_let_in_at_the_next_poll() {
    let (mut extension, _, _) = machine();
    let status = extension.deploy_and_wait(&web(&json!({"acls": [{"user": "late"}]}))).unwrap();
    let message = status.part("contoso.web").unwrap().message.clone().unwrap();
    assert!(message.contains("late") && message.contains("does not exist"), "{message}");
    extension.story.world().add_user("late", 61_020).unwrap();
    assert!(!extension.can_read("late", &link()).unwrap());
    let status = extension.poll().unwrap();
    assert!(extension.can_read("late", &link()).unwrap());
    assert!(!status.part("contoso.web").unwrap().message.as_ref().unwrap().contains("late"), "{status:#?}");
}

#[test]
fn an_account_whose_number_another_one_has_now_is_let_in_at_the_next_poll_and_the_other_is_not() {
    let (mut extension, _, _) = machine();
    extension.deploy_and_wait(&web(&json!({"acls": [{"user": "app"}]}))).unwrap();
    assert!(extension.can_read("app", &link()).unwrap());
    for file in ["/etc/passwd", "/etc/group"] {
        let accounts = fs::read_to_string(file).unwrap();
        fs::write(file, accounts.replace("\napp:", "\nstranger:")).unwrap();
    }
    extension.story.world().add_user("app", 61_030).unwrap();
    extension.poll().unwrap();
    for (account, may) in [("app", true), ("stranger", false)] {
        assert_eq!(extension.can_read(account, &link()).unwrap(), may, "{account}");
    }
}

#[test]
fn the_directory_that_keeps_a_reader_out_is_named_with_what_to_do() {
    let (mut extension, _, _) = machine();
    fs::create_dir_all("/srv/closed/certs").unwrap();
    fs::set_permissions("/srv/closed", Permissions::from_mode(0o700)).unwrap();
    let before = state("/srv/closed").remove(Path::new("/srv/closed")).unwrap();
    let settings = observing(&[observed("web", "/srv/closed/certs", &json!({"acls": [{"user": "app"}]}))]);
    let status = extension.deploy_and_wait(&settings).unwrap();
    let message = status.part("contoso.web").unwrap().message.clone().unwrap();
    assert_eq!(status.part("contoso.web").unwrap().status, "success");
    let hint = "setfacl -m 'u:app:x' '/srv/closed'";
    assert!(message.contains("/srv/closed keeps it out") && message.contains(hint), "{message}");
    assert_eq!(state("/srv/closed").remove(Path::new("/srv/closed")).unwrap(), before, "it is not ours to change");
    let link = Path::new("/srv/closed/certs/contoso.web");
    assert!(!extension.can_read("app", link).unwrap());
    extension.run("sh", &["-c", hint]).unwrap();
    assert!(extension.can_read("app", link).unwrap());
    let status = extension.poll().unwrap();
    assert!(!status.part("contoso.web").unwrap().message.as_ref().unwrap().contains("warning"), "{status:#?}");
}

/// The time of the last access is the mount's business: reading is allowed to change it.
#[test]
fn a_pass_that_finds_nothing_changed_writes_nothing() {
    let (extension, _, _) = machine();
    extension.story.put("mail").unwrap();
    let settings = observing(&[
        observed("web", "/srv/new/certs", &json!({"acls": [{"user": "app"}, {"group": "readers"}]})),
        observed("mail", "/srv/new/certs", &json!({"customSymbolicLinkName": "mail.pem"})),
    ]);
    sync(&extension, &settings);
    let before = state(DISK);
    let (synced, traces) = traced(&extension, &settings);
    assert_eq!(synced.code(), Some(0), "{synced:#?}");
    assert!((0..2).all(|index| synced.certificate(index)["changed"] == json!(false)), "{synced:#?}");
    assert_eq!(state(DISK), before);
    let on_the_disk: Vec<&str> = traces.iter().flat_map(|trace| on_the_disk(trace)).collect();
    assert!(on_the_disk.iter().any(|line| line.contains("read(")), "the files are looked at");
    for line in on_the_disk {
        let call = line.split('(').next().unwrap_or_default();
        let looks =
            ["openat", "open", "read", "pread64", "close", "fcntl", "readlinkat", "newfstatat", "fstat", "statx"];
        let looks = looks.contains(&call) || ["fgetxattr", "getdents64", "lseek"].contains(&call);
        let opened_to_write = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| line.contains(flag));
        assert!(looks && !opened_to_write, "{line}");
    }
}

#[test]
fn a_poll_puts_right_what_was_damaged() {
    let (mut extension, _, first) = machine();
    let acls = json!({"acls": [{"user": "app"}]});
    sync(&extension, &web(&acls));
    let (issued, version) = extension.story.put("web").unwrap();
    extension.deploy_and_wait(&web(&acls)).unwrap();
    let (text, file) = (expected(&issued), file(&version));
    let name = file.display();
    let damages = [
        ("emptied", format!(": >{name}")),
        ("truncated", format!("truncate -s -40 {name}")),
        ("one byte", format!("printf X | dd of={name} bs=1 seek=200 conv=notrunc status=none")),
        ("open to all", format!("chmod 644 {name}")),
        ("grant removed", format!("setfacl -x u:app {name}")),
        ("link swapped", format!("ln -sfn contoso.web.{first} {}", link().display())),
        ("link removed", format!("rm {}", link().display())),
        ("file removed", format!("rm {name}")),
    ];
    for (what, damage) in damages {
        extension.run("sh", &["-c", &damage]).unwrap();
        extension.poll().unwrap();
        assert_eq!(fs::read_link(link()).unwrap().as_os_str(), file.file_name().unwrap(), "{what}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{what}");
        assert!(extension.can_read("app", &link()).unwrap(), "{what}");
        assert!(!extension.can_read("other", &link()).unwrap(), "{what}");
        assert_eq!(names(STORE).len(), 3, "{what}: {:?}", names(STORE));
    }
}

#[test]
fn grants_that_others_gave_stay() {
    let (mut extension, _, version) = machine();
    extension.deploy_and_wait(&web(&json!({"acls": [{"user": "app"}]}))).unwrap();
    let name = file(&version).to_string_lossy().into_owned();
    extension.run("setfacl", &["-m", "u:other:r", &name]).unwrap();
    extension.run("setfacl", &["-m", "u:other:x", STORE]).unwrap();
    let before = state(STORE);
    extension.poll().unwrap();
    assert_eq!(state(STORE), before);
    assert!(extension.can_read("other", &link()).unwrap());
    // Also when the file has to be written again.
    extension.run("truncate", &["-s", "100", &name]).unwrap();
    extension.poll().unwrap();
    assert!(extension.can_read("other", &link()).unwrap() && extension.can_read("app", &link()).unwrap());
}

#[test]
fn what_stands_in_the_way_is_named_and_left_alone_and_the_others_go_on() {
    let (extension, _, _) = machine();
    extension.story.put("mail").unwrap();
    extension.story.put("api").unwrap();
    let api = extension.story.azure.secret("contoso", "api", |secret| secret.versions[0].id.clone()).unwrap();
    fs::create_dir_all(format!("{STORE}/contoso.api.{api}")).unwrap();
    fs::write(format!("{STORE}/web.pem"), "somebody's own").unwrap();
    let before = state(STORE);
    let synced = extension
        .sync(&observing(&[
            observed("web", STORE, &json!({"customSymbolicLinkName": "web.pem"})),
            observed("mail", STORE, &json!({})),
            observed("api", STORE, &json!({})),
        ]))
        .unwrap();
    assert_eq!(synced.code(), Some(1));
    for (index, path) in [(0, format!("{STORE}/web.pem")), (2, format!("{STORE}/contoso.api.{api}"))] {
        let (code, message) = synced.error(index).unwrap();
        assert_eq!(code, 50);
        assert!(message.starts_with(&path) && message.contains("move it away"), "{message}");
        let stays = |state: &BTreeMap<PathBuf, [i64; 9]>| state[Path::new(&path)];
        assert_eq!(stays(&state(STORE)), stays(&before), "{path}");
    }
    assert!(fs::read_to_string(synced.place(1).unwrap()).unwrap().ends_with("-----END PRIVATE KEY-----\n"));
}

/// The kernel ends the process at the very moment when the finished file is to get its name.
#[test]
fn a_crash_before_the_last_step_leaves_the_old_certificate_and_nothing_that_stays() {
    let (extension, _, first) = machine();
    sync(&extension, &web(&json!({})));
    let (_, second) = extension.story.put("web").unwrap();
    let file = extension.story.write_settings(&web(&json!({}))).unwrap();
    let service = tests::handler_story::program("akvvm_service").unwrap();
    let arguments =
        ["-f", "-qq", "-e", "trace=renameat,renameat2", "-e", "inject=renameat,renameat2:signal=KILL:when=1"];
    let words = [&arguments[..], &[service.to_str().unwrap(), "sync", file.to_str().unwrap()]].concat();
    let crashed = extension.attempt("strace", &words);
    assert!(crashed.is_err() || crashed.unwrap().code != Some(0));
    assert_eq!(fs::read_link(link()).unwrap(), Path::new(&format!("contoso.web.{first}")));
    let left: Vec<String> = names(STORE).into_iter().filter(|name| name.ends_with(".tmp")).collect();
    assert_eq!(left.len(), 1, "{:?}", names(STORE));
    assert_eq!(mode(&Path::new(STORE).join(&left[0])), 0o600, "a key that was left behind is root's");
    fs::write(format!("{STORE}/.akv-notes.tmp"), "somebody's own").unwrap();
    sync(&extension, &web(&json!({})));
    let (first, second) = (format!("contoso.web.{first}"), format!("contoso.web.{second}"));
    let mut expected = vec![".akv-notes.tmp", "contoso.web", &first, &second];
    expected.sort_unstable();
    assert_eq!(names(STORE), expected);
    assert_eq!(fs::read_link(link()).unwrap(), Path::new(&second));
}

#[test]
fn a_folder_that_is_deleted_comes_back_at_the_next_poll() {
    let (mut extension, issued, _) = machine();
    extension.deploy_and_wait(&web(&json!({"acls": [{"user": "app"}]}))).unwrap();
    fs::remove_dir_all(STORE).unwrap();
    extension.poll().unwrap();
    assert_eq!(fs::read_to_string(link()).unwrap(), expected(&issued));
    assert!(extension.can_read("app", &link()).unwrap() && !extension.can_read("other", &link()).unwrap());
}

/// 1.x and 2.x wrote `<vault>.<certificate>.<version>.<from>.<to>.PEM` and absolute links, 3.x what we write, but
/// none a record of it.
#[test]
fn takes_over_what_earlier_releases_left() {
    let (extension, issued, version) = machine();
    fs::create_dir(STORE).unwrap();
    let dated = format!("{STORE}/contoso.web.{version}.1600000000.1900000000.PEM");
    fs::write(&dated, expected(&issued)).unwrap();
    fs::set_permissions(&dated, Permissions::from_mode(0o600)).unwrap();
    symlink(&dated, link()).unwrap();
    let before = state(STORE)[Path::new(&dated)];
    sync(&extension, &web(&json!({})));
    assert_eq!(fs::read_link(link()).unwrap(), Path::new(&format!("contoso.web.{version}")));
    assert_eq!(state(STORE)[Path::new(&dated)], before, "an older file stays");

    // A file without a record that is whole is left alone, and one that is not is written.
    let (issued, version) = extension.story.put("web").unwrap();
    fs::write(file(&version), expected(&issued)).unwrap();
    fs::set_permissions(file(&version), Permissions::from_mode(0o600)).unwrap();
    let before = state(STORE)[&file(&version)];
    sync(&extension, &web(&json!({})));
    assert_eq!(fs::read_link(link()).unwrap(), Path::new(&format!("contoso.web.{version}")));
    assert_eq!(state(STORE)[&file(&version)], before);
    fs::write(file(&version), &expected(&issued)[..900]).unwrap();
    sync(&extension, &web(&json!({})));
    assert_eq!(fs::read_to_string(link()).unwrap(), expected(&issued));
}

#[test]
fn acls_are_ignored_with_a_warning_when_they_are_switched_off() {
    let (extension, _, version) = machine();
    let mut settings = web(&json!({"acls": [{"user": "app"}]}));
    settings["secretsManagementSettings"]["aclEnabled"] = json!(false);
    let synced = sync(&extension, &settings);
    assert!(synced.finished.errors.contains("aclEnabled"), "{synced:#?}");
    assert_eq!((mode(Path::new(STORE)), mode(&file(&version))), (0o700, 0o600));
    assert!(!extension.can_read("app", &link()).unwrap());
}

#[test]
fn what_is_no_longer_in_the_settings_stays_on_the_disk() {
    let (mut extension, issued, _) = machine();
    extension.story.put("mail").unwrap();
    extension.deploy_and_wait(&web(&json!({}))).unwrap();
    let before = state(STORE);
    let outcome = extension.deploy(1, &observing(&[observed("mail", STORE, &json!({}))])).unwrap();
    assert!(outcome.ready(), "{outcome:#?}");
    let mail = Path::new(STORE).join("contoso.mail");
    wait_for(PATIENCE, "new certificate", || mail.exists().then_some(())).unwrap();
    assert_eq!(fs::read_to_string(link()).unwrap(), expected(&issued));
    let after = state(STORE);
    for (path, what) in before.iter().filter(|(path, _)| *path != Path::new(STORE)) {
        assert_eq!(after[path], *what, "{}", path.display());
    }
}

/// A ramfs, which keeps neither lists nor attributes.
#[test]
fn where_no_acl_is_kept_root_gets_its_file_and_the_status_says_why_nobody_else_does() {
    let (extension, issued, version) = machine();
    fs::create_dir(STORE).unwrap();
    extension.run("mount", &["-t", "ramfs", "-o", "mode=755", "none", STORE]).unwrap();
    let settings = web(&json!({"acls": [{"user": "app"}]}));
    for _ in 0..2 {
        let synced = extension.sync(&settings).unwrap();
        let (code, message) = synced.error(0).unwrap();
        assert_eq!((synced.code(), code), (Some(1), 50));
        assert!(message.contains("keeps no access control lists") && message.contains("leave out acls"), "{message}");
        assert_eq!(mode(&file(&version)), 0o600);
        assert_eq!(fs::read_to_string(link()).unwrap(), expected(&issued), "root's applications work");
    }
    let without = sync(&extension, &web(&json!({})));
    assert_eq!(without.certificate(0)["changed"], json!(false), "{without:#?}");
}

#[test]
fn a_full_disk_keeps_the_old_certificate_and_heals() {
    let (mut extension, _, first) = machine();
    extension.story.world().tmpfs(Path::new(STORE), "mode=0755,size=64k").unwrap();
    extension.deploy_and_wait(&web(&json!({}))).unwrap();
    let filling = Path::new(STORE).join("filling");
    fs::write(&filling, vec![0; 128 * 1024]).unwrap_err();
    let (_, second) = extension.story.put("web").unwrap();
    let status = extension.poll().unwrap();
    assert_eq!(
        status.status.as_deref(),
        Some("success"),
        "a failure after the start is the certificate's: {status:#?}"
    );
    let part = status.part("contoso.web").unwrap();
    let message = part.message.clone().unwrap();
    assert_eq!((part.status.as_str(), &part.code), ("error", &json!(50)));
    let name = file(&second).to_string_lossy().into_owned();
    assert!(message.contains(&name) && message.contains("No space left") && message.contains("stale"), "{message}");
    assert_eq!(fs::read_link(link()).unwrap(), Path::new(&format!("contoso.web.{first}")));
    assert_eq!(names(STORE).len(), 3, "nothing half-written: {:?}", names(STORE));
    fs::remove_file(filling).unwrap();
    extension.poll().unwrap();
    wait_for(PATIENCE, "new certificate", || {
        fs::read_link(link()).ok().filter(|target| target.ends_with(file(&second).file_name().unwrap()))
    })
    .unwrap();
    let part = extension.agent.wait_until(PATIENCE, |status| status.part("contoso.web").unwrap().status == "success");
    part.unwrap();
}

/// The order of the system calls of one installation: what a reader, or a power cut, can see in between.
#[test]
fn a_key_is_private_and_on_the_disk_before_it_has_a_name() {
    let (extension, _, version) = machine();
    let (synced, traces) = traced(&extension, &web(&json!({"acls": [{"user": "app"}]})));
    assert_eq!(synced.code(), Some(0), "{synced:#?}");
    let key = format!("\"contoso.web.{version}\"");
    let installs = traces.iter().find(|trace| trace.contains(&key)).unwrap();
    let lines = on_the_disk(installs);
    let named = lines.iter().position(|line| line.contains("rename") && line.contains(&key)).unwrap();
    let temporary = lines[named].split('"').nth(1).unwrap();
    let of_the_file: Vec<&str> = lines[..=named].iter().copied().filter(|line| line.contains(temporary)).collect();
    let in_order: [(&str, &[&str]); 5] = [
        // O_EXCL: not through a symbolic link either.
        ("openat", &["O_CREAT", "O_EXCL", ", 0600)"]),
        ("write", &["-----BEGIN CERTIFICATE-----"]),
        ("fsetxattr", &["system.posix_acl_access"]),
        ("fsync", &["= 0"]),
        ("rename", &[&key]),
    ];
    let mut rest = of_the_file.iter();
    for (call, words) in in_order {
        let fits = |line: &&&str| line.contains(call) && words.iter().all(|word| line.contains(word));
        assert!(rest.any(|line| fits(&line)), "{call} {words:?}: {of_the_file:#?}");
    }
    let after = &lines[named + 1..];
    let synced = after.iter().position(|line| line.contains("fsync(") && line.contains(&format!("<{STORE}>"))).unwrap();
    let is_link = |line: &&str| line.contains("symlinkat(\"contoso.web.") && line.contains("\"contoso.web\"");
    let linked = after.iter().position(is_link).unwrap();
    assert!(synced < linked, "{after:#?}");
}

#[test]
fn an_error_in_a_new_folder_is_told_as_it_is() {
    let (extension, _, _) = machine();
    let settings = web(&json!({}));
    let mut told = 0;
    for count in 1..=10 {
        let inject = format!("inject=getdents64:error=EIO:when={count}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=getdents64", "-e", &inject];
        let synced = extension.sync_under(&strace, &settings).unwrap();
        if synced.code() != Some(0) {
            let (_, message) = synced.error(0).unwrap();
            assert!(message.contains("Input/output error") && message.contains("/srv"), "{count}: {message}");
            told += 1;
        }
        let _ = fs::remove_dir_all(STORE);
    }
    assert!(told > 1, "{told}");
}
