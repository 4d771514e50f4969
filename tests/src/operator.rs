//! Who deploys the extension for an emulator that runs as a program: the emulated guest agent, or the real one.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::agent::package::name_and_version;
use crate::agent::{Agent, Goal, Outcome, Reported};
use crate::fabric::{Handler, Plugin, Settings, State};
use crate::guest::Guest;

/// One of the two, with the machine that it is on.
pub enum Operator<'a> {
    /// The emulated one, which is quick and tells all that the commands say.
    Emulated(Box<Agent>),
    /// The real one.
    Real(&'a Guest),
}

impl Operator<'_> {
    /// Processes a goal state with this package and these public settings. Answers the text to print.
    pub fn apply(&mut self, package: &Path, sequence: u32, settings: Option<Value>) -> Result<String> {
        match self {
            Self::Emulated(agent) => {
                let goal = settings.map(|settings| Goal::new(package, sequence, settings));
                Ok(outcome(&agent.apply(&goal.unwrap_or_else(|| Goal::without_settings(package)))?))
            }
            Self::Real(guest) => {
                let (name, version) = name_and_version(package)?;
                guest.fabric.publish(package)?;
                let plugin = Plugin::enabled(&name, &version.to_string(), sequence, Value::Null);
                let settings = settings.map_or(Settings::Absent, |settings| Settings::Public(sequence, settings));
                let handler = guest.apply(&[plugin.with(settings)])?;
                commands(guest, handler.as_ref())
            }
        }
    }

    /// The extension's status as the agent reports it.
    pub fn status(&self) -> Result<String> {
        match self {
            Self::Emulated(agent) => Ok(status(&agent.status()?)),
            Self::Real(guest) => {
                let report = guest.fabric.report().context("the agent has not uploaded anything yet")?;
                let handler = report.handler(&guest.name).context("the agent knows no such extension")?;
                let status = handler.status.as_ref().map(status).unwrap_or_default();
                Ok(format!("{}: {}\n{status}", handler.name, handler.handler.message))
            }
        }
    }

    /// Removes the extension.
    pub fn remove(&mut self) -> Result<String> {
        match self {
            Self::Emulated(agent) => Ok(outcome(&agent.uninstall()?)),
            Self::Real(guest) => {
                let report = guest.fabric.report();
                let known = report.as_ref().and_then(|report| report.handler(&guest.name));
                let known = known.context("the agent knows no such extension")?;
                let sequence = known.sequence.and_then(|sequence| u32::try_from(sequence).ok()).unwrap_or_default();
                let plugin = Plugin::enabled(&known.name, &known.version, sequence, Value::Null);
                let handler = guest.apply(&[plugin.to_be(State::Uninstall)])?;
                commands(guest, handler.as_ref())
            }
        }
    }
}

/// The commands that the emulated agent ran and what it made of them.
fn outcome(outcome: &Outcome) -> String {
    let mut text = String::new();
    for run in &outcome.runs {
        let exit = run.exit.map_or("killed".to_owned(), |exit| format!("exit {exit}"));
        let _ = writeln!(text, "{} {}: {exit} after {:.1?}", run.verb.name(), run.version, run.duration);
        for line in run.stdout.lines().chain(run.stderr.lines()) {
            let _ = writeln!(text, "  {line}");
        }
    }
    let message = outcome.handler.as_ref().map(|handler| handler.message.as_str());
    let _ = writeln!(text, "{}", message.unwrap_or("removed"));
    text
}

/// The commands that the real agent ran and what it says of the handler.
fn commands(guest: &Guest, handler: Option<&Handler>) -> Result<String> {
    let mut text = String::new();
    for command in guest.commands()? {
        writeln!(text, "{} {}", command.verb.name(), command.version)?;
    }
    let message = handler.map(|handler| handler.handler.message.as_str());
    writeln!(text, "{}", message.unwrap_or("removed"))?;
    Ok(text)
}

fn status(status: &Reported) -> String {
    let word = status.status.as_deref().unwrap_or("none");
    let mut text = format!("{word}: {}\n", status.message.as_deref().unwrap_or_default());
    for part in &status.substatus {
        let name = part.name.as_deref().unwrap_or_default();
        let message = part.message.as_deref().unwrap_or_default();
        let _ = writeln!(text, "  {name}: {}: {message}", part.status);
    }
    text
}
