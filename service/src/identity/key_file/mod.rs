//! The key file of the Azure Arc agent: which file may be read for it, and how.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "windows")]
mod windows;

#[cfg(target_os = "linux")]
pub(crate) use linux::{FOLDER, agent, read};
#[cfg(target_os = "windows")]
pub(crate) use windows::read;
