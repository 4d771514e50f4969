//! Everything that the emulated servers share, behind one lock: vaults, identities, tokens, faults and the record
//! of requests.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::arc::ArcAgent;
use crate::fault::Faults;
use crate::http::{self, Incoming, Request, Response, Server};
use crate::identity::{Machine, Tokens};
use crate::listener::Stop;
use crate::vault::Vault;
use crate::wire::{self, After, Channel, Wire};

/// The state of the emulated cloud.
#[derive(Default)]
pub(crate) struct State {
    /// By host name.
    pub(crate) vaults: BTreeMap<String, Vault>,
    pub(crate) machine: Machine,
    pub(crate) arc: ArcAgent,
    pub(crate) tokens: Tokens,
    pub(crate) faults: Faults,
    /// What the proxy wants to see in Proxy-Authorization, as `user:password`.
    pub(crate) proxy_login: Option<String>,
    requests: Vec<Request>,
    /// How many requests were forgotten, so that positions stay valid for those that are under way.
    forgotten: usize,
}

/// The state as the servers share it.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<State>>);

/// Answers one request.
pub(crate) type Answer = fn(&mut State, &mut Incoming) -> (Response, Option<Wire>);

impl Shared {
    /// The state; a test that panicked while it held the lock does not take the others down.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves the requests of one connection until either side has enough.
    pub(crate) fn serve<C: Channel>(
        &self,
        channel: C,
        server: Server,
        connection: u64,
        stop: &Stop,
        answer: Answer,
    ) -> io::Result<C> {
        let mut reader = BufReader::new(channel);
        while let Some(mut incoming) = http::read(&mut reader, server, connection)? {
            let (position, response, manner) = {
                let mut state = self.lock();
                let (response, manner) = answer(&mut state, &mut incoming);
                let position = state.record(incoming.request.clone());
                (position, response, manner)
            };
            if !matches!(manner, Some(Wire::Hang | Wire::Close | Wire::Garbage)) {
                self.lock().answered(position, response.status, response.body.len());
            }
            let keep_alive = incoming.keep_alive;
            let channel = reader.get_mut();
            let after = wire::send(channel, &response, manner.as_ref(), keep_alive, stop)?;
            if after == After::Closed {
                break;
            }
        }
        Ok(reader.into_inner())
    }
}

impl State {
    /// Remembers a request; answers where.
    pub(crate) fn record(&mut self, request: Request) -> usize {
        self.requests.push(request);
        self.forgotten + self.requests.len() - 1
    }

    /// Notes what a remembered request got.
    pub(crate) fn answered(&mut self, position: usize, status: u16, bytes: usize) {
        let position = position.checked_sub(self.forgotten);
        if let Some(request) = position.and_then(|position| self.requests.get_mut(position)) {
            request.status = Some(status);
            request.answered = bytes;
        }
    }

    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub(crate) fn forget_requests(&mut self) {
        self.forgotten += self.requests.len();
        self.requests.clear();
    }
}
