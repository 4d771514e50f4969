//! Events for Azure, where the settings allow them and the guest agent takes them: it sends every file of its events folder,
//! and deletes it, every five minutes while it runs.
//!
//! They leave the machine, so they hold counts and codes, never a name. A file is written in the log folder and renamed,
//! because the agent takes whatever it finds.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::report::Report;
use common::status;
use jiff::Timestamp;
use log::warn;
use serde_json::{Value, json};

/// No more files than this wait for the agent, which may not run.
const MOST: usize = 20;

/// The only writer of events.
pub(crate) struct Telemetry {
    draft: PathBuf,
    events: PathBuf,
    /// What this run's events have in common, shaped like a GUID.
    operation: String,
    start: Instant,
    was_complete: bool,
    last: Option<Counts>,
    is_broken: bool,
}

/// What is told about a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counts {
    certificates: usize,
    installed: usize,
    failed: usize,
    codes: BTreeSet<i32>,
}

impl Telemetry {
    /// Events go to the folder `events` by way of the folder `log`, on the same file system.
    pub(crate) fn new(log: &Path, events: PathBuf, start: Instant) -> Self {
        Self {
            draft: log.join("akvvm_service.event"),
            events,
            operation: operation(fastrand::u128(..)),
            start,
            was_complete: false,
            last: None,
            is_broken: false,
        }
    }

    /// The service was started and observes this many certificates.
    pub(crate) fn started(&mut self, certificates: usize) {
        self.send("Start", "Informational", &format!("started, {certificates} certificates observed"));
    }

    /// A pass has ended; told when it is the first complete one, and when it differs from the last one.
    pub(crate) fn passed(&mut self, reports: &[Report], now: Instant, at: Timestamp) {
        if !self.was_complete && reports.iter().all(|report| report.is_satisfied(at)) {
            self.was_complete = true;
            let seconds = (now - self.start).as_secs();
            self.send("FirstCompleteSync", "Informational", &format!("everything is installed after {seconds} s"));
        }
        let counts = Counts::of(reports);
        if self.last.as_ref() != Some(&counts) {
            let level = if counts.failed == 0 { "Informational" } else { "Warning" };
            self.send("Pass", level, &counts.message());
            self.last = Some(counts);
        }
    }

    fn send(&mut self, task: &str, level: &str, message: &str) {
        let event = self.event(task, level, message, Timestamp::now());
        match self.write(&event) {
            Ok(()) => self.is_broken = false,
            Err(cause) => {
                if !self.is_broken {
                    warn!("{}: no telemetry event can be written: {cause}", self.events.display());
                }
                self.is_broken = true;
                // It may never have been written.
                let _ = fs::remove_file(&self.draft);
            }
        }
    }

    /// The agent wants every value to be a string.
    fn event(&self, task: &str, level: &str, message: &str, at: Timestamp) -> Value {
        let process = std::process::id().to_string();
        json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "Timestamp": status::seconds(at),
            "TaskName": task,
            "EventLevel": level,
            "Message": message,
            "EventPid": process,
            "EventTid": process,
            "OperationId": self.operation,
        })
    }

    fn write(&self, event: &Value) -> io::Result<()> {
        if fs::read_dir(&self.events)?.count() >= MOST {
            return Ok(());
        }
        fs::write(&self.draft, event.to_string())?;
        let name = format!("{}.json", Timestamp::now().as_nanosecond());
        fs::rename(&self.draft, self.events.join(name))
    }
}

impl Counts {
    fn of(reports: &[Report]) -> Self {
        let problems = || reports.iter().filter_map(Report::problem);
        Self {
            certificates: reports.len(),
            installed: reports.iter().filter(|report| report.installed().is_some()).count(),
            failed: problems().count(),
            codes: problems().map(|problem| problem.code).collect(),
        }
    }

    fn message(&self) -> String {
        let Self { certificates, installed, failed, codes } = self;
        let codes: Vec<_> = codes.iter().map(i32::to_string).collect();
        let codes = if codes.is_empty() { String::new() } else { format!(", codes {}", codes.join(" ")) };
        format!("{installed} of {certificates} certificates installed, {failed} failed{codes}")
    }
}

fn operation(number: u128) -> String {
    let digits = format!("{number:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use common::report::{Problem, State};

    fn missing(code: i32) -> Report {
        let problem = Box::new(Problem { code, message: "contoso.web: no role".to_owned(), next_try: None });
        Report { state: State::Missing { problem }, warnings: [].into() }
    }

    fn messages(folder: &Path) -> Vec<String> {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let read = |path: &PathBuf| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
        files.iter().map(|path| read(path)["Message"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn tells_a_pass_that_differs_from_the_last_one_and_never_a_name() {
        let (log, events) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let start = Instant::now();
        let mut telemetry = Telemetry::new(log.path(), events.path().to_owned(), start);
        telemetry.started(3);
        for reports in [
            [missing(31), missing(31), missing(20)],
            [missing(31), missing(20), missing(31)],
            [missing(31), missing(31), missing(31)],
        ] {
            telemetry.passed(&reports, start, Timestamp::UNIX_EPOCH);
        }
        assert_eq!(
            messages(events.path()),
            [
                "started, 3 certificates observed",
                "0 of 3 certificates installed, 3 failed, codes 20 31",
                "0 of 3 certificates installed, 3 failed, codes 31",
            ]
        );
        assert_eq!(fs::read_dir(log.path()).unwrap().count(), 0);
    }

    #[test]
    fn leaves_a_bounded_number_of_files_for_an_agent_that_does_not_come() {
        let (log, events) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut telemetry = Telemetry::new(log.path(), events.path().to_owned(), Instant::now());
        for code in 0..100 {
            telemetry.passed(&[missing(code)], Instant::now(), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(messages(events.path()).len(), MOST);
    }

    #[test]
    fn names_an_operation_like_a_guid() {
        assert_eq!(operation(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), "01234567-89ab-cdef-0123-456789abcdef");
    }
}
