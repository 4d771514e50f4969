//! `run FILE`: the daemon in the foreground, from its settings to its last breath.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use common::folders::Folders;
use common::instance::{Holder, InstanceLock, LockError};
use common::sequence::Sequence;
use common::settings::{LoadError, Settings};
use common::status::{CODE_SERVICE, CODE_SETTINGS, StatusFile};
use common::system::create_private_folder;
use jiff::Timestamp;
use log::{LevelFilter, error, info, warn};

use crate::after_renewal::{Actor, Renewals};
use crate::agent::Agent;
use crate::fluentd::Forwarding;
use crate::network::Network;
use crate::recovery::Recovery;
use crate::system::Supervisor;
use crate::telemetry::Telemetry;
use crate::vigil::{End, Heard, Vigil};
use crate::{DONE, DROPPED, FAILED, Origin, WRONG, system};

/// An instance that is being replaced ends within five seconds.
const HANDOVER: Duration = Duration::from_secs(10);

pub(crate) fn run(file: &Path, folders: &Folders, origin: Origin) -> Result<u8> {
    common::logging::start(folders.log.as_deref(), "akvvm_service", LevelFilter::Info);
    let status_file = folders.status.as_ref().map(|folder| sequence(file).status_file(folder));
    serve(file, folders, origin, status_file.clone()).or_else(|error| {
        error!("{error:#}");
        // The status of an instance that stands in the way is the live one.
        match (status_file, error.downcast_ref()) {
            (None, _) | (_, Some(LockError::Held(_))) => {}
            (Some(path), _) => {
                StatusFile::error(CODE_SERVICE, &format!("{error:#}"), Timestamp::now()).save(&path)?;
            }
        }
        Ok(FAILED)
    })
}

fn serve(file: &Path, folders: &Folders, origin: Origin, status_file: Option<PathBuf>) -> Result<u8> {
    let settings = match Settings::load(file) {
        Ok(settings) => settings,
        Err(wrong) => {
            error!("{wrong}");
            report_wrong_settings(file, folders, &wrong)?;
            return Ok(WRONG);
        }
    };
    let network = Network::from(origin.dialer);
    let is_copy = origin.machine.is_some_and(|machine| is_copy(machine.trim()));
    let own = own(file, folders, origin.events_folder.as_deref(), &settings);
    let supervisor = Supervisor::of_this_process(&own, &settings);
    if let Network::Dialer(dialer) = &network {
        // What is not there yet could not be read later. Where it cannot be made, the lock says why.
        let _ = create_private_folder(&folders.state);
        dialer.leave_the_rest(&own, &settings);
    }
    let (sender, events) = channel();
    system::wake(sender.clone())?;
    let _lock = lock(file, folders, HANDOVER)?;
    let _forwarding = forward(&network, &settings);
    info!("version {} started with {}", env!("CARGO_PKG_VERSION"), file.display());
    for warning in &settings.warnings {
        warn!("{}: {warning}", file.display());
    }
    let telemetry = telemetry(&settings, folders, origin.events_folder);
    let vigil = Vigil::new(supervisor, origin.handler_folder, events);
    let is_alone = !vigil.supervisor.counts_ends();
    if is_alone {
        begin(&folders.state);
    }
    let end = match is_copy {
        true => wait_for_enable(&vigil),
        false => {
            let actor = if origin.notes_are_watched { Actor::Unit } else { Actor::Child(file.to_owned()) };
            let renewals = Renewals::new(&settings, &folders.state, actor);
            let recovery = Recovery::new(&folders.state, Instant::now());
            Agent::new(network, settings, status_file, telemetry, renewals, recovery).run(&sender, &vigil)
        }
    };
    if is_alone && let Err(error) = common::run::end(&folders.state) {
        warn!("this end will be counted as one that nobody asked for: {error}");
    }
    info!("ended");
    Ok(match end {
        End::Asked | End::Anew => DONE,
        End::Dropped => DROPPED,
    })
}

/// What the service reads of its own.
fn own(file: &Path, folders: &Folders, events: Option<&Path>, settings: &Settings) -> Vec<PathBuf> {
    let folders = [Some(&*folders.state), folders.status.as_deref(), folders.log.as_deref(), events, file.parent()];
    let stores = settings.certificates.iter().filter_map(|observed| observed.target.folder()).map(AsRef::as_ref);
    folders.into_iter().flatten().chain(stores).map(Path::to_owned).collect()
}

/// Nobody else counts how often the service ends without being asked to.
fn begin(state: &Path) {
    match common::run::begin(state) {
        Ok(None) => {}
        Ok(Some(ends)) => warn!("the service ended unexpectedly, {} in a row: {}", ends.times, ends.cause),
        Err(error) => warn!("ends that nobody asks for are not all counted: {error}"),
    }
}

/// Log lines go to a collector, too, where the settings name one.
fn forward(network: &Network, settings: &Settings) -> Option<Forwarding> {
    let collector = settings.logging.collector.as_ref()?;
    let started = Forwarding::start(network, collector);
    started.inspect_err(|cause| warn!("{}: no log lines are sent: {cause}", collector.endpoint)).ok()
}

/// Events leave the machine, so the settings must ask for them, and the guest agent must take them.
fn telemetry(settings: &Settings, folders: &Folders, events: Option<PathBuf>) -> Option<Telemetry> {
    if !settings.logging.telemetry_events {
        return None;
    }
    let wanted = folders.log.as_deref().zip(events).map(|(log, events)| Telemetry::new(log, events, Instant::now()));
    if wanted.is_none() {
        warn!("loggingSettings.telemetryEvents has no effect: the guest agent on this machine takes no events");
    }
    wanted
}

/// Whether this machine has another number than `machine`. Where one of them is not known, it is the same.
fn is_copy(machine: &str) -> bool {
    common::system::machine().is_some_and(|this| !machine.is_empty() && !this.eq_ignore_ascii_case(machine))
}

/// A copy of a machine has its identity and settings only when the guest agent enables the extension there.
fn wait_for_enable(vigil: &Vigil) -> End {
    let why = "nothing is polled: this machine is a copy of the one that the extension was enabled on; the guest agent's \
               enable starts the service anew";
    warn!("{why}");
    vigil.supervisor.ready(why);
    loop {
        match vigil.wait(Duration::MAX, |_| true) {
            Heard::End(end) => return end,
            Heard::Event(_) | Heard::Nothing => info!("not polling, although asked: {why}"),
        }
    }
}

/// Settings that are wrong are answered at once.
pub(crate) fn report_wrong_settings(file: &Path, folders: &Folders, wrong: &LoadError) -> Result<()> {
    let Some(folder) = &folders.status else { return Ok(()) };
    let status = StatusFile::error(CODE_SETTINGS, &wrong.to_string(), Timestamp::now());
    Ok(status.save(&sequence(file).status_file(folder))?)
}

/// The number that a `<N>.settings` file carries; other files are answered in `0.status`.
pub(crate) fn sequence(file: &Path) -> Sequence {
    Sequence::of_settings(file).unwrap_or_default()
}

/// Makes this process the only one that works with the state folder.
pub(crate) fn lock(file: &Path, folders: &Folders, wait: Duration) -> Result<InstanceLock> {
    let holder = Holder {
        pid: std::process::id(),
        program: std::env::current_exe().context("cannot tell which program this is")?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: std::path::absolute(file).with_context(|| file.display().to_string())?,
        status_folder: folders.status.clone(),
    };
    Ok(InstanceLock::acquire(&folders.state, &holder, wait)?)
}
