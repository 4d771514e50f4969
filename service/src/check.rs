//! `check FILE`: validates settings without asking anybody.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;
use common::settings::{Finding, Identity, LoadError, ObservedCertificate, Settings};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{DONE, WRONG};

/// The machine-readable result. Its shape is documented and stays.
#[derive(Serialize)]
struct Checked {
    valid: bool,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<Value>,
}

pub(crate) fn run(file: &Path, json: bool) -> Result<u8> {
    tell(file, json, io::stdout().lock())
}

/// Writes the result to `out`, a line for each finding.
pub(crate) fn tell(file: &Path, json: bool, mut out: impl Write) -> Result<u8> {
    let checked = match Settings::load(file) {
        Ok(settings) => Checked {
            valid: true,
            errors: Vec::new(),
            settings: Some(understood(&settings)),
            warnings: settings.warnings,
        },
        Err(LoadError::Settings { cause, .. }) => {
            Checked { valid: false, errors: cause.errors, warnings: cause.warnings, settings: None }
        }
        Err(LoadError::Read { cause, .. }) => {
            let error = Finding { path: String::new(), message: cause.to_string() };
            Checked { valid: false, errors: vec![error], warnings: Vec::new(), settings: None }
        }
        Err(other) => {
            let error = Finding { path: String::new(), message: other.to_string() };
            Checked { valid: false, errors: vec![error], warnings: Vec::new(), settings: None }
        }
    };
    if json {
        serde_json::to_writer(&mut out, &checked)?;
        writeln!(out)?;
    } else {
        print(&mut out, file, &checked)?;
    }
    Ok(if checked.valid { DONE } else { WRONG })
}

fn print(out: &mut impl Write, file: &Path, checked: &Checked) -> io::Result<()> {
    let name = file.display();
    for (kind, findings) in [("error", &checked.errors), ("warning", &checked.warnings)] {
        for finding in findings {
            writeln!(out, "{name}: {kind}: {finding}")?;
        }
    }
    match &checked.settings {
        None => writeln!(out, "{name}: invalid, {} to mend", count(checked.errors.len(), "error")),
        Some(settings) => {
            let certificates = settings["certificates"].as_array().map_or(0, Vec::len);
            let warnings = match checked.warnings.len() {
                0 => String::new(),
                n => format!(", {}", count(n, "warning")),
            };
            writeln!(out, "{name}: valid, {}{warnings}", count(certificates, "certificate"))
        }
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn understood(settings: &Settings) -> Value {
    let certificates: Vec<Value> =
        settings.certificates.iter().map(|observed| certificate(observed, &settings.identity)).collect();
    let mut value = json!({
        "pollingIntervalInS": settings.polling_interval.as_secs(),
        "requireInitialSync": settings.require_initial_sync,
        "chainValidation": settings.chain_validation.name(),
        "identity": identity(&settings.identity),
        "certificates": certificates,
    });
    if settings.logging.telemetry_events {
        value["telemetryEvents"] = Value::Bool(true);
    }
    if let Some(collector) = &settings.logging.collector {
        value["collector"] = Value::String(collector.endpoint.to_string());
    }
    value
}

/// What holds for a certificate, with `null` where nothing follows its renewal, and its identity where it is not the `usual` one.
fn certificate(observed: &ObservedCertificate, usual: &Identity) -> Value {
    let mut value = observed.target.to_json();
    value["url"] = Value::String(observed.url.to_string());
    value["afterRenewal"] =
        observed.after_renewal.as_ref().map_or(Value::Null, |after_renewal| after_renewal.to_json());
    if *observed.identity != *usual {
        value["identity"] = identity(&observed.identity);
    }
    value
}

fn identity(identity: &Identity) -> Value {
    json!({"endpoint": identity.endpoint.to_string(), "clientId": identity.selector.configured()})
}
