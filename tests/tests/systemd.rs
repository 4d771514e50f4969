//! The service as a unit of a real systemd, from the first deployment to the last trace of it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod machine;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::agent::{Goal, Reported};
use tests::azure::Addresses;
use tests::fault::{Scope, Times};
use tests::handler_story::{Extension, PATIENCE, observed, package_of_version, unfinished};
use tests::http::Server;
use tests::story::wait_for;
use tests::systemd::Systemd;
use tests::wire::Wire;

use machine::{Machine, STORE, UNIT, settings, well};

const LINK: &str = "/srv/certs/contoso.web";

impl Machine {
    /// Ends the service as a fault in its memory does, and says which process that was.
    fn crash(&self) -> i32 {
        let process = self.extension.service().unwrap();
        let is_gone = || {
            // The runtime of Rust takes the first signal for a fault that comes again if it is one.
            let _ = kill_process(Pid::from_raw(process).unwrap(), Signal::SEGV);
            (!self.extension.story.services().unwrap().contains(&process)).then_some(())
        };
        wait_for(PATIENCE, "end of the service", is_gone).unwrap();
        process
    }

    fn comes_back_after(&self, process: i32) {
        let is_back = || {
            let other = self.extension.service().ok().filter(|other| *other != process);
            other.filter(|_| self.property("ActiveState") == "active")
        };
        wait_for(PATIENCE, "another service", is_back).unwrap_or_else(|error| panic!("{error:#}\n{}", self.journal()));
    }

    /// Runs a program on a path as the service sees it. It runs outside: nothing can be started where the service is.
    fn in_its_view(&self, command: &[&str], path: &str) -> Option<i32> {
        let path = format!("/proc/{}/root{path}", self.property("MainPID"));
        let (program, words) = command.split_first().unwrap();
        self.systemd.command(program).args(words).arg(path).output().unwrap().status.code()
    }

    fn reboot(self) -> Self {
        let Self { systemd, mut extension } = self;
        systemd.power_off().unwrap();
        let systemd = Systemd::boot(extension.story.world()).unwrap();
        extension.agent.enter(&systemd);
        Self { systemd, extension }
    }
}

/// Everything of the extension below these folders.
fn traces() -> Vec<PathBuf> {
    let mut pending: Vec<PathBuf> = ["/etc", "/opt", "/var/lib"].iter().map(PathBuf::from).collect();
    let mut found = Vec::new();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().contains("akvvm") {
                found.push(path.clone());
            }
            if path.is_dir() && !path.is_symlink() {
                pending.push(path);
            }
        }
    }
    found
}

/// Looks at the link without a pause while `story` goes on: it must lead to a whole certificate at every moment.
fn never_without_a_certificate(story: impl FnOnce()) {
    let over = Arc::new(AtomicBool::new(false));
    let watching = Arc::clone(&over);
    let watcher = thread::spawn(move || {
        while !watching.load(Ordering::Relaxed) {
            let text = fs::read_to_string(LINK).unwrap();
            assert!(text.contains("END PRIVATE KEY") && text.contains("END CERTIFICATE"), "{text}");
        }
    });
    story();
    over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
}

/// Reads the status without a pause while `story` goes on: no moment is a success.
fn never_green(machine: &Machine, story: impl FnOnce()) {
    let file = machine.extension.agent.status_file().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let watching = Arc::clone(&over);
    let watcher = thread::spawn(move || {
        while !watching.load(Ordering::Relaxed) {
            let said: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            assert_eq!(said[0]["status"]["status"], "error", "{said:#}");
        }
    });
    story();
    over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
}

fn words(status: &Reported) -> &str {
    status.message.as_deref().unwrap_or_default()
}

#[test]
fn a_private_machine_starts_what_is_enabled_and_nothing_of_the_real_one() {
    let extension = Extension::begin().unwrap();
    let systemd = Systemd::boot(extension.story.world()).unwrap();
    let unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
    fs::write("/etc/systemd/system/sleeper.service", unit).unwrap();
    systemd.run("systemctl", &["enable", "--now", "sleeper"]).unwrap();
    assert_eq!(systemd.property("sleeper", "ActiveState").unwrap(), "active");
    systemd.power_off().unwrap();
    let systemd = Systemd::boot(extension.story.world()).unwrap();
    assert_eq!(systemd.property("sleeper", "ActiveState").unwrap(), "active");
}

