//! An answer in time, in however many pieces it comes.
//!
//! While ureq waits for what a proxy says to CONNECT, each read gets the same time again: a proxy that sends a byte now and
//! then could keep a request for ever.

use std::fmt;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Puts [`InTime`] around what the connectors before it opened.
#[derive(Debug)]
pub(super) struct InTimeConnector;

impl<In: Transport> Connector<In> for InTimeConnector {
    type Out = InTime<In>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|transport| InTime { transport, deadline: deadline(details.timeout) }))
    }
}

/// A connection on which all of an answer has to come in the time that there was when its question was sent.
pub(super) struct InTime<T> {
    transport: T,
    deadline: Instant,
}

impl<T> fmt::Debug for InTime<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InTime").finish_non_exhaustive()
    }
}

impl<T: Transport> Transport for InTime<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.deadline = deadline(timeout);
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        self.transport.await_input(NextTimeout { after: left.min(*timeout.after).into(), ..timeout })
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

/// When the time is over that ureq gives.
pub(super) fn deadline(timeout: NextTimeout) -> Instant {
    // What has no limit gets one that no request reaches.
    Instant::now() + Duration::from_secs(24 * 3600).min(*timeout.after)
}
