//! The store: where the certificates of this machine are installed for its applications. One face for both
//! systems. It decides nothing about time or the vault; which version shall be in place is said by its caller.

mod error;
#[cfg(target_os = "linux")]
mod linux;

use common::report::Installed;

pub(crate) use error::StoreError;
#[cfg(target_os = "linux")]
pub(crate) use linux::Store;

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
