//! What the service asks of the operating system beside files: to be left alone, to be woken, to be looked
//! after, and to give memory back.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "windows")]
mod windows;

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    Account, Dialer, Finished, LOGS, Supervisor, Trust, connect_to_socket, dial, find_account, harden, host_name,
    open_lock, own_address, peek, release_memory, run_within, supervised, wake,
};
#[cfg(target_os = "windows")]
pub(crate) use windows::{
    Dialer, LOGS, Supervisor, Trust, connect_to_socket, dial, harden, host_name, open_lock, own_address, peek,
    release_memory, supervised, wake,
};
