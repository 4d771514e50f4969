//! The two HTTP clients: one for the metadata service, which never uses a proxy, and one for vaults, which may.
//!
//! Both try once, follow no redirect, ask for no compression, and have a deadline and a cap for everything that they
//! read. When to try again is the scheduler's to say.

mod ahead;
mod buffers;
mod in_time;
mod proxy;
mod resolver;
mod roots;
mod tcp;
mod tls;
mod transport;

pub(crate) use roots::Roots;
pub(crate) use transport::TransportError;

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ureq::Agent;
use ureq::config::{AutoHeaderValue, Config, ConfigBuilder};
use ureq::http::{HeaderMap, HeaderValue, Uri};
use ureq::typestate::AgentScope;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector};
use zeroize::Zeroizing;

use ahead::{Ahead, AheadConnector};
use buffers::BUFFER;
use in_time::InTimeConnector;
use resolver::{PunctualResolver, RememberingResolver};
use tcp::NetworkConnector;
use tls::TlsConnector;

use crate::network::Network;
use crate::wiped::Wiped;

/// A secret is 25 kB at most; nothing that we ask for is larger than this.
const LARGEST_BODY: u64 = 1024 * 1024;
/// Room for a body whose length is not said.
const USUAL_BODY: u64 = 32 * 1024;
const LARGEST_HEADER: usize = 64 * 1024;
/// The whole of one request, whatever the server does.
const DEADLINE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);

/// A complete answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Wiped when dropped: it may hold a token or a private key.
    pub(crate) body: Wiped,
}

impl Answer {
    /// A header's value, when it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// For the metadata service: no proxy, whatever the environment says, because its answers are tokens.
pub(crate) fn metadata_agent(network: &Network) -> Agent {
    let config = config().proxy(None).timeout_connect(Some(Duration::from_secs(5))).build();
    let connector = ().chain(NetworkConnector(network.clone()));
    Agent::with_parts(config, connector, PunctualResolver::new(network.clone()))
}

/// For the vaults of one pass: at most `connections` at a time, kept alive between requests.
pub(crate) fn vault_client(
    network: &Network,
    roots: &Roots,
    connections: usize,
) -> Result<VaultClient, TransportError> {
    let proxy = proxy::of_environment()?;
    let is_direct = proxy.is_none();
    let config = config()
        .https_only(true)
        .proxy(proxy)
        .max_idle_connections(connections)
        .max_idle_connections_per_host(connections)
        .max_idle_age(Duration::from_secs(60))
        .build();
    let resolver = RememberingResolver::new(network.clone());
    let ahead = Arc::new(Ahead::new(network.clone(), roots.tls_config(), resolver.clone(), config.clone()));
    let connector =
        ().chain(AheadConnector(Arc::clone(&ahead)))
            .chain(ConnectProxyConnector::default())
            .chain(NetworkConnector(network.clone()))
            .chain(InTimeConnector)
            .chain(TlsConnector { config: roots.tls_config() });
    let agent = Agent::with_parts(config, connector, resolver);
    Ok(VaultClient { agent, ahead: is_direct.then_some(ahead) })
}

/// Where the proxy for vaults is, `HOST:PORT`, if there is one.
pub(crate) fn proxy_place() -> Option<String> {
    tcp::place(proxy::of_environment().ok()??.uri())
}

/// Asks the vaults of one pass.
pub(crate) struct VaultClient {
    agent: Agent,
    /// Not where a proxy is in between.
    ahead: Option<Arc<Ahead>>,
}

impl VaultClient {
    /// Opens a connection to `host` before it is needed.
    pub(crate) fn open_ahead(&self, host: &str) {
        if let Some(ahead) = &self.ahead {
            ahead.open(host);
        }
    }

    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }
}

/// A header's value that is shown nowhere, and wiped when the last request that carries it is done. `None` when no header
/// can hold it.
pub(crate) fn secret_header(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Zeroizing::new(text))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Sends `GET url` with `headers` and reads the whole answer.
pub(crate) fn get(agent: &Agent, url: &str, headers: &[(&str, &HeaderValue)]) -> Result<Answer, TransportError> {
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let failed = |error| TransportError::of(error, is_proxied(agent, url));
    let mut response = request.call().map_err(failed)?;
    // A buffer that grows would leave copies of what it held.
    let room = response.body().content_length().unwrap_or(USUAL_BODY).min(LARGEST_BODY);
    let mut body = Wiped::from(Vec::with_capacity(room as usize));
    let mut reader = response.body_mut().with_config().limit(LARGEST_BODY).reader();
    reader.read_to_end(&mut body).map_err(|error| failed(error.into()))?;
    let (head, _) = response.into_parts();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

fn is_proxied(agent: &Agent, url: &str) -> bool {
    let Some(proxy) = agent.config().proxy() else { return false };
    url.parse().is_ok_and(|uri: Uri| !proxy.is_no_proxy(&uri))
}

fn config() -> ConfigBuilder<AgentScope> {
    Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("akvvm_service/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        .accept_encoding(AutoHeaderValue::None)
        .timeout_global(Some(DEADLINE))
        .timeout_connect(Some(CONNECT))
        .max_response_header_size(LARGEST_HEADER)
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
}

/// A panic elsewhere leaves what these hold as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
pub(crate) fn retry_after(answer: &Answer) -> Option<Duration> {
    let value = answer.header("retry-after")?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Duration::try_from(date.timestamp().duration_since(jiff::Timestamp::now())).ok()
}
