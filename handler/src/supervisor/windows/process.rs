//! A process that may end.

use std::time::Duration;

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{OpenProcess, PROCESS_SYNCHRONIZE, WaitForSingleObject};

/// An open process: its number is given to no other one meanwhile.
#[derive(Debug)]
pub(super) struct Process(HANDLE);

impl Process {
    /// The process of this number, if there is one.
    pub(super) fn open(id: u32) -> Option<Self> {
        // SAFETY: it takes numbers only.
        let process = unsafe { OpenProcess(PROCESS_SYNCHRONIZE, 0, id) };
        (!process.is_null()).then_some(Self(process))
    }

    /// Whether it has ended, or does so within `patience`.
    pub(super) fn is_gone(&self, patience: Duration) -> bool {
        let patience = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX - 1);
        // SAFETY: the process is open.
        unsafe { WaitForSingleObject(self.0, patience) == WAIT_OBJECT_0 }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: it is open, and not used any more.
        unsafe { CloseHandle(self.0) };
    }
}
