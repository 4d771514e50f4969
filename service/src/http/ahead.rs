//! Connections that are opened ahead: a way to a vault takes as long as the way to a token, so both are gone at once.
//!
//! Only where no proxy is in between. What went wrong is told to the request that would have used the connection, so that
//! nobody waits for the same deadline twice.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout};
use ureq::{Error, Timeout};

use super::resolver::RememberingResolver;
use super::tls::{Socket, TlsTransport};
use super::{CONNECT, lock};
use crate::system;

/// What an attempt came to.
type Opened = Result<TlsTransport<Direct>, Error>;

/// The connections of a pass that wait for their first request, by host.
pub(super) struct Ahead {
    tls: Arc<ClientConfig>,
    resolver: RememberingResolver,
    config: Config,
    waiting: Mutex<HashMap<String, Vec<Opened>>>,
}

impl Ahead {
    pub(super) fn new(tls: Arc<ClientConfig>, resolver: RememberingResolver, config: Config) -> Self {
        Self { tls, resolver, config, waiting: Mutex::default() }
    }

    /// Opens a connection to `host` for the request that comes first.
    pub(super) fn open(&self, host: &str) {
        if let Some(result) = self.connect(host).transpose() {
            lock(&self.waiting).entry(host.to_owned()).or_default().push(result);
        }
    }

    /// A connection, or why there cannot be one. `None` where the request that follows has more ways to try: a host may
    /// have several addresses, and a name is looked up once for all.
    fn connect(&self, host: &str) -> Result<Option<TlsTransport<Direct>>, Error> {
        let uri: Uri = format!("https://{host}/").parse().map_err(|_| Error::BadUri(host.to_owned()))?;
        let timeout = NextTimeout { after: CONNECT.into(), reason: Timeout::Connect, ..NextTimeout::default() };
        let deadline = Instant::now() + CONNECT;
        let Ok(addresses) = self.resolver.resolve(&uri, &self.config, timeout) else { return Ok(None) };
        let Some(address) = addresses.first() else { return Ok(None) };
        let stream = match TcpStream::connect_timeout(address, left(deadline)?) {
            Ok(stream) => stream,
            Err(_) if addresses.len() > 1 => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        stream.set_nodelay(true)?;
        TlsTransport::shake_hands(&self.tls, host, Direct { stream, deadline }).map(Some)
    }
}

/// Hands a waiting connection to the request that needs one.
pub(super) struct AheadConnector(pub(super) Arc<Ahead>);

impl fmt::Debug for AheadConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AheadConnector").finish_non_exhaustive()
    }
}

impl Connector<()> for AheadConnector {
    type Out = TlsTransport<Direct>;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let host = details.uri.host().unwrap_or_default();
        let mut waiting = lock(&self.0.waiting);
        while let Some(result) = waiting.get_mut(host).and_then(Vec::pop) {
            let connection = result?;
            if !connection.socket().is_closed() {
                return Ok(Some(connection));
            }
        }
        Ok(None)
    }
}

/// A TCP connection of our own. Each read and write gets what is left of the deadline, so that a peer that sends a byte
/// now and then cannot stretch it.
pub(super) struct Direct {
    stream: TcpStream,
    deadline: Instant,
}

impl Direct {
    /// Whether the other side hung up meanwhile. What it may have sent is part of the handshake.
    fn is_closed(&self) -> bool {
        match system::peek(&self.stream) {
            Ok(length) => length == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl Socket for Direct {
    fn set_timeout(&mut self, timeout: NextTimeout) {
        // Requests have a deadline always; the longest that a clock can take stands for none.
        let after = timeout.not_zero().map_or(Duration::from_secs(24 * 3600), |after| *after);
        self.deadline = Instant::now() + after;
    }

    fn is_open(&mut self) -> bool {
        matches!(system::peek(&self.stream), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Read for Direct {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer).map_err(in_time)
    }
}

impl Write for Direct {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(bytes).map_err(in_time)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket whose time is over says that it would block.
fn in_time(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}
