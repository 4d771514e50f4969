//! `enable` as the guest agent calls it: at every boot, every goal state, with whatever settings there are.

#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::system::STATE_FOLDER;
use machine::{Ended, Machine, good, libexec, on_a_fresh_machine, with_a_small_disk, wrong};

#[test]
fn starts_the_service_once_and_leaves_it_and_its_status_alone_after_that() {
    on_a_fresh_machine(|machine| {
        let handler = machine.enabled("1.0.0");
        handler.is_reported_by_the_service(0);
        let (process, status) = (machine.process(), fs::metadata(handler.status_file(0)).unwrap().ino());
        for _ in 0..20 {
            handler.succeed("enable", "0");
        }
        assert_eq!(machine.process(), process);
        assert_eq!(fs::metadata(handler.status_file(0)).unwrap().ino(), status);
    });
}

#[test]
fn replaces_a_service_that_has_not_reported_for_hours() {
    on_a_fresh_machine(|machine| {
        let handler = machine.enabled("1.0.0");
        handler.is_reported_by_the_service(0);
        let process = machine.process();
        let age = |minutes: u64| {
            let status = fs::File::options().write(true).open(handler.status_file(0)).unwrap();
            status.set_modified(SystemTime::now() - Duration::from_secs(60 * minutes)).unwrap();
        };
        age(20);
        handler.succeed("enable", "0");
        assert_eq!(machine.process(), process, "a long pass is no reason");
        age(60);
        handler.succeed("enable", "0");
        assert_ne!(machine.process(), process);
    });
}

#[test]
fn says_transitioning_until_the_service_says_more() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        handler.write_settings(0, &good(60));
        handler.service_that("does not report");
        handler.succeed("enable", "0");
        assert_eq!(handler.status(0).0, "transitioning");
    });
}

#[test]
fn leaves_nothing_of_the_agent_with_the_service() {
    on_a_fresh_machine(|machine| {
        let text = "# for the vault\nHTTPS_PROXY=\"http://proxy:3128\"\n";
        fs::write("/etc/default/akvvm_service", text).unwrap();
        machine.enabled("1.0.0");
        let process = Path::new("/proc").join(machine.process().to_string());
        let mut environment: Vec<_> =
            fs::read_to_string(process.join("environ")).unwrap().split_terminator('\0').map(str::to_owned).collect();
        environment.sort();
        assert_eq!(
            environment,
            ["HTTPS_PROXY=http://proxy:3128", "LANG=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        );
        assert_eq!(fs::read_link(process.join("cwd")).unwrap(), Path::new("/"));
        for descriptor in ["0", "1"] {
            assert_eq!(fs::read_link(process.join("fd").join(descriptor)).unwrap(), Path::new("/dev/null"));
        }
        assert_eq!(fs::read_link(process.join("fd/2")).unwrap(), machine.log_folder().join("akvvm_service.log"));
        let stat = fs::read_to_string(process.join("stat")).unwrap();
        assert_eq!(stat.split(' ').nth(5).unwrap(), machine.process().to_string(), "leads its own session: {stat}");
        assert!(fs::read_to_string(process.join("status")).unwrap().contains("Umask:\t0077"));
    });
}

#[test]
fn an_environment_file_that_others_may_write_is_not_used() {
    on_a_fresh_machine(|machine| {
        let path = Path::new("/etc/default/akvvm_service");
        fs::write(path, "HTTPS_PROXY=http://evil\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        machine.enabled("1.0.0");
        let environment = fs::read_to_string(format!("/proc/{}/environ", machine.process())).unwrap();
        assert!(!environment.contains("evil"), "{environment}");
        let log = fs::read_to_string(machine.log_folder().join("akvvm_handler.log")).unwrap();
        assert!(log.contains("/etc/default/akvvm_service"), "{log}");
    });
}

#[test]
fn new_settings_restart_the_service_also_when_their_number_is_smaller() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        handler.write_settings(7, &good(60));
        handler.succeed("enable", "7");
        let first = machine.process();
        handler.write_settings(3, &good(120));
        handler.succeed("enable", "3");
        assert_ne!(machine.process(), first);
        handler.is_reported_by_the_service(3);
        assert_eq!(machine.accepted(), ["3.settings"]);
        let accepted = Path::new(STATE_FOLDER).join("accepted/3.settings");
        assert_eq!(machine.service().unwrap().settings, accepted);
        assert_eq!(fs::read_to_string(&accepted).unwrap(), good(120));
        assert_eq!(fs::metadata(&accepted).unwrap().mode() & 0o777, 0o600);
    });
}

