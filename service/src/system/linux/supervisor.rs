//! What systemd wants to hear of a service (sd_notify(3)): datagrams to the socket that `NOTIFY_SOCKET` names. Without it
//! nobody listens, and nothing is said.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::Duration;

use common::settings::Settings;
use log::warn;
use rustix::time::{ClockId, clock_gettime};

use super::openings::Openings;
use super::sight;

/// Whoever started this service and looks after it.
pub(crate) struct Supervisor {
    listener: Option<Listener>,
    openings: Option<Openings>,
    /// How often it wants a sign of life.
    pub(crate) beat: Option<Duration>,
}

struct Listener {
    // Connected: nothing may be sent to an address.
    socket: UnixDatagram,
    name: OsString,
}

impl Supervisor {
    /// The supervisor that this process was started by, if any. The service reads its `own` paths.
    pub(crate) fn of_this_process(own: &[PathBuf], settings: &Settings) -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let listener = name.and_then(|name| {
            let opened = Listener::open(&name);
            opened.inspect_err(|cause| warn!("{}: cannot be used to talk to systemd: {cause}", name.display())).ok()
        });
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|time| *time > 0 && is_meant);
        // Twice in the time that it waits for a sign of life.
        let beat = watchdog.filter(|_| listener.is_some()).map(|time| Duration::from_micros(time / 2));
        // Without it, nobody would start the service anew.
        let folders = settings.certificates.iter().map(|observed| observed.target.folder.to_path_buf());
        let openings = listener.is_some().then(|| Openings::among(folders, sight::places(own, settings)));
        Self { beat, listener, openings }
    }

    /// Whether somebody counts ends that nobody asked for: systemd runs `ended` after each of them.
    pub(crate) fn counts_ends(&self) -> bool {
        self.listener.is_some()
    }

    /// The service does its work from now on; `line` says how it stands.
    pub(crate) fn ready(&self, line: &str) {
        self.tell(&format!("READY=1\nSTATUS={line}"));
    }

    /// How the service stands, in a line for people.
    pub(crate) fn status(&self, line: &str) {
        self.tell(&format!("STATUS={line}"));
    }

    /// What a reload asks for, a poll, is begun and ends like any other.
    pub(crate) fn reloaded(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
        self.tell("READY=1");
    }

    /// A sign of life.
    pub(crate) fn alive(&self) {
        if self.beat.is_some() {
            self.tell("WATCHDOG=1");
        }
    }

    /// Something that the service can write or read again only when it was started anew.
    pub(crate) fn closed(&self) -> Option<PathBuf> {
        self.openings.as_ref()?.closed()
    }

    /// The service is about to end; `line` says why.
    pub(crate) fn stopping(&self, line: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={line}"));
    }

    fn tell(&self, words: &str) {
        let Some(Listener { socket, name }) = &self.listener else { return };
        if let Err(cause) = socket.send(words.as_bytes()) {
            warn!("{}: cannot talk to systemd: {cause}", name.display());
        }
    }
}

impl Listener {
    fn open(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A listener that does not listen must not stop the polls.
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(Self { socket, name: name.to_owned() })
    }
}
