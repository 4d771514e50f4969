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

    /// The arguments that create the folders of the certificates.
    pub(super) fn prepare(&self) -> Vec<&OsStr> {
        vec![OsStr::new("prepare"), self.settings.as_os_str()]
    }

    /// The arguments that do what follows from renewals.
    pub(super) fn act(&self) -> Vec<&OsStr> {
        vec!["act".as_ref(), "--state-folder".as_ref(), self.folders.state.as_os_str()]
    }

    /// The arguments that report an end which was not asked for, where there is somebody to tell.
    pub(super) fn ended(&self) -> Option<Vec<&OsStr>> {
        let status = self.folders.status.as_ref()?;
        let words = ["ended".as_ref(), self.settings.as_os_str(), "--status-folder".as_ref(), status.as_os_str()];
        Some(words.into_iter().chain(["--state-folder".as_ref(), self.folders.state.as_os_str()]).collect())
    }
}