#[test]
fn the_unit_lives_through_everything_that_the_agent_asks_for() {
    let mut machine = Machine::deployed();
    assert_eq!(machine.property("Description"), "Key Vault VM Extension");
    assert_eq!(machine.property("ActiveState"), "active");
    assert!(machine.property("StatusText").starts_with("1 of 1 certificates"), "{}", machine.property("StatusText"));
    assert_eq!(machine.property("UnitFileState"), "enabled");
    let first = machine.extension.service().unwrap();

    well(&machine.extension.agent.again().unwrap());
    assert_eq!(machine.extension.service().unwrap(), first, "nothing changed, so it goes on");

    let requests = machine.extension.story.azure.requests().len();
    machine.systemd.run("systemctl", &["reload", UNIT]).unwrap();
    wait_for(PATIENCE, "poll", || (machine.extension.story.azure.requests().len() > requests).then_some(())).unwrap();
    assert_eq!(machine.extension.service().unwrap(), first);

    well(&machine.extension.deploy(1, &settings(&[STORE, "/srv/more"])).unwrap());
    machine.succeeds();
    let second = machine.extension.service().unwrap();
    assert!(second != first && Path::new("/srv/more/contoso.web").exists());

    let machine = machine.reboot();
    assert_eq!(machine.property("ActiveState"), "active", "it starts without being asked");
    let third = machine.extension.service().unwrap();
    let mut machine = machine;
    well(&machine.extension.agent.again().unwrap());
    assert_eq!(machine.extension.service().unwrap(), third);

    machine.extension.agent.disable().unwrap();
    assert_eq!(
        (machine.property("ActiveState"), machine.property("UnitFileState")),
        ("inactive".into(), "disabled".into())
    );
    assert_eq!(machine.extension.story.services().unwrap(), [0; 0]);
    well(&machine.extension.agent.again().unwrap());
    machine.succeeds();

    machine.extension.agent.uninstall().unwrap();
    assert_eq!(machine.extension.story.services().unwrap(), [0; 0]);
    assert_eq!(machine.property("LoadState"), "not-found");
    assert_eq!(traces(), Vec::<PathBuf>::new());
    assert!(fs::read_to_string(LINK).unwrap().ends_with("PRIVATE KEY-----\n"), "certificates stay");
}

#[test]
fn a_service_that_is_killed_comes_back_and_is_never_green_meanwhile() {
    let machine = Machine::deployed();
    let first = machine.extension.service().unwrap();
    machine.systemd.run("systemctl", &["kill", "--signal=KILL", UNIT]).unwrap();
    let status = machine.extension.agent.wait_for("error", PATIENCE).unwrap();
    assert!(status.message.as_deref().unwrap_or_default().contains("KILL"), "{status:#?}");
    machine.succeeds();
    assert_ne!(machine.extension.service().unwrap(), first);
}

