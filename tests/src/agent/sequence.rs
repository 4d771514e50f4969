//! The order of commands that brings a handler to its goal, over whatever is installed.

use std::fs;

use anyhow::Result;

use super::command::{self, Old, Run, Verb};
use super::{Agent, Handler, HandlerStatus, State};

impl Agent {
    /// Brings `handler` to Enabled, over whatever is installed; the inner error is a failed command.
    pub(super) fn converge(&mut self, handler: &mut Handler) -> Result<Result<(), HandlerStatus>> {
        let mut old = Old::default();
        let previous = self.current.clone();
        let previous = previous.filter(|current| current.version != handler.version);
        if let Some(previous) = previous {
            match self.update(handler, previous)? {
                Ok(uninstalled) => old.uninstall = Some(uninstalled),
                Err(failure) => return Ok(Err(failure)),
            }
        }
        if handler.state == State::NotInstalled {
            self.current = Some(handler.clone());
            let skip = old.uninstall.is_some() && !handler.manifest.update_with_install;
            if !skip && let Some(failure) = self.run(handler, Verb::Install, &old)?.failure() {
                return Ok(Err(failure));
            }
            handler.state = State::Installed;
            self.current = Some(handler.clone());
        }
        if let Some(failure) = self.run(handler, Verb::Enable, &old)?.failure() {
            return Ok(Err(failure));
        }
        handler.state = State::Enabled;
        self.current = Some(handler.clone());
        Ok(Ok(()))
    }

    /// Replaces `previous` by `handler` up to the point where the new one is installed. Answers the exit code of the
    /// old one's uninstall.
    fn update(&mut self, handler: &mut Handler, mut previous: Handler) -> Result<Result<i32, HandlerStatus>> {
        let mut old = Old { from: Some(previous.version.clone()), to: Some(handler.version.clone()), ..Old::default() };
        let goes_on = handler.manifest.continue_on_update_failure;
        if previous.state == State::Enabled {
            let run = self.run(&previous, Verb::Disable, &Old::default())?;
            if let (Some(failure), false) = (run.failure(), goes_on) {
                return Ok(Err(failure.during_update()));
            }
            old.disable = Some(run.code());
            previous.state = State::Installed;
            self.current = Some(previous.clone());
        }
        previous.folders.copy_status_to(&handler.folders)?;
        // Going back, the higher version's update command is the one that is run.
        let run = match handler.version > previous.version {
            true => self.run(handler, Verb::Update, &old)?,
            false => {
                old.from.clone_from(&old.to);
                self.run(&previous, Verb::Update, &old)?
            }
        };
        if let Some(failure) = run.failure() {
            handler.state = State::FailedUpgrade;
            self.failed = Some(handler.clone());
            return Ok(Err(failure.during_update()));
        }
        self.failed = None;
        let run = self.run(&previous, Verb::Uninstall, &Old::default())?;
        if let (Some(failure), false) = (run.failure(), goes_on) {
            return Ok(Err(failure.during_update()));
        }
        fs::remove_dir_all(&previous.folders.base)?;
        Ok(Ok(run.code()))
    }

    pub(super) fn run(&mut self, handler: &Handler, verb: Verb, old: &Old) -> Result<Run> {
        let run = command::run(
            handler.manifest.command(verb),
            verb,
            &handler.folders.base,
            &handler.version,
            self.sequence(),
            &self.surroundings,
            old,
        )?;
        self.runs.push(run.clone());
        Ok(run)
    }
}
