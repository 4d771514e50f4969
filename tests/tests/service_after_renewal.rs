//! What follows when links have moved, without a service manager: hooks, and a look at what a server shows.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::pki::Issued;
use tests::story::{Service, Story, wait_for};

const SOON: Duration = Duration::from_secs(60);
const HOOKS: &str = "/etc/akvvm/hooks.d";
/// What hooks of these stories write.
const SAID: &str = "/srv/said";

/// Settings that observe these certificates, with this `afterRenewal` for all.
fn settings(story: &Story, names: &[&str], after_renewal: &Value) -> Value {
    let mut settings = story.observing(names);
    settings["secretsManagementSettings"]["afterRenewal"] = after_renewal.clone();
    settings
}

/// Puts a hook where root puts hooks.
fn hook(name: &str, script: &str) {
    fs::create_dir_all(HOOKS).unwrap();
    let path = Path::new(HOOKS).join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A story on whose `/srv` nothing lies.
fn begin() -> Story {
    let story = Story::begin().unwrap();
    story.world().tmpfs(Path::new("/srv"), "mode=0755").unwrap();
    story
}

fn installed(story: &Story, settings: &Value) -> Service {
    let service = story.run(settings).unwrap();
    service.wait_for_log(SOON, "next poll in", 1).unwrap();
    service
}

fn said() -> String {
    fs::read_to_string(SAID).unwrap_or_default()
}

/// Waits until hooks have said this.
fn hears(service: &Service, words: &str) -> String {
    let heard = wait_for(SOON, words, || Some(said()).filter(|said| said.contains(words)));
    heard.unwrap_or_else(|error| panic!("{error}\n{}\n{}", said(), service.log().unwrap()))
}

/// Waits until the status of a certificate holds these words, or does not.
fn tells(service: &Service, name: &str, words: &str, wanted: bool) -> String {
    let part = |reported: &tests::agent::Reported| {
        let part = reported.substatus.iter().find(|part| part.name.as_deref() == Some(name))?;
        Some((part.status.clone(), part.message.clone()?))
    };
    let holds = |reported: &tests::agent::Reported| {
        part(reported).is_some_and(|(status, message)| status == "success" && message.contains(words) == wanted)
    };
    part(&service.wait_until(SOON, holds).unwrap()).unwrap().1
}

#[test]
fn a_hook_runs_once_for_all_that_moved_with_their_names_versions_and_paths_and_nothing_else() {
    let story = begin();
    hook("deploy", &format!("env | sort > {SAID}.new; mv {SAID}.new {SAID}; echo >> {SAID}.runs"));
    let (_, old_mail) = story.put("mail").unwrap();
    let (_, old_web) = story.put("web").unwrap();
    let service = installed(&story, &settings(&story, &["mail", "web", "other"], &json!({"hooks": ["deploy"]})));
    service.poll().unwrap();
    assert!(!Path::new(SAID).exists(), "neither a first installation nor an unchanged poll is a renewal");

    let (_, mail) = story.put("mail").unwrap();
    let (_, web) = story.put("web").unwrap();
    service.poll().unwrap();
    let said = hears(&service, "AKVVM_PATH=");
    let store = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store";
    for variable in [
        "AKVVM_CERTIFICATE=contoso.mail\ncontoso.web\n".to_owned(),
        format!("AKVVM_OLD_VERSION={old_mail}\n{old_web}\n"),
        format!("AKVVM_NEW_VERSION={mail}\n{web}\n"),
        format!("AKVVM_PATH={store}/contoso.mail\n{store}/contoso.web\n"),
        "AKVVM_COUNT=2\n".to_owned(),
    ] {
        // Lines of a value are sorted with the others: each is there, and the name leads the first.
        for line in variable.lines() {
            assert!(said.lines().any(|found| found == line), "{line}\n{said}");
        }
    }
    let known = ["AKVVM_", "PATH=", "LANG=", "PWD=", "SHLVL=", "_=", "contoso.", "/var/lib", &*web, &*old_web];
    assert!(said.lines().all(|line| known.iter().any(|known| line.starts_with(known))), "{said}");
    service.wait_for_log(SOON, "all that follows from its renewal is done", 2).unwrap();
    service.poll().unwrap();
    service.poll().unwrap();
    assert_eq!(fs::read_to_string(format!("{SAID}.runs")).unwrap().lines().count(), 1);
}

#[test]
fn a_first_installation_counts_where_the_settings_say_so() {
    let story = begin();
    hook("deploy", &format!("echo \"$AKVVM_CERTIFICATE from <$AKVVM_OLD_VERSION>\" >> {SAID}"));
    story.put("web").unwrap();
    let after_renewal = json!({"hooks": ["deploy"], "onFirstInstall": true});
    let service = installed(&story, &settings(&story, &["web"], &after_renewal));
    assert_eq!(hears(&service, "contoso.web"), "contoso.web from <>\n");
}

#[test]
fn a_failing_hook_is_told_with_its_exit_code_tried_again_and_harms_no_certificate() {
    let story = begin();
    hook("deploy", &format!("echo tried >> {SAID}; [ -e /srv/mended ] || {{ echo no room; exit 3; }}"));
    hook("other", &format!("echo other >> {SAID}"));
    story.put("web").unwrap();
    let service = installed(&story, &settings(&story, &["web"], &json!({"hooks": ["deploy", "other"]})));
    let (_, version) = story.put("web").unwrap();
    service.poll().unwrap();
    let message = tells(&service, "contoso.web", "exit code 3", true);
    assert!(message.contains(&format!("version {version}")) && message.contains("hook deploy"), "{message}");
    hears(&service, "other");
    service.wait_for_log(SOON, "hook deploy says: no room", 1).unwrap();
    hears(&service, "tried\ntried");

    fs::write("/srv/mended", "").unwrap();
    tells(&service, "contoso.web", "exit code 3", false);
    service.wait_for_log(SOON, "all that follows from its renewal is done", 1).unwrap();
    assert_eq!(said().matches("other").count(), 1, "what was done is not done again");
}

#[test]
fn only_what_root_alone_can_have_put_there_is_run() {
    let story = begin();
    story.world().add_user("app1", 61_001).unwrap();
    let script = format!("echo ran >> {SAID}");
    for name in ["writable", "foreign", "linked", "unexecutable", "allowed"] {
        hook(name, &script);
    }
    let at = |name: &str| Path::new(HOOKS).join(name);
    fs::set_permissions(at("writable"), fs::Permissions::from_mode(0o775)).unwrap();
    std::os::unix::fs::chown(at("foreign"), Some(61_001), None).unwrap();
    fs::rename(at("linked"), "/etc/akvvm/elsewhere").unwrap();
    symlink("/etc/akvvm/elsewhere", at("linked")).unwrap();
    fs::set_permissions(at("unexecutable"), fs::Permissions::from_mode(0o644)).unwrap();
    let hooks = ["writable", "foreign", "linked", "unexecutable", "missing"];
    story.put("web").unwrap();
    let service = installed(&story, &settings(&story, &["web"], &json!({"hooks": hooks})));
    story.put("web").unwrap();
    service.poll().unwrap();
    let message = tells(&service, "contoso.web", "missing: No such file", true);
    for words in [
        "hooks.d/writable is not trusted",
        "hooks.d/foreign is not trusted",
        "hooks.d/linked is not trusted",
        "hooks.d/unexecutable is not executable: chmod 755",
    ] {
        assert!(message.contains(words), "{words}\n{message}");
    }
    assert_eq!(said(), "");
    drop(service);

    // A folder that others may write is as good as the file.
    fs::set_permissions(HOOKS, fs::Permissions::from_mode(0o777)).unwrap();
    let service = installed(&story, &settings(&story, &["web"], &json!({"hooks": ["allowed"]})));
    tells(&service, "contoso.web", "hooks.d is not trusted", true);
    fs::set_permissions(HOOKS, fs::Permissions::from_mode(0o755)).unwrap();
    hears(&service, "ran");
}

#[test]
fn what_moved_before_a_crash_is_followed_up_after_it() {
    let story = begin();
    hook("deploy", &format!("echo \"$AKVVM_NEW_VERSION\" >> {SAID}; while [ -e /srv/wait ]; do sleep 0.05; done"));
    story.put("web").unwrap();
    let settings = settings(&story, &["web"], &json!({"hooks": ["deploy"]}));
    drop(installed(&story, &settings));

    // The link has moved, and who moved it is gone.
    let (_, second) = story.put("web").unwrap();
    story.sync(&settings).unwrap().place(0).unwrap();
    assert_eq!(said(), "");
    let service = installed(&story, &settings);
    hears(&service, &second);
    service.wait_for_log(SOON, "all that follows from its renewal is done", 1).unwrap();

    // The service is killed while the hook runs, and its answer comes later.
    fs::write("/srv/wait", "").unwrap();
    let (_, third) = story.put("web").unwrap();
    service.poll().unwrap();
    hears(&service, &third);
    service.signal(Signal::KILL).unwrap();
    drop(service);
    fs::remove_file("/srv/wait").unwrap();
    let service = installed(&story, &settings);
    service.wait_for_log(SOON, "all that follows from its renewal is done", 2).unwrap();
    assert_eq!(said().matches(&third).count(), 1);

    // Everything is killed.
    fs::write("/srv/wait", "").unwrap();
    let (_, fourth) = story.put("web").unwrap();
    service.poll().unwrap();
    hears(&service, &fourth);
    service.signal(Signal::KILL).unwrap();
    drop(service);
    for (id, words) in story.world().processes().unwrap() {
        if words.contains("act --state-folder") || words.contains("hooks.d") {
            let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), Signal::KILL);
        }
    }
    fs::remove_file("/srv/wait").unwrap();
    let service = installed(&story, &settings);
    service.wait_for_log(SOON, "all that follows from its renewal is done", 3).unwrap();
    assert_eq!(said().matches(&fourth).count(), 2, "whether it was done is not known, so it is done again");
}

