//! What the handler asks of whoever runs the service: start it, stop it, let it poll now, say which one runs.
//!
//! The service's lock tells which one runs, whoever started it; how it is started and stopped is the business of the
//! modules below. Today there is one: a process of its own, for machines without a service manager.

#[cfg(target_os = "linux")]
mod detached;
#[cfg(target_os = "linux")]
mod environment_file;
#[cfg(target_os = "linux")]
mod process;

use std::path::{Path, PathBuf};

use anyhow::Result;
use common::folders::Folders;
use common::instance::{self, Holder};

#[cfg(target_os = "linux")]
pub(crate) use detached::{poll_now, start, stop};

/// How the service is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Its program.
    pub(crate) program: PathBuf,
    /// The settings that it works with.
    pub(crate) settings: PathBuf,
    /// Its folders.
    pub(crate) folders: Folders,
}

impl Launch {
    /// Whether `holder` is what this launch would start. A release has one version, so the program need not be read.
    pub(crate) fn is(&self, holder: &Holder) -> bool {
        holder.program == self.program
            && holder.version == env!("CARGO_PKG_VERSION")
            && holder.settings == self.settings
            && holder.status_folder == self.folders.status
    }
}

/// The service that runs now, if any.
///
/// # Errors
/// Something holds the lock and does not say who it is, or the lock cannot be used.
pub(crate) fn running(state: &Path) -> Result<Option<Holder>> {
    Ok(instance::running(state)?)
}
