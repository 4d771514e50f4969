//! What the handler asks of whoever runs the service: start it, stop it, let it poll now, say which one runs.
//!
//! The service's lock tells which one runs, whoever started it; how it is started and stopped is the business of the
//! modules below, one for each system.

mod launch;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "windows")]
mod windows;

use std::path::Path;

use anyhow::Result;
use common::instance::{self, Holder};

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "windows")]
use windows as system;

pub(crate) use launch::Launch;
pub(crate) use system::{foreign, forget, is_current, poll_now, stop};

/// How a start went that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    /// It runs, as this process.
    Process(u32),
    /// It runs as soon as the system has booted as far as the network.
    AtItsTurn,
}

/// Starts the service and waits until it is ready. None may be running.
///
/// # Errors
/// It did not get ready, with its last words or the code that it ended with.
pub(crate) fn start(launch: &Launch) -> Result<Started> {
    // What ended the service before was another start's, with other settings perhaps, or another version.
    if let Err(error) = common::run::end(&launch.folders.state) {
        log::warn!("{error}");
    }
    system::start(launch)
}

/// The service that runs now, if any.
///
/// # Errors
/// Something holds the lock and does not say who it is, or the lock cannot be used.
pub(crate) fn running(state: &Path) -> Result<Option<Holder>> {
    Ok(instance::running(state)?)
}
