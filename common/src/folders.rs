//! Where the service keeps what it writes beside certificates, in one value.

use std::path::PathBuf;

use crate::system;

/// The folders of one instance of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The lock and the accepted settings.
    pub state: PathBuf,
    /// Where `<N>.status` goes; nowhere when nobody reads it.
    pub status: Option<PathBuf>,
    /// Where log files go; to standard error without one.
    pub log: Option<PathBuf>,
}

impl Default for Folders {
    fn default() -> Self {
        Self { state: PathBuf::from(system::STATE_FOLDER), status: None, log: None }
    }
}
