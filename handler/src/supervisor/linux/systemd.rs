//! Linux with systemd: the service is a unit, which outlives the agent, starts at boot and is started again when it ends.
//!
//! `systemctl` is asked, not the bus: it works without one, and on every version of systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::files;
use common::instance::Holder;
use common::system::create_private_folder;
use common::text::bounded;

use super::drop_in::DropIns;
use super::{Launch, Started, dialer, drop_in, environment_file, running, unit};
use crate::command::output_within;
use crate::system;

/// The unit, as operators know it.
const UNIT: &str = "akvvm_service.service";
/// The unit's file.
const FILE: &str = "/etc/systemd/system/akvvm_service.service";
/// Where other units of its name could be.
const FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// The folders of drop-ins, of the service and of who connects for it, where an administrator's may lie too.
const DROP_INS: [&str; 2] =
    ["/etc/systemd/system/akvvm_service.service.d", "/etc/systemd/system/akvvm_dialer.service.d"];
/// The drop-ins that the settings make.
const STORES: [&str; 2] = [
    "/etc/systemd/system/akvvm_service.service.d/10-stores.conf",
    "/etc/systemd/system/akvvm_dialer.service.d/10-stores.conf",
];
/// The unit that waits for notes of the service, and the one that does what they say.
const WATCHER: &str = "akvvm_after_renewal.path";
const WATCHER_FILE: &str = "/etc/systemd/system/akvvm_after_renewal.path";
const ACTOR_FILE: &str = "/etc/systemd/system/akvvm_after_renewal.service";
/// The units of who connects for the service.
const DIALER: [&str; 2] = ["akvvm_dialer.socket", "akvvm_dialer.service"];
const DIALER_FILES: [&str; 2] = ["/etc/systemd/system/akvvm_dialer.socket", "/etc/systemd/system/akvvm_dialer.service"];
/// A new service is ready within this time, also on a machine that is just booting; the agent waits five minutes.
const START: Duration = Duration::from_secs(150);
/// What systemd does without waiting for a service is done within this time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of what the service said last is quoted, in characters.
const QUOTED: usize = 800;

/// Whether systemd manages this machine.
pub(super) fn is_here() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether the unit is what `launch` would make it, and `holder` is its process.
pub(super) fn is_current(launch: &Launch, holder: &Holder) -> bool {
    let is = |(file, text): &(&str, String)| fs::read_to_string(file).is_ok_and(|found| found == *text);
    let Texts { units, drop_ins } = Texts::of(launch);
    units.iter().all(is)
        && drop_ins
            .iter()
            .all(|(file, text)| fs::read_to_string(file).is_ok_and(|found| drop_in::suffices(&found, text)))
        && systemctl(&["is-active", "--quiet", DIALER[0]]).is_ok()
        && property("MainPID").is_ok_and(|process| process == holder.pid.to_string())
}

/// Writes the unit, enables it and starts it.
pub(super) fn start(launch: &Launch) -> Result<Started> {
    let Texts { units, drop_ins } = Texts::of(launch);
    if launch.has_actions
        && let Err(error) = create_private_folder(&launch.notes())
    {
        log::error!("{}: {error}", launch.notes().display());
    }
    let is_wanted = |file: &str| units.iter().any(|(wanted, _)| *wanted == file);
    if !is_wanted(WATCHER_FILE) {
        stop_watching()?;
    }
    let other = [WATCHER_FILE, ACTOR_FILE].into_iter().filter(|file| !is_wanted(file));
    other.map(Path::new).try_for_each(files::remove)?;
    units.iter().try_for_each(|(file, text)| write(file, text))?;
    if let Err(error) = drop_ins.iter().try_for_each(|(file, text)| confine(file, text)) {
        log::error!("{error:#}; the service is started all the same, but may write everywhere");
    }
    let written = units.iter().map(|(file, _)| *file).chain(DROP_INS);
    system::restore_labels(&written.map(Path::new).collect::<Vec<_>>());
    systemctl(&["daemon-reload"])?;
    if is_wanted(WATCHER_FILE) {
        systemctl(&["enable", "--quiet", WATCHER])?;
        systemctl(&["restart", WATCHER])?;
    }
    systemctl(&["enable", "--quiet", UNIT])?;
    // It may be waiting for its next try after an end of its own.
    systemctl(&["reset-failed", UNIT])?;
    // Not `start`: the process of another unit of this name, whose file is gone, would pass for ours.
    match output_within(Command::new("systemctl").args(["restart", UNIT]), START)? {
        Some(output) if output.status.success() => {}
        Some(_) => bail!("the service did not start: {}", last_words()),
        None if property("ActiveState")? == "inactive" => return Ok(Started::AtItsTurn),
        None => bail!("the service was not ready within {} s: {}", START.as_secs(), last_words()),
    }
    let process = property("MainPID")?;
    match running(&launch.folders.state)? {
        Some(holder) if holder.pid.to_string() == process => Ok(Started::Process(holder.pid)),
        Some(other) => bail!("process {} ({}) holds the service's lock", other.pid, other.program.display()),
        None => bail!("the service ended as soon as it was started: {}", last_words()),
    }
}

