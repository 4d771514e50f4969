//! Names of hosts, looked up once per pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::lock;

/// Looks a host up once per pass. ureq asks for every request, and starts a thread each time to keep its deadline.
#[derive(Debug, Default, Clone)]
pub(super) struct RememberingResolver {
    inner: Arc<DefaultResolver>,
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
            *known = Some(self.inner.resolve(uri, config, timeout).ok());
        }
        known.clone().flatten().ok_or(ureq::Error::HostNotFound)
    }
}
