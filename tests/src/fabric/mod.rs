//! The part of Azure that a guest agent talks to: the wire server and the host's plugin at 168.63.129.16, and the storage
//! from which it fetches packages and into which it puts its status.
//!
//! Speaks what WALinuxAgent 2.7 to 2.15 asks for (`azurelinuxagent/common/protocol`), in the form without FastTrack:
//! `vmSettings` answers 404, as an older host does, and the goal state comes from the wire server alone.

mod goal;
mod host_plugin;
mod report;
mod storage;
mod wire_server;

use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

pub use goal::{Plugin, Settings, State};
pub use report::{Handler, Report};

use crate::agent::package::name_and_version;
use crate::http::{self, Incoming, Response, Server};
use crate::listener::{Connection, Listener};
use crate::story::wait_for;
use crate::wire::{self, After};

/// The host name of the storage, to be led to [`ADDRESS`].
pub const STORAGE: &str = "fabric.blob.core.windows.net";

/// Where the fabric answers on every machine in Azure.
pub const ADDRESS: [u8; 4] = [168, 63, 129, 16];

/// What the fabric wants, has to offer, and was told.
#[derive(Default)]
struct Cloud {
    /// Increases with each goal state; 1 is the empty one of a machine without extensions.
    incarnation: u64,
    goal: Vec<Plugin>,
    packages: Vec<storage::Package>,
    /// What was uploaded last.
    report: Option<Report>,
}

/// A running fabric. Dropping it ends its servers.
pub struct Fabric {
    cloud: Arc<Mutex<Cloud>>,
    _servers: [Listener; 2],
}

/// Answers one request.
type Answer = fn(&mut Cloud, &Incoming) -> Response;

impl Fabric {
    /// Starts the servers at their real addresses, which the calling thread's network must have.
    pub fn start() -> Result<Self> {
        let cloud = Arc::new(Mutex::new(Cloud { incarnation: 1, ..Cloud::default() }));
        let serve = |port: u16, answer: Answer| {
            let cloud = cloud.clone();
            Listener::start(SocketAddr::from((ADDRESS, port)), move |connection| serve(&cloud, connection, answer))
        };
        let servers = [serve(80, answer)?, serve(32526, host_plugin::answer)?];
        Ok(Self { cloud, _servers: servers })
    }

    /// Offers a package, `<name>-<version>.zip`, beside those that were published before.
    pub fn publish(&self, package: &Path) -> Result<()> {
        let (name, version) = name_and_version(package)?;
        let path = package.to_owned();
        let version = version.to_string();
        let mut cloud = self.cloud();
        cloud.packages.retain(|package| package.name != name || package.version != version);
        cloud.packages.push(storage::Package { name, version, path });
        Ok(())
    }

    /// Sets a new goal state. Answers its number.
    pub fn set_goal(&self, plugins: &[Plugin]) -> u64 {
        let mut cloud = self.cloud();
        cloud.incarnation += 1;
        cloud.goal = plugins.to_vec();
        cloud.incarnation
    }

    /// What the agent uploaded last.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        self.cloud().report.clone()
    }

    /// Forgets what was uploaded, so that the next report is a new one.
    pub fn forget_report(&self) {
        self.cloud().report = None;
    }

    /// Waits until the agent uploads what is `wanted`; an error that shows the last report after `limit`.
    pub fn wait_until(&self, limit: Duration, wanted: impl Fn(&Report) -> bool) -> Result<Report> {
        let report = wait_for(limit, "such report of the agent", || self.report().filter(&wanted));
        report.with_context(|| format!("the last one: {:#?}", self.report()))
    }

    fn cloud(&self) -> MutexGuard<'_, Cloud> {
        lock(&self.cloud)
    }
}

fn lock(cloud: &Mutex<Cloud>) -> MutexGuard<'_, Cloud> {
    cloud.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves the requests of one connection.
fn serve(cloud: &Mutex<Cloud>, connection: Connection, answer: Answer) -> io::Result<()> {
    let mut reader = BufReader::new(connection.socket);
    while let Some(incoming) = http::read(&mut reader, Server::Fabric, connection.number)? {
        let response = answer(&mut lock(cloud), &incoming);
        let sent = wire::send(reader.get_mut(), &response, None, incoming.keep_alive, &connection.stop)?;
        if sent == After::Closed {
            break;
        }
    }
    Ok(())
}

/// Storage and wire server share a port and are told apart by the host that was asked for.
fn answer(cloud: &mut Cloud, incoming: &Incoming) -> Response {
    match incoming.request.host == STORAGE {
        true => storage::answer(cloud, &incoming.request, &incoming.body),
        false => wire_server::answer(cloud, &incoming.request),
    }
}
