//! `enable`: brings the service to the settings that the agent wants, and leaves it alone when it has them already.
//!
//! The agent runs this verb at every boot and at every goal state, also when nothing about this extension changed.
//! Settings that are wrong never stop a service, and never replace good ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use common::folders::Folders;
use common::instance::Holder;
use common::sequence::Sequence;
use common::settings::{Clouds, CollectorEndpoint, LoadError, Settings, read_bounded};
use common::status::{CODE_SETTINGS, StatusFile};
use common::system::machine;
use jiff::Timestamp;

use crate::deployment::{Deployment, Goal};
use crate::failure::Failure;
use crate::state::State;
use crate::supervisor::{self, Launch, Started};
use crate::{closed, libexec};

/// A pass may take this long on top of the polling interval before its service counts as stuck.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Applies the current settings and says what was done.
pub(crate) fn enable(deployment: &Deployment, state: &State) -> Result<String, Failure> {
    let goal = deployment.goal()?;
    closed::refuse(&deployment.base)?;
    state.end_update();
    let program = libexec::place(&deployment.program, &deployment.version)?;
    let apply = Apply { deployment, goal: &goal, state, program };
    match read(&goal) {
        Ok(Some((settings, bytes))) => Ok(apply.accept(&settings, &bytes)?),
        Ok(None) => Ok(apply.wait_for_settings()),
        Err(wrong) => Err(Failure::Settings { wrong, service: apply.keep_last_good() }),
    }
}

/// Settings that are good, and the bytes that they were read from; `None` when the extension was deployed without any:
/// the agent then writes an empty file.
fn read(goal: &Goal<'_>) -> Result<Option<(Settings, Vec<u8>)>, LoadError> {
    let path = goal.sequence.settings_file(&goal.environment.config_folder);
    let name = path.display().to_string();
    let bytes = read_bounded(&path).map_err(|cause| LoadError::Read { path: name.clone(), cause })?;
    if bytes.is_empty() {
        return Ok(None);
    }
    match Settings::parse(&bytes, &Clouds::of_this_machine()?) {
        Ok(settings) => Ok(Some((settings, bytes))),
        Err(cause) => Err(LoadError::Settings { path: name, cause }),
    }
}

/// What the ways to an answer have in common.
struct Apply<'a> {
    deployment: &'a Deployment,
    goal: &'a Goal<'a>,
    state: &'a State,
    /// The program to be run.
    program: PathBuf,
}

