//! An emulated Linux guest agent: brings an extension's package to the state that a goal state asks for, with the
//! folders, files, commands and sequences of WALinuxAgent 2.15.
//!
//! It differs in its patience only: a command's end is noticed at once, not after up to two seconds.

mod command;
mod folders;
mod goal;
pub(crate) mod package;
pub(crate) mod report;
mod sequence;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use command::{Run, Verb};
pub use goal::{Goal, HandlerStatus, Outcome, Settings};
pub use package::{Manifest, Version};
pub use report::{Reported, Substatus, judge};

use command::{Old, Surroundings};
use folders::Folders;

use crate::systemd::Systemd;

/// The agent's word for how far a handler has come; the names are those of its `HandlerState` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotInstalled,
    Installed,
    Enabled,
    FailedUpgrade,
}

/// One version of a handler on this machine.
#[derive(Clone)]
struct Handler {
    version: Version,
    folders: Folders,
    manifest: Manifest,
    state: State,
}

/// A guest agent with at most one extension.
pub struct Agent {
    home: PathBuf,
    logs: PathBuf,
    surroundings: Surroundings,
    /// The version that is installed, or being updated from.
    current: Option<Handler>,
    /// The version whose update failed, beside the one that is still installed.
    failed: Option<Handler>,
    goal: Option<Goal>,
    status: Option<HandlerStatus>,
    runs: Vec<Run>,
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent {
    /// An agent in its real places, `/var/lib/waagent` and `/var/log/azure`: for use in a private world.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Path::new("/var/lib/waagent"), Path::new("/var/log/azure"))
    }

