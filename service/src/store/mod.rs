//! The store: where the certificates of this machine are installed for its applications. One face for both
//! systems. It decides nothing about time or the vault; which version shall be in place is said by its caller.

#[cfg(target_os = "linux")]
mod linux;
#[allow(dead_code, reason = "Windows' alone, and tested on every system")]
mod record;
#[allow(dead_code, reason = "Windows' alone, and tested on every system")]
mod renewal;
#[cfg(target_os = "windows")]
mod windows;

use common::report::Installed;

#[cfg(target_os = "linux")]
pub(crate) use linux::{Store, StoreError};
#[cfg(target_os = "windows")]
pub(crate) use windows::{Store, StoreError};

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
