//! A host that nobody has business with: it takes every connection, shows a certificate that clients trust where it can have
//! one, keeps every byte that it is told, and answers in a way that invites to say more.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use rustls::ServerConfig;

use crate::listener::Listener;
use crate::pki::{Authority, Request};
use crate::tls::{self, Tls};

/// The domain of the thief.
pub const DOMAIN: &str = "evil.example";
/// The address of the thief, one of the loopback's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where it listens: HTTP, HTTPS, and what hostile addresses name.
const PORTS: [u16; 5] = [80, 443, 3128, 8080, 8443];
/// What TLS begins with: a handshake.
const HANDSHAKE: u8 = 22;
/// A request for a token, as a vault would make it.
const ANSWER: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer \
    authorization=\"https://login.windows.net/common\", resource=\"https://vault.azure.net\"\r\n\
    Content-Length: 0\r\nConnection: keep-alive\r\n\r\n";

/// A running thief; it ends when it is dropped.
pub struct Thief {
    listeners: Vec<Listener>,
    heard: Arc<Mutex<Vec<u8>>>,
}

/// The certificates that it has: a good one for its own domain, and one for the vaults that nobody trusts.
struct Certificates {
    own: Arc<ServerConfig>,
    forged: Arc<ServerConfig>,
}

impl Thief {
    /// Listens at [`ADDRESS`]. `authority`, which clients trust, gives it a certificate for its own domain.
    pub fn start(authority: &Authority) -> Result<Self> {
        let own = authority
            .issue(&Request::new(DOMAIN).name(&format!("*.{DOMAIN}")).name("*.vault.azure.net.evil.example"))?;
        let forged = Authority::new("Nobody's", 1)?.issue(&Request::new("*.vault.azure.net"))?;
        let certificates = Arc::new(Certificates {
            own: Arc::new(tls::configuration(Tls::Trusted, &own)?),
            forged: Arc::new(tls::configuration(Tls::Trusted, &forged)?),
        });
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut listeners = vec![];
        for port in PORTS {
            let (heard, certificates) = (heard.clone(), certificates.clone());
            listeners.push(Listener::start(SocketAddr::from((ADDRESS, port)), move |connection| {
                serve(connection.socket, &certificates, &heard)
            })?);
        }
        Ok(Self { listeners, heard })
    }

    /// How many connections it got.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.listeners.iter().map(Listener::accepted).sum()
    }

    /// Everything that it was told so far, out of TLS. Not to be printed.
    #[must_use]
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(socket: TcpStream, certificates: &Certificates, heard: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut first = [0];
    if socket.peek(&mut first)? == 0 {
        return Ok(());
    }
    if first[0] != HANDSHAKE {
        return listen(socket, heard);
    }
    let is_own = |name: &str| name == DOMAIN || name.ends_with(&format!(".{DOMAIN}"));
    let choose = |name: &str| Some(if is_own(name) { &certificates.own } else { &certificates.forged }.clone());
    match tls::accept(socket, choose)? {
        Some(channel) => listen(channel, heard),
        None => Ok(()),
    }
}

/// Keeps what comes, and answers whatever may be the end of a request.
fn listen(mut channel: impl Read + Write, heard: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = channel.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
        if buffer[..length].ends_with(b"\r\n\r\n") {
            channel.write_all(ANSWER)?;
        }
    }
}
