//! The process that connects for the service, which has no network, under a real systemd.
#![allow(clippy::unwrap_used, clippy::panic)]

mod late_names;
mod machine;

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use tests::handler_story::{PATIENCE, observed};
use tests::story::{observing, wait_for};

use machine::{Machine, STORE, UNIT, settings, well};

const DIALER: &str = "akvvm_dialer";

impl Machine {
    fn deploy(&mut self, number: u32, settings: &Value) {
        well(&self.extension.deploy(number, settings).unwrap());
        self.succeeds();
    }

    fn control(&self, words: &[&str]) {
        self.systemd.run("systemctl", words).unwrap();
    }

    fn property_of(&self, unit: &str, name: &str) -> String {
        self.systemd.property(unit, name).unwrap()
    }

    /// The number, outside of the machine, of the one process whose command line holds these words.
    fn process(&self, words: &str) -> i32 {
        let processes = self.extension.story.world().processes().unwrap();
        let found: Vec<i32> = processes.iter().filter(|(_, line)| line.contains(words)).map(|(id, _)| *id).collect();
        assert_eq!(found.len(), 1, "{words}: {processes:?}");
        found[0]
    }

    /// A new version is in use after a poll.
    fn renews(&self) {
        let (_, version) = self.extension.story.put("web").unwrap();
        // A pass that was under way may not have seen it.
        let is_new = || {
            let status = self.extension.poll().unwrap();
            let link = fs::read_link(Path::new(STORE).join("contoso.web")).unwrap();
            link.to_string_lossy().ends_with(&version).then_some(status)
        };
        wait_for(PATIENCE, "new version", is_new).unwrap_or_else(|error| panic!("{error:#}\n{}", self.journal()));
    }

    /// What a poll that cannot reach the vault says.
    fn fails(&self) -> String {
        let status = self.extension.poll().unwrap();
        let words = format!("{status:?}");
        assert!(status.substatus.iter().any(|part| part.status != "success"), "{words}");
        words
    }
}

#[test]
fn who_has_the_keys_has_no_network_and_who_has_the_network_sees_no_keys() {
    let machine = Machine::deployed();
    machine.renews();
    let service = machine.process("akvvm_service run ");
    let interfaces = fs::read_to_string(format!("/proc/{service}/net/dev")).unwrap();
    let interfaces: Vec<&str> = interfaces.lines().skip(2).filter_map(|line| line.split(':').next()).collect();
    assert_eq!(interfaces, ["    lo"]);

    let dialer = machine.process("akvvm_service dial ");
    let status = fs::read_to_string(format!("/proc/{dialer}/status")).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.lines().any(|found| found == line), "{line}: {status}");
    }
    for (path, is_seen) in [(STORE, false), ("/var/log/azure", true), ("/etc/hosts", true), ("/root", false)] {
        let seen = fs::read_dir(format!("/proc/{dialer}/root{path}")).is_ok_and(|mut entries| entries.next().is_some())
            || fs::read(format!("/proc/{dialer}/root{path}")).is_ok();
        assert_eq!(seen, is_seen, "{path}");
    }
    let key = Path::new(STORE).join("contoso.web");
    assert!(key.exists() && !Path::new(&format!("/proc/{dialer}/root{}", key.display())).exists());
}

#[test]
fn what_is_taken_away_of_it_comes_back() {
    let machine = Machine::deployed();
    machine.control(&["kill", "--signal=KILL", DIALER]);
    machine.renews();
    machine.control(&["stop", "akvvm_dialer.socket", "akvvm_dialer.service"]);
    let is_back = || (machine.property_of("akvvm_dialer.socket", "ActiveState") == "active").then_some(());
    wait_for(PATIENCE, "socket", is_back).unwrap();
    machine.renews();
    // A restart of the service is one of the dialer, too, which then knows the environment and the settings of now.
    let before = machine.property_of(DIALER, "MainPID");
    machine.control(&["restart", UNIT]);
    machine.renews();
    assert_ne!(machine.property_of(DIALER, "MainPID"), before);
    machine.control(&["stop", UNIT]);
    assert_eq!(machine.property_of(DIALER, "ActiveState"), "inactive");
}

#[test]
fn a_poll_that_does_not_reach_it_says_so_and_the_certificates_stay() {
    let machine = Machine::deployed();
    let link = fs::read_link(Path::new(STORE).join("contoso.web")).unwrap();
    machine.control(&["kill", "--signal=STOP", DIALER]);
    machine.extension.story.put("web").unwrap();
    let words = machine.fails();
    assert!(words.contains("the dialer at /run/akvvm/dialer does not answer"), "{words}");
    assert!(words.contains("systemctl status akvvm_dialer"), "{words}");
    assert_eq!(fs::read_link(Path::new(STORE).join("contoso.web")).unwrap(), link);
    machine.control(&["restart", UNIT]);
    machine.renews();
}

