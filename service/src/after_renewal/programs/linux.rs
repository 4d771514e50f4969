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
/// Of one variable, in bytes: with its name it must stay below what execve(2) takes, 128 KiB.
const ROOM: usize = 127 * 1024;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a hook in a clean environment. What it is told of the certificates has one line for each of them.
pub(in crate::after_renewal) fn run_hook(name: &HookName, moves: &[Move]) -> Result<(), Failure> {
    let path = Path::new(HOOKS).join(name.as_str());
    trust(&path).map_err(|reason| failure(reason, ""))?;
    let mut command = clean(path.as_os_str().to_string_lossy().as_ref());
    command.envs(told(moves)).env("AKVVM_COUNT", moves.len().to_string());
    judge(run_within(&mut command, HOOK_LIMIT), HOOK_LIMIT)
}

/// What a hook is told: the same certificates in each variable, as many as there is room for.
fn told(moves: &[Move]) -> [(&'static str, String); 5] {
    let names = ["AKVVM_CERTIFICATE", "AKVVM_OLD_VERSION", "AKVVM_NEW_VERSION", "AKVVM_PATH", "AKVVM_PATHS"];
    let mut variables = names.map(|name| (name, String::new()));
    for (number, moved) in moves.iter().enumerate() {
        let old = moved.old.as_ref().map_or("", |old| &old.version);
        let (path, paths) = (moved.paths.first().map_or("", |path| path), moved.paths.join(":"));
        let lines = [moved.name.as_str(), old, &moved.new.version, path, &paths];
        if variables.iter().zip(lines).any(|((_, text), line)| text.len() + line.len() >= ROOM) {
            break;
        }
        for ((_, text), line) in variables.iter_mut().zip(lines) {
            text.push_str(if number == 0 { "" } else { "\n" });
            text.push_str(line);
        }
    }
    variables
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::after_renewal::note::Leaf;

    #[test]
    fn a_hook_for_thousands_of_certificates_can_be_started_and_is_told_of_the_same_ones_everywhere() {
        let moved = |number: usize| Move {
            name: format!("contoso.web{number}"),
            paths: ["pem", "keyid"].map(|end| format!("/srv/{}/web{number}.{end}", "x".repeat(60))).to_vec(),
            old: None,
            new: Leaf { version: "a".repeat(32), thumbprint: "B".repeat(40) },
        };
        for count in [0, 1, 3, 5000] {
            let told = told(&(0..count).map(moved).collect::<Vec<_>>());
            let finished = run_within(clean("sh").args(["-c", "echo started"]).envs(told.clone()), HOOK_LIMIT);
            assert_eq!(finished.unwrap().unwrap().output, "started\n");
            let lines: Vec<usize> = told.iter().map(|(_, text)| text.split('\n').count()).collect();
            assert!(lines.iter().all(|lines| *lines == lines_of(count, &told[4].1)), "{count}: {lines:?}");
        }
    }

    /// How many lines there must be for so many certificates: all, where there is room.
    fn lines_of(count: usize, longest: &str) -> usize {
        if count < 500 { count.max(1) } else { longest.matches(".keyid").count() }
    }
}
