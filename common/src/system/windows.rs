//! Windows: paths, and trust by access control lists.

mod firmware;
mod trusted;

use std::fs::File;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_LOCK_VIOLATION, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE, LocalFree,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, CreateDirectoryW, GetFileInformationByHandle, LOCKFILE_EXCLUSIVE_LOCK,
    LOCKFILE_FAIL_IMMEDIATELY, LockFileEx,
};
use windows_sys::Win32::System::IO::{OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0};
use windows_sys::Win32::System::LibraryLoader::{LOAD_LIBRARY_SEARCH_SYSTEM32, SetDefaultDllDirectories};
use windows_sys::Win32::System::SystemInformation::GetTickCount64;

pub use firmware::machine;
pub use trusted::{TRUST, is_trusted};

/// From now on libraries are looked for in the system's folder alone: what somebody put beside the program is not loaded.
pub fn load_libraries_of_the_system_only() {
    // SAFETY: it takes a number only. An old system without it looks for libraries as it always did.
    unsafe { SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32) };
}

/// How long ago the machine was booted.
pub fn uptime() -> Option<Duration> {
    // SAFETY: it takes nothing, and cannot fail.
    Some(Duration::from_millis(unsafe { GetTickCount64() }))
}

/// What this system is called.
pub const NAME: &str = "Windows";
/// What the handler and the service remember; the agent never deletes it. Users may create folders in
/// `C:\ProgramData`, and would own them.
pub const STATE_FOLDER: &str = r"C:\Program Files\akvvm\state";
/// What settings may say of where certificates go, as JSON.
pub const STORE_LOCATION: &str = "\"LocalMachine\" or \"CurrentUser\"";
/// Further clouds that an administrator of this machine added.
pub const CLOUDS_FILE: &str = r"C:\Program Files\akvvm\clouds.json";

/// Full control for the system and administrators, here and below, and nothing for others.
const PRIVATE: &str = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

/// Who reads a small file has done so within this time.
const READERS: Duration = Duration::from_secs(2);
/// How often it is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// Creates `folder` and what is missing above it, for the system and administrators only.
///
/// # Errors
/// As the system says.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_private_folder(above)?;
    }
    let text: Vec<u16> = PRIVATE.encode_utf16().chain([0]).collect();
    let mut attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: null_mut(),
        bInheritHandle: 0,
    };
    let descriptor = &raw mut attributes.lpSecurityDescriptor;
    // SAFETY: the text ends with a zero; what the call gives is freed below.
    let made = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(text.as_ptr(), SDDL_REVISION_1, descriptor, null_mut())
    };
    if made == 0 {
        return Err(io::Error::last_os_error());
    }
    let path: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: the path ends with a zero, and the descriptor is whole.
    let created = unsafe { CreateDirectoryW(path.as_ptr(), &raw const attributes) };
    let error = io::Error::last_os_error();
    // SAFETY: it came from the system's call, and nothing points to it any more.
    unsafe { LocalFree(attributes.lpSecurityDescriptor) };
    if created == 0 && !folder.is_dir() { Err(error) } else { Ok(()) }
}

/// There is no journal on Windows.
pub fn errors_go_to_journal() -> bool {
    false
}

/// A new file, never one that exists. Who may read it is said by its folder, and not by `mode`.
///
/// # Errors
/// As the system says.
pub fn temporary_file(path: &Path, _mode: u32) -> io::Result<File> {
    File::create_new(path)
}

/// Puts the file at `from` in the place of the one at `to`. Who reads that, or runs it, may not have allowed that it is
/// replaced: readers are waited for a moment, and a program that runs is moved out of the way, where it stays until
/// somebody removes its folder.
///
/// # Errors
/// As the system says; the file at `to` is still there.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let deadline = Instant::now() + READERS;
    loop {
        match std::fs::rename(from, to) {
            Err(error) if is_in_use(&error) && Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(error) if is_in_use(&error) => return displace(from, to).map_err(|_| error),
            done => return done,
        }
    }
}

/// Whether somebody has the file open in a way that forbids what was tried.
fn is_in_use(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    matches!(code, Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION | ERROR_USER_MAPPED_FILE))
}

/// Gives the file at `to` another name, and its own to the one at `from`. A program may have its name changed while it runs.
fn displace(from: &Path, to: &Path) -> io::Result<()> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let aside = to.with_file_name(format!(".{name}.{:016x}.tmp", fastrand::u64(..)));
    std::fs::rename(to, &aside)?;
    let placed = std::fs::rename(from, to);
    if placed.is_err() {
        // The error that counts is the first one.
        let _ = std::fs::rename(&aside, to);
    }
    placed
}

/// Names last over a power cut without it: NTFS keeps a journal of them.
///
/// # Errors
/// None.
pub fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether `path` still names the open `file`.
///
/// # Errors
/// As the system says, but not that the name is gone.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match File::open(path) {
        Ok(named) => Ok(identity(&named)? == identity(file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The volume and the number of a file on it.
fn identity(file: &File) -> io::Result<(u32, u32, u32)> {
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the file is open.
    let got = unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut found) };
    if got == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((found.dwVolumeSerialNumber, found.nFileIndexHigh, found.nFileIndexLow))
}

/// Takes the lock on `file`, unless somebody else holds it. It lies behind all that can be written: nobody reads what
/// another process has locked.
///
/// # Errors
/// As the system says.
pub fn try_lock(file: &File) -> io::Result<bool> {
    let place = OVERLAPPED_0 { Anonymous: OVERLAPPED_0_0 { Offset: u32::MAX - 1, OffsetHigh: i32::MAX as u32 } };
    let mut place = OVERLAPPED { Anonymous: place, ..OVERLAPPED::default() };
    let how = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
    // SAFETY: the file is open for synchronous use, so the place is needed only during the call.
    let locked = unsafe { LockFileEx(file.as_raw_handle(), how, 0, 1, 0, &raw mut place) };
    let error = io::Error::last_os_error();
    match (locked, error.raw_os_error()) {
        (0, Some(code)) if code == ERROR_LOCK_VIOLATION as i32 => Ok(false),
        (0, _) => Err(error),
        _ => Ok(true),
    }
}
