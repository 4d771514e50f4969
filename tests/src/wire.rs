//! How an answer is put on the wire: properly, or in one of the ways in which networks, proxies and broken servers
//! spoil it. What the answer says is decided elsewhere.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::http::Response;
use crate::listener::Stop;

/// What happens to one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// This long passes before the first byte.
    Delay(Duration),
    /// This long passes in the middle of the body.
    Pause(Duration),
    /// One byte of the body after the other, with this pause between them.
    Drip(Duration),
    /// Content-Length is right, but the connection ends after half of the body.
    Truncated,
    /// Content-Length promises this many bytes more than there are, and the connection stays open.
    LongLength(usize),
    /// Content-Length promises half of the body only; the rest follows all the same.
    ShortLength,
    /// A TCP reset after half of the body.
    Reset,
    /// Bytes that are not HTTP.
    Garbage,
    /// A header that does not end.
    EndlessHeader,
    /// A chunked body that does not end.
    EndlessBody,
    /// No answer: the connection stays open until the client gives up.
    Hang,
    /// No answer: the connection is closed at once.
    Close,
}

/// Whether the connection can carry another request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It can.
    Open,
    /// It cannot.
    Closed,
}

/// A connection: the bytes inside it, encrypted or not, and the socket beneath.
pub(crate) trait Channel: Read + Write {
    /// The TCP connection that carries it.
    fn socket(&self) -> &TcpStream;
}

/// Writes `response` in the given manner; `None` is the proper one.
pub(crate) fn send(
    channel: &mut impl Channel,
    response: &Response,
    manner: Option<&Wire>,
    keep_alive: bool,
    stop: &Stop,
) -> io::Result<After> {
    let body = &response.body;
    let half = body.len() / 2;
    let after = match keep_alive {
        true => After::Open,
        false => After::Closed,
    };
    match manner {
        None => write(channel, response, body.len(), keep_alive)?,
        Some(Wire::Delay(pause)) => {
            stop.wait(*pause);
            write(channel, response, body.len(), keep_alive)?;
        }
        Some(Wire::Pause(pause)) => {
            channel.write_all(&response.head(body.len(), keep_alive))?;
            channel.write_all(&body[..half])?;
            channel.flush()?;
            stop.wait(*pause);
            channel.write_all(&body[half..])?;
        }
        Some(Wire::Drip(pause)) => {
            channel.write_all(&response.head(body.len(), keep_alive))?;
            for byte in body {
                channel.write_all(&[*byte])?;
                channel.flush()?;
                if stop.wait(*pause) {
                    return Ok(After::Closed);
                }
            }
        }
        Some(Wire::Truncated) => {
            channel.write_all(&response.head(body.len(), keep_alive))?;
            channel.write_all(&body[..half])?;
            channel.flush()?;
            return Ok(After::Closed);
        }
        Some(Wire::LongLength(more)) => {
            write(channel, response, body.len() + more, keep_alive)?;
            return wait_for_client(channel);
        }
        Some(Wire::ShortLength) => {
            write(channel, response, half, keep_alive)?;
            return Ok(After::Closed);
        }
        Some(Wire::Reset) => {
            channel.write_all(&response.head(body.len(), keep_alive))?;
            channel.write_all(&body[..half])?;
            channel.flush()?;
            // With a linger time of zero, closing sends RST instead of FIN.
            set_socket_linger(channel.socket(), Some(Duration::ZERO))?;
            return Ok(After::Closed);
        }
        Some(Wire::Garbage) => {
            channel.write_all(b"\x15\x03\x01\x00\x02\x02\x16SSH-2.0-OpenSSH_9.2\r\n\0\0\0\r\n\r\n")?;
            channel.flush()?;
            return Ok(After::Closed);
        }
        Some(Wire::EndlessHeader) => {
            channel.write_all(b"HTTP/1.1 200 OK\r\n")?;
            return endless(channel, b"X-Padding: 0123456789012345678901234567890123456789\r\n", stop);
        }
        Some(Wire::EndlessBody) => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            channel.write_all(head)?;
            let mut chunk = b"1000\r\n".to_vec();
            chunk.extend([b' '; 0x1000]);
            chunk.extend(b"\r\n");
            return endless(channel, &chunk, stop);
        }
        Some(Wire::Hang) => return wait_for_client(channel),
        Some(Wire::Close) => return Ok(After::Closed),
    }
    channel.flush()?;
    Ok(after)
}

fn write(channel: &mut impl Channel, response: &Response, length: usize, keep_alive: bool) -> io::Result<()> {
    // One write for small answers, so that header and body share a segment and a TLS record.
    let mut message = response.head(length, keep_alive);
    message.extend_from_slice(&response.body);
    channel.write_all(&message)?;
    channel.flush()
}

/// Writes the same bytes until the client goes away or the server stops.
fn endless(channel: &mut impl Channel, bytes: &[u8], stop: &Stop) -> io::Result<After> {
    while !stop.stopped() {
        channel.write_all(bytes)?;
    }
    Ok(After::Closed)
}

/// Reads and forgets until the client goes away; stopping the server ends it too, by shutting the socket down.
fn wait_for_client(channel: &mut impl Channel) -> io::Result<After> {
    let mut ignored = [0; 1024];
    while channel.read(&mut ignored)? > 0 {}
    Ok(After::Closed)
}
