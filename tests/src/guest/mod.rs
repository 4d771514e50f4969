//! A machine in Azure with the real guest agent: Debian's `waagent`, unmodified, finds the fabric, the metadata service and
//! the vaults at their real names and addresses, and deploys the package that `scripts/package` made.

mod agent;
mod dependent;
mod machine;

use std::cell::Cell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

pub use agent::Command;
pub use dependent::Dependent;
pub use machine::{Kind, Machine};

use crate::agent::package::name_and_version;
use crate::fabric::{ADDRESS, Fabric, Handler, Plugin, STORAGE};
use crate::handler_story::{DISK, package, temporary_folder};
use crate::story::{Finished, Story, finish, wait_for};

/// How long something may take that the agent and the extension need a few seconds for on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A machine with the guest agent. Dropping it ends everything on it.
pub struct Guest {
    /// What runs the machine: the agent alone, or systemd with the agent as a unit.
    pub machine: Machine,
    /// What the agent is told, and what it uploads.
    pub fabric: Fabric,
    /// The Azure around it.
    pub story: Story,
    /// Name and version of the package.
    pub name: String,
    /// The version of the package.
    pub version: String,
    /// The number of the last goal state.
    goal: Cell<u64>,
    /// How many commands of the agent were looked at.
    seen: Cell<usize>,
    disk: TempDir,
}

impl Guest {
    /// Starts a machine with an empty [`DISK`] whose agent has no extension to deploy yet.
    pub fn begin(kind: Kind) -> Result<Self> {
        let package = package()?;
        let (name, version) = name_and_version(&package)?;
        let disk = temporary_folder("disk-")?;
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o755))?;
        let story = Story::begin()?;
        let world = story.world();
        for words in [
            ["mount", "--bind", &disk.path().to_string_lossy(), DISK].as_slice(),
            &["ip", "address", "add", "168.63.129.16/32", "dev", "lo"],
            // By this route the agent knows that it is in Azure and need not ask for an address.
            &["ip", "route", "add", "168.63.129.16/32", "dev", "lo"],
        ] {
            let finished = finish(world.command(words[0]).args(&words[1..])).with_context(|| words.join(" "))?;
            if finished.code != Some(0) {
                bail!("{words:?}: {finished:?}");
            }
        }
        world.resolve(&[STORAGE], IpAddr::V4(Ipv4Addr::from(ADDRESS)))?;
        agent::configure()?;
        let fabric = Fabric::start()?;
        fabric.publish(&package)?;
        let machine = Machine::start(kind, world)?;
        let (goal, seen) = (Cell::new(1), Cell::new(0));
        Ok(Self { machine, fabric, story, name, version: version.to_string(), goal, seen, disk })
    }

    /// The extension, to be enabled with these settings.
    #[must_use]
    pub fn extension(&self, sequence: u32, settings: &Value) -> Plugin {
        Plugin::enabled(&self.name, &self.version, sequence, settings.clone())
    }

    /// Sets a goal state with these extensions and waits until the agent has processed it. Answers what it says of the
    /// extension; `None` when it is gone.
    pub fn apply(&self, plugins: &[Plugin]) -> Result<Option<Handler>> {
        let goal = self.set_goal(plugins);
        let processed = self.fabric.wait_until(PATIENCE, |report| report.goal_state == Some(goal));
        Ok(processed.with_context(|| self.logs())?.handler(&self.name).cloned())
    }

    /// Sets a goal state and does not wait.
    pub fn set_goal(&self, plugins: &[Plugin]) -> u64 {
        let goal = self.fabric.set_goal(plugins);
        self.goal.set(goal);
        goal
    }

    /// Waits until the agent uploads this of the extension, after it has processed the last goal state.
    pub fn wait_until(&self, limit: Duration, wanted: impl Fn(&Handler) -> bool) -> Result<Handler> {
        let report = self.fabric.wait_until(limit, |report| {
            report.goal_state == Some(self.goal.get()) && report.handler(&self.name).is_some_and(&wanted)
        });
        report.with_context(|| self.logs())?.handler(&self.name).cloned().context("gone again")
    }

    /// Waits until the agent uploads a status with this word: `success`, `error`, `transitioning`.
    pub fn wait_for(&self, word: &str) -> Result<Handler> {
        self.wait_until(PATIENCE, |handler| handler.word() == Some(word))
    }

    /// The commands that the agent has run for the extension since this was last asked.
    pub fn commands(&self) -> Result<Vec<Command>> {
        let mut commands = agent::commands(&self.name)?;
        let seen = self.seen.replace(commands.len()).min(commands.len());
        Ok(commands.split_off(seen))
    }

    /// Starts the agent again, as an update of its package does.
    pub fn restart_agent(&mut self) -> Result<()> {
        self.fabric.forget_report();
        self.machine.restart_agent(self.story.world())
    }

    /// Restarts the machine.
    pub fn reboot(&mut self) -> Result<()> {
        self.fabric.forget_report();
        self.machine.reboot(self.story.world())
    }

    /// The handler's folder.
    #[must_use]
    pub fn folder(&self, version: &str) -> PathBuf {
        Path::new("/var/lib/waagent").join(format!("{}-{version}", self.name))
    }

    /// The one process of the service.
    pub fn service(&self) -> Result<i32> {
        self.story.only_service().with_context(|| self.logs())
    }

    /// Waits until there is no process of the service.
    pub fn wait_for_no_service(&self, limit: Duration) -> Result<()> {
        let none = || self.story.services().ok().filter(Vec::is_empty);
        wait_for(limit, "end of the service", none).map(|_| ()).with_context(|| self.logs())
    }

    /// Runs a program on the machine.
    pub fn attempt(&self, program: &str, arguments: &[&str]) -> Result<Finished> {
        finish(self.machine.command(self.story.world(), program).args(arguments)).with_context(|| program.to_owned())
    }

    /// The ends of all logs, for a person who looks into a failure.
    #[must_use]
    pub fn logs(&self) -> String {
        let folder = Path::new("/var/log/azure").join(&self.name);
        let files = ["akvvm_handler.log", "akvvm_service.log"].map(|name| folder.join(name));
        let files = files.into_iter().chain([PathBuf::from("/var/log/waagent.log")]);
        let end = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("== {}\n{}\n", path.display(), lines[lines.len().saturating_sub(60)..].join("\n"))
        };
        files.map(end).collect()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.machine.end();
        let _ = finish(self.story.world().command("umount").args(["--recursive", "--lazy", DISK]));
        let _ = &self.disk;
    }
}
