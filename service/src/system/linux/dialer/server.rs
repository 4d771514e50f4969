//! The dialer's side. It believes nobody: who has taken the service over gets no further than the service.

use std::collections::{HashMap, HashSet};
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::Duration;

use anyhow::{Context, Result};
use common::settings::{Acl, Settings};
use log::warn;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::message::{Answer, KNOCK, LONGEST_REQUEST, Request};
use crate::identity::key_file;
use crate::network::Network;
use crate::system::{Account, find_account};

/// Requests at a time: the service has a connection to each of a few places open at once, and looks some names up meanwhile.
const MOST: usize = 48;
/// The service has one connection; another may come before the last one's end was noticed.
const DOORS: usize = 4;
/// The service says what it wants at once, and takes the answer.
const EXCHANGE: Duration = Duration::from_secs(5);
/// Longer than the service waits for a connection.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);
/// Addresses of one place that are remembered: a vault's change with each look-up.
const REMEMBERED: usize = 256;

/// Connects to `places` (`HOST:PORT`) and looks up the accounts of the settings for who asks at the socket that systemd gave this
/// process as standard input. Does not end.
///
/// # Errors
/// Standard input is no such socket.
pub(crate) fn dial(places: HashSet<String>, settings: &Settings) -> Result<u8> {
    let wrong = "standard input is no socket to listen at: systemctl start akvvm_dialer.socket";
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.local_addr().context(wrong)?;
    let names = settings.certificates.iter().flat_map(|observed| observed.target.accounts()).collect();
    let directory = Directory { places, known: Mutex::default(), names, asking: AtomicUsize::default() };
    let (doors, channels) = (AtomicUsize::default(), AtomicUsize::default());
    thread::scope(|scope| {
        loop {
            let (door, _) = listener.accept().context(wrong)?;
            // Who is one too many hears it by the connection's end.
            let (directory, channels) = (&directory, &channels);
            in_turn(scope, &doors, DOORS, move || attend(door, directory, channels, scope));
        }
    })
}

/// Does this in a thread of its own, unless there are enough of these. Says whether it does.
fn in_turn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    busy: &'scope AtomicUsize,
    most: usize,
    work: impl FnOnce() -> io::Result<()> + Send + 'scope,
) -> bool {
    let turn = Turn(busy);
    if busy.fetch_add(1, Ordering::Relaxed) >= most {
        return false;
    }
    let work = move || {
        let _turn = turn;
        if let Err(error) = work() {
            warn!("a request was not answered: {error}");
        }
    };
    let started = thread::Builder::new().spawn_scoped(scope, work);
    started.inspect_err(|error| warn!("a request was not answered: {error}")).is_ok()
}

/// One of those that are busy, until it is dropped.
struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives a channel to who knocks at this door, as often as it does.
fn attend<'scope>(
    mut door: UnixStream,
    directory: &'scope Directory,
    channels: &'scope AtomicUsize,
    scope: &'scope Scope<'scope, '_>,
) -> io::Result<()> {
    door.set_write_timeout(Some(EXCHANGE))?;
    let mut knock = KNOCK;
    while door.read(&mut knock)? > 0 {
        if knock != KNOCK {
            return Err(io::Error::other("it is of another version"));
        }
        let (ours, theirs) = UnixStream::pair()?;
        let is_open = in_turn(scope, channels, MOST, move || serve(&ours, directory));
        send(&door, &KNOCK, is_open.then(|| theirs.as_fd()))?;
    }
    Ok(())
}

fn serve(stream: &UnixStream, directory: &Directory) -> io::Result<()> {
    stream.set_read_timeout(Some(EXCHANGE))?;
    stream.set_write_timeout(Some(EXCHANGE))?;
    let mut request = Vec::new();
    stream.take(LONGEST_REQUEST).read_to_end(&mut request)?;
    if request.is_empty() {
        return Ok(()); // It was not needed.
    }
    let request: Request = serde_json::from_slice(&request)?;
    let (answer, connection) = match directory.answer(&request) {
        Ok((answer, connection)) => (answer, connection),
        Err(error) => (Answer::Failure(error.into()), None),
    };
    send(stream, &serde_json::to_vec(&answer)?, connection.as_ref().map(AsFd::as_fd))
}

