//! Linux: a unit where systemd runs, a process of its own where there is no service manager.

mod arguments;
mod detached;
mod dialer;
mod drop_in;
mod environment_file;
mod hidden;
mod process;
mod systemd;
mod unit;

use std::path::{Path, PathBuf};

use anyhow::Result;
use common::instance::Holder;

use super::{Launch, Started, running};

pub(crate) use detached::poll_now;

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

/// Forgets a stopped service that ran `program`, in an update, too: what administrators add to a unit lies beside it.
///
/// # Errors
/// Something of it cannot be removed.
pub(crate) fn forget(program: &Path, _is_update: bool) -> Result<()> {
    systemd::forget(program)
}
