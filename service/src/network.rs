//! How this process gets at the network: by itself, or through the dialer, where it has no network of its own.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::system::Dialer;

/// Where connections come from.
#[derive(Debug, Clone)]
pub(crate) enum Network {
    /// From this process.
    Own,
    /// From a process that connects to nothing but what the settings name.
    Dialer(Dialer),
}

impl Network {
    /// Whether connections come from a process that has ended since.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Own => false,
            Self::Dialer(dialer) => dialer.is_gone(),
        }
    }

    /// The addresses of a place, `HOST:PORT`. Takes as long as the system's name service likes.
    ///
    /// # Errors
    /// The name service's, or there is no dialer.
    pub(crate) fn look_up(&self, place: &str) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Own => Ok(place.to_socket_addrs()?.collect()),
            Self::Dialer(dialer) => dialer.look_up(place),
        }
    }

    /// A connection to an address of a place, within `patience`. What is written leaves at once.
    ///
    /// # Errors
    /// The system's, or there is no dialer.
    pub(crate) fn connect(&self, place: &str, address: &SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        let stream = match self {
            Self::Own => TcpStream::connect_timeout(address, patience)?,
            Self::Dialer(dialer) => dialer.connect(place, address, patience)?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl From<Option<Dialer>> for Network {
    fn from(dialer: Option<Dialer>) -> Self {
        dialer.map_or(Self::Own, Self::Dialer)
    }
}