fn send(stream: &UnixStream, mut answer: &[u8], connection: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let descriptors: Vec<_> = connection.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    while !answer.is_empty() {
        match sendmsg(stream, &[IoSlice::new(answer)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                answer = &answer[sent..];
                ancillary.clear();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What may be asked for, and what was found out about it.
struct Directory {
    /// The places that may be connected to.
    places: HashSet<String>,
    /// The addresses of each, the newest last.
    known: Mutex<HashMap<String, Vec<SocketAddr>>>,
    /// The accounts that may be looked up.
    names: HashSet<Acl>,
    /// How many wait for the name service. There is one at most, or one that never answers would gather them.
    asking: AtomicUsize,
}

impl Directory {
    fn answer(&self, request: &Request) -> io::Result<(Answer, Option<TcpStream>)> {
        match request {
            Request::Addresses { place } => self.look_up(place).map(|addresses| (Answer::Addresses(addresses), None)),
            Request::Connection { place, address, patience } => {
                if !self.knows(place, address) && !self.look_up(place)?.contains(address) {
                    return Err(io::Error::other(format!("{address} is no address of {place}")));
                }
                let connection = Network::Own.connect(place, address, (*patience).min(LONGEST_PATIENCE))?;
                Ok((Answer::Connection, Some(connection)))
            }
            Request::Account(name) => self.account(name).map(|account| (Answer::Account(account), None)),
            Request::ArcAgent => Ok((Answer::ArcAgent(key_file::agent()), None)),
        }
    }

    fn account(&self, name: &Acl) -> io::Result<Option<Account>> {
        if !self.names.contains(name) {
            return Err(io::Error::other("the settings do not name it"));
        }
        let _turn = Turn(&self.asking);
        if self.asking.fetch_add(1, Ordering::Relaxed) > 0 {
            return Err(io::Error::other("it has not answered an earlier question yet"));
        }
        find_account(name)
    }

    fn look_up(&self, place: &str) -> io::Result<Vec<SocketAddr>> {
        if !self.places.contains(place) {
            return Err(io::Error::other(format!(
                "the dialer does not know {}: a proxy must be named in /etc/default/akvvm_service",
                common::text::excerpt(place)
            )));
        }
        let found = Network::Own.look_up(place)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = known.entry(place.to_owned()).or_default();
        addresses.retain(|address| !found.contains(address));
        addresses.extend(&found);
        addresses.drain(..addresses.len().saturating_sub(REMEMBERED));
        Ok(found)
    }

    fn knows(&self, place: &str, address: &SocketAddr) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(place).is_some_and(|addresses| addresses.contains(address))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::net::{Shutdown, TcpListener};
    use std::sync::mpsc::channel;

    use super::super::Dialer;
    use super::*;

    fn knowing(places: &[&str], names: &[Acl]) -> Directory {
        let places = places.iter().map(ToString::to_string).collect();
        let names = names.iter().cloned().collect();
        Directory { places, known: Mutex::default(), names, asking: AtomicUsize::default() }
    }

    fn asked(directory: &Directory, request: &Request) -> Result<Answer, String> {
        directory.answer(request).map(|(answer, _)| answer).map_err(|error| error.to_string())
    }

    #[test]
    fn connects_to_the_addresses_of_known_places_and_to_no_others() {
        let (here, elsewhere) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (here, elsewhere) = (here.local_addr().unwrap(), elsewhere.local_addr().unwrap());
        let place = here.to_string();
        let addresses = |place: &str| Request::Addresses { place: place.to_owned() };
        let connection =
            |place: &str, address| Request::Connection { place: place.to_owned(), address, patience: EXCHANGE };
        let directory = knowing(&[&place], &[]);
        let asked = |request| asked(&directory, &request);
        assert!(matches!(asked(addresses(&place)), Ok(Answer::Addresses(found)) if found == [here]));
        let other = asked(addresses(&elsewhere.to_string())).unwrap_err();
        assert!(other.contains("does not know"), "{other}");
        let other = asked(connection(&elsewhere.to_string(), elsewhere)).unwrap_err();
        assert!(other.contains("does not know"), "{other}");
        let other = asked(connection(&place, elsewhere)).unwrap_err();
        assert!(other.contains("is no address of"), "{other}");
    }

    #[test]
    fn looks_up_who_is_in_the_settings_one_after_the_other() {
        let user = |name: &str| Acl::User(name.into());
        let directory = knowing(&[], &[user("root"), user("no such user here")]);
        let account = |name: &str| asked(&directory, &Request::Account(user(name)));
        assert!(matches!(account("root"), Ok(Answer::Account(Some(Account::User { id: 0, .. })))));
        assert!(matches!(account("no such user here"), Ok(Answer::Account(None))));
        assert!(account("daemon").unwrap_err().contains("do not name it"));
        directory.asking.store(1, Ordering::Relaxed);
        assert!(account("root").unwrap_err().contains("earlier question"));
    }

    #[test]
    fn answers_and_passes_a_connection_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("dialer");
        let door = UnixListener::bind(&socket).unwrap();
        let root = Acl::User("root".into());
        let directory = knowing(&[&address.to_string()], std::slice::from_ref(&root));
        let dialer: Dialer = socket.to_str().unwrap().parse().unwrap();
        let channels = AtomicUsize::default();
        let (opened, attended) = channel();
        thread::scope(|scope| {
            let (directory, channels, door) = (&directory, &channels, &door);
            scope.spawn(move || {
                let door = door.accept().unwrap().0;
                opened.send(door.try_clone().unwrap()).unwrap();
                attend(door, directory, channels, scope).unwrap();
            });
            let patience = Duration::from_secs(5);
            assert!(!dialer.is_gone(), "it was never there");
            assert_eq!(dialer.look_up(&address.to_string()).unwrap(), [address]);
            assert_eq!(dialer.account(&root, patience).unwrap(), find_account(&root).unwrap());
            let connection = dialer.connect(&address.to_string(), &address, patience).unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(connection.local_addr().unwrap(), peer);
            drop(listener);
            let refused = dialer.connect(&address.to_string(), &address, patience).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            channels.store(MOST, Ordering::Relaxed);
            let busy = dialer.look_up(&address.to_string()).unwrap_err().to_string();
            assert!(busy.contains("too many requests"), "{busy}");
            assert!(!dialer.is_gone());
            attended.recv().unwrap().shutdown(Shutdown::Both).unwrap();
        });
        assert!(dialer.is_gone());
        fs::remove_file(&socket).unwrap();
        let gone = dialer.look_up(&address.to_string()).unwrap_err().to_string();
        assert!(gone.contains("No such file") && gone.contains("systemctl status akvvm_dialer"), "{gone}");
    }
}
