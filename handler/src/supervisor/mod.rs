//! What the handler asks of whoever runs the service: start it, stop it, let it poll now, say which one runs.
//!
//! The service's lock tells which one runs, whoever started it; how it is started and stopped is the business of the
//! modules below: a unit where systemd runs, a process of its own where there is no service manager.

#[cfg(target_os = "linux")]
mod detached;
#[cfg(target_os = "linux")]
mod environment_file;
mod launch;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(target_os = "linux")]
mod unit;

use std::path::{Path, PathBuf};

use anyhow::Result;
use common::instance::{self, Holder};

#[cfg(target_os = "linux")]
pub(crate) use detached::poll_now;
pub(crate) use launch::Launch;

/// Proxy and trust store for the service, for root to write.
#[cfg(target_os = "linux")]
const ENVIRONMENT_FILE: &str = "/etc/default/akvvm_service";

/// How a start went that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    /// It runs, as this process.
    Process(u32),
    /// It runs as soon as the system has booted as far as the network.
    AtItsTurn,
}

/// The service that runs now, if any.
///
/// # Errors
/// Something holds the lock and does not say who it is, or the lock cannot be used.
pub(crate) fn running(state: &Path) -> Result<Option<Holder>> {
    Ok(instance::running(state)?)
}

/// Whether the service that runs is the one that `launch` would start, in the way in which it would.
///
/// # Errors
/// It cannot be found out.
pub(crate) fn is_current(launch: &Launch, holder: &Holder) -> Result<bool> {
    let is_same =
        launch.is(holder) && process::Process::of(holder)?.is_some_and(|process| process.runs(&launch.program));
    Ok(is_same && (!systemd::is_here() || systemd::is_current(launch, holder)))
}

/// Starts the service and waits until it is ready. None may be running.
///
/// # Errors
/// It did not get ready, with its last words.
pub(crate) fn start(launch: &Launch) -> Result<Started> {
    if systemd::is_here() { systemd::start(launch) } else { detached::start(launch).map(Started::Process) }
}

/// Stops the service that runs, however it was started, and says which one that was; it does not start at boot any more.
///
/// # Errors
/// It is still there, or the lock does not tell who it is.
pub(crate) fn stop(state: &Path) -> Result<Option<Holder>> {
    let before = running(state)?;
    systemd::stop()?;
    // One that was started without systemd, here or before systemd was.
    Ok(detached::stop(state)?.or(before))
}

/// The file of somebody else's service that runs under the same name.
pub(crate) fn foreign() -> Option<PathBuf> {
    systemd::foreign()
}

/// Forgets a stopped service that ran `program`.
///
/// # Errors
/// Something of it cannot be removed.
pub(crate) fn forget(program: &Path) -> Result<()> {
    systemd::forget(program)
}
