//! What the service and the dialer say to each other. The service has one connection to the dialer's socket, and knocks there for
//! a channel: a byte each way, and the channel's descriptor with the second. Over a channel one request goes, whose end the
//! service shuts down, and one answer comes, with the descriptor of a connection where that was asked for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::settings::Acl;
use serde::{Deserialize, Serialize};

use crate::system::Account;

/// The byte by which a channel is asked for, and comes. Without a channel, there are too many.
pub(super) const KNOCK: [u8; 1] = [b'.'];
/// More than there is to ask, in bytes: a name has 256 at most.
pub(super) const LONGEST_REQUEST: u64 = 16 * 1024;
/// More than there is to answer, in bytes: a user may be in thousands of groups.
pub(super) const LONGEST_ANSWER: usize = 1024 * 1024;

/// What the service wants. A place is `HOST:PORT`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The addresses of a place.
    Addresses { place: String },
    /// A connection to one of them.
    Connection { place: String, address: SocketAddr, patience: Duration },
    /// Who it is that the settings name so.
    Account(Acl),
    /// The account of the Azure Arc agent.
    ArcAgent,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Addresses(Vec<SocketAddr>),
    /// Its descriptor comes along.
    Connection,
    /// Nothing where there is nobody of this name.
    Account(Option<Account>),
    /// The user id, where there is one.
    ArcAgent(Option<u32>),
    Failure(Failure),
}

/// An error on its way to another process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    /// The system's number, where it has one.
    code: Option<i32>,
    is_late: bool,
    reason: String,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let is_late = error.kind() == io::ErrorKind::TimedOut;
        Self { code: error.raw_os_error(), is_late, reason: error.to_string() }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure { code: Some(code), .. } => Self::from_raw_os_error(code),
            Failure { is_late: true, reason, .. } => Self::new(io::ErrorKind::TimedOut, reason),
            Failure { reason, .. } => Self::other(reason),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_it_was() {
        for (error, kind, text) in [
            (io::Error::from_raw_os_error(libc::ECONNREFUSED), io::ErrorKind::ConnectionRefused, "Connection refused"),
            (io::ErrorKind::TimedOut.into(), io::ErrorKind::TimedOut, "timed out"),
            (io::Error::other("failed to lookup address information"), io::ErrorKind::Other, "failed to lookup"),
        ] {
            let sent = serde_json::to_vec(&Answer::Failure(error.into())).unwrap();
            let Answer::Failure(failure) = serde_json::from_slice(&sent).unwrap() else { panic!("another answer") };
            let error = io::Error::from(failure);
            assert!(error.kind() == kind && error.to_string().contains(text), "{error:?}");
        }
    }
}
