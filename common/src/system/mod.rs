//! Where this system keeps things, and which files it trusts.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "windows")]
mod windows;

#[cfg(target_os = "linux")]
pub use linux::{
    CLOUDS_FILE, DEFAULT_STORE, Mounts, NAME, STATE_FOLDER, STORE_LOCATION, TRUST, create_private_folder,
    errors_go_to_journal, is_at, is_trusted, machine, rename, sync_folder, temporary_file, try_lock, uptime,
};
#[cfg(target_os = "windows")]
pub use windows::{
    CLOUDS_FILE, NAME, STATE_FOLDER, STORE_LOCATION, TRUST, create_private_folder, errors_go_to_journal, is_at,
    is_trusted, load_libraries_of_the_system_only, machine, rename, sync_folder, temporary_file, try_lock, uptime,
};
