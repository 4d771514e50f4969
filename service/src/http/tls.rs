//! TLS for ureq with one configuration for all connections of a pass, and with buffers that are wiped.
//!
//! ureq's own connector builds its configuration in every thread that is first, roots and all.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport, TransportAdapter,
};

use super::buffers::{BUFFER, WipedBuffers};

/// Puts TLS around a connection.
pub(super) struct TlsConnector {
    pub(super) config: Arc<ClientConfig>,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport<TransportAdapter>>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        Socket::set_timeout(&mut socket, details.timeout);
        let host = details.uri.host().unwrap_or_default();
        Ok(Some(Either::B(TlsTransport::shake_hands(&self.config, host, socket)?)))
    }
}

/// What TLS is put around: a connection that keeps the deadline it was given last.
pub(super) trait Socket: Read + Write + Send + Sync + 'static {
    /// Sets the deadline of all reading and writing from now on.
    fn set_timeout(&mut self, timeout: NextTimeout);
    /// Whether the other side is there and says nothing.
    fn is_open(&mut self) -> bool;
}

impl Socket for TransportAdapter {
    fn set_timeout(&mut self, timeout: NextTimeout) {
        Self::set_timeout(self, timeout);
    }

    fn is_open(&mut self) -> bool {
        self.get_mut().is_open()
    }
}

fn other(error: rustls::Error) -> Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error).into()
}

/// A connection inside TLS.
pub(super) struct TlsTransport<S: Socket> {
    stream: StreamOwned<ClientConnection, S>,
    buffers: WipedBuffers,
}

impl<S: Socket> TlsTransport<S> {
    /// Proves that `host` is at the other end of `socket`, within the deadline that the socket has.
    pub(super) fn shake_hands(config: &Arc<ClientConfig>, host: &str, mut socket: S) -> Result<Self, Error> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| Error::Tls("the host's name cannot be verified"))?;
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(other)?;
        connection.set_buffer_limit(Some(BUFFER));
        connection.complete_io(&mut socket)?;
        let stream = StreamOwned { conn: connection, sock: socket };
        Ok(Self { stream, buffers: WipedBuffers::new() })
    }
}

impl<S: Socket> TlsTransport<S> {
    /// What it was put around.
    pub(super) fn socket(&self) -> &S {
        &self.stream.sock
    }
}

impl<S: Socket> fmt::Debug for TlsTransport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}

impl<S: Socket> Transport for TlsTransport<S> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        self.buffers.fill(&mut self.stream)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
