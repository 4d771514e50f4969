//! Where an observed certificate goes on this system.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "windows")]
mod windows;

#[cfg(target_os = "linux")]
pub(super) use linux::Defaults;
#[cfg(target_os = "linux")]
pub use linux::{Acl, FileMode, Layout, LinkName, Ownership, Target};
#[cfg(target_os = "windows")]
pub(super) use windows::Defaults;
#[cfg(target_os = "windows")]
pub use windows::{KeyStorage, LinkOnRenewal, Location, Target};
