//! Linux without systemd: the service is a process in a session of its own, which the handler leaves behind.
//!
//! It takes nothing of the agent with it: no terminal, no open file, no working directory, and of the environment only
//! what says where programs are and which language is spoken. What root wrote to `/etc/default/akvvm_service` is added.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use common::instance::Holder;
use common::text::bounded;
use rustix::fs::Mode;
use rustix::process::{Signal, setsid, umask};

use super::process::Process;
use super::{Launch, environment_file, running};

/// Where programs are when the agent did not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A new service holds its lock within this time, also on a machine that is just booting; the agent waits five minutes.
const START: Duration = Duration::from_secs(30);
/// The service ends within five seconds of SIGTERM.
const TERMINATION: Duration = Duration::from_secs(6);
/// A killed process is gone within this time, unless the kernel is in trouble.
const KILLING: Duration = Duration::from_secs(5);
/// So many instances are stopped, one after the other, before it is said that there is no end to them.
const INSTANCES: usize = 3;
/// How often it is looked whether the service has started.
const PAUSE: Duration = Duration::from_millis(20);
/// How many of the service's last lines are quoted.
const LINES: usize = 3;
/// How much of them, in characters.
const QUOTED: usize = 800;
/// How much of its log is looked at for them, in bytes.
const READ: u64 = 64 * 1024;

/// Starts the service, waits until it holds its lock, and says its process.
///
/// # Errors
/// It ended at once, with its last words, or did not get the lock; then it does not run.
pub(crate) fn start(launch: &Launch) -> Result<u32> {
    let log = launch.folders.log.as_deref().and_then(|folder| Log::open(folder).ok());
    let program = launch.program.display();
    let mut child = command(launch, log.as_ref())?.spawn().with_context(|| format!("{program} cannot be run"))?;
    let deadline = Instant::now() + START;
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("the service ended as soon as it was started ({status}): {}", last_words(log));
        }
        let holder = running(&launch.folders.state);
        if matches!(&holder, Ok(Some(holder)) if holder.pid == child.id()) {
            return Ok(child.id());
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            let reason = match holder {
                Ok(Some(other)) => format!("process {} ({}) holds its lock", other.pid, other.program.display()),
                Ok(None) => last_words(log),
                Err(error) => error.to_string(),
            };
            bail!("the service was not ready within {} s: {reason}", START.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

/// Stops the service that runs and says which one that was: SIGTERM, and SIGKILL when it does not listen.
///
/// # Errors
/// It is still there, or the lock does not tell who it is.
pub(crate) fn stop(state: &Path) -> Result<Option<Holder>> {
    let mut stopped = None;
    // A second instance may have waited for the lock of the first.
    for _ in 0..INSTANCES {
        let Some(holder) = running(state)? else { return Ok(stopped) };
        // The process was opened first: if the lock is still its holder's, then it is that process and no later one.
        if let Some(process) = Process::of(&holder)?
            && running(state)?.as_ref() == Some(&holder)
        {
            end(&process, holder.pid)?;
        }
        stopped = Some(holder);
    }
    match running(state)? {
        None => Ok(stopped),
        Some(other) => bail!("the service cannot be stopped: process {} ({}) runs", other.pid, other.program.display()),
    }
}

fn end(process: &Process, number: u32) -> Result<()> {
    process.send(Signal::TERM)?;
    if !process.ends_within(TERMINATION)? {
        log::warn!("the service (process {number}) did not end when asked, and is killed");
        process.send(Signal::KILL)?;
        process.ends_within(KILLING)?;
    }
    Ok(())
}

/// Lets the service of `holder` poll, and write its status, at once.
///
/// # Errors
/// It cannot be signalled.
pub(crate) fn poll_now(holder: &Holder) -> Result<()> {
    match Process::of(holder)? {
        Some(process) => process.send(Signal::HUP),
        None => Ok(()),
    }
}

fn command(launch: &Launch, log: Option<&Log>) -> Result<Command> {
    let mut command = Command::new(&launch.program);
    command.args(launch.run()).env_clear().envs(environment()).current_dir("/");
    let errors = log.map(|log| log.file.try_clone()).transpose()?.map_or_else(Stdio::null, Stdio::from);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let leave = || {
        // A process that was just forked leads no group yet, so this works.
        setsid()?;
        umask(Mode::RWXG | Mode::RWXO);
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are made: setsid and umask are plain system calls, and
    // nothing is allocated.
    unsafe { command.pre_exec(leave) };
    Ok(command)
}

/// What the service sees of the world. The agent's own variables are not for it.
fn environment() -> Vec<(OsString, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let mut variables = vec![("PATH".into(), path)];
    // The latter two are how the Azure Arc agent says where it is.
    for name in ["LANG", "IDENTITY_ENDPOINT", "IMDS_ENDPOINT"] {
        variables.extend(std::env::var_os(name).map(|value| (name.into(), value)));
    }
    let of_the_file = environment_file::read().unwrap_or_default();
    variables.extend(of_the_file.into_iter().map(|(name, value)| (name.into(), value.into())));
    variables
}

/// The service's log. What the service says before it can log goes there too (a library that is missing, wrong
/// arguments, a panic); that is little, as nothing comes after it.
struct Log {
    file: File,
    /// How long it was before the start.
    length: u64,
}

impl Log {
    fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("akvvm_service.log");
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { length: file.metadata()?.len(), file })
    }

    /// The last lines that were written since the start, in one.
    fn last_words(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.by_ref().take(READ).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        Ok(bounded(&lines[lines.len().saturating_sub(LINES)..].join("; "), QUOTED))
    }
}

fn last_words(log: Option<Log>) -> String {
    match log.and_then(|mut log| log.last_words().ok()) {
        Some(words) if !words.is_empty() => words,
        _ => "it said nothing".to_owned(),
    }
}
