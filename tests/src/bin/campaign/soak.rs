//! A year and more of polls of the running service, one right after the other: of twenty certificates one in twenty meets a
//! fault at each. What the service holds must not grow, and what it writes must not either.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::fault::{Fault, Scope, Times};
use tests::handler_story::{Extension, observed};
use tests::notify_socket::NotifySocket;
use tests::refusal::Refusal;
use tests::story::{Service, observing, wait_for};
use tests::wire::Wire;

use crate::figures::{Figures, Size};
use crate::scenario::STORE;

const CERTIFICATES: usize = 20;
/// One in so many meets a fault at a poll.
const ONE_IN: usize = 20;
/// From here on nothing may grow.
const SETTLED: usize = 100;
/// The loop, and who waits for signals.
const IDLE_THREADS: usize = 2;
/// A renewal at each of these.
const RENEWED_EVERY: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);
/// Five files of 10 MB are kept.
const LARGEST_LOG: u64 = 50 * 1024 * 1024;
const KIB: u64 = 1024;

pub(crate) fn run(size: Size, figures: &mut Figures) -> Result<()> {
    let extension = Extension::begin()?;
    let names: Vec<String> = (0..CERTIFICATES).map(|number| format!("cert{number}")).collect();
    let mut newest = Vec::new();
    for name in &names {
        newest.push(extension.story.put(name)?.1);
    }
    let certificates: Vec<Value> =
        names.iter().map(|name| observed(name, STORE, &json!({"keepVersions": 2}))).collect();
    let logs = extension.story.folder().join("logs");
    fs::create_dir(&logs)?;
    let mut socket = NotifySocket::named("soak")?;
    let arguments = ["--log-folder", logs.to_str().context("no text")?];
    let environment = [("NOTIFY_SOCKET", socket.name())];
    let service = extension.story.run_as(&observing(&certificates), &arguments, &environment)?;
    socket.wait_for(PATIENCE, |line| line.starts_with("STATUS="))?;

    let mut random = fastrand::Rng::with_seed(20_231_114);
    let (polls, mut faults, mut requests, mut renewals) = (size.of(300, 2_000, 10_000), 0, 0, 0);
    let mut settled = None;
    let is_current = |name: &str, version: &str| {
        let target = fs::read_link(Path::new(STORE).join(format!("contoso.{name}")));
        target.is_ok_and(|target| target == Path::new(&format!("contoso.{name}.{version}")))
    };
    for poll in 0..polls {
        for name in &names {
            if random.usize(..ONE_IN) == 0 {
                faults += 1;
                extension.story.azure.fault(Scope::secret("contoso", name), fault(&mut random), Times::Next(1));
            }
        }
        if poll % RENEWED_EVERY == 0 {
            renewals += 1;
            let which = random.usize(..CERTIFICATES);
            newest[which] = extension.story.put(&names[which])?.1;
            // Older ones are forgotten: a list that grows for ever would be what is measured.
            extension.story.azure.secret("contoso", &names[which], |secret| {
                let old = secret.versions.len().saturating_sub(2);
                secret.versions.drain(..old);
            })?;
        }
        make_poll(&service, &mut socket)?;
        requests += extension.story.azure.requests().len();
        extension.story.azure.forget_requests();
        if poll == SETTLED {
            settled = Some(Held::at_rest(&service)?);
        }
    }
    for name in &names {
        extension.story.azure.repair(&Scope::secret("contoso", name));
    }
    make_poll(&service, &mut socket)?;
    let (before, after) = (settled.context("too few polls")?, Held::at_rest(&service)?);
    let behind = names.iter().zip(&newest).filter(|(name, version)| !is_current(name, version)).count();
    let log =
        fs::read_dir(&logs)?.map(|entry| entry?.metadata()).map(|data| data.map_or(0, |data| data.len())).sum::<u64>();

    figures.note("polls", polls);
    figures.at_least("requests", requests, polls * CERTIFICATES);
    figures.note("faults", faults);
    figures.note("renewals", renewals);
    figures.exactly("certificates behind after the last poll, which meets no fault", behind, 0);
    figures.note(&format!("descriptors after poll {SETTLED}"), before.descriptors);
    figures.exactly("descriptors at the end", after.descriptors, before.descriptors);
    figures.exactly("threads at the end", after.threads, before.threads);
    figures.note(&format!("memory after poll {SETTLED}, KiB"), before.memory);
    figures.at_most("growth of memory since, KiB", after.memory.saturating_sub(before.memory), KIB);
    figures.at_most("log, bytes", log, LARGEST_LOG);
    figures.exactly("exit code when it is asked to end", service.end()?.0.unwrap_or(-1), 0);
    Ok(())
}

/// Something that passes by itself and takes no time.
fn fault(random: &mut fastrand::Rng) -> Fault {
    match random.usize(..9) {
        0 => Wire::Reset.into(),
        1 => Wire::Truncated.into(),
        2 => Wire::Close.into(),
        3 => Wire::Garbage.into(),
        4 => Fault::Html,
        5 => Fault::Big(2 * 1024 * 1024),
        6 => Refusal::ForbiddenByRbac.into(),
        7 => Refusal::SecretNotFound.into(),
        _ => Refusal::InvalidToken.into(),
    }
}

/// A poll from its beginning to its end: the service says how it stands when it is woken, and again when the pass is over.
fn make_poll(service: &Service, socket: &mut NotifySocket) -> Result<()> {
    service.signal(Signal::HUP)?;
    socket.wait_for(PATIENCE, |line| line == "READY=1")?;
    for _ in 0..2 {
        socket.wait_for(PATIENCE, |line| line.starts_with("STATUS="))?;
    }
    Ok(())
}

/// What a process holds between two passes.
struct Held {
    descriptors: usize,
    threads: usize,
    /// In KiB.
    memory: u64,
}

impl Held {
    /// What it holds when the threads of the last pass, which may still be on their way out, are gone.
    fn at_rest(service: &Service) -> Result<Self> {
        let idle = || Self::by(service).ok().filter(|held| held.threads <= IDLE_THREADS);
        // With threads that stay, a goal is missed, and the figures say so.
        wait_for(PATIENCE, "rest", idle).or_else(|_| Self::by(service))
    }

    fn by(service: &Service) -> Result<Self> {
        let process = PathBuf::from(format!("/proc/{}", service.id()));
        let status = fs::read_to_string(process.join("status"))?;
        let memory =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        Ok(Self {
            descriptors: fs::read_dir(process.join("fd"))?.count(),
            threads: fs::read_dir(process.join("task"))?.count(),
            memory: memory.context("no VmRSS")?,
        })
    }
}
