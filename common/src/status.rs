//! The status file that the guest agent reads: `[{"version":1.0,"timestampUTC":…,"status":{…}}]`.
//!
//! The agent refuses a whole file for one unknown word, ends a deployment only on `success` or `error`, and cuts files of
//! more than 128 KiB, so the schema is known here and nowhere else.

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::files::{self, FileError};
use crate::report::{Report, State};
use crate::settings::ObservedCertificate;
use crate::text::bounded;

/// The agent cuts files of more than 131,072 characters; stay well below.
const LARGEST: usize = 120 * 1024;
/// No single message is longer, so that one hostile text cannot push the others out.
const LONGEST_MESSAGE: usize = 2000;
/// Code of an error that concerns the settings.
pub const CODE_SETTINGS: i32 = 10;
/// Code of an error of the handler or the service itself.
pub const CODE_SERVICE: i32 = 11;
/// Code of an initial sync that did not complete in time.
pub const CODE_INITIAL_SYNC: i32 = 12;

/// How far the service has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Success is held back until every certificate is installed.
    InitialSync,
    /// The tries of the initial sync are used up, or it cannot succeed; polling goes on.
    InitialSyncFailed,
    /// Polling, with all that had to be installed first installed.
    Polling,
}

/// What the service knows at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Overview<'a> {
    /// How far it has come.
    pub phase: Phase,
    /// The identity that was used, for a person; unknown before the first token.
    pub identity: Option<&'a str>,
    /// The observed certificates …
    pub certificates: &'a [ObservedCertificate],
    /// … and what is known of each, in the same order.
    pub reports: &'a [Report],
    /// When all are looked at again.
    pub next_poll: Option<Timestamp>,
}

impl Overview<'_> {
    fn all(&self) -> impl Iterator<Item = (&ObservedCertificate, &Report)> {
        self.certificates.iter().zip(self.reports)
    }
}

/// A status file, ready to be written.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct StatusFile([Entry; 1]);

#[derive(Debug, Clone, Serialize)]
struct Entry {
    version: f64,
    #[serde(rename = "timestampUTC")]
    timestamp: String,
    status: Status,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    name: &'static str,
    operation: &'static str,
    status: Level,
    code: i32,
    formatted_message: Message,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    substatus: Vec<Substatus>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Substatus {
    name: String,
    status: Level,
    code: i32,
    formatted_message: Message,
}

/// The words that the agent knows, in lower case; `warning` is left out because it never ends a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Transitioning,
    Success,
    Error,
}

#[derive(Debug, Clone, Serialize)]
struct Message {
    lang: &'static str,
    message: String,
}

impl Message {
    fn new(text: &str) -> Self {
        Self { lang: "en-US", message: bounded(text, LONGEST_MESSAGE) }
    }
}

impl StatusFile {
    /// The service is being started.
    pub fn starting(at: Timestamp) -> Self {
        Self::plain(Level::Transitioning, 0, "the Key Vault extension service is starting", at)
    }

    /// The service stands still because the extension was disabled.
    pub fn disabled(at: Timestamp) -> Self {
        Self::plain(Level::Success, 0, "the Key Vault extension service is disabled; installed certificates stay", at)
    }

    /// Something a person has to mend; `code` is one of this module's.
    pub fn error(code: i32, message: &str, at: Timestamp) -> Self {
        Self::plain(Level::Error, code, message, at)
    }

    /// What the service has done so far.
    pub fn overview(overview: &Overview<'_>, at: Timestamp) -> Self {
        let (level, code) = match overview.phase {
            Phase::InitialSync => (Level::Transitioning, 0),
            Phase::InitialSyncFailed => (Level::Error, CODE_INITIAL_SYNC),
            Phase::Polling => (Level::Success, 0),
        };
        let mut file = Self::plain(level, code, &headline(overview, at), at);
        file.0[0].status.substatus =
            overview.all().map(|(observed, report)| Substatus::of(observed, report, at)).collect();
        if file.length() > LARGEST {
            let failing = overview.all().filter(|(_, report)| report.problem().is_some());
            file.0[0].status.substatus =
                failing.map(|(observed, report)| Substatus::of(observed, report, at)).collect();
        }
        while file.length() > LARGEST {
            let shorter = file.0[0].status.substatus.len() * 3 / 4;
            file.0[0].status.substatus.truncate(shorter);
        }
        file
    }

