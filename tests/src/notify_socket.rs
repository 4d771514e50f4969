//! systemd's side of sd_notify(3): a datagram socket, and what a service says there.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The socket that `NOTIFY_SOCKET` names.
pub struct NotifySocket {
    socket: UnixDatagram,
    name: String,
    heard: Vec<String>,
}

impl NotifySocket {
    /// A socket with a path, as a system's.
    pub fn at(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path).with_context(|| path.display().to_string())?;
        Ok(Self { socket, name: path.display().to_string(), heard: Vec::new() })
    }

    /// An abstract one, as in containers: it lives in the network namespace of the calling thread.
    pub fn named(name: &str) -> Result<Self> {
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        Ok(Self { socket, name: format!("@{name}"), heard: Vec::new() })
    }

    /// The value of `NOTIFY_SOCKET`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything that was said so far, line by line.
    #[must_use]
    pub fn heard(&self) -> &[String] {
        &self.heard
    }

    /// Listens until a line fulfils `condition`, at most `limit`. Answers the line.
    pub fn wait_for(&mut self, limit: Duration, condition: impl Fn(&str) -> bool) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("nothing such was said within {limit:?}: {:?}", self.heard);
            }
            let lines = self.receive(left)?;
            let found = lines.iter().find(|line| condition(line)).cloned();
            self.heard.extend(lines);
            if let Some(line) = found {
                return Ok(line);
            }
        }
    }

    /// The lines of the next datagram.
    fn receive(&self, limit: Duration) -> Result<Vec<String>> {
        let mut datagram = [0; 8192];
        self.socket.set_read_timeout(Some(limit))?;
        match self.socket.recv(&mut datagram) {
            Ok(length) => Ok(String::from_utf8(datagram[..length].to_vec())?.lines().map(str::to_owned).collect()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
