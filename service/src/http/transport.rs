//! What can go wrong before there is an answer, and what a person can do about it.

use std::error::Error as _;
use std::io;

use rustls::CertificateError as Tls;

use crate::certificate::in_words;

/// No complete answer came.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("its name cannot be resolved: check the spelling, the network's DNS, and private DNS zones")]
    UnknownHost,
    #[error("no answer in time ({0}): check routes, firewalls and proxies")]
    Timeout(String),
    #[error("the connection failed ({0}): check routes, firewalls and proxies")]
    Connection(String),
    #[error("{0} is not the address of an HTTP proxy: write http://HOST:PORT")]
    ProxySetting(String),
    #[error(
        "no way through the proxy ({0}): check HTTPS_PROXY (http://[USER:PASSWORD@]HOST:PORT), and that the proxy lets this host through"
    )]
    Proxy(String),
    #[error("its TLS certificate was refused ({0})")]
    Certificate(String),
    #[error("TLS failed ({0}): something on the way may be intercepting the connection")]
    Tls(String),
    #[error("no trusted roots: {0}")]
    Roots(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the answer cannot be read as HTTP ({0})")]
    Malformed(String),
}

impl TransportError {
    /// What an error of ureq means; `proxied` when a proxy was between.
    pub(super) fn of(error: ureq::Error, proxied: bool) -> Self {
        match Self::from(error) {
            // The only name that is looked up then is the proxy's, and the only connection goes to it.
            Self::UnknownHost if proxied => Self::Proxy("its name cannot be resolved".to_owned()),
            Self::Connection(reason) if proxied => Self::Proxy(reason),
            other => other,
        }
    }
}

impl From<ureq::Error> for TransportError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::HostNotFound => Self::UnknownHost,
            ureq::Error::Timeout(what) => Self::Timeout(what.to_string()),
            ureq::Error::ConnectionFailed => Self::Connection("refused".to_owned()),
            ureq::Error::ConnectProxyFailed(answer) => Self::Proxy(common::text::excerpt(&answer)),
            ureq::Error::BodyExceedsLimit(limit) => Self::TooLarge(limit),
            ureq::Error::LargeResponseHeader(_, limit) => Self::TooLarge(limit as u64),
            ureq::Error::Tls(reason) => Self::Tls(reason.to_owned()),
            ureq::Error::Io(error) => Self::from(error),
            other => Self::Malformed(common::text::excerpt(&other.to_string())),
        }
    }
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::from(tls);
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout(error.to_string()),
            // What getaddrinfo answers reaches us without a kind of its own.
            _ if error.to_string().contains("failed to lookup address") => Self::UnknownHost,
            _ => Self::Connection(source(&error)),
        }
    }
}

impl From<&rustls::Error> for TransportError {
    fn from(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(reason) = error else { return Self::Tls(error.to_string()) };
        let advice = match reason {
            Tls::UnknownIssuer => {
                "nobody this machine trusts signed it: if a proxy inspects TLS here, add its CA to the system's trust store"
            }
            Tls::Expired | Tls::ExpiredContext { .. } | Tls::NotValidYet | Tls::NotValidYetContext { .. } => {
                "it is not valid at this time: check this machine's clock"
            }
            Tls::NotValidForName | Tls::NotValidForNameContext { .. } => {
                "it is for another name: check DNS, private endpoints and proxies"
            }
            Tls::Other(reason) => return Self::Certificate(in_words(reason)),
            _ => return Self::Certificate(reason.to_string()),
        };
        Self::Certificate(advice.to_owned())
    }
}

/// The innermost cause; the layers above it repeat it.
fn source(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        text = inner.to_string();
        next = inner.source();
    }
    common::text::excerpt(&text)
}
