//! A forward proxy that knows one trick: CONNECT to the emulated vaults. Everything else is refused and recorded.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::http::{self, Incoming, Response, Server};
use crate::listener::Connection;
use crate::state::Shared;

/// Serves one connection to the proxy; tunnels lead to `vaults`.
pub(crate) fn serve(shared: &Shared, connection: Connection, vaults: SocketAddr) -> io::Result<()> {
    let mut reader = BufReader::new(connection.socket);
    while let Some(incoming) = http::read(&mut reader, Server::Proxy, connection.number)? {
        let answer = decide(shared, &incoming);
        let status = answer.as_ref().map_or(200, |refusal| refusal.status);
        let mut state = shared.lock();
        let position = state.record(incoming.request.clone());
        state.answered(position, status, 0);
        drop(state);
        let Some(refusal) = answer else {
            let mut client = reader.into_inner();
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            return tunnel(client, TcpStream::connect(vaults)?);
        };
        let keep_alive = incoming.keep_alive;
        let client = reader.get_mut();
        client.write_all(&refusal.head(refusal.body.len(), keep_alive))?;
        client.write_all(&refusal.body)?;
        if !keep_alive {
            break;
        }
    }
    Ok(())
}

/// A refusal, or `None` when a tunnel is opened.
fn decide(shared: &Shared, incoming: &Incoming) -> Option<Response> {
    let state = shared.lock();
    if let Some(login) = &state.proxy_login {
        let expected = format!("Basic {}", STANDARD.encode(login));
        if incoming.proxy_authorization.as_deref() != Some(&expected) {
            let refusal = Response::new(407, "");
            return Some(refusal.header("Proxy-Authenticate", "Basic realm=\"emulated\""));
        }
    }
    let request = &incoming.request;
    let vault = state.vaults.contains_key(&request.host) && request.target.ends_with(":443");
    match request.method == "CONNECT" && vault {
        true => None,
        false => Some(Response::new(403, "this proxy leads to emulated vaults only\n")),
    }
}

/// Carries bytes both ways until both sides have ended. Stopping the proxy shuts the client's socket down, which
/// ends the tunnel too.
fn tunnel(client: TcpStream, vault: TcpStream) -> io::Result<()> {
    vault.set_nodelay(true)?;
    let (from_client, to_vault) = (client.try_clone()?, vault.try_clone()?);
    let upstream = thread::spawn(move || carry(from_client, to_vault));
    carry(vault, client);
    let _ = upstream.join();
    Ok(())
}

/// Carries bytes one way. An error ends both ways, so that a reset at one end is no silence at the other.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            _ => {
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}
