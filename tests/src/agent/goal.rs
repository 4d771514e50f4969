//! What goes into the agent and what comes out: a goal state, and what became of it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::command::{Run, Verb};

/// What a goal state says about the settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// There are none: an empty `0.settings`.
    Absent,
    /// `publicSettings` is this: an object as a rule, but the agent passes on strings and null as well.
    Public(Value),
}

/// What the fabric wants of this machine.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The package: `<name>-<version>.zip`.
    pub package: PathBuf,
    /// The sequence number of the settings; 0 when there are none.
    pub sequence: u32,
    /// The settings.
    pub settings: Settings,
}

impl Goal {
    /// A goal with public settings.
    #[must_use]
    pub fn new(package: &Path, sequence: u32, public_settings: Value) -> Self {
        Self { package: package.to_owned(), sequence, settings: Settings::Public(public_settings) }
    }

    /// A goal without settings.
    #[must_use]
    pub fn without_settings(package: &Path) -> Self {
        Self { package: package.to_owned(), sequence: 0, settings: Settings::Absent }
    }
}

/// What the agent says of the handler itself, apart from the extension's own status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerStatus {
    /// Whether the handler is ready: its enable command succeeded.
    pub ready: bool,
    /// 0, or the agent's error code: 1003 manifest, 1007 install, 1008 update, 1009 enable, 1010 disable, 1011 time.
    pub code: i32,
    /// What went wrong, or the agent's word for the state.
    pub message: String,
}

/// What became of one goal state.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The commands that were run, in their order.
    pub runs: Vec<Run>,
    /// The handler's state afterwards; `None` when it is gone.
    pub handler: Option<HandlerStatus>,
}

impl Outcome {
    /// The verbs that were run, in their order.
    #[must_use]
    pub fn verbs(&self) -> Vec<Verb> {
        self.runs.iter().map(|run| run.verb).collect()
    }

    /// Whether the handler is ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.handler.as_ref().is_some_and(|handler| handler.ready)
    }
}
