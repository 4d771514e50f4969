//! What else than `run` the service's program does for a unit.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::Launch;

impl Launch {
    /// The arguments that create the folders of the certificates.
    pub(super) fn prepare(&self) -> Vec<&OsStr> {
        vec![OsStr::new("prepare"), self.settings.as_os_str()]
    }

    /// The arguments that connect for the service.
    pub(super) fn dial(&self) -> Vec<&OsStr> {
        vec![OsStr::new("dial"), self.settings.as_os_str()]
    }

    /// The folder in which the service leaves notes of what follows from renewals.
    pub(super) fn notes(&self) -> PathBuf {
        self.folders.state.join("after-renewal")
    }

    /// The arguments that do what follows from renewals.
    pub(super) fn act(&self) -> Vec<&OsStr> {
        vec!["act".as_ref(), self.settings.as_os_str(), "--state-folder".as_ref(), self.folders.state.as_os_str()]
    }

    /// The arguments that report an end which was not asked for, where there is somebody to tell.
    pub(super) fn ended(&self) -> Option<Vec<&OsStr>> {
        let status = self.folders.status.as_ref()?;
        let words = ["ended".as_ref(), self.settings.as_os_str(), "--status-folder".as_ref(), status.as_os_str()];
        Some(words.into_iter().chain(["--state-folder".as_ref(), self.folders.state.as_os_str()]).collect())
    }
}
