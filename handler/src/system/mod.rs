//! What the handler asks of the operating system beside files and processes.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "windows")]
mod windows;

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    CONFIG, HOME, NEEDS, PROGRAM, STATUS, TYPE, VERSIONS, harden, make_executable, resolve, restore_labels, shelves,
};
#[cfg(target_os = "windows")]
pub(crate) use windows::{
    CONFIG, HOME, NEEDS, PROGRAM, STATUS, TYPE, VERSIONS, harden, make_executable, resolve, restore_labels, shelves,
};