    /// An agent with its folders below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self::at(&root.join("waagent"), &root.join("log"))
    }

    fn at(home: &Path, logs: &Path) -> Self {
        Self {
            home: home.to_owned(),
            logs: logs.to_owned(),
            surroundings: Surroundings::default(),
            current: None,
            failed: None,
            goal: None,
            status: None,
            runs: Vec::new(),
        }
    }

    /// A variable in the agent's own environment, which its commands inherit.
    #[must_use]
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.surroundings.environment.push((name.into(), value.into()));
        self
    }

    /// Its commands run on the machine of this systemd from now on, which has the same files.
    pub fn enter(&mut self, systemd: &Systemd) {
        self.surroundings.entrance = systemd.entrance();
    }

    /// The folder of the handler that is installed.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(self.handler()?.folders.base.clone())
    }

    /// The handler's log folder.
    pub fn log_folder(&self) -> Result<PathBuf> {
        Ok(self.handler()?.folders.logs.clone())
    }

    /// The path of the status file for the goal state's settings.
    pub fn status_file(&self) -> Result<PathBuf> {
        let sequence = self.sequence();
        Ok(self.handler()?.folders.status_file(sequence))
    }

    /// Processes a goal state: installs, enables, updates or goes back, whatever it takes. A command that fails is
    /// part of the outcome; an error is one of the agent's own.
    pub fn apply(&mut self, goal: &Goal) -> Result<Outcome> {
        self.goal = Some(goal.clone());
        let (name, version) = package::name_and_version(&goal.package)?;
        let known = self.failed.as_ref().or(self.current.as_ref());
        let known = known.filter(|handler| handler.version == version);
        let mut handler = match known {
            Some(handler) if matches!(handler.state, State::Installed | State::Enabled) => handler.clone(),
            // What never got as far as that is unpacked anew.
            _ => {
                let folders = Folders::new(&self.home, &self.logs, &name, &version);
                let manifest = package::unpack(&goal.package, &folders)?;
                Handler { version, folders, manifest, state: State::NotInstalled }
            }
        };
        handler.folders.write_settings(goal.sequence, &goal.settings)?;
        let done = self.converge(&mut handler)?;
        self.status = Some(match done {
            Ok(()) => HandlerStatus { ready: true, code: 0, message: "Plugin enabled".to_owned() },
            Err(failure) => failure,
        });
        handler.folders.write_state(&format!("{:?}", handler.state))?;
        self.clean_up()?;
        Ok(self.outcome())
    }

    /// Processes the last goal state again, as the agent does after each restart and whenever any other extension
    /// changes: enable, with the same number.
    pub fn again(&mut self) -> Result<Outcome> {
        let goal = self.goal.clone().context("no goal state yet")?;
        self.apply(&goal)
    }

    /// Disables the handler, as older goal states can ask for.
    pub fn disable(&mut self) -> Result<Outcome> {
        let mut handler = self.handler()?.clone();
        if handler.state == State::Enabled {
            let run = self.run(&handler, Verb::Disable, &Old::default())?;
            match run.failure() {
                Some(failure) => self.status = Some(failure),
                None => {
                    handler.state = State::Installed;
                    handler.folders.write_state("Installed")?;
                    self.status = Some(HandlerStatus { ready: false, code: 0, message: "Plugin disabled".to_owned() });
                }
            }
            self.current = Some(handler);
        }
        Ok(self.outcome())
    }

    /// Removes the extension: disable, uninstall, and its folder. A disable that fails keeps everything; an
    /// uninstall that fails changes nothing.
    pub fn uninstall(&mut self) -> Result<Outcome> {
        let handler = self.handler()?.clone();
        if handler.state == State::Enabled {
            let run = self.run(&handler, Verb::Disable, &Old::default())?;
            if let Some(failure) = run.failure() {
                self.status = Some(failure);
                return Ok(self.outcome());
            }
        }
        self.run(&handler, Verb::Uninstall, &Old::default())?;
        self.forget()?;
        Ok(self.outcome())
    }

    /// The extension is no longer in the goal state: its folder vanishes and none of its commands is run.
    pub fn drop_from_goal_state(&mut self) -> Result<Outcome> {
        self.forget()?;
        Ok(self.outcome())
    }

    /// What the agent would report now of the extension's status.
    pub fn status(&self) -> Result<Reported> {
        let handler = self.handler()?;
        let path = handler.folders.status_file(self.sequence());
        Ok(report::judge(&handler.folders.name, &path))
    }

    /// Asks for the status until it is as wanted; an error that shows the last one after `limit`.
    pub fn wait_until(&self, limit: Duration, wanted: impl Fn(&Reported) -> bool) -> Result<Reported> {
        let end = Instant::now() + limit;
        loop {
            let status = self.status()?;
            if wanted(&status) {
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("not the status that was waited for, even after {limit:?}: {status:#?}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for a status by its word: `success`, `error`, `transitioning`.
    pub fn wait_for(&self, word: &str, limit: Duration) -> Result<Reported> {
        self.wait_until(limit, |reported| reported.status.as_deref() == Some(word))
    }

    fn handler(&self) -> Result<&Handler> {
        let handler = self.failed.as_ref().or(self.current.as_ref());
        handler.context("no extension is installed")
    }

    fn sequence(&self) -> u32 {
        self.goal.as_ref().map_or(0, |goal| goal.sequence)
    }

    fn outcome(&mut self) -> Outcome {
        Outcome { runs: std::mem::take(&mut self.runs), handler: self.status.clone() }
    }

    /// Forgets the extension and removes its folders.
    fn forget(&mut self) -> Result<()> {
        for handler in [self.current.take(), self.failed.take()].into_iter().flatten() {
            if handler.folders.base.exists() {
                fs::remove_dir_all(&handler.folders.base)?;
            }
        }
        (self.goal, self.status) = (None, None);
        Ok(())
    }

    /// Removes every folder that is named like a handler and is none of ours, as each goal state does.
    fn clean_up(&self) -> Result<()> {
        let ours: Vec<&Path> =
            [&self.current, &self.failed].into_iter().flatten().map(|handler| handler.folders.base.as_path()).collect();
        for entry in fs::read_dir(&self.home)? {
            let path = entry?.path();
            if path.is_dir() && folders::names_a_handler(&path) && !ours.contains(&path.as_path()) {
                fs::remove_dir_all(&path).with_context(|| format!("{}: cannot remove it", path.display()))?;
            }
        }
        Ok(())
    }
}
