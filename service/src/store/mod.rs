//! The store: where the certificates of this machine are installed for its applications. One face for both
//! systems. It decides nothing about time or the vault; which version shall be in place is said by its caller.

mod error;
#[cfg(target_os = "linux")]
mod linux;
// The links are Windows' alone; their rules are tested on every system.
#[cfg(any(test, target_os = "windows"))]
mod renewal;

use common::report::Installed;

pub(crate) use error::StoreError;
#[cfg(target_os = "linux")]
pub(crate) use linux::{Draft, Store};

/// A version that is in place and whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// What is in place.
    pub(crate) installed: Installed,
    /// What a person should look at although it is in place, such as an account that does not exist.
    pub(crate) warnings: Vec<String>,
    /// Why the accounts in `acls` cannot read it although it is in place.
    pub(crate) unreadable: Option<StoreError>,
}

impl Placed {
    /// This and further files of the same version.
    fn with(mut self, other: Self) -> Self {
        let new: Vec<_> = other.warnings.into_iter().filter(|warning| !self.warnings.contains(warning)).collect();
        self.warnings.extend(new);
        Self { unreadable: self.unreadable.or(other.unreadable), ..self }
    }
}
