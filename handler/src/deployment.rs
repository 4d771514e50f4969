//! What this handler was deployed with: its folder, and what the guest agent says about it. Read only, but for the status
//! file that answers the agent.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use common::environment::{Environment, EnvironmentError};
use common::sequence::{Sequence, SequenceError};
use common::status::StatusFile;

use crate::program;
use crate::system::{CONFIG, STATUS};

/// One version of the handler, where it was unpacked.
#[derive(Debug)]
pub(crate) struct Deployment {
    /// The folder that the agent unpacked it in.
    pub(crate) base: PathBuf,
    /// The service's program, beside the handler's.
    pub(crate) program: PathBuf,
    /// The version as the agent writes it; run by hand, that of this program.
    pub(crate) version: String,
    agent: Result<Agent, EnvironmentError>,
}

/// What the agent said.
#[derive(Debug)]
struct Agent {
    environment: Environment,
    sequence: Result<Sequence, SequenceError>,
}

/// What the agent wants to be applied, and where.
#[derive(Debug)]
pub(crate) struct Goal<'a> {
    /// The agent's folders.
    pub(crate) environment: &'a Environment,
    /// The number of the settings, and of the status that answers them.
    pub(crate) sequence: Sequence,
}

impl Deployment {
    /// The deployment that the running program belongs to. Neither the working directory nor HOME count.
    ///
    /// # Errors
    /// The system does not say which program this is. Folders that are not known, and a number that is not known, are
    /// errors only for those who need them.
    pub(crate) fn of_this_program() -> Result<Self> {
        let handler = std::env::current_exe().context("cannot tell which program this is")?;
        let base = handler.parent().ok_or_else(|| anyhow!("{} lies in no folder", handler.display()))?;
        let agent = Environment::load(base)
            .map(|environment| Agent { sequence: sequence(&environment.config_folder), environment });
        // The agent of Linux tells it; that of Windows names the folder after it.
        let told = std::env::var("AZURE_GUEST_AGENT_EXTENSION_VERSION").ok();
        let named = base.file_name().map(|name| name.to_string_lossy().into_owned());
        let version = told.into_iter().chain(named).find(|text| is_version(text));
        let version = version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        Ok(Self { program: program::beside(base), base: base.to_owned(), version, agent })
    }

    /// The agent's folders, if it said which.
    pub(crate) fn environment(&self) -> Option<&Environment> {
        self.agent.as_ref().ok().map(|agent| &agent.environment)
    }

    /// What the agent wants to be applied.
    ///
    /// # Errors
    /// The folders or the number are not known.
    pub(crate) fn goal(&self) -> Result<Goal<'_>> {
        let agent = self.agent.as_ref().map_err(|error| anyhow!("{error}"))?;
        let sequence = *agent.sequence.as_ref().map_err(|error| anyhow!("{error}"))?;
        Ok(Goal { environment: &agent.environment, sequence })
    }

    /// Answers the agent, where it is known how. A status that cannot be written is logged: it never stops anything.
    pub(crate) fn report(&self, status: &StatusFile) {
        match self.status_file() {
            Ok(file) => save(status, &file),
            Err(error) => log::warn!("no status was written: {error:#}"),
        }
    }

    fn status_file(&self) -> Result<PathBuf> {
        let newest = |error| self.environment().and_then(Goal::newest).ok_or(error);
        let said = self.goal().or_else(newest).map(|goal| goal.status_file());
        said.or_else(|error| self.usual_file().ok_or(error))
    }

    /// The status file where agents have it in the handler's folder: what is left when the agent's own word is missing.
    fn usual_file(&self) -> Option<PathBuf> {
        let (config, folder) = (self.base.join(CONFIG), self.base.join(STATUS));
        let sequence = sequence(&config).or_else(|_| Sequence::current(None, &config)).ok()?;
        (self.agent.is_err() && folder.is_dir()).then(|| sequence.status_file(&folder))
    }
}

/// Which settings the agent wants to be applied.
fn sequence(config_folder: &Path) -> Result<Sequence, SequenceError> {
    let number = std::env::var_os("ConfigSequenceNumber").map(|value| value.to_string_lossy().into_owned());
    Sequence::current(number.as_deref(), config_folder)
}

/// A status that cannot be written is logged: it never stops anything.
fn save(status: &StatusFile, file: &Path) {
    if let Err(error) = status.save(file) {
        log::error!("{error}");
    }
}

/// Whether it can be a part of a path: numbers with dots between them.
fn is_version(text: &str) -> bool {
    text.split('.').all(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
}

impl<'a> Goal<'a> {
    /// The newest settings, for an agent whose number cannot be read: it waits for the status of some settings.
    fn newest(environment: &'a Environment) -> Option<Self> {
        let sequence = Sequence::current(None, &environment.config_folder).ok()?;
        Some(Self { environment, sequence })
    }

    /// The status file of this number.
    pub(crate) fn status_file(&self) -> PathBuf {
        self.sequence.status_file(&self.environment.status_folder)
    }

    /// Answers the agent. A status that cannot be written is logged: it never stops anything.
    pub(crate) fn report(&self, status: &StatusFile) {
        save(status, &self.status_file());
    }
}
