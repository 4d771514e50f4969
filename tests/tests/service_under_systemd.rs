//! The service under a real systemd and its journal: not the unit of the package, but what any unit with these lines gets.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::agent::{Reported, judge};
use tests::story::{Story, binary, wait_for};
use tests::systemd::Systemd;

const LONG: Duration = Duration::from_secs(60);
const UNIT: &str = "keeper.service";
/// A folder that the story and the machine have in common.
const FOLDER: &str = "/var/lib/keeper";

/// A machine on which the service is started, and observes `web`.
struct Machine {
    systemd: Systemd,
    handler: PathBuf,
}

impl Machine {
    fn start(story: &Story) -> Self {
        let folder = Path::new(FOLDER);
        let handler = folder.join("handler");
        for name in ["keeper/handler", "keeper/status", "waagent"] {
            fs::create_dir_all(Path::new("/var/lib").join(name)).unwrap();
        }
        fs::write(folder.join("7.settings"), story.observing(&["web"]).to_string()).unwrap();
        let program = binary("akvvm_service").unwrap();
        let program = program.display();
        let places = format!("{FOLDER}/7.settings --state-folder {FOLDER}/state --status-folder {FOLDER}/status");
        let unit = format!(
            "[Service]\n\
             Type=notify\n\
             ExecStart={program} run {places} --log-folder {FOLDER}/log --handler-folder {FOLDER}/handler\n\
             ExecReload=/bin/kill -HUP $MAINPID\n\
             ExecStopPost={program} ended {places}\n\
             WatchdogSec=4\n\
             Restart=always\n\
             RestartSec=2\n\
             RestartPreventExitStatus=4\n\
             ProtectSystem=strict\n\
             ReadWritePaths={FOLDER} {FOLDER}/handler /var/lib/waagent\n"
        );
        let systemd = Systemd::boot(story.world()).unwrap();
        fs::write(format!("/etc/systemd/system/{UNIT}"), unit).unwrap();
        systemd.run("systemctl", &["daemon-reload"]).unwrap();
        systemd.run("systemctl", &["start", UNIT]).unwrap();
        Self { systemd, handler }
    }

    fn property(&self, name: &str) -> String {
        self.systemd.property(UNIT, name).unwrap()
    }

    fn wait_for_property(&self, name: &str, condition: impl Fn(&str) -> bool) -> String {
        let found = wait_for(LONG, name, || Some(self.property(name)).filter(|value| condition(value)));
        found.unwrap_or_else(|error| panic!("{error}: {}", self.journal(&[])))
    }

    /// The messages of the service itself.
    fn journal(&self, options: &[&str]) -> String {
        let words = [&["--unit", UNIT, "--output=cat", "--quiet", "_COMM=akvvm_service"], options].concat();
        self.systemd.run("journalctl", &words).unwrap()
    }

    fn wait_for_status(&self, condition: impl Fn(&Reported) -> bool) -> Reported {
        let file = Path::new(FOLDER).join("status/7.status");
        let reported = || judge("Microsoft.Azure.KeyVault.KeyVaultForLinux", &file);
        wait_for(LONG, "such status", || Some(reported()).filter(|reported| condition(reported)))
            .unwrap_or_else(|error| panic!("{error}: {:?} {}", reported(), self.journal(&[])))
    }
}

fn is_fine(reported: &Reported) -> bool {
    let message = reported.message.as_deref().unwrap_or_default();
    reported.status.as_deref() == Some("success") && message.starts_with("1 of 1 certificates installed")
}

#[test]
fn systemd_sees_how_it_stands_replaces_it_when_it_hangs_and_lets_it_go_when_its_handler_is_gone() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let machine = Machine::start(&story);
    assert_eq!(machine.property("ActiveState"), "active", "it is ready when it has started");
    machine.wait_for_property("StatusText", |text| text.starts_with("1 of 1 certificates, next poll "));
    machine.systemd.run("systemctl", &["reload", UNIT]).unwrap();
    wait_for(LONG, "poll", || machine.journal(&[]).contains("polling now, as asked").then_some(())).unwrap();
    machine.wait_for_property("SubState", |state| state == "running");

    let journal = machine.journal(&[]);
    assert!(journal.contains("certificate file name: ") && !journal.contains('<'), "{journal}");
    assert!(journal.lines().all(|line| !line.starts_with("20")), "no time stamps: {journal}");
    assert_eq!(machine.journal(&["--priority=warning"]), "", "{journal}");

    // It lives longer than its watchdog waits, until it hangs.
    let first = machine.property("MainPID");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(machine.property("MainPID"), first);
    machine.systemd.run("systemctl", &["kill", "--kill-whom=main", "--signal=STOP", UNIT]).unwrap();
    let reported = machine.wait_for_status(|reported| reported.status.as_deref() == Some("error"));
    assert!(reported.message.unwrap().contains("its watchdog ended it"));
    machine.wait_for_status(is_fine);
    assert_ne!(machine.wait_for_property("MainPID", |number| number != "0"), first);

    machine.systemd.run("systemctl", &["kill", "--kill-whom=main", "--signal=KILL", UNIT]).unwrap();
    let reported = machine.wait_for_status(|reported| reported.status.as_deref() == Some("error"));
    assert!(reported.message.as_ref().unwrap().contains("signal KILL"), "{reported:?}");
    machine.wait_for_status(is_fine);

    let restarts = machine.wait_for_property("NRestarts", |number| number != "0");
    fs::remove_dir(&machine.handler).unwrap();
    machine.wait_for_property("ActiveState", |state| state == "failed");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(machine.property("ActiveState"), "failed");
    assert_eq!((machine.property("ExecMainStatus").as_str(), machine.property("NRestarts")), ("4", restarts));
    assert!(is_fine(&machine.wait_for_status(|_| true)), "that is no failure");
}
