//! `ended FILE`: what systemd runs when the service has ended (`ExecStopPost=`), so that a dead service does not leave the
//! status of a living one behind. The next start replaces what is written here.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use common::ends::Ends;
use common::folders::Folders;
use common::instance::{self, LockError};
use common::status::{CODE_SERVICE, StatusFile};
use jiff::Timestamp;

use crate::daemon::sequence;
use crate::system::LOGS;
use crate::{DONE, DROPPED, FAILED, WRONG};

pub(crate) fn run(file: &Path, folders: &Folders) -> Result<u8> {
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    let (result, status) = (said("SERVICE_RESULT"), said("EXIT_STATUS"));
    let Some(cause) = cause(&result, &said("EXIT_CODE"), &status) else {
        Ends::forget(&folders.state)?;
        return Ok(DONE);
    };
    let Some(path) = folders.status.as_ref().map(|folder| sequence(file).status_file(folder)) else { return Ok(DONE) };
    // An instance that was started otherwise, and stood in the way of this one, speaks for itself.
    if matches!(instance::running(&folders.state), Ok(Some(_)) | Err(LockError::Held(_))) {
        return Ok(DONE);
    }
    // Before it ends by itself, the service says what is wrong.
    let by_itself = result == "exit-code" && status.parse().is_ok_and(|code| [FAILED, WRONG].contains(&code));
    if by_itself && StatusFile::is_error_at(&path) {
        return Ok(DONE);
    }
    let ends = Ends::and(Ends::of(&folders.state), cause);
    if let Err(error) = ends.save(&folders.state) {
        // Not counted, it is told all the same.
        let _ = writeln!(std::io::stderr(), "akvvm_service: {error}");
    }
    let often = if ends.times > 1 { format!(" {} times in a row", ends.times) } else { String::new() };
    let message = format!(
        "the service ended unexpectedly{often}: {}; certificates stay, but are not renewed until it runs again: {LOGS}",
        ends.cause
    );
    StatusFile::error(CODE_SERVICE, &message, Timestamp::now()).save(&path)?;
    Ok(DONE)
}

/// Why the service ended, by the variables that systemd.exec(5) describes; `None` when that was asked for, or the extension
/// is gone.
fn cause(result: &str, code: &str, status: &str) -> Option<String> {
    match result {
        "" | "success" => None,
        "exit-code" if status.parse() == Ok(DROPPED) => None,
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
    fn an_end_that_was_asked_for_needs_no_words() {
        for (result, code, status) in
            [("success", "exited", "0"), ("success", "killed", "TERM"), ("exit-code", "exited", "4"), ("", "", "")]
        {
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
