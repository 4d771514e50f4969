//! A file that only administrators can have written: by its owner and its access control list.

use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{CloseHandle, GENERIC_ALL, GENERIC_WRITE, LocalFree};
use windows_sys::Win32::Security::Authorization::{ConvertSidToStringSidW, GetSecurityInfo, SE_FILE_OBJECT};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACL, DACL_SECURITY_INFORMATION, GetAce, GetTokenInformation, INHERIT_ONLY_ACE,
    OWNER_SECURITY_INFORMATION, PSID, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_APPEND_DATA, FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA, FILE_WRITE_EA, WRITE_DAC, WRITE_OWNER,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// The system, administrators, and the installer of Windows itself.
const TRUSTED: [&str; 3] =
    ["S-1-5-18", "S-1-5-32-544", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"];
/// Whoever has one of these decides what is in the file.
const WRITE: u32 = FILE_WRITE_DATA
    | FILE_APPEND_DATA
    | FILE_WRITE_EA
    | FILE_WRITE_ATTRIBUTES
    | DELETE
    | WRITE_DAC
    | WRITE_OWNER
    | GENERIC_WRITE
    | GENERIC_ALL;
/// `ACCESS_ALLOWED_ACE_TYPE` and `ACCESS_DENIED_ACE_TYPE`.
const ALLOWED: u8 = 0;
const DENIED: u8 = 1;
/// Bytes for a token's user.
const LONGEST_USER: usize = 256;

/// What a file must be to be trusted, and how to make it so.
pub const TRUST: &str = "it must belong to administrators and be writable by nobody else (icacls)";

/// Whether only administrators can have written a file.
///
/// # Errors
/// Its owner or its access control list cannot be read.
pub fn is_trusted(file: &File) -> io::Result<bool> {
    let (mut owner, mut list, mut descriptor): (PSID, *mut ACL, _) = (null_mut(), null_mut(), null_mut());
    // SAFETY: the file is open; what the call gives is freed below.
    let code = unsafe {
        GetSecurityInfo(
            file.as_raw_handle(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
            &raw mut owner,
            null_mut(),
            &raw mut list,
            null_mut(),
            &raw mut descriptor,
        )
    };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code.cast_signed()));
    }
    // SAFETY: owner and list are parts of the descriptor that the call gave, which is still there.
    let trusted = unsafe { writers(owner, list) };
    // SAFETY: it came from the system's call, and nothing points to it any more.
    unsafe { LocalFree(descriptor) };
    // Whoever runs this can make it do anything without a file.
    let own = own_user()?;
    Ok(trusted?.is_some_and(|writers| writers.iter().all(|sid| TRUSTED.contains(&sid.as_str()) || *sid == own)))
}

/// The owner and all who may write; `None` when that cannot be said.
///
/// # Safety
/// `owner` and `list` are whole, or null.
unsafe fn writers(owner: PSID, list: *const ACL) -> io::Result<Option<Vec<String>>> {
    if owner.is_null() || list.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises.
    let mut found = vec![unsafe { text(owner) }?];
    // SAFETY: as the caller promises.
    let count = unsafe { (*list).AceCount };
    for index in 0..count {
        let mut entry = null_mut();
        // SAFETY: the list has this entry.
        if unsafe { GetAce(list, u32::from(index), &raw mut entry) } == 0 {
            return Err(io::Error::last_os_error());
        }
        let entry = entry.cast::<ACCESS_ALLOWED_ACE>();
        // SAFETY: every entry begins with this header.
        let header = unsafe { (*entry).Header };
        match header.AceType {
            _ if u32::from(header.AceFlags) & INHERIT_ONLY_ACE != 0 => {}
            DENIED => {}
            // SAFETY: an entry of this type holds a mask and then a whole identifier.
            ALLOWED if unsafe { (*entry).Mask } & WRITE != 0 => {
                // SAFETY: as above.
                found.push(unsafe { text((&raw mut (*entry).SidStart).cast()) }?);
            }
            ALLOWED => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// Whom this process runs as.
fn own_user() -> io::Result<String> {
    let mut token = null_mut();
    // SAFETY: the handle that the call gives is closed below.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut user = [0_u64; LONGEST_USER / 8];
    let mut length = 0;
    // SAFETY: the token is open; the buffer is as long as said.
    let got = unsafe {
        GetTokenInformation(token, TokenUser, user.as_mut_ptr().cast(), LONGEST_USER as u32, &raw mut length)
    };
    let error = io::Error::last_os_error();
    // SAFETY: it came from the call above, and nobody uses it any more.
    unsafe { CloseHandle(token) };
    if got == 0 {
        return Err(error);
    }
    // SAFETY: the call wrote this structure, and what it points to behind it.
    unsafe { text((*user.as_ptr().cast::<TOKEN_USER>()).User.Sid) }
}

/// A security identifier as `S-1-…`.
///
/// # Safety
/// `sid` is whole.
unsafe fn text(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: as the caller promises; what the call gives is freed below.
    if unsafe { ConvertSidToStringSidW(sid, &raw mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call gave text that ends with a zero.
    let length = (0..).take_while(|&at| unsafe { *text.add(at) } != 0).count();
    // SAFETY: the units before the zero are part of it.
    let found = String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, length) });
    // SAFETY: it came from the system's call, and nothing points to it any more.
    unsafe { LocalFree(text.cast()) };
    Ok(found)
}
