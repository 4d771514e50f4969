//! Connections for ureq that are opened by way of [`Network`], and keep their deadlines.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::http::Uri;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport};

use super::buffers::WipedBuffers;
use super::in_time::deadline;
use super::tls::Socket;
use crate::network::Network;
use crate::system;

/// Opens a connection, where the connectors before it did not.
#[derive(Debug)]
pub(super) struct NetworkConnector(pub(super) Network);

impl<In: Transport> Connector<In> for NetworkConnector {
    type Out = Either<In, Tcp>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let connection = connect(&self.0, details.uri, &details.addrs, deadline(details.timeout));
        let connection = connection.map_err(|error| in_words(error, details.timeout))?;
        Ok(Some(Either::B(Tcp { connection, buffers: WipedBuffers::new() })))
    }
}

/// What [`Network`] calls a URI's host and port.
pub(super) fn place(uri: &Uri) -> Option<String> {
    DefaultResolver::host_and_port(uri.scheme()?, uri.authority()?)
}

/// A connection to the first of these addresses of a URI's host that takes it. Each gets half of the time that is left, and the
/// last one all of it.
fn connect(network: &Network, uri: &Uri, addresses: &[SocketAddr], deadline: Instant) -> Result<Connection, Error> {
    let place = place(uri).ok_or_else(|| Error::BadUri(uri.to_string()))?;
    let mut failure = None;
    for (index, address) in addresses.iter().enumerate() {
        let left = left(deadline)?;
        let patience = if index + 1 < addresses.len() { left / 2 } else { left };
        match network.connect(&place, address, patience) {
            Ok(stream) => return Ok(Connection { stream, deadline }),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.map_or(Error::HostNotFound, Error::Io))
}

/// A TCP connection of our own. Each read and write gets what is left of the deadline, so that a peer that sends a byte
/// now and then cannot stretch it.
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Instant,
}

impl Connection {
    /// What was connected, until `deadline`.
    pub(super) fn new(stream: TcpStream, deadline: Instant) -> Self {
        Self { stream, deadline }
    }

    /// Whether the other side hung up meanwhile. What it may have sent is part of the handshake.
    pub(super) fn is_closed(&self) -> bool {
        match system::peek(&self.stream) {
            Ok(length) => length == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl Socket for Connection {
    fn set_timeout(&mut self, timeout: NextTimeout) {
        self.deadline = deadline(timeout);
    }

    fn is_open(&mut self) -> bool {
        matches!(system::peek(&self.stream), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(left(self.deadline)?))?;
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(in_time),
            }
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(bytes).map_err(in_time)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A connection without TLS: to the metadata service, or to a proxy.
pub(super) struct Tcp {
    connection: Connection,
    buffers: WipedBuffers,
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp").finish_non_exhaustive()
    }
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.connection.set_timeout(timeout);
        let written = self.connection.write_all(&self.buffers.output()[..amount]);
        written.map_err(|error| in_words(error.into(), timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.connection.set_timeout(timeout);
        self.buffers.fill(&mut self.connection).map_err(|error| in_words(error, timeout))
    }

    fn is_open(&mut self) -> bool {
        self.connection.is_open()
    }
}

/// What is left until a deadline.
///
/// # Errors
/// Nothing is.
pub(super) fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// What took too long, as ureq names it.
fn in_words(error: Error, timeout: NextTimeout) -> Error {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        other => other,
    }
}

/// A socket whose time is over says that it would block.
fn in_time(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}
