//! Names of hosts, looked up in time, and once per pass.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::lock;
use super::tcp::place;
use crate::network::Network;

/// Addresses of one host that are tried, as many as ureq takes.
const MOST: usize = 16;

/// Looks a host up in a thread, which is left alone when the time is over: the system's name service knows no deadline.
/// ureq would do so as well, but it panics where the system gives no thread.
#[derive(Debug)]
pub(super) struct PunctualResolver {
    network: Network,
}

impl PunctualResolver {
    pub(super) fn new(network: Network) -> Self {
        Self { network }
    }

    /// What a look-up came to; an error when there is no thread for it.
    fn look_up(&self, uri: &Uri, timeout: NextTimeout) -> io::Result<Result<ResolvedSocketAddrs, ureq::Error>> {
        let Some(place) = place(uri) else { return Ok(Err(ureq::Error::BadUri(uri.to_string()))) };
        if let Ok(address) = place.parse::<SocketAddr>() {
            return Ok(self.taken(&[address]));
        }
        let (sender, receiver) = sync_channel(1);
        let network = self.network.clone();
        thread::Builder::new().spawn(move || {
            // Nobody may be waiting any more.
            let _ = sender.send(network.look_up(&place));
        })?;
        let found = receiver.recv_timeout(*timeout.after).map_err(|_| ureq::Error::Timeout(timeout.reason));
        Ok(found.and_then(|found| self.taken(&found?)))
    }

    /// What is tried of the addresses of a host.
    fn taken(&self, found: &[SocketAddr]) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        found.iter().take(MOST).for_each(|address| addresses.push(*address));
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

impl Resolver for PunctualResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.look_up(uri, timeout)?
    }
}

/// Looks a host up once per pass. ureq asks for every request.
#[derive(Debug, Clone)]
pub(super) struct RememberingResolver {
    inner: Arc<PunctualResolver>,
    known: Arc<Mutex<HashMap<String, Host>>>,
}

/// What a look-up came to; a name that was not found is not asked for again either, and the reason is the system's, if any.
type Known = Result<ResolvedSocketAddrs, Option<(io::ErrorKind, String)>>;

/// A host of the pass, with its look-up once that is done.
type Host = Arc<Mutex<Option<Known>>>;

impl RememberingResolver {
    pub(super) fn new(network: Network) -> Self {
        Self { inner: Arc::new(PunctualResolver::new(network)), known: Arc::default() }
    }
}

impl Resolver for RememberingResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let host = Arc::clone(lock(&self.known).entry(authority).or_default());
        // Held while looking up: the connections to this host wait for one answer, those to others do not.
        let mut known = lock(&host);
        if known.is_none() {
            *known = Some(self.inner.look_up(uri, timeout)?.map_err(|error| match error {
                ureq::Error::Io(cause) => Some((cause.kind(), cause.to_string())),
                _ => None,
            }));
        }
        match known.clone() {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err(Some((kind, cause)))) => Err(io::Error::new(kind, cause).into()),
            Some(Err(None)) | None => Err(ureq::Error::HostNotFound),
        }
    }
}