#[test]
fn a_service_that_crashes_five_times_in_a_row_comes_back_each_time_and_is_an_error_until_it_is_well() {
    let machine = Machine::deployed();
    for (name, value) in [("Restart", "always"), ("RestartUSec", "5s"), ("StartLimitIntervalUSec", "0")] {
        assert_eq!(machine.property(name), value, "{name}");
    }
    // What an administrator may set: the story need not wait for pauses that grow.
    let drop_in = "[Service]\nRestartSec=1\nRestartSteps=0\n";
    fs::write("/etc/systemd/system/akvvm_service.service.d/90-story.conf", drop_in).unwrap();
    machine.systemd.run("systemctl", &["daemon-reload"]).unwrap();
    let link = fs::read_link(LINK).unwrap();

    never_without_a_certificate(|| {
        for times in 1..=5 {
            let crashed = machine.crash();
            let message = machine.extension.agent.wait_for("error", PATIENCE).unwrap().message.unwrap();
            let often = format!("ended unexpectedly {times} times in a row: signal SEGV");
            assert!(message.contains(if times > 1 { &often } else { "ended unexpectedly: signal SEGV" }), "{message}");
            machine.comes_back_after(crashed);
            if times < 5 {
                machine.succeeds();
            }
        }
        never_green(&machine, || {
            let is_trouble = |status: &Reported| {
                words(status).contains("5 times in a row, last by: signal SEGV")
                    && words(status).contains("1 of 1 certificates")
            };
            let status = machine.extension.agent.wait_until(PATIENCE, is_trouble).unwrap();
            assert_eq!((status.status.as_deref(), status.code.as_i64()), (Some("error"), Some(11)));
            assert_eq!(status.substatus[0].status, "success", "{status:#?}");
            // It does its work meanwhile.
            assert_eq!(fs::read_link(LINK).unwrap(), link);
            let (_, version) = machine.extension.story.put("web").unwrap();
            machine.extension.poll().unwrap();
            assert!(fs::read_link(LINK).unwrap().to_string_lossy().ends_with(&version));
            // A sixth time, also in the middle of whatever it does.
            let crashed = machine.crash();
            machine.comes_back_after(crashed);
            machine.extension.agent.wait_until(PATIENCE, |status| words(status).contains("6 times")).unwrap();
        });
        assert_eq!(unfinished(&[STORE, "/var/lib/akvvm"]), Vec::<PathBuf>::new());
        // Whoever starts it anew, with the cause mended, has a row of none.
        machine.systemd.run("systemctl", &["restart", UNIT]).unwrap();
        machine.succeeds();
    });
}

#[test]
fn the_service_may_do_little_and_write_only_where_its_certificates_are() {
    let odd = "/srv/a b%n $HOME;'x\"größe";
    let mut machine = Machine::begin();
    for (account, id) in [("app1", 61_001), ("app2", 61_002)] {
        machine.extension.story.world().add_user(account, id).unwrap();
    }
    let readers = json!({"owner": "app1", "mode": "0440", "acls": [{"user": "app2"}]});
    let mut settings = settings(&[STORE, odd]);
    settings["secretsManagementSettings"]["observedCertificates"][1] = observed("web", odd, &readers);
    settings["loggingSettings"] = json!({"logger": "fluentd", "format": "forward", "servicename": "akvvm_service",
        "endpoint": "unix:///var/run/collector/x/fluent.socket"});
    machine.systemd.run("mkdir", &["-p", "/run/collector/x"]).unwrap();
    well(&machine.extension.deploy(0, &settings).unwrap());
    machine.succeeds();
    let file = Path::new(odd).join("contoso.web");
    assert_eq!(fs::metadata(&file).unwrap().uid(), 61_001);
    for account in ["app1", "app2"] {
        assert!(machine.extension.can_read(account, &file).unwrap(), "{account}");
    }

    let report = machine.systemd.run("systemd-analyze", &["security", "--no-pager", "--threshold=26", UNIT]).unwrap();
    assert!(report.contains("exposure level"), "{report}");
    let capabilities = machine.property("CapabilityBoundingSet");
    assert!(capabilities.split_whitespace().count() <= 4, "{capabilities}");

    for (command, path, code) in [
        (["touch"].as_slice(), "/srv/certs/x", 0),
        (&["touch"], "/var/lib/akvvm/x", 0),
        (&["touch"], &format!("{odd}/x"), 0),
        (&["touch"], "/srv/x", 1),
        (&["touch"], "/etc/x", 1),
        (&["touch"], "/run/x", 1),
        (&["touch"], "/dev/shm/x", 1),
        (&["test", "-S"], "/run/systemd/notify", 0),
        (&["test", "-S"], "/run/systemd/journal/stdout", 0),
        (&["test", "-d"], "/run/collector/x", 0),
        (&["test", "-e"], "/run/dbus", 1),
        (&["test", "-e"], "/run/systemd/private", 1),
        (&["test", "-s"], "/etc/passwd", 0),
        (&["test", "-s"], "/etc/shadow", 1),
    ] {
        assert_eq!(machine.in_its_view(command, path), Some(code), "{command:?} {path}");
    }
    let journal = machine.systemd.run("journalctl", &["--no-pager", "--output=cat", "_PID=1"]).unwrap();
    for line in journal.lines().filter(|line| line.contains("akvvm_service")) {
        let is_known =
            line.contains("WantsMountsFor") || line.contains("RestartSteps") || line.contains("RestartMaxDelay");
        assert!(is_known || !line.contains("ignoring"), "{line}");
    }
}

