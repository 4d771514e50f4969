//! Who may use a key: its security descriptor, read and written as a list of grants.

use std::fmt::Write;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, ConvertStringSecurityDescriptorToSecurityDescriptorW,
    SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACL, DACL_SECURITY_INFORMATION, GetAce, GetSecurityDescriptorDacl, PSECURITY_DESCRIPTOR, PSID,
};

use super::account::Sid;
use super::failure::{Failure, narrow, wide};

/// `ACCESS_ALLOWED_ACE_TYPE`.
const ALLOWED: u8 = 0;
/// `GENERIC_ALL`, and what it is for the file of a key.
const FULL: [u32; 2] = [0x1000_0000, 0x001F_01FF];
/// `GENERIC_READ`, and what it is for the file of a key.
const READ: [u32; 2] = [0x8000_0000, 0x0012_0089];

/// A security descriptor, self-relative: the bytes that keys are given.
#[derive(Clone)]
pub(super) struct Descriptor(Vec<u8>);

/// Whom a descriptor lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    sid: Sid,
    mask: u32,
}

impl Descriptor {
    /// Full control for the system and administrators, and nobody else but these readers.
    pub(super) fn new(readers: &[Sid]) -> Result<Self, Failure> {
        let mut text = format!("D:P(A;;GA;;;{})(A;;GA;;;{})", Sid::system().as_str(), Sid::administrators().as_str());
        add_readers(&mut text, readers.iter());
        Self::parse(&text)
    }

    /// What the system keeps for a key.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether exactly the system, administrators and these readers are let in.
    pub(super) fn is_exactly(&self, readers: &[Sid]) -> Result<bool, Failure> {
        let Some(grants) = self.grants()? else { return Ok(false) };
        let wanted = |sid: &Sid| readers.contains(sid) || [Sid::system(), Sid::administrators()].contains(sid);
        Ok(grants.iter().all(|grant| wanted(&grant.sid)) && missing(&grants, readers).is_empty())
    }

    /// This descriptor with what is missing of ours. What others gave stays, unless that is everything to everybody.
    /// `None` when nothing is missing.
    pub(super) fn restored(&self, readers: &[Sid]) -> Result<Option<Self>, Failure> {
        let Some(grants) = self.grants()? else { return Self::new(readers).map(Some) };
        let missing = missing(&grants, readers);
        if missing.is_empty() {
            return Ok(None);
        }
        let mut text = self.to_text()?;
        for (sid, rights) in missing {
            let _ = write!(text, "(A;;{rights};;;{})", sid.as_str());
        }
        Self::parse(&text).map(Some)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let (mut descriptor, mut length): (PSECURITY_DESCRIPTOR, u32) = (null_mut(), 0);
        // SAFETY: the text ends with a zero; what the call gives is freed below.
        let read = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                wide(text).as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                &raw mut length,
            )
        };
        Failure::unless(read, "make the key's access control list")?;
        // SAFETY: the call gave as many bytes as it said.
        let bytes = unsafe { std::slice::from_raw_parts(descriptor.cast::<u8>(), length as usize) }.to_vec();
        // SAFETY: it came from the system's call, and nothing points to it any more.
        unsafe { LocalFree(descriptor) };
        Ok(Self(bytes))
    }

    /// Its access control list alone, as `D:…`.
    fn to_text(&self) -> Result<String, Failure> {
        let mut text = null_mut();
        // SAFETY: the bytes are a descriptor that the system gave; what the call gives is freed below.
        let written = unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                self.0.as_ptr().cast_mut().cast(),
                SDDL_REVISION_1,
                DACL_SECURITY_INFORMATION,
                &raw mut text,
                null_mut(),
            )
        };
        Failure::unless(written, "read the key's access control list")?;
        // SAFETY: the call gave text that ends with a zero.
        let result = unsafe { narrow(text) };
        // SAFETY: it came from the system's call, and nothing points to it any more.
        unsafe { LocalFree(text.cast()) };
        Ok(result)
    }

    /// Whom it lets in; `None` when it has no list, which lets in everybody.
    fn grants(&self) -> Result<Option<Vec<Grant>>, Failure> {
        let (mut present, mut list, mut defaulted): (_, *mut ACL, _) = (0, null_mut(), 0);
        let descriptor = self.0.as_ptr().cast_mut().cast();
        // SAFETY: the bytes are a descriptor that the system gave or made.
        let read =
            unsafe { GetSecurityDescriptorDacl(descriptor, &raw mut present, &raw mut list, &raw mut defaulted) };
        Failure::unless(read, "read the key's access control list")?;
        if present == 0 || list.is_null() {
            return Ok(None);
        }
        // SAFETY: the call gave a list within the descriptor.
        let count = unsafe { (*list).AceCount };
        let mut grants = Vec::new();
        for index in 0..count {
            let mut entry = null_mut();
            // SAFETY: the list is the one above, and has this entry.
            let got = unsafe { GetAce(list, u32::from(index), &raw mut entry) };
            Failure::unless(got, "read an entry of the key's list")?;
            let entry = entry.cast::<ACCESS_ALLOWED_ACE>();
            // SAFETY: every entry begins with this header.
            if unsafe { (*entry).Header.AceType } != ALLOWED {
                continue;
            }
            // SAFETY: an entry of this type holds a mask and then a whole identifier.
            let (mask, sid) = unsafe { ((*entry).Mask, (&raw mut (*entry).SidStart) as PSID) };
            // SAFETY: as above.
            grants.push(Grant { sid: unsafe { Sid::written(sid) }?, mask });
        }
        Ok(Some(grants))
    }
}

fn add_readers<'a>(text: &mut String, readers: impl Iterator<Item = &'a Sid>) {
    for sid in readers {
        let _ = write!(text, "(A;;GR;;;{})", sid.as_str());
    }
}

/// Who of those that we let in is not there, and with what rights.
fn missing(grants: &[Grant], readers: &[Sid]) -> Vec<(Sid, &'static str)> {
    let has = |sid: &Sid, rights: &[u32]| {
        grants.iter().any(|grant| grant.sid == *sid && rights.iter().any(|right| grant.mask & right == *right))
    };
    let owners = [Sid::system(), Sid::administrators()].into_iter().filter(|sid| !has(sid, &FULL));
    let absent = readers.iter().filter(|sid| !has(sid, &READ) && !has(sid, &FULL)).cloned();
    owners.map(|sid| (sid, "GA")).chain(absent.map(|sid| (sid, "GR"))).collect()
}
