//! The service's side.

use std::convert::Infallible;
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::settings::{Acl, CollectorEndpoint, Settings};
use log::warn;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, recv, recvmsg, socket_with,
};

use super::super::{reach, sight};
use super::message::{Answer, KNOCK, LONGEST_ANSWER, Request};
use crate::system::Account;

/// Longer than a name service takes to say that it does not know.
const LOOK_UP: Duration = Duration::from_secs(60);
/// What the way to the dialer takes at most, also when it has to be started for it.
const WAY: Duration = Duration::from_secs(5);

/// The dialer that listens at a path.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    socket: PathBuf,
    /// The connection to it, over which a channel for each request comes.
    door: Arc<Mutex<Option<UnixStream>>>,
}

impl FromStr for Dialer {
    type Err = Infallible;

    fn from_str(path: &str) -> Result<Self, Infallible> {
        Ok(Self { socket: path.into(), door: Arc::default() })
    }
}

impl Dialer {
    /// Gives up what this process can do without, as another one connects for it and finds out about names and accounts: it reads
    /// its `own` paths and what it needs of the system, starts nothing, and connects to nobody any more, not even to another
    /// dialer, unless the settings name a socket that it must connect to. It must be its only thread.
    pub(crate) fn leave_the_rest(&self, own: &[PathBuf], settings: &Settings) {
        let door = self.channel().map(drop);
        sight::narrow(sight::places(own, settings));
        let collector = settings.logging.collector.as_ref().map(|collector| &collector.endpoint);
        if let Err(cause) = &door {
            warn!("{}; sockets of others stay within reach until the service starts anew", self.silent(cause));
        } else if !matches!(collector, Some(CollectorEndpoint::Unix(_)))
            && let Err(cause) = reach::narrow()
        {
            warn!("sockets of others stay within reach, as far as the unit does not hide them: {cause}");
        }
    }

    /// Whether it was there and has ended since.
    pub(crate) fn is_gone(&self) -> bool {
        self.door.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(is_over)
    }

    /// The addresses of a place, `HOST:PORT`.
    ///
    /// # Errors
    /// The name service's; the place is not the settings'; there is no dialer.
    pub(crate) fn look_up(&self, place: &str) -> io::Result<Vec<SocketAddr>> {
        match self.ask(&Request::Addresses { place: place.to_owned() }, LOOK_UP)? {
            (Answer::Addresses(addresses), _) => Ok(addresses),
            _ => Err(nonsense()),
        }
    }

    /// A connection to one of the place's addresses.
    ///
    /// # Errors
    /// The network's; the address is none of the place's; there is no dialer.
    pub(crate) fn connect(&self, place: &str, address: &SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        let request = Request::Connection { place: place.to_owned(), address: *address, patience };
        match self.ask(&request, patience)? {
            (Answer::Connection, Some(connection)) => Ok(connection.into()),
            _ => Err(nonsense()),
        }
    }

    /// Who it is that the settings name so; `None` when there is nobody of this name.
    ///
    /// # Errors
    /// The name service's, or that it did not answer within `patience`; the settings name nobody so; there is no dialer.
    pub(crate) fn account(&self, name: &Acl, patience: Duration) -> io::Result<Option<Account>> {
        match self.ask(&Request::Account(name.clone()), patience)? {
            (Answer::Account(account), _) => Ok(account),
            _ => Err(nonsense()),
        }
    }

    /// The user id of the Azure Arc agent; `None` when there is no such account.
    ///
    /// # Errors
    /// There is no dialer.
    pub(crate) fn arc_agent(&self) -> io::Result<Option<u32>> {
        match self.ask(&Request::ArcAgent, WAY)? {
            (Answer::ArcAgent(id), _) => Ok(id),
            _ => Err(nonsense()),
        }
    }

    fn ask(&self, request: &Request, patience: Duration) -> io::Result<(Answer, Option<OwnedFd>)> {
        let answer = self.exchange(request, patience + WAY).map_err(|cause| match cause.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => io::Error::new(cause.kind(), self.silent(&cause)),
        })?;
        match answer {
            (Answer::Failure(failure), _) => Err(failure.into()),
            answer => Ok(answer),
        }
    }

    fn silent(&self, cause: &io::Error) -> String {
        let socket = self.socket.display();
        format!("the dialer at {socket} does not answer, see systemctl status akvvm_dialer: {cause}")
    }

    /// A connection of its own for a request.
    fn channel(&self) -> io::Result<UnixStream> {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = door.as_ref() {
            match channel(door) {
                Err(_) if is_over(door) => {}
                result => return result,
            }
        }
        let new = self.open().map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied if door.is_some() => {
                io::Error::new(cause.kind(), "it has ended, and the next poll starts the service anew for it")
            }
            _ => cause,
        })?;
        let channel = channel(&new)?;
        *door = Some(new);
        Ok(channel)
    }

    /// A connection to it, at once: one that takes no more is not waited for.
    fn open(&self) -> io::Result<UnixStream> {
        let kind = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, kind, None)?;
        match connect(&socket, &SocketAddrUnix::new(&self.socket)?) {
            Err(Errno::AGAIN) => return Err(io::Error::other("too many requests wait for it")),
            other => other?,
        }
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(WAY))?;
        stream.set_read_timeout(Some(WAY))?;
        Ok(stream)
    }

    fn exchange(&self, request: &Request, patience: Duration) -> io::Result<(Answer, Option<OwnedFd>)> {
        let mut stream = self.channel()?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&serde_json::to_vec(request)?)?;
        stream.shutdown(Shutdown::Write)?;
        let (answer, connection) = receive_all(&stream)?;
        Ok((serde_json::from_slice(&answer)?, connection))
    }
}

/// Asks at the door for a channel.
fn channel(door: &UnixStream) -> io::Result<UnixStream> {
    let mut word = [0; KNOCK.len()];
    (&*door).write_all(&KNOCK)?;
    match receive(door, &mut word) {
        Ok((1.., Some(channel))) => Ok(channel.into()),
        Ok((1.., None)) => Err(io::Error::other("too many requests wait for it")),
        broken => {
            // What is asked for later must not get a late answer.
            door.shutdown(Shutdown::Both)?;
            Err(match broken {
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", WAY.as_secs()))
                }
                other => other.err().unwrap_or_else(hung_up),
            })
        }
    }
}

/// Whether the other side has hung up.
fn is_over(door: &UnixStream) -> bool {
    !matches!(recv(door, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT), Err(Errno::AGAIN))
}

/// All that comes, with the descriptor that comes along.
fn receive_all(stream: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let (mut answer, mut connection) = (Vec::new(), None);
    let mut buffer = [0; 1024];
    loop {
        let (length, came_along) = receive(stream, &mut buffer)?;
        connection = came_along.or(connection);
        if length == 0 && answer.is_empty() {
            return Err(hung_up());
        }
        if length == 0 {
            return Ok((answer, connection));
        }
        answer.extend_from_slice(&buffer[..length]);
        if answer.len() > LONGEST_ANSWER {
            return Err(nonsense());
        }
    }
}

/// What comes next: how long it is, and the descriptor that comes along.
fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(buffer)];
    let received = retry_on_intr(|| recvmsg(stream, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    let mut connection = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            connection = descriptors.last().or(connection);
        }
    }
    Ok((received.bytes, connection))
}

fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the dialer answers something else")
}
