//! What a call of the system's said, and text in the form that it takes.

use std::io;
use std::path::Path;

use crate::store::StoreError;

/// A call that failed, before it is known for which certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// What was tried, such as "open the store".
    pub(super) action: &'static str,
    /// The system's error number, or the `HRESULT` of the cryptographic services.
    pub(super) code: i32,
}

impl Failure {
    /// What the system says of the call that failed just now.
    pub(super) fn last(action: &'static str) -> Self {
        Self { action, code: io::Error::last_os_error().raw_os_error().unwrap_or_default() }
    }

    /// Of a call that answers with `TRUE` when it did what it should.
    pub(super) fn unless(done: i32, action: &'static str) -> Result<(), Self> {
        if done == 0 { Err(Self::last(action)) } else { Ok(()) }
    }

    /// Of a call that answers with 0 when it did what it should.
    pub(super) fn of(code: i32, action: &'static str) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self { action, code }) }
    }

    pub(super) fn at(self, path: &Path) -> StoreError {
        StoreError::System { action: self.action, path: path.to_owned(), code: self.code }
    }
}

/// Text as the system's calls take it.
pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// Text that the system gave.
///
/// # Safety
///
/// `text` is null or ends with a zero.
pub(super) unsafe fn narrow(text: *const u16) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises, there is a zero to stop at.
    let length = (0..).take_while(|&at| unsafe { *text.add(at) } != 0).count();
    // SAFETY: the units before the zero are part of the same text.
    String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, length) })
}