#[test]
fn other_settings_under_the_same_number_restart_the_service() {
    on_a_fresh_machine(|machine| {
        let handler = machine.enabled("1.0.0");
        let first = machine.process();
        handler.write_settings(0, &good(120));
        handler.succeed("enable", "0");
        assert_ne!(machine.process(), first);
    });
}

#[test]
fn the_newest_file_counts_when_it_is_run_by_hand() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        handler.write_settings(9, &good(60));
        handler.write_settings(2, &good(60));
        let old = fs::File::options().write(true).open(handler.base.join("config/9.settings")).unwrap();
        old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(Ended::of(handler.start_with("enable", &[])).code, 0);
        handler.is_reported_by_the_service(2);
    });
}

#[test]
fn a_status_file_that_is_gone_is_written_again_by_the_running_service() {
    on_a_fresh_machine(|machine| {
        let handler = machine.enabled("1.0.0");
        handler.is_reported_by_the_service(0);
        let process = machine.process();
        fs::remove_file(handler.status_file(0)).unwrap();
        handler.succeed("enable", "0");
        handler.is_reported_by_the_service(0);
        assert_eq!(machine.process(), process);
    });
}

#[test]
fn wrong_settings_are_refused_and_the_service_goes_on_with_good_ones() {
    on_a_fresh_machine(|machine| {
        let handler = machine.enabled("1.0.0");
        handler.is_reported_by_the_service(0);
        let process = machine.process();
        handler.write_settings(1, &wrong());
        let ended = handler.run("enable", "1");
        assert_eq!(ended.code, 3, "{}", ended.said);
        let (level, message) = handler.status(1);
        assert_eq!(level, "error");
        for said in [&message, &ended.said] {
            for wanted in ["config/1.settings", "pollingIntervalInS", "observedCertificates[0]", "accepted/0.settings"]
            {
                assert!(said.contains(wanted), "{wanted}: {said}");
            }
        }
        assert_eq!(machine.process(), process);
        assert_eq!(machine.accepted(), ["0.settings"]);
        assert_eq!(handler.status(0).0, "success");
    });
}

#[test]
fn after_a_reboot_wrong_settings_leave_the_service_with_good_ones() {
    on_a_fresh_machine(|machine| {
        let handler = machine.enabled("1.0.0");
        handler.write_settings(1, &wrong());
        machine.reboot();
        assert_eq!(handler.run("enable", "1").code, 3);
        assert_eq!(machine.service().unwrap().settings, Path::new(STATE_FOLDER).join("accepted/0.settings"));
        handler.is_reported_by_the_service(0);
        assert_eq!(handler.status(1).0, "error");
        let process = machine.process();
        assert_eq!(handler.run("enable", "1").code, 3);
        assert_eq!(machine.process(), process);
    });
}

#[test]
fn an_error_is_not_overwritten_by_a_service_that_had_good_settings_of_the_same_number() {
    on_a_fresh_machine(|machine| {
        let handler = machine.enabled("1.0.0");
        handler.write_settings(0, &good(60)[..40]);
        for _ in 0..2 {
            assert_eq!(handler.run("enable", "0").code, 3);
            let service = machine.service().expect("the service goes on");
            assert_eq!(service.status_folder, None);
            assert_eq!(handler.status(0).0, "error");
        }
        handler.write_settings(0, &good(60));
        handler.succeed("enable", "0");
        handler.is_reported_by_the_service(0);
    });
}

#[test]
fn an_empty_file_says_that_there_are_no_settings_and_is_no_failure() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        handler.write_settings(0, "");
        handler.succeed("enable", "0");
        let (level, message) = handler.status(0);
        assert_eq!(level, "error");
        assert!(message.contains("observedCertificates"), "{message}");
        assert!(machine.service().is_none());
    });
}

#[test]
fn a_settings_file_that_is_missing_or_unreadable_is_an_error_in_the_status() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        assert_eq!(handler.run("enable", "4").code, 3);
        let (level, message) = handler.status(4);
        assert_eq!(level, "error");
        assert!(message.contains("config/4.settings"), "{message}");
        fs::create_dir(handler.base.join("config/5.settings")).unwrap();
        assert_eq!(handler.run("enable", "5").code, 3);
        assert_eq!(handler.status(5).0, "error");
    });
}

#[test]
fn a_number_that_is_none_is_said() {
    on_a_fresh_machine(|machine| {
        let ended = machine.unpack("1.0.0").run("enable", "four");
        assert_eq!(ended.code, 1);
        assert!(ended.said.contains("ConfigSequenceNumber") && ended.said.contains("four"), "{}", ended.said);
    });
}

