//! What is known of each observed certificate after a pass.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::settings::Version;

/// SHA-1 of a certificate's DER, shown as 40 upper-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thumbprint(pub [u8; 20]);

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// A version that is in its place on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// The vault's version.
    pub version: Version,
    /// SHA-1 of the leaf.
    pub thumbprint: Thumbprint,
    /// Start of the leaf's validity.
    pub not_before: Timestamp,
    /// End of the leaf's validity.
    pub not_after: Timestamp,
}

/// Under this part of its lifetime left, a certificate expires soon: a fixed number of days would be noise for
/// certificates that live 47 days only.
const LAST_PART: f64 = 0.15;

impl Installed {
    /// Whether `now` lies between the leaf's two dates.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether little of its lifetime is left, or nothing.
    pub fn expires_soon(&self, now: Timestamp) -> bool {
        let lifetime = self.not_after.as_second() - self.not_before.as_second();
        let left = self.not_after.as_second() - now.as_second();
        // Seconds of a certificate's lifetime are far below 2^52.
        #[allow(clippy::cast_precision_loss)]
        let part = left as f64 / lifetime.max(1) as f64;
        part < LAST_PART
    }
}

/// Something that went wrong with one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A number that tools may compare; the README lists them.
    pub code: i32,
    /// The cause and what to do, for a person.
    pub message: String,
    /// When it is tried again; unknown for a single pass.
    pub next_try: Option<Timestamp>,
}

/// What is known of one observed certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it stands.
    pub state: State,
    /// What a person should look at although it is installed. Thousands of certificates may have the same.
    pub warnings: Arc<[String]>,
}

/// How a certificate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not tried yet.
    Waiting,
    /// The vault's newest version (or the pinned one) is in place.
    Current {
        /// What is in place.
        installed: Installed,
        /// Whether this pass put it there.
        changed: bool,
    },
    /// An earlier version is in place; the newest could not be fetched or installed.
    Stale {
        /// What is in place.
        installed: Installed,
        /// Since when, as far as this process knows.
        since: Timestamp,
        /// Why.
        problem: Box<Problem>,
    },
    /// Nothing is in place.
    Missing {
        /// Why.
        problem: Box<Problem>,
    },
}

impl Report {
    /// What is in place, whether it is the newest or not.
    pub fn installed(&self) -> Option<&Installed> {
        match &self.state {
            State::Current { installed, .. } | State::Stale { installed, .. } => Some(installed),
            State::Waiting | State::Missing { .. } => None,
        }
    }

    /// Why it is not current.
    pub fn problem(&self) -> Option<&Problem> {
        match &self.state {
            State::Stale { problem, .. } | State::Missing { problem } => Some(problem),
            State::Waiting | State::Current { .. } => None,
        }
    }

    /// Since when it is stale, or now when it was not until now.
    pub fn stale_since(&self) -> Timestamp {
        match &self.state {
            State::Stale { since, .. } => *since,
            _ => Timestamp::now(),
        }
    }

    /// Whether an application can work with it now: current, or older and still valid.
    pub fn is_satisfied(&self, now: Timestamp) -> bool {
        match &self.state {
            State::Current { .. } => true,
            State::Stale { installed, .. } => installed.is_valid(now),
            State::Waiting | State::Missing { .. } => false,
        }
    }
}
