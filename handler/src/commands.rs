//! The five verbs: what each does, and what all have in common (one at a time, a line in the log, and an Error status
//! before a failure, as the agent shows "transitioning" for ever where it finds none).

use anyhow::Result;
use clap::ValueEnum;
use common::status::StatusFile;
use jiff::Timestamp;

use crate::deployment::Deployment;
use crate::enable::enable;
use crate::failure::Failure;
use crate::state::State;
use crate::{closed, libexec, program, supervisor};

/// What the agent runs, and when.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Verb {
    /// Check that this machine can run the service
    Install,
    /// Apply the current settings; at every boot and every goal state
    Enable,
    /// Stop the service; certificates stay
    Disable,
    /// Announce that this version replaces another one
    Update,
    /// Stop this version's service and forget its state; certificates stay
    Uninstall,
}

/// Does its work and says what it did.
type Action = fn(&Deployment, &State) -> Result<String, Failure>;

impl Verb {
    fn action(self) -> Action {
        match self {
            Self::Install => install,
            Self::Enable => enable,
            Self::Disable => disable,
            Self::Update => update,
            Self::Uninstall => uninstall,
        }
    }
}

/// Runs `verb` and says what was done.
pub(crate) fn run(verb: Verb) -> Result<String, Failure> {
    let deployment = Deployment::of_this_program()?;
    if let Some(environment) = deployment.environment() {
        common::logging::start(Some(&environment.log_folder), "akvvm_handler", log::LevelFilter::Info);
    }
    match State::lock() {
        // The state stays locked until the status is written, so that no other verb's is overwritten.
        Ok(state) => {
            let result = conclude(verb, &deployment, verb.action()(&deployment, &state));
            state.release();
            result
        }
        Err(error) => conclude(verb, &deployment, Err(error.into())),
    }
}

fn conclude(verb: Verb, deployment: &Deployment, result: Result<String, Failure>) -> Result<String, Failure> {
    match &result {
        Ok(done) => log::info!("{verb:?}: {done}"),
        Err(failure) => {
            log::error!("{verb:?}: {failure}");
            deployment.report(&StatusFile::error(failure.status_code(), &failure.to_string(), Timestamp::now()));
        }
    }
    result
}

fn install(deployment: &Deployment, _state: &State) -> Result<String, Failure> {
    closed::refuse(&deployment.base)?;
    program::check(&deployment.program)?;
    Ok(format!("installed version {}", env!("CARGO_PKG_VERSION")))
}

/// In an update the old version is disabled with the number of settings that it was never given: only the number counts.
fn disable(deployment: &Deployment, state: &State) -> Result<String, Failure> {
    let stopped = supervisor::stop(state.folder())?;
    deployment.report(&StatusFile::disabled(Timestamp::now()));
    Ok(match stopped {
        Some(holder) => format!("disabled: the service (process {}) was stopped; certificates stay", holder.pid),
        None => "disabled: no service was running; certificates stay".to_owned(),
    })
}

/// All versions share their state, so nothing is migrated. That an update is under way is remembered for the old
/// version's `uninstall`, which runs next. The agent names the version that comes in `VERSION`; in a downgrade it runs
/// this verb in the folder of the version that goes.
fn update(_deployment: &Deployment, state: &State) -> Result<String, Failure> {
    let version = std::env::var("VERSION").unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned());
    state.begin_update(&version)?;
    Ok(format!("updating to version {version}: settings and certificates are kept"))
}

/// No variable tells the end of the extension from the middle of an update, where the old version is uninstalled between
/// the new one's `update` and `enable`. There the accepted settings must stay: should the new settings be wrong, the new
/// version runs with them. So `update` leaves the version that comes, and the uninstall of any other version keeps the
/// state. The mark is left for `enable` to remove, because the agent may run a verb twice; should `enable` never come,
/// the uninstall of the version that came still forgets everything.
fn uninstall(deployment: &Deployment, state: &State) -> Result<String, Failure> {
    let own = &deployment.version;
    let program = libexec::program(own);
    let other = supervisor::running(state.folder())?.filter(|holder| holder.program != program);
    if other.is_none() {
        supervisor::stop(state.folder())?;
    }
    let next = state.update().filter(|next| next != own);
    supervisor::forget(&program, next.is_some())?;
    libexec::remove(own)?;
    match (other, next) {
        (Some(holder), _) => {
            Ok(format!("uninstalled: the service that runs is {}, and stays", holder.program.display()))
        }
        (None, Some(next)) => Ok(format!("uninstalled version {own}; settings are kept for version {next}")),
        (None, None) => {
            state.forget()?;
            Ok("uninstalled; certificates stay".to_owned())
        }
    }
}
