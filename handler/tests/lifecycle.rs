//! The verbs around `enable`, alone and in the order in which the guest agent runs them.

#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::instance::{Holder, InstanceLock};
use common::system::STATE_FOLDER;
use machine::{Ended, Handler, Machine, copy_program, good, libexec, on_a_fresh_machine, wrong};

/// What the agent runs in an update, up to the old version's uninstall.
fn replace(old: &Handler<'_>, new: &Handler<'_>, number: &str) {
    old.succeed("disable", number);
    let update = new.start_with("update", &[("VERSION", "1.0.1"), ("ConfigSequenceNumber", number)]);
    assert_eq!(Ended::of(update).code, 0);
    old.succeed("uninstall", number);
    fs::remove_dir_all(&old.base).unwrap();
}

fn enabled<'a>(machine: &'a Machine, version: &str) -> Handler<'a> {
    let handler = machine.unpack(version);
    handler.write_settings(0, &good(60));
    handler.succeed("install", "0");
    handler.succeed("enable", "0");
    handler
}

#[test]
fn install_makes_the_service_executable_and_can_be_repeated() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        let program = handler.base.join("akvvm_service");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        handler.succeed("install", "0");
        handler.succeed("install", "0");
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o744);
        assert!(machine.service().is_none());
    });
}

#[test]
fn install_refuses_a_machine_that_cannot_run_the_service() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        let fails_with = |wanted: &str| {
            let ended = handler.run("install", "0");
            assert_eq!(ended.code, 1, "{}", ended.said);
            assert!(ended.said.contains(wanted), "{}", ended.said);
            let (level, message) = handler.status(0);
            assert_eq!(level, "error");
            assert!(message.contains(wanted), "{message}");
        };
        handler.service_that("cannot run");
        fails_with("GLIBC_2.99");
        handler.service_that("is of another version");
        fails_with("9.9.9");
        let foreign = handler.base.join("foreign");
        fs::write(&foreign, b"\x7fELF of another processor").unwrap();
        copy_program(&foreign, &handler.base.join("akvvm_service"));
        fails_with("Exec format error");
        fs::remove_file(handler.base.join("akvvm_service")).unwrap();
        fails_with("incomplete");
    });
}

#[test]
fn install_and_enable_refuse_beside_the_closed_extension_and_go_on_when_it_is_gone() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        handler.write_settings(0, &good(60));
        let closed = handler.base.with_file_name("Microsoft.Azure.KeyVault.KeyVaultForLinux-3.5.3041.185");
        fs::create_dir_all(closed.join("bin")).unwrap();
        fs::write(closed.join("bin/akvvm_service"), "").unwrap();
        let manifest = r#"[{"version": 1.0, "handlerManifest": {"enableCommand": "bin/extension enable"}}]"#;
        fs::write(closed.join("HandlerManifest.json"), manifest).unwrap();
        for verb in ["install", "enable"] {
            let ended = handler.run(verb, "0");
            assert_eq!(ended.code, 1, "{}", ended.said);
            let (level, message) = handler.status(0);
            assert_eq!(level, "error");
            assert!(message.contains("3.5.3041.185") && message.contains("az vm extension delete"), "{message}");
        }
        assert!(machine.service().is_none());
        fs::remove_dir_all(&closed).unwrap();
        handler.succeed("install", "0");
        handler.succeed("enable", "0");
        handler.is_reported_by_the_service(0);
    });
}

#[test]
fn the_program_that_runs_is_a_copy_that_follows_the_package_and_goes_with_it() {
    on_a_fresh_machine(|machine| {
        let handler = enabled(machine, "1.0.0");
        let first = machine.process();
        assert_eq!(machine.service().unwrap().program, libexec("1.0.0"));
        handler.succeed("enable", "0");
        assert_eq!(machine.process(), first, "the same content");
        let original = handler.base.join("akvvm_service");
        let mut changed = fs::OpenOptions::new().append(true).open(&original).unwrap();
        changed.write_all(b"another build").unwrap();
        drop(changed);
        handler.succeed("enable", "0");
        assert_ne!(machine.process(), first);
        assert_eq!(fs::read(libexec("1.0.0")).unwrap(), fs::read(&original).unwrap());
        handler.succeed("uninstall", "0");
        assert!(!Path::new("/opt/akvvm").exists());
    });
}

