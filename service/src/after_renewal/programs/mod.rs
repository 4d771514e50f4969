//! What is run on the machine after a renewal: hooks, and units of the service manager.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "windows")]
mod windows;

#[cfg(target_os = "linux")]
pub(super) use linux::{reload, restart, run_hook};
#[cfg(target_os = "windows")]
pub(super) use windows::{reload, restart, run_hook};
