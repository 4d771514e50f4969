//! A program of an attacker in place of the service, in the sandbox of its unit under a real systemd: what it can write,
//! read, start and connect to. What is not on the list of what it may is refused.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::handler_story::{Extension, PATIENCE, observed};
use tests::story::{observing, wait_for};
use tests::systemd::Systemd;

use crate::figures::{Figures, Size};

const UNIT: &str = "akvvm_service";
const STORE: &str = "/srv/certs";
const VICTIM: &str = "/srv/victim";
/// What tries.
const PROGRAM: &str = include_str!("escape.py");
/// Where it lies, what it is told, and what it tells.
const SCRIPT: &str = "/srv/escape.py";
const PLACES: &str = "/srv/places.json";
const RESULTS: &str = "/srv/certs/results.json";
/// All that is done when it is tried. Files of others can be read where secrets do not use to lie: the service must get into
/// folders of anybody's. Any address can be connected to: that of a vault or a proxy is not known beforehand.
const ALLOWED: [&str; 8] = [
    "write to the store",
    "write to the status",
    "write to the log",
    "write to the state",
    "read a file of another's beside the store",
    "connect to the metadata service",
    "connect to the vault",
    "connect to another address",
];
/// Secrets of others, which this puts there.
const SECRETS: [(&str, &str); 11] = [
    ("the hashes of passwords", "/etc/shadow"),
    ("the hashes of passwords of groups", "/etc/gshadow"),
    ("a key of root's for SSH", "/root/.ssh/id_ed25519"),
    ("a person's key for SSH", "/home/alice/.ssh/id_ed25519"),
    ("the machine's key for SSH", "/etc/ssh/ssh_host_ed25519_key"),
    ("another key for TLS", "/etc/ssl/private/other.key"),
    ("the agent's key", "/var/lib/waagent/TransportPrivate.pem"),
    ("a ticket of Kerberos", "/tmp/krb5cc_0"),
    ("what waits to be printed or sent", "/var/spool/mail/root"),
    ("what was put aside", "/var/backups/shadow.bak"),
    ("a file of another's beside the store", "/srv/private"),
];
/// By the ABI.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

pub(crate) fn run(_: Size, figures: &mut Figures) -> Result<()> {
    let mut extension = Extension::begin()?;
    extension.story.put("web")?;
    let world = extension.story.world();
    world.overlay("/root")?;
    world.overlay("/home")?;
    let systemd = Systemd::boot(world)?;
    extension.agent.enter(&systemd);
    let outcome = extension.deploy(0, &observing(&[observed("web", STORE, &json!({}))]))?;
    ensure!(outcome.ready(), "{outcome:#?}");
    extension.agent.wait_for("success", PATIENCE)?;

    fs::write(VICTIM, "of somebody else")?;
    for (_, path) in SECRETS {
        systemd.run("install", &["-D", "--mode=600", "--owner=1", VICTIM, path])?;
    }
    let elsewhere = TcpListener::bind("127.0.0.2:0")?;
    fs::write(SCRIPT, PROGRAM)?;
    let status = extension.agent.status_file()?;
    let places = json!({
        "written": {
            "the store": STORE,
            "the status": status.parent(),
            "the log": extension.agent.log_folder()?,
            "the state": "/var/lib/akvvm",
            "the programs": extension.agent.folder()?,
            "another folder of the disk": "/srv",
        },
        "read": BTreeMap::from(SECRETS),
        "loader": LOADERS.into_iter().find(|path| Path::new(path).exists()).context("no loader of programs")?,
        "another address": ["127.0.0.2", elsewhere.local_addr()?.port()],
    });
    fs::write(PLACES, places.to_string())?;
    let drop_in = format!("/etc/systemd/system/{UNIT}.service.d/zz-escape.conf");
    // All of the unit stays but what runs in it, and what that is made of.
    let python = Path::new("/usr/bin/python3").canonicalize()?;
    let modules = Path::new("/usr/lib").join(python.file_name().context("a name")?);
    let program = format!(
        "[Service]\nType=oneshot\nRestart=no\nExecStartPre=\nExecStart=\nExecStopPost=\nExecPaths={} {}\n\
         ExecStart={} {SCRIPT} {PLACES} {RESULTS}\n",
        python.display(),
        modules.display(),
        python.display()
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
    figures.at_least("attempts", results.len(), 90);
    figures.exactly("done though not on the list, or refused though on it", unexpected.len(), 0);
    ensure!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}