#[test]
fn a_missing_environment_is_said_in_the_folder_where_agents_look_and_on_standard_error() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        handler.write_settings(3, &good(60));
        let environment = handler.base.join("HandlerEnvironment.json");
        fs::remove_file(&environment).unwrap();
        let fails = |number: &str| {
            let ended = handler.run("enable", number);
            assert_eq!(ended.code, 1);
            assert!(ended.said.contains("HandlerEnvironment.json"), "{}", ended.said);
        };
        fails("7");
        assert_eq!(handler.status(7).0, "error");
        assert!(handler.status(7).1.contains("HandlerEnvironment.json"), "{}", handler.status(7).1);
        fs::write(&environment, "[]").unwrap();
        fails("four");
        assert_eq!(handler.status(3).0, "error", "that of the newest settings");
        fs::remove_dir_all(handler.base.join("status")).unwrap();
        fails("7");
        assert!(!handler.base.join("status").exists());
    });
}

fn assert_start_fails_with(machine: &Machine, behaviour: &str, wanted: &[&str]) {
    let handler = machine.unpack("1.0.0");
    handler.write_settings(0, &good(60));
    handler.service_that(behaviour);
    let ended = handler.run("enable", "0");
    assert_eq!(ended.code, 1, "{}", ended.said);
    let (level, message) = handler.status(0);
    assert_eq!(level, "error");
    for wanted in wanted {
        assert!(message.contains(wanted), "{message}");
    }
    assert!(machine.service().is_none());
}

#[test]
fn a_service_that_dies_at_once_is_an_error_with_its_last_words() {
    on_a_fresh_machine(|machine| {
        assert_start_fails_with(machine, "dies", &["exit status: 7", "the disk has turned to stone"]);
    });
}

#[test]
fn a_service_that_is_never_ready_is_ended_and_an_error() {
    on_a_fresh_machine(|machine| assert_start_fails_with(machine, "is never ready", &["within 30 s"]));
}

#[test]
fn a_service_that_does_not_listen_is_killed_and_replaced() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        handler.write_settings(0, &good(60));
        handler.service_that("is deaf");
        handler.succeed("enable", "0");
        let first = machine.process();
        handler.service_that("");
        // It could not take its mark away; what ended before is of no account.
        let counted = ["run.json", "ends.json"].map(|name| Path::new(STATE_FOLDER).join(name));
        for file in &counted {
            fs::write(file, "{}").unwrap();
        }
        handler.write_settings(1, &good(60));
        handler.succeed("enable", "1");
        assert_ne!(machine.process(), first);
        handler.is_reported_by_the_service(1);
        assert!(counted.iter().all(|file| !file.exists()));
    });
}

#[test]
fn several_at_once_start_one_service() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        handler.write_settings(0, &good(60));
        let verbs: Vec<_> = (0..10).map(|_| handler.start("enable", "0")).collect();
        let ended: Vec<Ended> = verbs.into_iter().map(Ended::of).collect();
        assert!(ended.iter().all(|ended| ended.code == 0), "{ended:?}");
        assert_eq!(ended.iter().filter(|ended| ended.said.contains("was started")).count(), 1, "{ended:?}");
        handler.is_reported_by_the_service(0);
    });
}

#[test]
fn a_newer_version_takes_over_from_a_running_one() {
    on_a_fresh_machine(|machine| {
        machine.enabled("1.0.0");
        let new = machine.enabled("1.0.1");
        assert_eq!(machine.service().unwrap().program, libexec("1.0.1"));
        new.is_reported_by_the_service(0);
    });
}

#[test]
fn a_service_whose_folder_the_agent_removed_is_found_and_replaced() {
    on_a_fresh_machine(|machine| {
        let dropped = machine.enabled("1.0.0");
        dropped.is_reported_by_the_service(0);
        fs::remove_dir_all(&dropped.base).unwrap();
        let again = machine.unpack("1.0.0");
        again.write_settings(5, &good(60));
        again.succeed("enable", "5");
        again.is_reported_by_the_service(5);
        assert_eq!(machine.accepted(), ["5.settings"]);
    });
}

#[test]
fn a_full_disk_leaves_the_service_with_the_settings_it_had() {
    on_a_fresh_machine(|machine| {
        with_a_small_disk();
        let handler = machine.enabled("1.0.0");
        let mut filler = fs::File::create(Path::new(STATE_FOLDER).join("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        handler.write_settings(1, &good(120));
        let ended = handler.run("enable", "1");
        assert_eq!(ended.code, 1, "{}", ended.said);
        assert!(ended.said.contains("accepted/1.settings"), "{}", ended.said);
        assert_eq!(machine.service().unwrap().settings, Path::new(STATE_FOLDER).join("accepted/0.settings"));
        assert_eq!(handler.status(1).0, "error");
    });
}
