//! What the handler asks of the operating system beside files and processes.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::{PROGRAM, be_private, make_executable, restore_labels};
