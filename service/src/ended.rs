//! `ended FILE`: what systemd runs when the service has ended (`ExecStopPost=`), so that a dead service does not leave the
//! status of a living one behind. The next start replaces what is written here.

use std::path::Path;

use anyhow::Result;
use common::folders::Folders;
use common::instance;
use common::status::{CODE_SERVICE, StatusFile};
use jiff::Timestamp;

use crate::daemon::sequence;
use crate::{DONE, DROPPED, WRONG};

pub(crate) fn run(file: &Path, folders: &Folders) -> Result<u8> {
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    let cause = cause(&said("SERVICE_RESULT"), &said("EXIT_CODE"), &said("EXIT_STATUS"));
    let (Some(cause), Some(folder)) = (cause, &folders.status) else { return Ok(DONE) };
    // An instance that was started otherwise, and stood in the way of this one, speaks for itself.
    if instance::running(&folders.state)?.is_some() {
        return Ok(DONE);
    }
    let message = format!(
        "the service ended unexpectedly: {cause}; certificates stay, but are not renewed until it runs again: see \
         journalctl -u akvvm_service, and akvvm_service.log"
    );
    StatusFile::error(CODE_SERVICE, &message, Timestamp::now()).save(&sequence(file).status_file(folder))?;
    Ok(DONE)
}

/// Why the service ended, by the variables that systemd.exec(5) describes; `None` when that was asked for, or the service
/// has said itself what is wrong.
fn cause(result: &str, code: &str, status: &str) -> Option<String> {
    let spoken_for = [WRONG, DROPPED].map(|code| code.to_string());
    match result {
        "" | "success" => None,
        "exit-code" if spoken_for.iter().any(|code| code == status) => None,
        "exit-code" => Some(format!("exit code {status}")),
        "signal" | "core-dump" => Some(format!("signal {status}")),
        "watchdog" => Some("it made no progress, and its watchdog ended it".to_owned()),
        "oom-kill" => Some("it was killed because memory ran out".to_owned()),
        "timeout" => Some("it did not start or stop in time".to_owned()),
        _ if code.is_empty() => Some(result.to_owned()),
        _ => Some(format!("{result} ({code} {status})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_was_asked_for_or_explained_needs_no_words() {
        for (result, code, status) in [
            ("success", "exited", "0"),
            ("success", "killed", "TERM"),
            ("exit-code", "exited", "2"),
            ("exit-code", "exited", "4"),
            ("", "", ""),
        ] {
            assert_eq!(cause(result, code, status), None, "{result} {code} {status}");
        }
    }

    #[test]
    fn names_what_ended_it() {
        for (result, code, status, words) in [
            ("exit-code", "exited", "101", "exit code 101"),
            ("signal", "killed", "KILL", "signal KILL"),
            ("core-dump", "dumped", "SEGV", "signal SEGV"),
            ("watchdog", "killed", "ABRT", "it made no progress, and its watchdog ended it"),
            ("oom-kill", "killed", "KILL", "it was killed because memory ran out"),
            ("timeout", "", "", "it did not start or stop in time"),
            ("resources", "", "", "resources"),
            ("protocol", "exited", "0", "protocol (exited 0)"),
        ] {
            assert_eq!(cause(result, code, status).as_deref(), Some(words));
        }
    }
}
