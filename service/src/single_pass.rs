//! `sync FILE`: one pass before a person's eyes.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use common::folders::Folders;
use common::report::{Report, State};
use common::settings::{ObservedCertificate, Settings};
use common::status::{self, Overview, Phase, StatusFile};
use jiff::Timestamp;
use log::LevelFilter;
use serde_json::{Value, json};

use crate::agent::untried;
use crate::check;
use crate::daemon::{lock, report_wrong_settings, sequence};
use crate::sync::{Link, Passed, Watch};
use crate::{DONE, FAILED};

/// How long a running instance is waited for: it may be replaced at this moment.
const WAIT: Duration = Duration::from_secs(60);
/// Progress is shown from this time on, and as often.
const TICK: Duration = Duration::from_millis(500);

pub(crate) fn run(file: &Path, folders: &Folders, as_json: bool) -> Result<u8> {
    common::logging::start(None, "akvvm_service", LevelFilter::Off);
    let mut errors = io::stderr();
    let settings = match Settings::load(file) {
        Ok(settings) => settings,
        Err(wrong) => {
            report_wrong_settings(file, folders, &wrong)?;
            return if as_json { check::run(file, true) } else { check::tell(file, false, errors) };
        }
    };
    for warning in &settings.warnings {
        writeln!(errors, "{}: warning: {warning}", file.display())?;
    }
    let _lock = lock(file, folders, WAIT)?;
    let Passed { reports, identity, .. } = pass(&settings);
    let mut out = BufWriter::new(io::stdout().lock());
    if as_json {
        serde_json::to_writer(&mut out, &to_json(&settings.certificates, &reports, identity.as_deref()))?;
        writeln!(out)?;
    } else {
        print(&mut out, &settings.certificates, &reports, identity.as_deref())?;
    }
    out.flush()?;
    if let Some(folder) = &folders.status {
        let now = Timestamp::now();
        let phase = match reports.iter().all(|report| report.is_satisfied(now)) {
            false if settings.require_initial_sync => Phase::InitialSyncFailed,
            _ => Phase::Polling,
        };
        let overview = Overview {
            phase,
            identity: identity.as_deref(),
            certificates: &settings.certificates,
            reports: &reports,
            next_poll: None,
        };
        StatusFile::overview(&overview, now).save(&sequence(file).status_file(folder))?;
    }
    Ok(if reports.iter().all(|report| report.problem().is_none()) { DONE } else { FAILED })
}

/// The pass, with a counter on the terminal while it takes long.
fn pass(settings: &Settings) -> Passed {
    let reports = untried(settings);
    let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let all: Vec<usize> = (0..reports.len()).collect();
    let mut link = Link::for_one_pass();
    if !io::stderr().is_terminal() {
        return link.pass(settings, &all, reports, &Watch { done: &done, stop: &stop });
    }
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let counter = scope.spawn(|| {
            while !finished.load(Ordering::Relaxed) {
                thread::park_timeout(TICK);
                if !finished.load(Ordering::Relaxed) {
                    let _ = write!(io::stderr(), "\r{} of {} certificates", done.load(Ordering::Relaxed), all.len());
                }
            }
            // Wipes the line; a terminal that is gone does not matter.
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        });
        let passed = link.pass(settings, &all, reports, &Watch { done: &done, stop: &stop });
        finished.store(true, Ordering::Relaxed);
        counter.thread().unpark();
        passed
    })
}

fn print(
    out: &mut impl Write,
    certificates: &[ObservedCertificate],
    reports: &[Report],
    identity: Option<&str>,
) -> io::Result<()> {
    let width =
        certificates.iter().map(|observed| observed.link_name().len()).max().unwrap_or(0).max("CERTIFICATE".len());
    writeln!(out, "{:width$}  {:32}  {:20}  RESULT", "CERTIFICATE", "VERSION", "EXPIRES")?;
    for (observed, report) in certificates.iter().zip(reports) {
        let (version, expires) = match report.installed() {
            Some(installed) => (installed.version.as_str(), status::seconds(installed.not_after)),
            None => ("-", "-".to_owned()),
        };
        writeln!(out, "{:width$}  {version:32}  {expires:20}  {}", observed.link_name(), result(observed, report))?;
        for warning in &*report.warnings {
            writeln!(out, "{:width$}  warning: {warning}", "")?;
        }
    }
    let current = reports.iter().filter(|report| report.problem().is_none()).count();
    write!(out, "{current} of {} certificates up to date", reports.len())?;
    match identity {
        Some(identity) => writeln!(out, "; identity: {identity}"),
        None => writeln!(out),
    }
}

fn result(observed: &ObservedCertificate, report: &Report) -> String {
    match &report.state {
        State::Waiting => "not tried".to_owned(),
        State::Current { changed: true, .. } => format!("installed: {}", observed.place()),
        State::Current { changed: false, .. } => "unchanged".to_owned(),
        State::Stale { problem, .. } => format!("not renewed: {}", problem.message),
        State::Missing { problem } => format!("not installed: {}", problem.message),
    }
}

fn to_json(certificates: &[ObservedCertificate], reports: &[Report], identity: Option<&str>) -> Value {
    let certificates: Vec<Value> = certificates
        .iter()
        .zip(reports)
        .map(|(observed, report)| {
            let installed = report.installed();
            json!({
                "url": observed.url.to_string(),
                "place": observed.place(),
                "version": installed.map(|installed| installed.version.as_str()),
                "thumbprint": installed.map(|installed| installed.thumbprint.to_string()),
                "expires": installed.map(|installed| status::seconds(installed.not_after)),
                "changed": matches!(report.state, State::Current { changed: true, .. }),
                "error": report.problem().map(|problem| json!({"code": problem.code, "message": problem.message})),
                "warnings": &*report.warnings,
            })
        })
        .collect();
    json!({ "identity": identity, "certificates": certificates })
}
