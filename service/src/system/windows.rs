//! Windows: keys stay in this process, console events as wake-ups, the system's trust.

mod scm;
mod trust;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::settings::Settings;
use common::system::load_libraries_of_the_system_only;
use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_LOGOFF_EVENT, SetConsoleCtrlHandler};
use windows_sys::core::BOOL;

use crate::fluentd::Stream;
use crate::vigil::{Event, Wakeup};

pub(crate) use scm::supervised;
pub(crate) use trust::Trust;

/// Where a person finds more of ends that nobody asked for.
pub(crate) const LOGS: &str = "see the event logs System and Application, and akvvm_service.log";

/// Who is told what the outside wants.
static EVENTS: Mutex<Listener> = Mutex::new(Listener::Expected { end: false });

/// Whoever started this process may want something before there is somebody to be told.
enum Listener {
    Expected { end: bool },
    There(Sender<Event>),
}

/// No library is loaded but the system's. Nothing else has to be taken back: other accounts may not read the memory of the
/// system's processes.
pub(crate) fn harden() {
    load_libraries_of_the_system_only();
}

/// The system's allocator gives memory back by itself.
pub(crate) fn release_memory() {}

/// Turns controls of the service and console events into wake-ups: Ctrl+Break polls, Ctrl+C and its like end.
pub(crate) fn wake(events: Sender<Event>) -> Result<()> {
    let mut listener = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*listener, Listener::Expected { end: true }) {
        // It is heard by whoever waits for events next.
        let _ = events.send(Event::Wakeup(Wakeup::Stop));
    }
    *listener = Listener::There(events);
    drop(listener);
    // SAFETY: the function is there as long as the process.
    let set = unsafe { SetConsoleCtrlHandler(Some(hear), TRUE) };
    if set == FALSE {
        return Err(io::Error::last_os_error()).context("cannot receive console events");
    }
    Ok(())
}

/// Passes on what the outside wants; a poll that is wanted before anything was done comes by itself.
fn tell(wakeup: Wakeup) {
    match &mut *EVENTS.lock().unwrap_or_else(PoisonError::into_inner) {
        // Nobody listens any more when the service is about to end.
        Listener::There(events) => drop(events.send(Event::Wakeup(wakeup))),
        Listener::Expected { end } => *end |= wakeup == Wakeup::Stop,
    }
}

/// A person who logs off is told to services, too, and does not mean them.
unsafe extern "system" fn hear(event: u32) -> BOOL {
    match event {
        CTRL_LOGOFF_EVENT => {}
        CTRL_BREAK_EVENT => tell(Wakeup::Poll),
        _ => tell(Wakeup::Stop),
    }
    TRUE
}

/// Fails unless an address is this machine's: nobody can listen at another's here.
pub(crate) fn own_address(address: IpAddr) -> io::Result<()> {
    TcpListener::bind((address, 0)).map(drop)
}

/// A file to lock, made where there is none.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// What this machine calls itself.
pub(crate) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// Whether something came in on a connection: 1, or 0 when the other side hung up. Nothing is waited for, which is
/// `WouldBlock`, and nothing is taken out.
pub(crate) fn peek(stream: &TcpStream) -> io::Result<usize> {
    stream.set_nonblocking(true)?;
    let length = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    length
}

/// Sockets with a path are for Linux.
pub(crate) fn connect_to_socket(_path: &Path, _patience: Duration) -> io::Result<Box<dyn Stream>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A process that connects for this one: there is none on Windows, where a service keeps its network.
#[derive(Debug, Clone)]
pub(crate) enum Dialer {}

impl FromStr for Dialer {
    type Err = &'static str;

    fn from_str(_socket: &str) -> Result<Self, Self::Err> {
        Err("there is no dialer on Windows")
    }
}

impl Dialer {
    pub(crate) fn leave_the_rest(&self, _own: &[PathBuf], _settings: &Settings) {
        match *self {}
    }

    pub(crate) fn is_gone(&self) -> bool {
        match *self {}
    }

    pub(crate) fn look_up(&self, _place: &str) -> io::Result<Vec<SocketAddr>> {
        match *self {}
    }

    pub(crate) fn connect(&self, _place: &str, _address: &SocketAddr, _patience: Duration) -> io::Result<TcpStream> {
        match *self {}
    }
}

/// Nobody asks for connections on Windows.
pub(crate) fn dial(_places: HashSet<String>, _settings: &Settings) -> Result<u8> {
    bail!("there is no dialer on Windows")
}

/// Whoever started this service and looks after it: nobody here.
pub(crate) struct Supervisor {
    /// How often it wants a sign of life.
    pub(crate) beat: Option<Duration>,
}

impl Supervisor {
    /// The supervisor that this process was started by, if any.
    pub(crate) fn of_this_process(_own: &[PathBuf], _settings: &Settings) -> Self {
        Self { beat: None }
    }

    /// Whether somebody counts ends that nobody asked for. The service control manager starts the service again, and no more.
    pub(crate) fn counts_ends(&self) -> bool {
        false
    }

    /// The service does its work from now on.
    pub(crate) fn ready(&self, _line: &str) {}

    /// How the service stands.
    pub(crate) fn status(&self, _line: &str) {}

    /// A poll that was asked for has begun.
    pub(crate) fn reloaded(&self) {}

    /// A sign of life.
    pub(crate) fn alive(&self) {}

    /// Every folder stays as open as it is.
    pub(crate) fn closed(&self) -> Option<PathBuf> {
        None
    }

    /// The service is about to end.
    pub(crate) fn stopping(&self, _line: &str) {}
}