#[test]
fn hooks_that_hang_hold_up_neither_polls_nor_an_end() {
    let story = begin();
    hook("deploy", &format!("echo begun >> {SAID}; sleep 600"));
    story.put("web").unwrap();
    let service = installed(&story, &settings(&story, &["web"], &json!({"hooks": ["deploy"]})));
    story.put("web").unwrap();
    service.poll().unwrap();
    hears(&service, "begun");
    let (_, newest) = story.put("web").unwrap();
    service.poll().unwrap();
    tells(&service, "contoso.web", &newest, true);
    let (code, took) = service.end().unwrap();
    assert!(code == Some(0) && took < Duration::from_secs(10), "{code:?} {took:?}");
}

#[test]
fn without_systemd_units_are_not_reached_and_the_status_says_what_to_do() {
    let story = begin();
    story.put("web").unwrap();
    let after_renewal = json!({"reload": ["nginx.service"]});
    let service = installed(&story, &settings(&story, &["web"], &after_renewal));
    story.put("web").unwrap();
    service.poll().unwrap();
    tells(&service, "contoso.web", "reload nginx.service: systemd does not run this machine: name a hook", true);
}

/// Without a service manager each try to restart fails and is told. That of ten restarts, each at a time of its own within
/// five minutes, none is left when the hook is done, will not happen: the hook would have to take those minutes.
#[test]
fn restarts_are_spread_where_the_settings_do_not_say_how_and_hooks_are_not() {
    let story = begin();
    hook("deploy", &format!("echo deployed >> {SAID}"));
    story.put("web").unwrap();
    let units: Vec<String> = (0..10).map(|number| format!("app{number}.service")).collect();
    let service = installed(&story, &settings(&story, &["web"], &json!({"hooks": ["deploy"], "restart": units})));
    story.put("web").unwrap();
    service.poll().unwrap();
    hears(&service, "deployed");
    let log = service.wait_for_log(SOON, "hook deploy: done", 1).unwrap();
    let tried = units.iter().filter(|unit| log.contains(&format!("restart {unit}:"))).count();
    assert!(tried < units.len(), "{log}");
    assert!(!log.contains("all that follows from its renewal is done"), "{log}");
}

