//! One connection to the collector. Each wait is bounded, and so is what is read.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::settings::CollectorEndpoint;
use rmp::decode::{DecodeStringError, ValueReadError, read_map_len, read_str};

use crate::network::Network;
use crate::system;

/// How long one wait takes at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than an acknowledgement needs.
const LONGEST_ANSWER: u64 = 256;

/// Bytes to and from the collector.
pub(crate) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

pub(super) struct Connection {
    stream: Box<dyn Stream>,
}

impl Connection {
    pub(super) fn open(network: &Network, endpoint: &CollectorEndpoint) -> io::Result<Self> {
        let stream = match endpoint {
            CollectorEndpoint::Unix(path) => system::connect_to_socket(path, PATIENCE)?,
            _ => Box::new(connect(network, &endpoint.addresses())?),
        };
        Ok(Self { stream })
    }

    pub(super) fn send(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.stream.write_all(chunk).map_err(|cause| in_time(cause, "it takes no bytes"))
    }

    /// Waits until the collector acknowledges the chunk `id`.
    pub(super) fn wait_for(&mut self, id: &str) -> io::Result<()> {
        let mut answer = (&mut self.stream).take(LONGEST_ANSWER);
        let fields = read_map_len(&mut answer).map_err(|error| match error {
            ValueReadError::InvalidMarkerRead(cause) | ValueReadError::InvalidDataRead(cause) => {
                in_time(cause, NO_ANSWER)
            }
            ValueReadError::TypeMismatch(_) => io::Error::other(OTHER_ANSWER),
        })?;
        for _ in 0..fields {
            let (name, value) = (text(&mut answer)?, text(&mut answer)?);
            if name == "ack" && value == id {
                return Ok(());
            }
        }
        Err(io::Error::other("it acknowledges something else"))
    }
}

const NO_ANSWER: &str = "it acknowledges nothing";
const OTHER_ANSWER: &str = "its answer is no acknowledgement";

fn text(answer: &mut impl Read) -> io::Result<String> {
    let mut buffer = [0; 64];
    match read_str(answer, &mut buffer) {
        Ok(text) => Ok(text.to_owned()),
        Err(DecodeStringError::InvalidMarkerRead(cause) | DecodeStringError::InvalidDataRead(cause)) => {
            Err(in_time(cause, NO_ANSWER))
        }
        Err(_) => Err(io::Error::other(OTHER_ANSWER)),
    }
}

/// A timeout in words: the system's are "Resource temporarily unavailable".
fn in_time(cause: io::Error, what: &str) -> io::Error {
    match cause.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {} s", PATIENCE.as_secs()))
        }
        io::ErrorKind::UnexpectedEof => io::Error::new(cause.kind(), format!("{what} and closes the connection")),
        _ => cause,
    }
}

/// The first of these addresses that answers.
fn connect(network: &Network, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("there is no address");
    for address in addresses {
        match network.connect(&address.to_string(), address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(cause) => failure = cause,
        }
    }
    Err(failure)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// What becomes of the chunk `id` when the collector answers so.
    fn answered(answer: &[u8]) -> Result<(), String> {
        let mut connection = Connection { stream: Box::new(Cursor::new(answer.to_vec())) };
        connection.wait_for("id").map_err(|error| error.to_string())
    }

    #[test]
    fn takes_only_the_acknowledgement_of_its_chunk() {
        assert_eq!(answered(b"\x81\xa3ack\xa2id"), Ok(()));
        assert_eq!(answered(b"\x82\xa4more\xa2no\xa3ack\xa2id"), Ok(()));
        assert_eq!(answered(b"\x81\xd9\x03ack\xda\x00\x02id"), Ok(()));
        for (answer, words) in [
            (b"\x81\xa3ack\xa5other".as_slice(), "something else"),
            (b"\x80", "something else"),
            (b"", "closes the connection"),
            (b"\x81\xa3ac", "closes the connection"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no acknowledgement"),
            (b"\x81\xa3ack\xc3", "no acknowledgement"),
            (b"\x81\xdb\xff\xff\xff\xff", "no acknowledgement"),
            (b"\xdf\xff\xff\xff\xff\xa1a\xa1b", "closes the connection"),
        ] {
            let refused = answered(answer).unwrap_err();
            assert!(refused.contains(words), "{answer:?}: {refused}");
        }
    }

    #[test]
    fn reads_a_bounded_answer() {
        let endless = [b"\xdf\xff\xff\xff\xff".as_slice(), b"\xa1a".repeat(100_000).as_slice()].concat();
        assert!(answered(&endless).unwrap_err().contains("closes the connection"));
    }
}