#[test]
fn a_folder_that_is_removed_or_replaced_comes_back_although_the_sandbox_has_closed_it() {
    let machine = Machine::deployed();
    for replaced in [false, true] {
        let service = machine.extension.service().unwrap();
        fs::remove_dir_all(STORE).unwrap();
        if replaced {
            fs::create_dir(STORE).unwrap();
        }
        machine.systemd.run("systemctl", &["reload", UNIT]).unwrap();
        machine.comes_back_after(service);
        machine.succeeds();
        let (_, version) = machine.extension.story.put("web").unwrap();
        machine.extension.poll().unwrap();
        assert!(fs::read_link(LINK).unwrap().to_string_lossy().ends_with(&version), "{}", machine.extension.log());
        assert!(machine.extension.log().contains("/srv/certs was removed or replaced: the service starts anew"));
    }
    let service = machine.extension.service().unwrap();
    machine.extension.poll().unwrap();
    assert_eq!(machine.extension.service().unwrap(), service, "once");
}

#[test]
fn what_takes_the_place_of_roots_or_of_a_disk_is_read_although_the_service_gave_up_reading_all_else() {
    let mut machine = Machine::begin();
    // As systemd itself does at the start of a machine that is no container: mounts are seen in every sandbox.
    machine.systemd.run("mount", &["--make-rshared", "/"]).unwrap();
    well(&machine.extension.deploy(0, &settings(&[STORE])).unwrap());
    machine.succeeds();
    let renewed = |machine: &Machine| {
        let (_, version) = machine.extension.story.put("web").unwrap();
        machine.extension.poll().unwrap();
        let link = machine.systemd.run("readlink", &[LINK]).unwrap();
        assert!(link.trim().ends_with(&version), "{link} {}", machine.extension.log());
    };
    // As a package manager does: a new file under the old name.
    let roots = "/etc/ssl/certs/ca-certificates.crt";
    let service = machine.extension.service().unwrap();
    machine.systemd.run("cp", &[roots, "/etc/ssl/certs/new"]).unwrap();
    machine.systemd.run("mv", &["/etc/ssl/certs/new", roots]).unwrap();
    machine.systemd.run("systemctl", &["reload", UNIT]).unwrap();
    machine.comes_back_after(service);
    machine.succeeds();
    renewed(&machine);

    let service = machine.extension.service().unwrap();
    machine.systemd.run("mount", &["-t", "tmpfs", "disk", STORE]).unwrap();
    machine.systemd.run("systemctl", &["reload", UNIT]).unwrap();
    machine.comes_back_after(service);
    machine.succeeds();
    renewed(&machine);

    let service = machine.extension.service().unwrap();
    machine.systemd.run("systemctl", &["daemon-reexec"]).unwrap();
    renewed(&machine);
    assert_eq!(machine.extension.service().unwrap(), service, "it goes on talking to systemd");
    let log = machine.extension.log();
    assert!(!log.contains("cannot talk to systemd") && !log.contains("stay readable"), "{log}");
    machine.systemd.run("systemctl", &["reload", UNIT]).unwrap();
}

#[test]
fn a_drop_in_that_cannot_be_written_is_said_and_stops_nothing() {
    let mut machine = Machine::begin();
    fs::create_dir_all("/etc/systemd/system").unwrap();
    fs::write("/etc/systemd/system/akvvm_service.service.d", "in the way").unwrap();
    well(&machine.extension.deploy(0, &settings(&[STORE])).unwrap());
    machine.succeeds();
    assert_eq!(machine.property("ProtectSystem"), "yes");
    let log = fs::read_to_string(machine.extension.agent.log_folder().unwrap().join("akvvm_handler.log")).unwrap();
    assert!(log.contains("akvvm_service.service.d") && log.contains("may write everywhere"), "{log}");
}

