//! A listening socket with a thread for each connection, all of which end when it is dropped.
//!
//! Knows nothing of what is spoken on the connections.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Tells the threads of a server to end, and lets them sleep until then.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether the server is ending.
    pub(crate) fn stopped(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps; answers whether the server ended meanwhile.
    pub(crate) fn wait(&self, duration: Duration) -> bool {
        let end = Instant::now() + duration;
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return false;
            };
            let waited = self.changed.wait_timeout(stopped, left);
            stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// One accepted connection.
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    /// Counted over every listener of a process.
    pub(crate) number: u64,
    pub(crate) stop: Arc<Stop>,
}

/// Connections counted over all listeners, so that a number in the log means one connection only.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// A server on one address. Dropping it closes its socket and all its connections.
pub(crate) struct Listener {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    stop: Arc<Stop>,
    open: Arc<Mutex<HashMap<u64, TcpStream>>>,
    accepted: Arc<AtomicU64>,
    accepting: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on `address` and runs `serve` in a thread of its own for each connection. An error that ends a
    /// connection is the client's business and goes no further.
    pub(crate) fn start<S>(address: SocketAddr, serve: S) -> Result<Self>
    where
        S: Fn(Connection) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address)
            .with_context(|| format!("{address}: cannot listen; is something else listening there?"))?;
        let (address, listener) = (listener.local_addr()?, Arc::new(listener));
        let stop = Arc::new(Stop::default());
        let open = Arc::new(Mutex::new(HashMap::new()));
        let accepted = Arc::new(AtomicU64::new(0));
        let accepting = thread::spawn({
            let (stop, open, accepted) = (stop.clone(), open.clone(), accepted.clone());
            let listener = listener.clone();
            move || accept(&listener, &stop, &open, &accepted, &Arc::new(serve))
        });
        Ok(Self { listener, address, stop, open, accepted, accepting: Some(accepting) })
    }

    /// Where it listens, with the port that was given out when none was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

type OpenConnections = Mutex<HashMap<u64, TcpStream>>;

fn accept<S>(
    listener: &TcpListener,
    stop: &Arc<Stop>,
    open: &Arc<OpenConnections>,
    accepted: &AtomicU64,
    serve: &Arc<S>,
) where
    S: Fn(Connection) -> io::Result<()> + Send + Sync + 'static,
{
    for socket in listener.incoming() {
        if stop.stopped() {
            return;
        }
        let Ok(socket) = socket else { continue };
        let Ok(registered) = socket.try_clone() else {
            continue;
        };
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
        accepted.fetch_add(1, Ordering::Relaxed);
        lock(open).insert(number, registered);
        let connection = Connection { socket, number, stop: stop.clone() };
        let (open, serve) = (open.clone(), serve.clone());
        thread::spawn(move || {
            // What ends a connection early is recorded nowhere: broken connections are what this server is for.
            let _ = connection.socket.set_nodelay(true);
            let _ = serve(connection);
            lock(&open).remove(&number);
        });
    }
}

fn lock(open: &OpenConnections) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.stop();
        // Shutting a listening socket down wakes the thread that accepts, from whichever network namespace.
        let woken = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let (Ok(()), Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
        for socket in lock(&self.open).values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
