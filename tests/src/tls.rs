//! The TLS side of the emulated vault: a certificate authority of its own, and the ways in which a server's
//! certificate can be wrong.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::Acceptor;
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use crate::pki::{Authority, DAY, Issued, Request};
use crate::wire::Channel;

/// Every suffix that the name of a vault can have: public cloud, China, US Government, the closed and the new German
/// clouds, France and Singapore.
pub const VAULT_SUFFIXES: [&str; 7] = [
    "vault.azure.net",
    "vault.azure.cn",
    "vault.usgovcloudapi.net",
    "vault.microsoftazure.de",
    "vault.sovcloud-api.fr",
    "vault.sovcloud-api.de",
    "vault.sovcloud-api.sg",
];

/// The name of the proxy that is spoken to over TLS.
pub const TLS_PROXY_HOST: &str = "proxy.contoso.com";

/// How a vault presents itself in the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Tls {
    /// A certificate for its name, by the emulated authority.
    #[default]
    Trusted,
    /// As trusted, but the server speaks nothing newer than TLS 1.2.
    Version12,
    /// A certificate for another name.
    WrongName,
    /// A certificate that ended yesterday.
    Expired,
    /// A certificate that starts tomorrow.
    NotYetValid,
    /// A certificate signed by its own key.
    SelfSigned,
    /// A certificate by an authority that nobody trusts.
    UnknownAuthority,
    /// The handshake is never answered.
    Stalled,
}

/// Configurations for every kind of handshake.
pub(crate) struct TlsServer {
    authority: Authority,
    configurations: HashMap<Tls, Arc<ServerConfig>>,
}

impl TlsServer {
    pub(crate) fn new() -> Result<Self> {
        let authority = Authority::new("Emulated Azure TLS", 1)?;
        let now = SystemTime::now();
        let request = server_request();
        let good = authority.issue(&request)?;
        let variants = [
            (Tls::Version12, good.clone()),
            (Tls::Trusted, good),
            (Tls::WrongName, authority.issue(&Request::new("vault.example.com"))?),
            (Tls::Expired, authority.issue(&request.clone().valid(now - 30 * DAY, now - DAY))?),
            (Tls::NotYetValid, authority.issue(&request.clone().valid(now + DAY, now + 30 * DAY))?),
            (Tls::SelfSigned, request.self_signed()?),
            (Tls::UnknownAuthority, Authority::new("Nobody's", 1)?.issue(&request)?),
        ];
        let mut configurations = HashMap::new();
        for (tls, issued) in variants {
            configurations.insert(tls, Arc::new(configuration(tls, &issued)?));
        }
        Ok(Self { authority, configurations })
    }

    /// The root that clients must trust, in PEM.
    pub(crate) fn root_pem(&self) -> Result<String> {
        Ok(String::from_utf8(self.authority.root().to_pem()?)?)
    }

    /// Reads the client's first message, asks `choose` (with the server name in it) how to go on, and shakes hands.
    /// `None` when the handshake stalled until the client went away.
    pub(crate) fn accept(&self, socket: TcpStream, choose: impl FnOnce(&str) -> Tls) -> io::Result<Option<TlsChannel>> {
        accept(socket, |name| self.configurations.get(&choose(name)).cloned())
    }
}

/// The same with a configuration of one's own; without one the handshake stalls.
pub(crate) fn accept(
    mut socket: TcpStream,
    choose: impl FnOnce(&str) -> Option<Arc<ServerConfig>>,
) -> io::Result<Option<TlsChannel>> {
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        if acceptor.read_tls(&mut socket)? == 0 {
            return Ok(None);
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) => {}
            Err((error, mut alert)) => {
                alert.write_all(&mut socket)?;
                return Err(io::Error::other(error));
            }
        }
    };
    let Some(configuration) = choose(accepted.client_hello().server_name().unwrap_or_default()) else {
        io::copy(&mut socket, &mut io::sink())?;
        return Ok(None);
    };
    match accepted.into_connection(configuration) {
        Ok(connection) => Ok(Some(TlsChannel(StreamOwned::new(connection, socket)))),
        Err((error, mut alert)) => {
            alert.write_all(&mut socket)?;
            Err(io::Error::other(error))
        }
    }
}

fn server_request() -> Request {
    let wildcards = VAULT_SUFFIXES.map(|suffix| format!("*.{suffix}"));
    let mut request = Request::new(&wildcards[0]).name(TLS_PROXY_HOST);
    for wildcard in &wildcards[1..] {
        request = request.name(wildcard);
    }
    request
}

/// A server that shows this certificate.
pub(crate) fn configuration(tls: Tls, issued: &Issued) -> Result<ServerConfig> {
    let mut chain = vec![CertificateDer::from(issued.leaf.to_der()?)];
    for intermediate in &issued.intermediates {
        chain.push(CertificateDer::from(intermediate.to_der()?));
    }
    let key = PrivateKeyDer::try_from(issued.key.private_key_to_pkcs8()?)
        .map_err(|reason| anyhow::anyhow!("the server's key: {reason}"))?;
    let versions: &[&SupportedProtocolVersion] = match tls {
        Tls::Version12 => &[&rustls::version::TLS12],
        _ => rustls::ALL_VERSIONS,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the server's certificate")?;
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(configuration)
}

/// An encrypted connection.
pub(crate) struct TlsChannel(StreamOwned<ServerConnection, TcpStream>);

impl TlsChannel {
    /// TLS, and the connection that carries it.
    pub(crate) fn into_parts(self) -> (ServerConnection, TcpStream) {
        (self.0.conn, self.0.sock)
    }

    /// Says goodbye as TLS wants it, so that the client can tell the end from an attack.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.conn.complete_io(&mut self.0.sock).map(|_| ())
    }
}

impl Read for TlsChannel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            // Clients that just drop their connection are usual, and the end of it all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }
}

impl Write for TlsChannel {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Channel for TlsChannel {
    fn socket(&self) -> &TcpStream {
        &self.0.sock
    }
}

impl Channel for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}