    /// The same as an error for this reason, which comes first.
    #[must_use]
    pub fn although(mut self, reason: &str) -> Self {
        let status = &mut self.0[0].status;
        (status.status, status.code) = (Level::Error, CODE_SERVICE);
        status.formatted_message = Message::new(&format!("{reason}; {}", status.formatted_message.message));
        self
    }

    /// Replaces the file at `path` in one step.
    ///
    /// # Errors
    /// The file could not be written; the old one is still there.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        files::replace(path, self.text().as_bytes(), 0o600)
    }

    /// Whether the file at `path` tells the agent of an error.
    pub fn is_error_at(path: &Path) -> bool {
        let text = std::fs::read(path).unwrap_or_default();
        let said: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        said[0]["status"]["status"] == serde_json::json!(Level::Error)
    }

    fn plain(status: Level, code: i32, message: &str, at: Timestamp) -> Self {
        Self([Entry {
            version: 1.0,
            timestamp: seconds(at),
            status: Status {
                name: "akvvm_service",
                operation: "Service start.",
                status,
                code,
                formatted_message: Message::new(message),
                substatus: Vec::new(),
            },
        }])
    }

    fn text(&self) -> String {
        // Strings, numbers and lists of them always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn length(&self) -> usize {
        self.text().len()
    }
}

/// `2026-01-01T00:00:00Z`: what people and tools compare has no fractions.
pub fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn headline(overview: &Overview<'_>, at: Timestamp) -> String {
    let reports = overview.reports;
    let satisfied = reports.iter().filter(|report| report.is_satisfied(at)).count();
    let mut parts = vec![format!("{satisfied} of {} certificates installed", reports.len())];
    let mut failing = overview.all().filter_map(|(observed, report)| Some((observed, report.problem()?)));
    if let Some((first, problem)) = failing.next() {
        let others = match failing.count() {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        parts.push(format!("failing: {}{others}: {}", first.link_name(), problem.message));
    }
    let expiring = reports.iter().filter(|report| report.installed().is_some_and(|i| i.expires_soon(at))).count();
    if expiring > 0 {
        parts.push(format!("{expiring} expired or expiring soon"));
    }
    if overview.phase == Phase::InitialSyncFailed {
        parts.push("the initial sync did not complete; polling goes on".to_owned());
    }
    if let Some(identity) = overview.identity {
        parts.push(format!("identity: {identity}"));
    }
    if let Some(next) = overview.next_poll {
        parts.push(format!("next poll {}", seconds(next)));
    }
    parts.join("; ")
}

impl Substatus {
    fn of(observed: &ObservedCertificate, report: &Report, at: Timestamp) -> Self {
        let (status, code) = match &report.state {
            State::Waiting => (Level::Transitioning, 0),
            State::Current { .. } => (Level::Success, 0),
            State::Stale { problem, .. } | State::Missing { problem } => (Level::Error, problem.code),
        };
        Self {
            name: observed.link_name(),
            status,
            code,
            formatted_message: Message::new(&describe(observed, report, at)),
        }
    }
}

fn describe(observed: &ObservedCertificate, report: &Report, at: Timestamp) -> String {
    let mut parts = Vec::new();
    if let Some(installed) = report.installed() {
        let ends = if installed.not_after < at { "expired" } else { "expires" };
        parts.push(format!(
            "version {}, thumbprint {}, {ends} {}",
            installed.version,
            installed.thumbprint,
            seconds(installed.not_after)
        ));
        if at < installed.not_before {
            parts.push(format!("not valid before {}", seconds(installed.not_before)));
        } else if at <= installed.not_after && installed.expires_soon(at) {
            let newer = match (&report.state, observed.url.version()) {
                (_, Some(_)) => ": this version is pinned",
                (State::Current { .. }, None) => " and the vault has nothing newer",
                _ => "",
            };
            parts.push(format!("expires soon{newer}"));
        }
    }
    match &report.state {
        State::Waiting => parts.push("not tried yet".to_owned()),
        State::Current { .. } => {}
        State::Stale { since, problem, .. } => {
            parts.push(format!("stale since {}: {}", seconds(*since), problem.message));
        }
        State::Missing { problem } => parts.push(format!("not installed: {}", problem.message)),
    }
    if let Some(next) = report.problem().and_then(|problem| problem.next_try) {
        parts.push(format!("next try {}", seconds(next)));
    }
    parts.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    parts.push(observed.place());
    parts.join("; ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