#[test]
fn the_proxy_for_vaults_is_read_when_the_service_is_restarted() {
    let machine = Machine::deployed();
    let variables = || {
        let environment = fs::read(format!("/proc/{}/environ", machine.extension.service().unwrap())).unwrap();
        String::from_utf8(environment).unwrap().contains("HTTPS_PROXY=http://127.0.0.1:9\0")
    };
    assert!(!variables());
    fs::write("/etc/default/akvvm_service", "HTTPS_PROXY=http://127.0.0.1:9\n").unwrap();
    machine.systemd.run("systemctl", &["restart", UNIT]).unwrap();
    assert!(variables());
}

#[test]
fn a_note_asks_for_nothing_that_the_settings_do_not_name() {
    let mut machine = Machine::begin();
    fs::create_dir_all("/etc/akvvm/hooks.d").unwrap();
    for name in ["named", "other"] {
        let hook = Path::new("/etc/akvvm/hooks.d").join(name);
        fs::write(&hook, format!("#!/bin/sh\necho $AKVVM_COUNT >> /srv/{name}\n")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write("/etc/systemd/system/bait.service", "[Service]\nExecStart=/bin/sleep infinity\n").unwrap();
    machine.systemd.run("systemctl", &["start", "bait"]).unwrap();
    let bait = machine.systemd.property("bait", "MainPID").unwrap();
    let mut settings = settings(&[STORE]);
    settings["secretsManagementSettings"]["afterRenewal"] = json!({"hooks": ["named"]});
    well(&machine.extension.deploy(0, &settings).unwrap());
    machine.succeeds();

    // Where the notes lie is a mount in the sandbox: nothing else can be put in its place.
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", machine.extension.service().unwrap())).unwrap();
    assert!(mounts.lines().any(|line| line.contains(" /var/lib/akvvm/after-renewal rw")), "{mounts}");

    // As who has taken the service over could write it.
    let task = |action: Value| json!({"action": action, "moves": [], "unmoved": []});
    let actions = [json!({"restart": "bait.service"}), json!({"hook": "other"}), json!({"hook": "named"})];
    let note = json!({"id": 1, "tasks": actions.map(task)});
    fs::write("/var/lib/akvvm/forged", note.to_string()).unwrap();
    fs::rename("/var/lib/akvvm/forged", "/var/lib/akvvm/after-renewal/note.json").unwrap();
    wait_for(PATIENCE, "hook", || Path::new("/srv/named").exists().then_some(())).unwrap();
    let is_done = || (!Path::new("/var/lib/akvvm/after-renewal/note.json").exists()).then_some(());
    wait_for(PATIENCE, "end of the note", is_done).unwrap();
    assert!(!Path::new("/srv/other").exists());
    assert_eq!(machine.systemd.property("bait", "MainPID").unwrap(), bait);
}

#[test]
fn what_follows_from_a_renewal_is_made_up_for_after_a_reboot_in_the_middle_of_it() {
    let mut machine = Machine::begin();
    let (hook, said) = (Path::new("/etc/akvvm/hooks.d/deploy"), Path::new("/srv/said"));
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let script = format!("#!/bin/sh\necho $AKVVM_NEW_VERSION >> {}\n[ -e /srv/mended ] || sleep 600\n", said.display());
    fs::write(hook, script).unwrap();
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
    let mut settings = settings(&[STORE]);
    settings["secretsManagementSettings"]["afterRenewal"] = json!({"hooks": ["deploy"]});
    well(&machine.extension.deploy(0, &settings).unwrap());
    machine.succeeds();

    let (_, version) = machine.extension.story.put("web").unwrap();
    machine.systemd.run("systemctl", &["reload", UNIT]).unwrap();
    let runs = || fs::read_to_string(said).unwrap_or_default().matches(&version).count();
    wait_for(PATIENCE, "a hook", || (runs() == 1).then_some(())).unwrap();
    fs::write("/srv/mended", "").unwrap();
    let machine = machine.reboot();
    wait_for(PATIENCE, "the hook once more", || (runs() == 2).then_some(())).unwrap();
    let is_done = || machine.extension.log().contains("all that follows from its renewal is done").then_some(());
    wait_for(PATIENCE, "the end of what follows", is_done).unwrap();
}

#[test]
fn a_deployment_goes_on_after_a_reboot_in_the_middle_of_it() {
    let mut machine = Machine::begin();
    let azure = &machine.extension.story.azure;
    azure.fault(Scope::Vaults, Wire::Close, Times::Always);
    well(&machine.extension.deploy(0, &settings(&[STORE])).unwrap());
    machine.extension.agent.wait_for("transitioning", PATIENCE).unwrap();
    let machine = machine.reboot();
    machine.extension.agent.wait_for("transitioning", PATIENCE).unwrap();
    machine.extension.story.azure.repair(&Scope::Vaults);
    machine.systemd.run("systemctl", &["reload", UNIT]).unwrap();
    machine.succeeds();
    assert!(Path::new(LINK).exists());
}

/// The Azure Arc agent tells all services of its machine by systemd's own settings where it is.
#[test]
fn what_the_azure_arc_agent_tells_all_services_is_heard_in_the_sandbox() {
    let mut extension = Extension::begin_with(Addresses::real().with_arc(41000)).unwrap();
    extension.story.put("web").unwrap();
    fs::create_dir_all("/etc/systemd/system.conf.d").unwrap();
    let variables = "[Manager]\nDefaultEnvironment=\
        \"IDENTITY_ENDPOINT=http://localhost:41000/metadata/identity/oauth2/token\" \"IMDS_ENDPOINT=http://localhost:41000\"\n";
    fs::write("/etc/systemd/system.conf.d/azcmagent.conf", variables).unwrap();
    let systemd = Systemd::boot(extension.story.world()).unwrap();
    extension.agent.enter(&systemd);
    let status = extension.deploy_and_wait(&settings(&[STORE])).unwrap();
    let message = status.message.unwrap();
    assert!(message.contains("the system-assigned identity"), "{message}");
    let azure = &extension.story.azure;
    assert_eq!((azure.requests_to(Server::Arc).len(), azure.requests_to(Server::Imds).len()), (2, 0));
}

#[test]
fn an_instance_that_was_started_without_systemd_is_replaced() {
    let mut machine = Machine::begin();
    well(&machine.extension.deploy(0, &settings(&[STORE])).unwrap());
    machine.succeeds();
    machine.extension.agent.disable().unwrap();
    // As the handler starts it where it finds no systemd.
    let folder = machine.extension.agent.folder().unwrap();
    let handler = folder.join("akvvm_handler").to_string_lossy().into_owned();
    let hidden = "mount -t tmpfs tmpfs /run/systemd && exec \"$0\" enable";
    let words = ["--mount", "env", "ConfigSequenceNumber=0", "sh", "-c", hidden, &handler];
    machine.systemd.run("unshare", &words).unwrap();
    assert_eq!(machine.property("ActiveState"), "inactive");
    let detached = machine.extension.service().unwrap();

    well(&machine.extension.agent.again().unwrap());
    assert_eq!(machine.property("ActiveState"), "active");
    assert_ne!(machine.extension.service().unwrap(), detached);
    machine.succeeds();
}

#[test]
fn an_update_and_a_way_back_leave_one_version_and_never_break_the_link() {
    let mut machine = Machine::deployed();
    let newer = package_of_version("1.0.1", machine.extension.story.folder()).unwrap();
    let older = machine.extension.package.clone();
    for (package, version) in [(newer, "1.0.1"), (older, "1.0.0")] {
        never_without_a_certificate(|| {
            let outcome = machine.extension.agent.apply(&Goal::new(&package, 0, settings(&[STORE]))).unwrap();
            well(&outcome);
            machine.succeeds();
        });
        let start = machine.property("ExecStart");
        assert!(start.contains(&format!("/opt/akvvm/{version}/libexec/akvvm_service")), "{start}");
        let versions: Vec<_> = fs::read_dir("/opt/akvvm").unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(versions, [version]);
        assert_eq!(machine.extension.story.services().unwrap().len(), 1);
    }
}

#[test]
fn beside_a_service_of_the_same_name_nothing_is_done_until_it_is_gone() {
    let mut machine = Machine::begin();
    fs::create_dir_all("/opt/closed").unwrap();
    fs::write("/opt/closed/akvvm_service", "#!/bin/sh\nexec sleep 1000\n").unwrap();
    machine.extension.run("chmod", &["755", "/opt/closed/akvvm_service"]).unwrap();
    let unit = "[Service]\nExecStart=/opt/closed/akvvm_service\n[Install]\nWantedBy=multi-user.target\n";
    fs::write("/etc/systemd/system/akvvm_service.service", unit).unwrap();
    machine.systemd.run("systemctl", &["enable", "--now", UNIT]).unwrap();
    let other = machine.property("MainPID");

    let outcome = machine.extension.deploy(0, &settings(&[STORE])).unwrap();
    assert!(!outcome.ready());
    let status = machine.extension.agent.status().unwrap();
    assert_eq!(status.status.as_deref(), Some("error"), "{status:#?}");
    assert!(status.message.unwrap().contains("az vm extension delete"));
    assert_eq!(machine.property("MainPID"), other, "what is not ours goes on");

    // It was removed, but its unit was forgotten, and its process runs on.
    fs::remove_dir_all("/opt/closed").unwrap();
    well(&machine.extension.agent.again().unwrap());
    machine.succeeds();
    assert!(machine.property("ExecStart").contains("/opt/akvvm/"));
    assert_ne!(machine.property("MainPID"), other);
}

#[test]
fn what_earlier_releases_left_is_taken_over_without_a_gap() {
    // Release 2.x: a link to <vault>.<certificate>.<version>.<from>.<to>.PEM. Release 3.x: no suffix. Of both there are
    // absolute links and relative ones; all belongs to root alone.
    for suffix in [".1700000000.1900000000.PEM", ""] {
        for is_absolute in [true, false] {
            // A world for each, which belongs to its thread.
            thread::spawn(move || taken_over(suffix, is_absolute)).join().unwrap();
        }
    }
}

fn taken_over(suffix: &str, is_absolute: bool) {
    let mut machine = Machine::begin();
    let (issued, version) = machine.extension.story.put("web").unwrap();
    let old = "0123456789abcdef0123456789abcdef";
    fs::create_dir(STORE).unwrap();
    fs::set_permissions(STORE, fs::Permissions::from_mode(0o700)).unwrap();
    for left in [old, version.as_str()] {
        let name = format!("contoso.web.{left}{suffix}");
        let file = Path::new(STORE).join(&name);
        fs::write(&file, issued.pem().unwrap().value).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let _ = fs::remove_file(LINK);
        symlink(if is_absolute { file } else { name.into() }, LINK).unwrap();
    }
    never_without_a_certificate(|| {
        well(&machine.extension.deploy(0, &settings(&[STORE])).unwrap());
        machine.succeeds();
    });
    // A link to this very version and name may stay as it is.
    let now = fs::read_link(LINK).unwrap();
    assert_eq!(now.file_name().unwrap().to_string_lossy(), format!("contoso.web.{version}"));
    assert!(Path::new(STORE).join(format!("contoso.web.{old}{suffix}")).exists(), "older files stay");
}

/// Makes the machine look as one with SELinux does to a program that asks the kernel for it. No policy is behind it:
/// what the program `restorecon` would do is recorded, not done.
const SELINUX: &str = r#"
mount --bind /sys/fs/cgroup /mnt
mount -t tmpfs tmpfs /sys/fs
mkdir /sys/fs/cgroup /sys/fs/selinux
mount --move /mnt /sys/fs/cgroup
echo 1 > /sys/fs/selinux/enforce
mount -t tmpfs tmpfs /usr/local/sbin
cat > /usr/local/sbin/restorecon <<'END'
#!/bin/sh
shift
for path; do find "$path" -type f; done >> /var/log/labelled
exit 1
END
chmod 755 /usr/local/sbin/restorecon
"#;

#[test]
fn where_selinux_is_what_systemd_reads_and_runs_gets_its_labels_first() {
    let mut machine = Machine::begin();
    machine.systemd.run("sh", &["-euc", SELINUX]).unwrap();
    well(&machine.extension.deploy(0, &settings(&[STORE])).unwrap());
    machine.succeeds();
    let labelled = fs::read_to_string("/var/log/labelled").unwrap();
    for file in ["/opt/akvvm/1.0.0/libexec/akvvm_service", "/etc/systemd/system/akvvm_service.service"] {
        assert!(labelled.lines().any(|line| line == file), "{file} is missing:\n{labelled}");
    }
    assert!(labelled.contains("/etc/systemd/system/akvvm_service.service.d/"), "{labelled}");
    // It failed, which is said and stops nothing.
    let log = fs::read_to_string(machine.extension.agent.log_folder().unwrap().join("akvvm_handler.log")).unwrap();
    assert!(log.contains("restorecon -R"), "{log}");
}

#[test]
fn what_the_service_needs_among_secrets_is_not_hidden_and_the_others_are() {
    let mut machine = Machine::begin();
    let trust = Path::new("/etc/pki/tls/private/roots.pem");
    fs::create_dir_all(trust.parent().unwrap()).unwrap();
    fs::rename("/etc/ssl/certs/ca-certificates.crt", trust).unwrap();
    fs::write("/etc/default/akvvm_service", format!("SSL_CERT_FILE={}\n", trust.display())).unwrap();
    fs::create_dir("/var/spool/certs").unwrap();
    symlink("/var/spool/certs", "/srv/through").unwrap();
    // What hides a link hides what it leads to.
    fs::remove_dir_all("/var/backups").unwrap();
    fs::create_dir_all("/srv/backups/certs").unwrap();
    symlink("/srv/backups", "/var/backups").unwrap();
    let stores = ["/etc/ssl/private", "/srv/through", "/srv/backups/certs"];
    well(&machine.extension.deploy(0, &settings(&stores)).unwrap());
    machine.succeeds();
    for folder in ["/etc/ssl/private", "/var/spool/certs", "/srv/backups/certs"] {
        assert!(fs::read_to_string(Path::new(folder).join("contoso.web")).unwrap().contains("END CERTIFICATE"));
    }
    let hidden = machine.property("InaccessiblePaths");
    for (path, is_hidden) in [
        ("/etc/ssh", true),
        ("/root", true),
        ("/etc/ssl/private", false),
        ("/var/spool", false),
        ("/etc/pki/tls/private", false),
        ("/var/backups", false),
    ] {
        assert_eq!(hidden.split(' ').any(|one| one.trim_start_matches('-') == path), is_hidden, "{path}: {hidden}");
    }
    // Somebody changes a password all the same.
    fs::copy("/etc/shadow", "/etc/nshadow").unwrap();
    fs::rename("/etc/nshadow", "/etc/shadow").unwrap();
}

#[test]
fn what_others_make_private_or_remove_does_not_restart_the_service() {
    let mut machine = Machine::begin();
    let private = |path: &Path| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    };
    let (first, second) = (Path::new("/opt/first"), Path::new("/opt/second"));
    private(first);
    well(&machine.extension.deploy(0, &settings(&[STORE])).unwrap());
    machine.succeeds();
    let is_hidden =
        |machine: &Machine, path: &Path| machine.property("InaccessiblePaths").contains(path.to_str().unwrap());
    assert!(is_hidden(&machine, first), "{}", machine.property("InaccessiblePaths"));
    let service = machine.extension.service().unwrap();

    fs::remove_file(first).unwrap();
    private(second);
    well(&machine.extension.agent.again().unwrap());
    assert_eq!(machine.extension.service().unwrap(), service, "nothing changed for it, so it goes on");
    assert!(!is_hidden(&machine, second));

    well(&machine.extension.deploy(1, &settings(&[STORE, "/opt/program/certs"])).unwrap());
    machine.succeeds();
    assert_ne!(machine.extension.service().unwrap(), service);
    assert!(is_hidden(&machine, second) && !is_hidden(&machine, Path::new("/opt/program/certs")));
}