#[test]
fn disable_stops_the_service_and_enable_starts_it_again() {
    on_a_fresh_machine(|machine| {
        let handler = enabled(machine, "1.0.0");
        handler.succeed("disable", "0");
        assert!(machine.service().is_none());
        let (level, message) = handler.status(0);
        assert!(level == "success" && message.contains("disabled"), "{message}");
        assert_eq!(machine.accepted(), ["0.settings"]);
        handler.succeed("disable", "0");
        handler.succeed("enable", "0");
        handler.is_reported_by_the_service(0);
    });
}

#[test]
fn disable_and_uninstall_succeed_when_there_is_nothing_to_do() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        for number in ["0", "17", "four"] {
            handler.succeed("disable", number);
            handler.succeed("uninstall", number);
            assert!(!Path::new(STATE_FOLDER).exists());
        }
        fs::remove_file(handler.base.join("HandlerEnvironment.json")).unwrap();
        handler.succeed("disable", "0");
        handler.succeed("uninstall", "0");
    });
}

#[test]
fn disable_needs_no_environment_to_stop_the_service() {
    on_a_fresh_machine(|machine| {
        let handler = enabled(machine, "1.0.0");
        fs::remove_file(handler.base.join("HandlerEnvironment.json")).unwrap();
        handler.succeed("disable", "0");
        assert!(machine.service().is_none());
    });
}

#[test]
fn a_stranger_that_was_given_the_number_of_an_earlier_service_is_not_touched() {
    on_a_fresh_machine(|machine| {
        let handler = machine.unpack("1.0.0");
        let mut stranger = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let outdated = Holder {
            pid: stranger.id(),
            program: handler.base.join("akvvm_service"),
            version: "1.0.0".to_owned(),
            settings: Path::new(STATE_FOLDER).join("accepted/0.settings"),
            status_folder: None,
        };
        let lock = InstanceLock::acquire(Path::new(STATE_FOLDER), &outdated, Duration::ZERO).unwrap();
        let ended = handler.run("disable", "0");
        drop(lock);
        assert_eq!(stranger.try_wait().unwrap(), None);
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert_eq!(ended.code, 1, "{}", ended.said);
        assert!(ended.said.contains("sleep"), "{}", ended.said);
        assert_eq!(handler.status(0).0, "error");
    });
}

#[test]
fn uninstall_leaves_no_process_and_no_state_but_the_certificates() {
    on_a_fresh_machine(|machine| {
        let handler = enabled(machine, "1.0.0");
        let certificate = Path::new("/var/lib/waagent/Microsoft.Azure.KeyVault.Store/contoso.web");
        fs::create_dir_all(certificate.parent().unwrap()).unwrap();
        fs::write(certificate, "certificate").unwrap();
        let process = machine.process();
        handler.succeed("uninstall", "0");
        assert!(!Path::new(&format!("/proc/{process}/exe")).exists());
        assert!(!Path::new(STATE_FOLDER).exists());
        assert!(certificate.exists());
    });
}

#[test]
fn an_old_version_that_is_uninstalled_leaves_a_running_new_one_alone() {
    on_a_fresh_machine(|machine| {
        let old = machine.unpack("1.0.0");
        let new = enabled(machine, "1.0.1");
        let process = machine.process();
        old.succeed("uninstall", "0");
        assert_eq!(machine.process(), process);
        assert_eq!(machine.accepted(), ["0.settings"]);
        new.is_reported_by_the_service(0);
    });
}