#[test]
fn a_service_that_finds_no_dialer_makes_its_own_folder_and_says_what_is_missing() {
    let machine = Machine::deployed();
    let program = fs::read_link(format!("/proc/{}/exe", machine.process("akvvm_service run "))).unwrap();
    let settings = "/var/lib/akvvm/accepted/0.settings";
    let command =
        format!("timeout 5 {} run {settings} --state-folder /srv/own --dialer /srv/nobody", program.display());
    let told = machine.systemd.run("sh", &["-c", &format!("{command} 2>&1; true")]).unwrap();
    assert!(told.contains("the dialer at /srv/nobody does not answer") && told.contains(" started with "), "{told}");
}

#[test]
fn a_proxy_that_only_the_service_was_told_of_is_not_connected_to_and_it_is_said_where_to_name_it() {
    let machine = Machine::deployed();
    let drop_in = "/etc/systemd/system/akvvm_service.service.d/proxy.conf";
    fs::write(drop_in, "[Service]\nEnvironment=HTTPS_PROXY=http://127.0.0.1:9\n").unwrap();
    machine.control(&["daemon-reload"]);
    machine.control(&["restart", UNIT]);
    let words = machine.fails();
    assert!(
        words.contains("the dialer does not know 127.0.0.1:9: a proxy must be named in /etc/default/akvvm_service"),
        "{words}"
    );
    fs::remove_file(drop_in).unwrap();
    fs::write("/etc/default/akvvm_service", "HTTPS_PROXY=http://127.0.0.1:9\n").unwrap();
    machine.control(&["daemon-reload"]);
    machine.control(&["restart", UNIT]);
    let words = machine.fails();
    assert!(words.contains("Connection refused") && words.contains("no way through the proxy"), "{words}");
}

#[test]
fn a_collector_on_a_port_of_this_machine_is_reached() {
    let mut machine = Machine::begin();
    let collector = TcpListener::bind("127.0.0.1:24224").unwrap();
    let heard = thread::spawn(move || {
        let mut bytes = [0; 64];
        let length = collector.accept().unwrap().0.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    });
    let mut settings = settings(&[STORE]);
    settings["loggingSettings"] =
        json!({"logger": "fluentd", "endpoint": "tcp://localhost:24224", "format": "forward"});
    machine.deploy(0, &settings);
    let heard = heard.join().unwrap();
    assert!(heard.contains("akvvm_service"), "{heard}");
}

#[test]
fn a_directory_of_accounts_is_asked_by_who_has_the_network_and_stops_no_connection_when_it_hangs() {
    let mut machine = Machine::begin();
    let modules = "/opt/contoso/lib64";
    fs::create_dir_all(modules).unwrap();
    late_names::compile(&machine.extension, Path::new(modules));
    machine.extension.story.world().add_user("app", 61_001).unwrap();
    fs::write("/etc/nsswitch.conf", "passwd: files late\ngroup: files late\nhosts: files dns\n").unwrap();
    fs::create_dir_all("/etc/systemd/system/akvvm_dialer.service.d").unwrap();
    let own = format!("[Service]\nExecPaths={modules}\nEnvironment=LD_LIBRARY_PATH={modules}\n");
    fs::write("/etc/systemd/system/akvvm_dialer.service.d/own.conf", own).unwrap();
    let accounts = json!({"acls": [{"user": "remote"}, {"user": "app"}]});
    let mut settings = observing(&[observed("web", STORE, &accounts)]);
    settings["secretsManagementSettings"]["requireInitialSync"] = json!(true);
    machine.deploy(0, &settings);
    assert_eq!(machine.property("PrivateNetwork"), "yes");
    let are_readers = |machine: &Machine| {
        let file = fs::canonicalize(Path::new(STORE).join("contoso.web")).unwrap();
        assert_eq!(late_names::readers(&machine.extension, &file), [true, true], "{}", machine.journal());
    };
    are_readers(&machine);

    fs::write(late_names::DOWN, "").unwrap();
    for _ in 0..3 {
        machine.renews();
        are_readers(&machine);
    }
    let log = machine.extension.log();
    assert!(log.contains("remote could not be looked up") && log.contains("earlier question"), "{log}");
    fs::remove_file(late_names::DOWN).unwrap();
    machine.renews();
    are_readers(&machine);
}
