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

pub(crate) use launch::Launch;
#[cfg(target_os = "linux")]
pub(crate) use linux::{foreign, forget, is_current, poll_now, start, stop};
#[cfg(target_os = "windows")]
pub(crate) use windows::{foreign, forget, is_current, poll_now, start, stop};

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