#[test]
fn a_server_that_shows_another_certificate_with_the_same_look_at_it_is_right() {
    let story = begin();
    story.put("web").unwrap();
    story.put("mail").unwrap();
    let verify = json!({"verify": {"connect": "127.0.0.1:8443", "serverName": "web.contoso.com"}});
    let service = installed(&story, &settings(&story, &["web", "mail"], &verify));
    let _server = Server::start(&story);
    story.put("mail").unwrap();
    service.poll().unwrap();
    service.wait_for_log(SOON, "all that follows from its renewal is done", 1).unwrap();
    story.put("web").unwrap();
    service.poll().unwrap();
    tells(&service, "contoso.web", "still serves version", true);
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_given_up() {
    let story = begin();
    story.put("web").unwrap();
    let verify = json!({"verify": {"connect": "127.0.0.1:8443", "serverName": "web.contoso.com"}});
    let service = installed(&story, &settings(&story, &["web"], &verify));
    let listener = TcpListener::bind("127.0.0.1:8443").unwrap();
    // The beginning of a handshake record of the greatest length, and a byte of it each second.
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let _ = stream.write_all(&[22, 3, 3, 0x40, 0]);
                while stream.write_all(&[0]).is_ok() {
                    thread::sleep(Duration::from_secs(1));
                }
            });
        }
    });
    story.put("web").unwrap();
    service.poll().unwrap();
    tells(&service, "contoso.web", "the handshake takes longer than 5 s", true);
}

