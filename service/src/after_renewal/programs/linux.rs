//! Linux: hooks are files of root's, units are systemd's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::settings::{HookName, UnitName};

use crate::after_renewal::note::{Failure, Move};
use crate::system::{Finished, run_within};

/// Where root puts hooks.
const HOOKS: &str = "/etc/akvvm/hooks.d";
/// A hook that takes longer is ended.
const HOOK_LIMIT: Duration = Duration::from_secs(60);
/// What systemd waits for a unit by default, and a little more.
const UNIT_LIMIT: Duration = Duration::from_secs(100);
const QUESTION_LIMIT: Duration = Duration::from_secs(20);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a hook in a clean environment. What it is told of the certificates has one line for each of them.
pub(in crate::after_renewal) fn run_hook(name: &HookName, moves: &[Move]) -> Result<(), Failure> {
    let path = Path::new(HOOKS).join(name.as_str());
    trust(&path).map_err(|reason| failure(reason, ""))?;
    let lines = |part: fn(&Move) -> &str| moves.iter().map(part).collect::<Vec<_>>().join("\n");
    let mut command = clean(path.as_os_str().to_string_lossy().as_ref());
    command
        .env("AKVVM_CERTIFICATE", lines(|moved| &moved.name))
        .env("AKVVM_OLD_VERSION", lines(|moved| moved.old.as_ref().map_or("", |old| &old.version)))
        .env("AKVVM_NEW_VERSION", lines(|moved| &moved.new.version))
        .env("AKVVM_PATH", lines(|moved| moved.paths.first().map_or("", |path| path)))
        .env("AKVVM_PATHS", moves.iter().map(|moved| moved.paths.join(":")).collect::<Vec<_>>().join("\n"));
    judge(run_within(&mut command, HOOK_LIMIT), HOOK_LIMIT)
}

/// Lets a unit read its files again. One that does not run reads them when it starts.
pub(in crate::after_renewal) fn reload(unit: &UnitName) -> Result<(), Failure> {
    control("reload", unit)
}

/// Stops and starts a unit that runs, and starts one that failed: an expired certificate may be why.
pub(in crate::after_renewal) fn restart(unit: &UnitName) -> Result<(), Failure> {
    control("restart", unit)
}

fn control(verb: &str, unit: &UnitName) -> Result<(), Failure> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(failure("systemd does not run this machine: name a hook instead".to_owned(), ""));
    }
    let properties = "--property=LoadState,ActiveState,CanReload";
    let mut question = clean("systemctl");
    let said = run_within(question.args(["show", properties, "--", unit.as_str()]), QUESTION_LIMIT);
    let said = match said {
        Ok(Some(Finished { code: Some(0), output, .. })) => output,
        other => return judge(other, QUESTION_LIMIT),
    };
    let property = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or("");
    if property("LoadState") != "loaded" {
        return Err(failure(format!("there is no such unit ({})", property("LoadState")), ""));
    }
    match (property("ActiveState"), verb) {
        ("inactive", _) | ("failed", "reload") => return Ok(()),
        _ => {}
    }
    if verb == "reload" && property("CanReload") != "yes" {
        return Err(failure("the unit cannot be reloaded: name it under restart".to_owned(), ""));
    }
    let mut command = clean("systemctl");
    judge(run_within(command.args(["--no-ask-password", verb, "--", unit.as_str()]), UNIT_LIMIT), UNIT_LIMIT)
}

/// Only what root alone can have put there is run as root.
fn trust(path: &Path) -> Result<(), String> {
    let advice = "it must belong to root and be writable by nobody else (chown root, chmod 755)";
    // The names above the file as well: who can write a folder can replace what is in it.
    for place in path.ancestors() {
        let found = fs::symlink_metadata(place).map_err(|cause| format!("{}: {cause}", place.display()))?;
        if found.uid() != 0 || found.mode() & 0o022 != 0 {
            return Err(format!("{} is not trusted: {advice}", place.display()));
        }
        let is_expected = if place == path { found.is_file() } else { found.is_dir() };
        if !is_expected {
            return Err(format!("{} is not trusted: it is a link, or no file", place.display()));
        }
        if place == path && found.mode() & 0o100 == 0 {
            return Err(format!("{} is not executable: chmod 755", place.display()));
        }
    }
    Ok(())
}

fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").current_dir("/");
    command
}

fn judge(finished: std::io::Result<Option<Finished>>, limit: Duration) -> Result<(), Failure> {
    match finished {
        Ok(Some(Finished { code: Some(0), .. })) => Ok(()),
        Ok(Some(Finished { code: Some(code), output, .. })) => Err(failure(format!("exit code {code}"), &output)),
        Ok(Some(Finished { output, .. })) => Err(failure("ended by a signal".to_owned(), &output)),
        Ok(None) => Err(failure(format!("did not end within {} s, and was ended", limit.as_secs()), "")),
        Err(cause) => Err(failure(format!("cannot be run: {cause}"), "")),
    }
}

fn failure(reason: String, output: &str) -> Failure {
    Failure { reason, output: output.trim().to_owned() }
}