#[test]
fn an_update_keeps_the_settings_for_a_new_version_that_is_given_wrong_ones() {
    on_a_fresh_machine(|machine| {
        let old = enabled(machine, "1.0.0");
        let new = machine.unpack("1.0.1");
        new.write_settings(1, &wrong());
        replace(&old, &new, "1");
        new.succeed("install", "1");
        assert!(machine.service().is_none());
        assert_eq!(new.run("enable", "1").code, 3);
        assert_eq!(machine.service().unwrap().program, libexec("1.0.1"));
        assert_eq!(machine.service().unwrap().settings, Path::new(STATE_FOLDER).join("accepted/0.settings"));
        assert_eq!(new.status(1).0, "error");
    });
}

#[test]
fn after_an_update_an_uninstall_forgets_everything_again() {
    on_a_fresh_machine(|machine| {
        let old = enabled(machine, "1.0.0");
        let new = machine.unpack("1.0.1");
        new.write_settings(0, &good(60));
        replace(&old, &new, "0");
        new.succeed("install", "0");
        new.succeed("enable", "0");
        new.is_reported_by_the_service(0);
        new.succeed("disable", "0");
        new.succeed("uninstall", "0");
        assert!(!Path::new(STATE_FOLDER).exists());
    });
}

#[test]
fn an_update_that_never_arrives_leaves_nothing_behind_when_it_is_uninstalled() {
    on_a_fresh_machine(|machine| {
        let old = enabled(machine, "1.0.0");
        let new = machine.unpack("1.0.1");
        replace(&old, &new, "0");
        assert_eq!(machine.accepted(), ["0.settings"]);
        new.succeed("disable", "0");
        new.succeed("uninstall", "0");
        assert!(!Path::new(STATE_FOLDER).exists());
    });
}

#[test]
fn an_update_that_was_given_up_does_not_keep_the_state_for_ever() {
    on_a_fresh_machine(|machine| {
        let old = enabled(machine, "1.0.0");
        old.succeed("disable", "0");
        let new = machine.unpack("1.0.1");
        assert_eq!(Ended::of(new.start_with("update", &[("VERSION", "1.0.1")])).code, 0);
        old.succeed("enable", "0");
        old.succeed("disable", "0");
        old.succeed("uninstall", "0");
        assert!(!Path::new(STATE_FOLDER).exists());
    });
}

#[test]
fn the_agent_may_run_each_verb_of_an_update_twice() {
    on_a_fresh_machine(|machine| {
        let old = enabled(machine, "1.0.0");
        let new = machine.unpack("1.0.1");
        for _ in 0..2 {
            old.succeed("disable", "0");
        }
        for _ in 0..2 {
            assert_eq!(Ended::of(new.start_with("update", &[("VERSION", "1.0.1")])).code, 0);
        }
        for _ in 0..2 {
            old.succeed("uninstall", "0");
        }
        assert_eq!(machine.accepted(), ["0.settings"]);
    });
}

#[test]
fn a_downgrade_keeps_the_settings_although_the_version_that_goes_announces_it() {
    on_a_fresh_machine(|machine| {
        let high = enabled(machine, "1.0.1");
        let low = machine.unpack("1.0.0");
        low.write_settings(0, &wrong());
        high.succeed("disable", "0");
        let variables = [("VERSION", "1.0.0"), ("AZURE_GUEST_AGENT_UPDATING_FROM_VERSION", "1.0.0")];
        assert_eq!(Ended::of(high.start_with("update", &variables)).code, 0);
        high.succeed("uninstall", "0");
        fs::remove_dir_all(&high.base).unwrap();
        low.succeed("install", "0");
        assert_eq!(low.run("enable", "0").code, 3);
        assert_eq!(machine.service().unwrap().program, libexec("1.0.0"));
    });
}

#[test]
fn an_unknown_verb_is_a_usage_error() {
    on_a_fresh_machine(|machine| {
        let ended = machine.unpack("1.0.0").run("restart", "0");
        assert_eq!(ended.code, 2);
        assert!(ended.said.contains("uninstall"), "names the verbs: {}", ended.said);
    });
}