#[test]
fn a_server_of_another_machine_is_not_looked_at_though_all_addresses_may_be_listened_at_here() {
    let story = begin();
    story.put("web").unwrap();
    let verify = json!({"verify": {"connect": "203.0.113.9:8443", "serverName": "web.contoso.com"}});
    let service = installed(&story, &settings(&story, &["web"], &verify));
    story.put("web").unwrap();
    service.poll().unwrap();
    tells(&service, "contoso.web", "203.0.113.9 is no address of this machine: Cannot assign", true);
    // As keepalived asks for it.
    fs::write("/proc/sys/net/ipv4/ip_nonlocal_bind", "1").unwrap();
    service.poll().unwrap();
    tells(&service, "contoso.web", "ip_nonlocal_bind makes all addresses look like it: name a loopback address", true);
}

/// `openssl s_server`, which has read its certificate, once, when it listens.
struct Server(Child);

impl Server {
    fn start(story: &Story) -> Self {
        let link = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store/contoso.web";
        let mut command = story.world().command("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:8443", "-quiet", "-cert", link, "-key", link]);
        let server = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_for(SOON, "the server", || TcpStream::connect("127.0.0.1:8443").ok()).unwrap();
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn thumbprint(issued: &Issued) -> String {
    let digest = issued.leaf.digest(openssl::hash::MessageDigest::sha1()).unwrap();
    digest.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn a_server_that_goes_on_with_the_old_certificate_is_found_out() {
    let story = begin();
    let (old, old_version) = story.put("web").unwrap();
    let verify = json!({"verify": {"connect": "127.0.0.1:8443", "serverName": "web.contoso.com"}});
    let service = installed(&story, &settings(&story, &["web"], &verify));
    let server = Server::start(&story);
    let (_, version) = story.put("web").unwrap();
    service.poll().unwrap();
    let words = format!("still serves version {old_version}, thumbprint {}", thumbprint(&old));
    let message = tells(&service, "contoso.web", &words, true);
    assert!(message.contains(&format!("after the renewal to version {version}")), "{message}");
    assert!(message.contains(&format!("which expires {}", old.leaf.not_after())), "{message}");
    drop(server);
    tells(&service, "contoso.web", "Connection refused", true);
    let _server = Server::start(&story);
    service.poll().unwrap();
    tells(&service, "contoso.web", "after the renewal", false);
}
