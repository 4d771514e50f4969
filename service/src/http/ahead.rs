//! Connections that are opened ahead: a way to a vault takes as long as the way to a token, so both are gone at once.
//!
//! Only where no proxy is in between. What went wrong is told to the request that would have used the connection, so that
//! nobody waits for the same deadline twice.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustls::ClientConfig;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout};
use ureq::{Error, Timeout};

use super::resolver::RememberingResolver;
use super::tcp::{Connection, left, place};
use super::tls::TlsTransport;
use super::{CONNECT, lock};
use crate::network::Network;

/// What an attempt came to.
type Opened = Result<TlsTransport<Connection>, Error>;

/// The connections of a pass that wait for their first request, by host.
pub(super) struct Ahead {
    network: Network,
    tls: Arc<ClientConfig>,
    resolver: RememberingResolver,
    config: Config,
    waiting: Mutex<HashMap<String, Vec<Opened>>>,
}

impl Ahead {
    pub(super) fn new(network: Network, tls: Arc<ClientConfig>, resolver: RememberingResolver, config: Config) -> Self {
        Self { network, tls, resolver, config, waiting: Mutex::default() }
    }

    /// Opens a connection to `host` for the request that comes first.
    pub(super) fn open(&self, host: &str) {
        if let Some(result) = self.connect(host).transpose() {
            lock(&self.waiting).entry(host.to_owned()).or_default().push(result);
        }
    }

    /// A connection, or why there cannot be one. `None` where the request that follows has more ways to try: a host may
    /// have several addresses, and a name is looked up once for all.
    fn connect(&self, host: &str) -> Result<Option<TlsTransport<Connection>>, Error> {
        let uri: Uri = format!("https://{host}/").parse().map_err(|_| Error::BadUri(host.to_owned()))?;
        let timeout = NextTimeout { after: CONNECT.into(), reason: Timeout::Connect, ..NextTimeout::default() };
        let deadline = Instant::now() + CONNECT;
        let Ok(addresses) = self.resolver.resolve(&uri, &self.config, timeout) else { return Ok(None) };
        let Some(address) = addresses.first() else { return Ok(None) };
        let Some(place) = place(&uri) else { return Ok(None) };
        let stream = match self.network.connect(&place, address, left(deadline)?) {
            Ok(stream) => stream,
            Err(_) if addresses.len() > 1 => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        TlsTransport::shake_hands(&self.tls, host, Connection::new(stream, deadline)).map(Some)
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
    type Out = TlsTransport<Connection>;

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
