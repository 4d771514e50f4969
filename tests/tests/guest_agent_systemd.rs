//! The extension under the real guest agent, on a machine that systemd runs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod guest;

use tests::guest::Kind;

#[test]
fn it_lives_through_every_stage() {
    guest::a_whole_life(Kind::Systemd);
}

#[test]
fn settings_that_are_refused_are_an_error_in_the_upload() {
    guest::settings_that_are_refused(Kind::Systemd);
}

#[test]
fn what_depends_on_it_starts_with_all_certificates_or_not_at_all() {
    guest::dependents_wait(Kind::Systemd);
}

#[test]
fn an_update_that_fails_is_made_up_for_by_the_next_goal_state() {
    guest::a_failing_update(Kind::Systemd);
}

#[test]
fn dropped_from_the_goal_state_it_ends_and_stays_away() {
    guest::dropped(Kind::Systemd);
}

#[test]
fn several_enables_at_once_start_one_service() {
    guest::enables_at_once(Kind::Systemd);
}
