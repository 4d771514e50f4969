//! An attacker's code in the running service, in the sandbox of its unit under a real systemd: what it can write, read, start
//! and connect to. What is not on the list of what it may is refused.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::handler_story::{Extension, PATIENCE, observed};
use tests::story::{observing, wait_for};
use tests::systemd::Systemd;

use crate::figures::{Figures, Size};

const UNIT: &str = "akvvm_service";
const STORE: &str = "/opt/web/certs";
const VICTIM: &str = "/opt/web/victim";
const NEWER: &str = "/opt/web/newer";
const NEWER_SECRET: &str = "/etc/program/newer";
const NEWER_PUBLIC: &str = "/etc/newer";
const STATE: &str = "/var/lib/akvvm";
const SETTINGS: &str = "/var/lib/akvvm/accepted/0.settings";
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const SOCKET: &str = "/opt/web/socket";
const NEWER_SOCKET: &str = "/opt/web/newer.socket";
const NEWER_DATAGRAMS: &str = "/opt/web/newer.datagrams";
const NAMELESS: &str = "of somebody else";
/// What tries.
const PROGRAM: &str = include_str!("escape.py");
/// What runs it in the service.
const LIBRARY: &str = include_str!("escape.c");
const TAKEN_OVER: &str = "/opt/web/escape.so";
/// Where it lies, what it is told, and what it tells: where the service may read and write.
const SCRIPT: &str = "/opt/web/certs/escape.py";
const PLACES: &str = "/opt/web/certs/places.json";
const RESULTS: &str = "/opt/web/certs/results.json";
/// All that is done when it is tried: why this and no less is in `docs/campaigns.md`.
const ALLOWED: [&str; 13] = [
    "write to the store",
    "write to the status",
    "write to the log",
    "write to the state",
    "read the store",
    "read the status",
    "read the log",
    "read the state",
    "read the settings",
    "read the trusted roots",
    "read what the kernel says of the service itself",
    "be connected to the metadata service",
    "be connected to the vault",
];
/// Secrets of others, which this puts there.
const SECRETS: [(&str, &str); 18] = [
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
    ("a secret of a program's", "/etc/program/secret"),
    ("data of a program's", "/var/lib/program/data"),
    ("a program from elsewhere", "/opt/program/settings"),
    ("the keys and settings of other extensions", "/var/lib/waagent/Contoso.Other-1.0.0/config/0.settings"),
    ("a file of another's beside the store", "/opt/web/private"),
    ("a private file where programs do not use to have one", "/data/private"),
    ("a private file on another disk", "/srv/private"),
    ("a private file in a folder of its own on another disk", "/srv/deep/down/private"),
];
/// Sockets of programs that do what they are told, by a unit that listens there.
const BAIT: &str = "[Socket]\nListenStream=/run/docker.sock\nListenStream=/run/containerd/containerd.sock\n\
    ListenStream=/run/systemd/resolve/io.systemd.Resolve\nListenStream=/run/nscd/socket\n";
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
    fs::create_dir("/opt/web")?;
    fs::write(VICTIM, "of somebody else")?;
    for (_, path) in SECRETS {
        systemd.run("install", &["-D", "--mode=600", "--owner=1", VICTIM, path])?;
    }
    fs::write("/etc/systemd/system/bait.socket", BAIT)?;
    fs::write("/etc/systemd/system/bait.service", "[Service]\nExecStart=/bin/sleep infinity\n")?;
    systemd.run("systemctl", &["start", "bait.socket"])?;
    let _socket = UnixListener::bind(SOCKET)?;
    let outcome = extension.deploy(0, &observing(&[observed("web", STORE, &json!({}))]))?;
    ensure!(outcome.ready(), "{outcome:#?}");
    extension.agent.wait_for("success", PATIENCE)?;

    let elsewhere = TcpListener::bind("127.0.0.2:0")?;
    fs::copy(VICTIM, NEWER)?;
    let _newer = (UnixListener::bind(NEWER_SOCKET)?, UnixDatagram::bind(NEWER_DATAGRAMS)?);
    let _nameless = UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAMELESS)?)?;
    systemd.run("install", &["-D", "--mode=600", "--owner=1", VICTIM, NEWER_SECRET])?;
    systemd.run("install", &["-D", "--mode=644", VICTIM, NEWER_PUBLIC])?;
    let status = extension.agent.status_file()?;
    let (status, log) = (status.parent().context("a folder")?, extension.agent.log_folder()?);
    let mut read: BTreeMap<&str, &Path> = SECRETS.into_iter().map(|(name, path)| (name, Path::new(path))).collect();
    let system = [
        ("the store", STORE),
        ("the state", STATE),
        ("the settings", SETTINGS),
        ("the trusted roots", ROOTS),
        ("what the kernel says of the service itself", "/proc/self/status"),
        ("what everybody may read", "/etc/os-release"),
        ("what everybody may read of programs", "/usr/lib/os-release"),
        ("who the accounts are", "/etc/passwd"),
        ("what there is at the top", "/"),
        ("what there is on the way to the store", "/opt/web"),
        ("what configuration there is", "/etc"),
        ("a file of another's beside the store, newer than the sandbox", NEWER),
        ("a secret of a program's, newer than the sandbox", NEWER_SECRET),
        ("what everybody may read, newer than the sandbox", NEWER_PUBLIC),
    ];
    read.extend(system.map(|(name, path)| (name, Path::new(path))));
    read.extend([("the status", status), ("the log", &*log)]);
    let places = json!({
        "written": {
            "the store": STORE,
            "the status": status,
            "the log": log,
            "the state": STATE,
            "the programs": extension.agent.folder()?,
            "the settings, by which the dialer knows what it may connect to": SETTINGS,
            "another folder of the disk": "/opt/web",
        },
        "read": read,
        "victim": NEWER,
        "socket": SOCKET,
        "newer socket": NEWER_SOCKET,
        "newer datagrams": NEWER_DATAGRAMS,
        "nameless": NAMELESS,
        "loader": LOADERS.into_iter().find(|path| Path::new(path).exists()).context("no loader of programs")?,
        "another address": ["127.0.0.2", elsewhere.local_addr()?.port()],
    });
    fs::write(SCRIPT, PROGRAM)?;
    fs::write(PLACES, places.to_string())?;
    take_over(&systemd).with_context(|| {
        systemd.run("journalctl", &["--no-pager", "--lines=30", "--unit", UNIT]).unwrap_or_default()
    })?;
    let results: BTreeMap<String, String> = serde_json::from_slice(&fs::read(RESULTS)?)?;

    let is_allowed = |name: &str| ALLOWED.contains(&name);
    let done = |result: &String| result == "done";
    let untried: Vec<_> = ALLOWED.iter().filter(|name| !results.contains_key(**name)).collect();
    ensure!(untried.is_empty(), "not tried: {untried:?}");
    let unexpected: Vec<_> = results.iter().filter(|(name, result)| done(result) != is_allowed(name)).collect();
    for (name, result) in &results {
        figures.note(name, result);
    }
    figures.at_least("attempts", results.len(), 95);
    figures.exactly("done though not on the list, or refused though on it", unexpected.len(), 0);
    ensure!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}

/// Starts the service with the attacker's code in it. Nothing of its sandbox is changed, but that this code may be loaded.
fn take_over(systemd: &Systemd) -> Result<()> {
    let python = Path::new("/usr/bin/python3").canonicalize()?;
    let modules = Path::new("/usr/lib").join(python.file_name().context("a name")?);
    fs::write("/srv/escape.c", LIBRARY)?;
    let build = format!(
        "gcc -shared -fPIC /srv/escape.c -o {TAKEN_OVER} $($(uname -m)-linux-gnu-python3-config --includes --ldflags --embed)"
    );
    systemd.run("sh", &["-c", &build])?;
    let drop_in = format!(
        "[Service]\nExecPaths={TAKEN_OVER} {}\n\
         Environment=LD_PRELOAD={TAKEN_OVER} SCRIPT={SCRIPT} PLACES={PLACES} RESULTS={RESULTS}\n",
        modules.display()
    );
    fs::write(format!("/etc/systemd/system/{UNIT}.service.d/zz-escape.conf"), drop_in)?;
    systemd.run("systemctl", &["daemon-reload"])?;
    systemd.run("systemctl", &["restart", UNIT])?;
    wait_for(PATIENCE, "results", || Path::new(RESULTS).exists().then_some(()))
}
