//! The extension under the real guest agent, on a machine without systemd.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod guest;

use std::process::Command;

use tests::guest::Kind;
use tests::handler_story::{repository, temporary_folder};
use tests::story::finish;

#[test]
fn it_lives_through_every_stage() {
    guest::a_whole_life(Kind::Bare);
}

#[test]
fn settings_that_are_refused_are_an_error_in_the_upload() {
    guest::settings_that_are_refused(Kind::Bare);
}

#[test]
fn what_depends_on_it_starts_with_all_certificates_or_not_at_all() {
    guest::dependents_wait(Kind::Bare);
}

#[test]
fn an_update_that_fails_is_made_up_for_by_the_next_goal_state() {
    guest::a_failing_update(Kind::Bare);
}

#[test]
fn dropped_from_the_goal_state_it_ends_and_stays_away() {
    guest::dropped(Kind::Bare);
}

#[test]
fn several_enables_at_once_start_one_service() {
    guest::enables_at_once(Kind::Bare);
}

/// What `scripts/agent` does, with a command in the place of the shell.
#[test]
fn a_person_can_look_around_and_command_the_emulated_azure() {
    let (emulator, folder) = (env!("CARGO_BIN_EXE_azure-emulator"), temporary_folder("agent-").unwrap());
    let shell = repository().join("scripts/agent.d/shell");
    let mut command = Command::new(emulator);
    command.arg("--folder").arg(folder.path()).args(["guest", "--"]).arg(shell).arg(emulator).arg(folder.path());
    let finished = finish(command.args(["sh", "-c", "azure renew web && azure status && azure remove"])).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let output = &finished.output;
    for words in ["\nenable ", "Plugin enabled", "/secrets/web/", "\nuninstall ", "removed\n"] {
        assert!(output.contains(words), "{words} is missing: {finished:?}");
    }
}
