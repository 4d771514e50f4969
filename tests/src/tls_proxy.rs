//! TLS in front of the forward proxy: what comes in is decrypted and passed on to it, and back.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustls::ServerConnection;

use crate::listener::Connection;
use crate::tls::{Tls, TlsServer};

/// Serves one connection; `proxy` is where the plain one listens.
pub(crate) fn serve(tls: &TlsServer, connection: Connection, proxy: SocketAddr) -> io::Result<()> {
    let Some(channel) = tls.accept(connection.socket, |_| Tls::Trusted)? else { return Ok(()) };
    let (mut tls, mut client) = channel.into_parts();
    tls.complete_io(&mut client)?;
    let proxy = TcpStream::connect(proxy)?;
    proxy.set_nodelay(true)?;
    let relay = Relay { tls: Mutex::new(tls), client, proxy };
    thread::scope(|scope| {
        scope.spawn(|| relay.end_after(relay.decrypt()));
        relay.end_after(relay.encrypt());
    });
    Ok(())
}

struct Relay {
    tls: Mutex<ServerConnection>,
    client: TcpStream,
    proxy: TcpStream,
}

impl Relay {
    /// From the client to the proxy. What came with the end of the handshake is there already.
    fn decrypt(&self) -> io::Result<()> {
        let (mut bytes, mut plain) = ([0; 16 * 1024], Vec::new());
        let mut rest = &bytes[..0];
        loop {
            let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
            if !rest.is_empty() {
                tls.read_tls(&mut rest)?;
            }
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            plain.resize(state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut plain)?;
            drop(tls);
            (&self.proxy).write_all(&plain)?;
            if rest.is_empty() {
                let count = (&self.client).read(&mut bytes)?;
                if count == 0 {
                    return Ok(());
                }
                rest = &bytes[..count];
            }
        }
    }

    /// From the proxy to the client.
    fn encrypt(&self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        loop {
            let count = (&self.proxy).read(&mut bytes)?;
            let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
            match count {
                0 => tls.send_close_notify(),
                _ => tls.writer().write_all(&bytes[..count])?,
            }
            while tls.wants_write() {
                tls.write_tls(&mut &self.client)?;
            }
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// An end of one direction is the end of both.
    fn end_after(&self, _: io::Result<()>) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.proxy.shutdown(Shutdown::Both);
    }
}
