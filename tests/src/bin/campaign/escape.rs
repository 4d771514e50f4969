//! A program of an attacker in place of the service, in the sandbox of its unit under a real systemd: what it can write,
//! read, start and connect to. What is not on the list of what it may is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::handler_story::{Extension, PATIENCE, observed};
use tests::story::{observing, wait_for};
use tests::systemd::Systemd;

use crate::figures::{Figures, Size};

const UNIT: &str = "akvvm_service";
const STORE: &str = "/srv/certs";
/// What tries.
const PROGRAM: &str = include_str!("escape.py");
/// Where it lies, what it is told, and what it tells.
const SCRIPT: &str = "/srv/escape.py";
const PLACES: &str = "/srv/places.json";
const RESULTS: &str = "/srv/certs/results.json";
/// All that is done when it is tried. Root's files can be read: the service must get into folders of anybody's. A program
/// that it starts is in the same sandbox.
const ALLOWED: [&str; 8] = [
    "write to the store",
    "write to the status",
    "write to the log",
    "write to the state",
    "read /etc/shadow",
    "start a program",
    "connect to the metadata service",
    "connect to the vault",
];

pub(crate) fn run(_: Size, figures: &mut Figures) -> Result<()> {
    let mut extension = Extension::begin()?;
    extension.story.put("web")?;
    let systemd = Systemd::boot(extension.story.world())?;
    extension.agent.enter(&systemd);
    let outcome = extension.deploy(0, &observing(&[observed("web", STORE, &json!({}))]))?;
    ensure!(outcome.ready(), "{outcome:#?}");
    extension.agent.wait_for("success", PATIENCE)?;

    fs::write("/srv/victim", "of somebody else")?;
    fs::write(SCRIPT, PROGRAM)?;
    let status = extension.agent.status_file()?;
    let places = json!({
        "the store": STORE,
        "the status": status.parent(),
        "the log": extension.agent.log_folder()?,
        "the state": "/var/lib/akvvm",
        "the programs": extension.agent.folder()?,
        "another folder of the disk": "/srv",
    });
    fs::write(PLACES, places.to_string())?;
    let drop_in = format!("/etc/systemd/system/{UNIT}.service.d/zz-escape.conf");
    // All of the unit stays but what runs in it.
    let program = format!(
        "[Service]\nType=oneshot\nRestart=no\nExecStartPre=\nExecStart=\nExecStopPost=\n\
         ExecStart=/usr/bin/python3 {SCRIPT} {PLACES} {RESULTS}\n"
    );
    fs::write(&drop_in, program)?;
    systemd.run("systemctl", &["daemon-reload"])?;
    let started = systemd.run("systemctl", &["restart", UNIT]);
    let journal = || systemd.run("journalctl", &["--no-pager", "--lines=30", "--unit", UNIT]).unwrap_or_default();
    started.with_context(journal)?;
    wait_for(PATIENCE, "results", || Path::new(RESULTS).exists().then_some(())).with_context(journal)?;
    let results: BTreeMap<String, String> = serde_json::from_slice(&fs::read(RESULTS)?)?;

    let is_allowed = |name: &str| ALLOWED.contains(&name);
    let done = |result: &String| result == "done";
    let unexpected: Vec<_> = results.iter().filter(|(name, result)| done(result) != is_allowed(name)).collect();
    for (name, result) in &results {
        figures.note(name, result);
    }
    figures.at_least("attempts", results.len(), 70);
    figures.exactly("done though not on the list, or refused though on it", unexpected.len(), 0);
    ensure!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}