impl Apply<'_> {
    /// Makes the service run with `settings`.
    fn accept(&self, settings: &Settings, bytes: &[u8]) -> Result<String> {
        let sequence = self.goal.sequence;
        let launch = self.launch(sequence, true, Some(settings));
        if let Some(holder) = supervisor::running(self.state.folder())?
            && supervisor::is_current(&launch, &holder)?
            && self.state.has_accepted(sequence, bytes)
            && !self.is_overdue(settings)
        {
            // Its status is the live one. Without a file the agent would wait eight seconds for it at every look.
            if !self.goal.status_file().exists() {
                supervisor::poll_now(&holder)?;
            }
            return Ok(format!("enabled: the service (process {}) runs with settings {sequence} already", holder.pid));
        }
        supervisor::stop(self.state.folder())?;
        if let Err(error) = self.state.accept(sequence, bytes) {
            return Err(error.context(self.keep_last_good()));
        }
        self.goal.report(&StatusFile::starting(Timestamp::now()));
        let started = supervisor::start(&launch)?;
        libexec::keep_only(&self.deployment.version);
        Ok(match started {
            Started::Process(process) => {
                format!("enabled: the service (process {process}) was started with settings {sequence}")
            }
            Started::AtItsTurn => {
                format!("enabled: the service starts with settings {sequence} when the network is up")
            }
        })
    }

    /// Whether the service holds its lock but has long stopped working: it saves its status at every poll.
    fn is_overdue(&self, settings: &Settings) -> bool {
        let saved = fs::metadata(self.goal.status_file()).and_then(|status| status.modified());
        let silence = saved.ok().and_then(|saved| saved.elapsed().ok()).unwrap_or_default();
        let is_overdue = silence > 2 * settings.polling_interval + PATIENCE;
        if is_overdue {
            log::warn!("the service has not reported for {} s, and is replaced", silence.as_secs());
        }
        is_overdue
    }

    /// Nothing is wrong with the machine or the extension, so this is no failure; but nothing can be installed either.
    fn wait_for_settings(&self) -> String {
        let path = self.goal.sequence.settings_file(&self.goal.environment.config_folder);
        let message = format!(
            "{} is empty: the extension was deployed without settings; deploy it with secretsManagementSettings.\
             observedCertificates, a list of secret URLs such as https://VAULT.vault.azure.net/secrets/NAME; {}",
            path.display(),
            self.keep_last_good()
        );
        self.goal.report(&StatusFile::error(CODE_SETTINGS, &message, Timestamp::now()));
        message
    }

    /// Makes sure that the service runs with the settings accepted last, and says in a clause how it stands.
    fn keep_last_good(&self) -> String {
        match self.run_last_good() {
            Ok(Some(settings)) => format!("the service goes on with {}", settings.display()),
            Ok(None) => "no settings were accepted earlier, so no service runs".to_owned(),
            Err(error) => format!("the service cannot go on with the settings accepted earlier: {error:#}"),
        }
    }

    /// The settings of this number are wrong, and the status file of this number says so: a service that would report to
    /// it (settings of the same number were good once) goes on without one.
    fn run_last_good(&self) -> Result<Option<PathBuf>> {
        let rejected = self.goal.sequence;
        let reports_here = |holder: &Holder| {
            holder.status_folder.as_ref() == Some(&self.goal.environment.status_folder)
                && Sequence::of_settings(&holder.settings) == Some(rejected)
        };
        match (supervisor::running(self.state.folder())?, self.state.accepted()?) {
            (Some(holder), accepted) if accepted.is_none() || !reports_here(&holder) => Ok(Some(holder.settings)),
            (_, Some(accepted)) => {
                let file = self.state.accepted_file(accepted);
                // Settings that an earlier version accepted and this one does not: the service says so itself.
                let launch = self.launch(accepted, accepted != rejected, Settings::load(&file).ok().as_ref());
                supervisor::stop(self.state.folder())?;
                supervisor::start(&launch)?;
                Ok(Some(launch.settings))
            }
            (_, None) => Ok(None),
        }
    }

    fn launch(&self, sequence: Sequence, reports: bool, settings: Option<&Settings>) -> Launch {
        let environment = self.goal.environment;
        Launch {
            program: self.program.clone(),
            settings: self.state.accepted_file(sequence),
            folders: Folders {
                state: self.state.folder().to_owned(),
                status: reports.then(|| environment.status_folder.clone()),
                log: Some(environment.log_folder.clone()),
            },
            handler: self.deployment.base.clone(),
            machine: machine(),
            events: environment.events_folder.clone().filter(|_| takes_events()),
            stores: settings.map(stores).unwrap_or_default(),
            has_actions: settings.is_some_and(has_actions),
            collector: settings.and_then(collector),
        }
    }
}

/// Where the settings put certificates, each folder once.
fn stores(settings: &Settings) -> Vec<Arc<Path>> {
    let folders = settings.certificates.iter().filter_map(|observed| observed.target.folder().cloned());
    folders.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether a certificate's renewal has a consequence.
fn has_actions(settings: &Settings) -> bool {
    let actions = settings.certificates.iter().filter_map(|observed| observed.after_renewal.as_ref());
    actions.into_iter().any(|after_renewal| !after_renewal.actions.is_empty())
}

/// The socket of the collector that they name, if it is one.
fn collector(settings: &Settings) -> Option<PathBuf> {
    match &settings.logging.collector.as_ref()?.endpoint {
        CollectorEndpoint::Unix(path) => Some(path.clone()),
        CollectorEndpoint::Localhost(_) | CollectorEndpoint::Address(_) => None,
    }
}

/// Whether the agent that runs this verb collects the events of extensions.
fn takes_events() -> bool {
    let features = std::env::var("AZURE_GUEST_AGENT_EXTENSION_SUPPORTED_FEATURES");
    features.is_ok_and(|features| features.contains("\"ExtensionTelemetryPipeline\""))
}
