//! Log lines for a collector on this machine, by Fluentd's forward protocol.
//!
//! A thread of its own does what can take long, so that a collector that is dead or means harm delays nothing: lines wait
//! in a bounded queue. A chunk counts as delivered when the collector acknowledged it, and is sent again until then.
//! Nothing is connected while there is nothing to say.

mod chunk;
mod connection;
mod queue;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::logging;
use common::settings::Collector;
use log::{info, warn};

use self::chunk::{Line, Origin};
use self::connection::Connection;
pub(crate) use self::connection::Stream;
use self::queue::{Batch, Queue};
use crate::network::Network;
use crate::system;

/// Pauses after a failure double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the end waits for lines that are under way.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// A chunk that was sent this often without an answer is given up.
const MOST_TRIES: u32 = 10;

/// Log lines go to the collector until this is dropped, which gives those that wait a last second.
pub(crate) struct Forwarding {
    queue: Arc<Queue>,
}

impl Forwarding {
    /// Sends log lines to `collector` from now on.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn start(network: &Network, collector: &Collector) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let sender = Sender {
            network: network.clone(),
            collector: collector.clone(),
            origin: Origin::here(),
            queue: Arc::clone(&queue),
        };
        thread::Builder::new().name("fluentd".to_owned()).spawn(move || sender.run())?;
        let lines = Arc::clone(&queue);
        logging::tell(move |level, message, subject, at| {
            lines.push(Line { level, message: message.to_owned(), subject: subject.cloned(), at });
        });
        Ok(Self { queue })
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.queue.close(LAST_WAIT);
    }
}

/// The thread that talks to the collector.
struct Sender {
    network: Network,
    collector: Collector,
    origin: Origin,
    queue: Arc<Queue>,
}

impl Sender {
    fn run(self) {
        self.deliver();
        self.queue.end();
    }

    fn deliver(&self) {
        let endpoint = &self.collector.endpoint;
        let mut connection = None;
        let (mut pause, mut tries) = (FIRST_PAUSE, 0);
        while let Some(batch) = self.queue.next(|| connection = None) {
            let Err(failure) = self.send(&batch, &mut connection) else {
                if pause > FIRST_PAUSE {
                    info!("{endpoint}: the collector takes log lines again");
                }
                (pause, tries) = (FIRST_PAUSE, 0);
                self.queue.delivered(&batch);
                continue;
            };
            connection = None;
            if pause == FIRST_PAUSE {
                warn!("{endpoint}: the collector does not take log lines, is it running? they wait: {}", failure.cause);
            }
            tries += u32::from(failure.is_sent);
            if tries >= MOST_TRIES {
                self.queue.give_up(&batch);
                tries = 0;
            }
            if self.queue.pause(pause).is_break() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn send(&self, batch: &Batch, connection: &mut Option<Connection>) -> Result<(), Failure> {
        let id = BASE64_STANDARD.encode(fastrand::u128(..).to_be_bytes());
        let not_sent = |cause| Failure { cause, is_sent: false };
        let chunk = chunk::encode(&self.collector.tag, batch, &self.origin, &id).map_err(not_sent)?;
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(Connection::open(&self.network, &self.collector.endpoint).map_err(not_sent)?),
        };
        connection.send(&chunk).map_err(not_sent)?;
        connection.wait_for(&id).map_err(|cause| Failure { cause, is_sent: true })
    }
}

/// Why a chunk was not delivered.
struct Failure {
    cause: io::Error,
    /// Whether the collector had all of it.
    is_sent: bool,
}

impl Origin {
    fn here() -> Self {
        Self { host: system::host_name(), process: std::process::id() }
    }
}
