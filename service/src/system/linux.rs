//! Linux: no core dumps, signals as wake-ups, glibc's memory, the distribution's trust store, systemd.

mod accounts;
mod dialer;
mod openings;
mod program;
mod reach;
mod sight;
mod supervisor;
mod trust;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::Mode;
use rustix::net::{RecvFlags, recv};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::fluentd::Stream;
use crate::vigil::{Event, Wakeup};

pub(crate) use accounts::{Account, find_account};
pub(crate) use dialer::{Dialer, dial};
pub(crate) use program::{Finished, run_within};
pub(crate) use supervisor::Supervisor;
pub(crate) use trust::Trust;

/// Where a person finds more of ends that nobody asked for.
pub(crate) const LOGS: &str = "see journalctl -u akvvm_service, and akvvm_service.log";

/// Keeps keys in this process: no core dump, no other process of the same user reading its memory, and no file that is
/// readable before it is meant to be.
pub(crate) fn harden() {
    umask(Mode::RWXG | Mode::RWXO);
    // Neither can fail for a process that lowers its own limits; a kernel that refuses leaves the unit's limits.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // One descriptor a folder: a machine may have a thousand of them.
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    bound_arenas();
    release_start();
}

/// Threads share glibc's memory: an arena for each of 16 short-lived threads would be kept for ever.
#[cfg(target_env = "gnu")]
fn bound_arenas() {
    // SAFETY: mallopt only sets a parameter of the allocator; it is called before any thread is started.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives the part of the program back that little but its start reads: relocations, and tables for unwinding. What is
/// needed of it again comes from the file. Without this, it is a fourteenth of the memory that a pass takes.
fn release_start() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(first) = maps.lines().next().filter(|first| first.contains(" r--p 00000000 ")) else { return };
    let Some((start, end)) = first.split_once(' ').and_then(|(range, _)| range.split_once('-')) else { return };
    let (Ok(start), Ok(end)) = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)) else { return };
    // SAFETY: the first mapping is the program itself from the start of its file, for reading only: nothing was ever
    // written there, so the file has all of it.
    unsafe { libc::madvise(ptr::without_provenance_mut(start), end - start, libc::MADV_DONTNEED) };
}

/// Gives the memory of a pass back to the system, as hours pass before the next one.
#[cfg(target_env = "gnu")]
pub(crate) fn release_memory() {
    // SAFETY: malloc_trim may be called at any time; it releases only memory that is not in use.
    unsafe { libc::malloc_trim(0) };
}

/// Turns signals into wake-ups: HUP polls, TERM and INT end.
pub(crate) fn wake(events: Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT]).context("cannot receive signals")?;
    let listen = move || {
        for signal in signals.forever() {
            let wakeup = if signal == SIGHUP { Wakeup::Poll } else { Wakeup::Stop };
            if events.send(Event::Wakeup(wakeup)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().spawn(listen).context("cannot receive signals")?;
    Ok(())
}

/// Does `work` under whoever started this process, which needs nothing here.
pub(crate) fn supervised(work: impl FnOnce() -> Result<u8>) -> Result<u8> {
    work()
}

/// Fails unless an address is this machine's: nobody can listen at another's here, but where the kernel lets everybody.
pub(crate) fn own_address(address: IpAddr) -> io::Result<()> {
    let address = address.to_canonical();
    TcpListener::bind((address, 0))?;
    let switch = format!("/proc/sys/net/{}/ip_nonlocal_bind", if address.is_ipv4() { "ipv4" } else { "ipv6" });
    if !address.is_loopback() && fs::read_to_string(&switch).is_ok_and(|value| value.trim() != "0") {
        return Err(io::Error::other(format!("{switch} makes all addresses look like it: name a loopback address")));
    }
    Ok(())
}

/// A file to lock, made where there is none. Nobody can have it lie elsewhere by a link.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// What this machine calls itself.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether something came in on a connection: 1, or 0 when the other side hung up. Nothing is waited for, which is
/// `WouldBlock`, and nothing is taken out.
pub(crate) fn peek(stream: &TcpStream) -> io::Result<usize> {
    let (_, length) = recv(stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(length)
}

/// A connection to the socket at `path`, whose reads and writes take `patience` at most. A server with a full backlog is
/// waited for until it takes the connection, or ends.
pub(crate) fn connect_to_socket(path: &Path, patience: Duration) -> io::Result<Box<dyn Stream>> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(Box::new(stream))
}
