//! What the service asks of the operating system beside files: to be left alone, to be woken, to be looked
//! after, and to give memory back.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    Finished, Supervisor, connect_to_socket, harden, host_name, peek, release_memory, run_within, trust_store, wake,
};
