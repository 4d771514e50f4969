//! Names of hosts, looked up in time, and once per pass.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration;

use super::lock;

/// Looks a host up in a thread, which is left alone when the time is over: the system's name service knows no deadline.
/// ureq would do so as well, but it panics where the system gives no thread.
#[derive(Debug, Default)]
pub(super) struct PunctualResolver {
    inner: Arc<DefaultResolver>,
}

impl PunctualResolver {
    /// What a look-up came to; an error when there is no thread for it.
    fn look_up(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> io::Result<Result<ResolvedSocketAddrs, ureq::Error>> {
        let (sender, receiver) = sync_channel(1);
        let (inner, uri, config) = (Arc::clone(&self.inner), uri.clone(), config.clone());
        let patient = NextTimeout { after: Duration::NotHappening, ..timeout };
        thread::Builder::new().spawn(move || {
            // Nobody may be waiting any more.
            let _ = sender.send(inner.resolve(&uri, &config, patient));
        })?;
        Ok(receiver.recv_timeout(*timeout.after).unwrap_or(Err(ureq::Error::Timeout(timeout.reason))))
    }
}

impl Resolver for PunctualResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.look_up(uri, config, timeout)?
    }
}

/// Looks a host up once per pass. ureq asks for every request.
#[derive(Debug, Default, Clone)]
pub(super) struct RememberingResolver {
    inner: Arc<PunctualResolver>,
    known: Arc<Mutex<HashMap<String, Host>>>,
}

/// What a look-up came to; a name that was not found is not asked for again either.
type Known = Option<ResolvedSocketAddrs>;

/// A host of the pass, with its look-up once that is done.
type Host = Arc<Mutex<Option<Known>>>;

impl Resolver for RememberingResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let host = Arc::clone(lock(&self.known).entry(authority).or_default());
        // Held while looking up: the connections to this host wait for one answer, those to others do not.
        let mut known = lock(&host);
        if known.is_none() {
            *known = Some(self.inner.look_up(uri, config, timeout)?.ok());
        }
        known.clone().flatten().ok_or(ureq::Error::HostNotFound)
    }
}
