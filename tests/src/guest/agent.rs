//! The agent's own files on its machine: its configuration, its unit, and its log of the commands that it ran.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::agent::Verb;

/// Where the distributions put the unit of their package.
const UNITS: [&str; 2] = ["/lib/systemd/system/walinuxagent.service", "/usr/lib/systemd/system/walinuxagent.service"];

/// What differs from the package's configuration: nothing is provisioned and no disk is formatted, and the fabric is asked
/// every second, because nobody wants to wait.
const SETTINGS: [(&str, &str); 6] = [
    ("Provisioning.Agent", "disabled"),
    ("Provisioning.MonitorHostName", "n"),
    ("ResourceDisk.Format", "n"),
    ("Logs.Collect", "n"),
    ("Extensions.GoalStatePeriod", "1"),
    ("Extensions.InitialGoalStatePeriod", "1"),
];

/// A command of the extension that the agent ran.
#[derive(Clone, Debug)]
pub struct Command {
    /// The version whose command it was.
    pub version: String,
    /// What it was run for.
    pub verb: Verb,
    /// The variables that the agent gave to it beside its own.
    pub variables: Value,
}

impl Command {
    /// A variable that the agent gave to it.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables[name].as_str()
    }
}

/// Writes the agent's configuration, from that of its package.
pub(super) fn configure() -> Result<()> {
    let path = Path::new("/etc/waagent.conf");
    let given =
        fs::read_to_string(path).context("/etc/waagent.conf: no guest agent here; scripts/setup test installs it")?;
    let ours = |line: &&str| SETTINGS.iter().any(|(name, _)| line.starts_with(name));
    let mut lines: Vec<String> = given.lines().filter(|line| !ours(line)).map(str::to_owned).collect();
    lines.extend(SETTINGS.iter().map(|(name, value)| format!("{name}={value}")));
    fs::write(path, lines.join("\n") + "\n").context("/etc/waagent.conf")
}

/// Makes the agent's unit one that starts at boot here: not on Microsoft's hypervisor, and without waiting for the end of a
/// boot that it is a part of.
pub(super) fn install_unit() -> Result<()> {
    let given = UNITS.iter().find_map(|path| fs::read_to_string(path).ok());
    let given = given.context("walinuxagent.service: no such unit here; scripts/setup test installs it")?;
    let elsewhere = |line: &&str| line.starts_with("ConditionVirtualization=") || line.starts_with("After=multi-user");
    let lines: Vec<&str> = given.lines().filter(|line| !elsewhere(line)).collect();
    let folder = Path::new("/etc/systemd/system");
    let wants = folder.join("multi-user.target.wants");
    fs::create_dir_all(&wants).with_context(|| wants.display().to_string())?;
    let unit = folder.join("walinuxagent.service");
    fs::write(&unit, lines.join("\n") + "\n").with_context(|| unit.display().to_string())?;
    std::os::unix::fs::symlink(&unit, wants.join("walinuxagent.service")).context("walinuxagent.service")
}

/// All commands of the extension `name`, as its log tells them.
pub(super) fn commands(name: &str) -> Result<Vec<Command>> {
    let path = Path::new("/var/log/azure").join(name).join("CommandExecution.log");
    let log = fs::read_to_string(&path).unwrap_or_default();
    let told = log.lines().filter_map(|line| line.split_once("Executing command: "));
    told.map(|(_, rest)| parse(name, rest).with_context(|| format!("{}: what command is this? {rest}", path.display())))
        .collect()
}

fn parse(name: &str, told: &str) -> Option<Command> {
    let (line, variables) = told.split_once(" with environment variables: ")?;
    let (program, verb) = line.rsplit_once(' ')?;
    let folder = program.strip_prefix(&format!("/var/lib/waagent/{name}-"))?;
    Some(Command {
        version: folder.split('/').next()?.to_owned(),
        verb: Verb::ALL.into_iter().find(|known| known.name() == verb)?,
        variables: serde_json::from_str(variables).ok()?,
    })
}