/// A unit of the service's name that is not ours and has a program, by its file.
pub(super) fn foreign() -> Option<PathBuf> {
    let files = FOLDERS.map(|folder| Path::new(folder).join(UNIT)).into_iter();
    let is_foreign =
        |text: String| !unit::is_ours(&text) && unit::program(&text).is_some_and(|program| Path::new(program).exists());
    files.into_iter().find(|file| fs::read_to_string(file).is_ok_and(is_foreign))
}

/// Stops the unit, if it is ours, and takes it out of the boot.
pub(super) fn stop() -> Result<()> {
    if is_here() && text().is_some_and(|text| unit::is_ours(&text)) {
        systemctl(&["disable", "--quiet", "--now", UNIT])?;
        stop_watching()?;
        stop_dialer()?;
    }
    Ok(())
}

fn stop_dialer() -> Result<()> {
    if is_here() && Path::new(DIALER_FILES[0]).exists() {
        systemctl(&["stop", DIALER[0], DIALER[1]])?;
    }
    Ok(())
}

fn stop_watching() -> Result<()> {
    if is_here() && Path::new(WATCHER_FILE).exists() {
        systemctl(&["disable", "--quiet", "--now", WATCHER])?;
    }
    Ok(())
}

/// Removes the unit of `program`, which is stopped.
pub(super) fn forget(program: &Path) -> Result<()> {
    let is_of = |file: &str| fs::read_to_string(file).is_ok_and(|text| unit::runs(&text, program));
    if is_of(DIALER_FILES[1]) {
        // A version before it does not know it.
        DIALER_FILES.map(Path::new).into_iter().try_for_each(files::remove)?;
        files::remove(Path::new(STORES[1]))?;
        let _ = fs::remove_dir(DROP_INS[1]);
    }
    if !is_of(FILE) {
        return Ok(());
    }
    let files = STORES.into_iter().chain([WATCHER_FILE, ACTOR_FILE, FILE]);
    files.map(Path::new).try_for_each(files::remove)?;
    // What an administrator added stays.
    for folder in DROP_INS {
        let _ = fs::remove_dir(folder);
    }
    if is_here() {
        systemctl(&["daemon-reload"])?;
        // A unit that failed is remembered after its file is gone.
        let _ = systemctl(&["reset-failed", UNIT]);
    }
    Ok(())
}

fn text() -> Option<String> {
    fs::read_to_string(FILE).ok()
}

/// What systemd is to read.
struct Texts {
    /// The units, by their files.
    units: Vec<(&'static str, String)>,
    /// The drop-ins, by theirs.
    drop_ins: [(&'static str, String); 2],
}

impl Texts {
    fn of(launch: &Launch) -> Self {
        let environment = environment_file::read();
        let file = environment.as_ref().map(|_| environment_file::FILE);
        let variables = environment.into_iter().flatten();
        let trust = variables.filter(|(name, _)| ["SSL_CERT_FILE", "SSL_CERT_DIR"].contains(&name.as_str()));
        let trust: Vec<PathBuf> = trust.map(|(_, path)| path.into()).collect();
        let mut units = vec![(FILE, unit::service(launch, file))];
        units.extend(DIALER_FILES.into_iter().zip([dialer::socket(), dialer::service(launch, file)]));
        if launch.has_actions {
            units.extend([(ACTOR_FILE, unit::actor(launch)), (WATCHER_FILE, unit::watcher(launch))]);
        }
        let drop_ins = DropIns::of(launch, &trust);
        Self { units, drop_ins: [(STORES[0], drop_ins.service()), (STORES[1], drop_ins.dialer())] }
    }
}

/// Writes a drop-in.
fn confine(file: &str, text: &str) -> Result<()> {
    let folder = Path::new(file).parent().context("no folder")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    write(file, text)
}

/// Writes a file that others may read, as systemd wants it.
fn write(file: &str, text: &str) -> Result<()> {
    files::replace(Path::new(file), text.as_bytes(), 0o600)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).with_context(|| file.to_owned())
}

/// A property of the unit.
fn property(name: &str) -> Result<String> {
    systemctl(&["show", "--property", name, "--value", UNIT])
}

/// Why the unit does not run, and the last lines of its journal, in one.
fn last_words() -> String {
    let result = property("Result").unwrap_or_default();
    let journal = ["--unit", UNIT, "--lines", "5", "--output", "cat", "--no-pager"];
    let said = output_within(Command::new("journalctl").args(journal), PATIENCE).ok().flatten();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    format!("{result}: {}", bounded(&lines.join("; "), QUOTED))
}

fn systemctl(arguments: &[&str]) -> Result<String> {
    let call = format!("systemctl {}", arguments.join(" "));
    let output = output_within(Command::new("systemctl").args(arguments), PATIENCE).with_context(|| call.clone())?;
    let Some(Output { status, stdout, stderr }) = output else {
        bail!("{call} did not end within {} s", PATIENCE.as_secs());
    };
    if !status.success() {
        bail!("{call}: {status}: {}", bounded(String::from_utf8_lossy(&stderr).trim(), QUOTED));
    }
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}
