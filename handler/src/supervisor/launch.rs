//! How the service is started: its program, its arguments, and where it writes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::folders::Folders;
use common::instance::Holder;

/// How the service is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Its program.
    pub(crate) program: PathBuf,
    /// The settings that it works with.
    pub(crate) settings: PathBuf,
    /// Its folders.
    pub(crate) folders: Folders,
    /// The agent's folder of this version: the service ends when it vanishes.
    pub(crate) handler: PathBuf,
    /// The machine's number, where it has one: the service does nothing on another one.
    pub(crate) machine: Option<String>,
    /// Where events for the agent's telemetry go, where it takes any.
    pub(crate) events: Option<PathBuf>,
    /// Where the settings put certificates.
    pub(crate) stores: Vec<Arc<Path>>,
    /// Whether something follows from renewals.
    pub(crate) has_actions: bool,
    /// The socket of the log's collector, where the settings name one.
    pub(crate) collector: Option<PathBuf>,
}

impl Launch {
    /// Whether `holder` is what this launch would start. A release has one version, so the program need not be read.
    pub(crate) fn is(&self, holder: &Holder) -> bool {
        holder.program == self.program
            && holder.version == env!("CARGO_PKG_VERSION")
            && holder.settings == self.settings
            && holder.status_folder == self.folders.status
    }

    /// The arguments of the service.
    pub(super) fn run(&self) -> Vec<&OsStr> {
        let folders = &self.folders;
        let mut words = vec![OsStr::new("run"), self.settings.as_os_str()];
        let options = [
            ("--state-folder", Some(folders.state.as_os_str())),
            ("--status-folder", folders.status.as_deref().map(Path::as_os_str)),
            ("--log-folder", folders.log.as_deref().map(Path::as_os_str)),
            ("--events-folder", self.events.as_deref().map(Path::as_os_str)),
            ("--handler-folder", Some(self.handler.as_os_str())),
            ("--machine", self.machine.as_deref().map(OsStr::new)),
        ];
        words.extend(options.into_iter().filter_map(|(name, value)| Some([OsStr::new(name), value?])).flatten());
        words
    }
}
