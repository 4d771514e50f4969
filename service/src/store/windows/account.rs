//! Accounts: from a name of the settings to the number that access control lists know (a security identifier).

use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{ERROR_NONE_MAPPED, LocalFree};
use windows_sys::Win32::Security::Authorization::{ConvertSidToStringSidW, ConvertStringSidToSidW};
use windows_sys::Win32::Security::{LookupAccountNameW, PSID};

use super::failure::{Failure, narrow, wide};

/// Bytes of the longest security identifier.
const LONGEST: usize = 68;
/// Characters of a domain's name.
const LONGEST_DOMAIN: usize = 256;

/// A security identifier in its textual form, `S-1-…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sid(String);

impl Sid {
    /// The system itself.
    pub(super) fn system() -> Self {
        Self("S-1-5-18".to_owned())
    }

    /// The group of administrators.
    pub(super) fn administrators() -> Self {
        Self("S-1-5-32-544".to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Looks up `NAME`, `DOMAIN\NAME` and the like, or reads `S-1-…`. `None` when there is no such account (yet).
    pub(super) fn look_up(account: &str) -> Result<Option<Self>, Failure> {
        if account.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("S-")) {
            return Self::parse(account).map(Some);
        }
        let mut sid = [0_u64; LONGEST.div_ceil(8)];
        let mut domain = [0_u16; LONGEST_DOMAIN];
        let (mut length, mut domain_length, mut kind) = (LONGEST as u32, LONGEST_DOMAIN as u32, 0);
        let name = wide(account);
        // SAFETY: the name ends with a zero; both buffers are as long as said.
        let found = unsafe {
            LookupAccountNameW(
                null(),
                name.as_ptr(),
                sid.as_mut_ptr().cast(),
                &raw mut length,
                domain.as_mut_ptr(),
                &raw mut domain_length,
                &raw mut kind,
            )
        };
        match Failure::unless(found, "look up the account") {
            // SAFETY: the call has just written a whole identifier there.
            Ok(()) => unsafe { Self::written(sid.as_mut_ptr().cast()) }.map(Some),
            Err(failure) if failure.code == ERROR_NONE_MAPPED as i32 => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads an identifier, to write it in the one form that the system does.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let mut sid: PSID = null_mut();
        // SAFETY: the text ends with a zero; what the call gives is freed below.
        let read = unsafe { ConvertStringSidToSidW(wide(text).as_ptr(), &raw mut sid) };
        Failure::unless(read, "read the security identifier")?;
        // SAFETY: `sid` is what the call above made.
        let written = unsafe { Self::written(sid) };
        // SAFETY: it came from the system's call, and nothing points to it any more.
        unsafe { LocalFree(sid) };
        written
    }

    /// # Safety
    ///
    /// `sid` is a whole identifier.
    pub(super) unsafe fn written(sid: PSID) -> Result<Self, Failure> {
        let mut text = null_mut();
        // SAFETY: as the caller promises; what the call gives is freed below.
        let written = unsafe { ConvertSidToStringSidW(sid, &raw mut text) };
        Failure::unless(written, "write the security identifier")?;
        // SAFETY: the call gave text that ends with a zero.
        let sid = Self(unsafe { narrow(text) });
        // SAFETY: it came from the system's call, and nothing points to it any more.
        unsafe { LocalFree(text.cast()) };
        Ok(sid)
    }
}
