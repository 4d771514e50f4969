//! What every story begins with: a machine in the emulated Azure, and the production service on it, run as it is.
//!
//! Waits are for conditions, and each has a limit; what was started ends with its owner.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Reported, judge};
use crate::azure::{Addresses, Azure};
use crate::bundle::Bundle;
use crate::handler_story::target;
use crate::pkcs12::Pfx;
use crate::pki::{Authority, Issued, Request};
use crate::world::World;

/// What the longest command of a story may take; most take a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(100);
/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// A production binary, built for the package.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = target()?.join("release").join(name);
    match path.is_file() {
        true => Ok(path),
        false => bail!("{}: is missing; build the production binaries with scripts/package", path.display()),
    }
}

/// Waits until `condition` gives something, at most `limit`; `what` completes "no … in time".
pub fn wait_for<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("no {what} within {limit:?}");
        }
        thread::sleep(GLANCE);
    }
}

/// A machine with a system-assigned identity that may read the vault `contoso`, and a folder for the service's files.
pub struct Story {
    /// The Azure around it.
    pub azure: Azure,
    /// Who issues its certificates, a root that a private world trusts and one intermediate.
    pub authority: Authority,
    folder: TempDir,
    world: Option<World>,
}

impl Story {
    /// Puts the calling thread into a private world where the names and addresses of Azure lead to the emulated one.
    pub fn begin() -> Result<Self> {
        Self::begin_with(Addresses::real())
    }

    /// The same with these addresses, such as `Addresses::real().with_proxy()`.
    pub fn begin_with(addresses: Addresses) -> Result<Self> {
        let world = World::enter()?;
        let story = Self::build(addresses, Some(world))?;
        story.world().connect(&story.azure)?;
        story.world().trust(&String::from_utf8(story.authority.root().to_pem()?)?)?;
        Ok(story)
    }

    /// Without a private world: ports on the loopback, reached through a proxy and a CA file.
    pub fn on_this_machine() -> Result<Self> {
        Self::build(Addresses::loopback(), None)
    }

    fn build(addresses: Addresses, world: Option<World>) -> Result<Self> {
        let azure = Azure::start(addresses)?;
        azure.create_vault("contoso");
        let folder = tempfile::Builder::new().prefix("story-").tempdir()?;
        fs::create_dir(folder.path().join("status"))?;
        Ok(Self { azure, authority: Authority::new("Contoso", 1)?, folder, world })
    }

    /// The private world.
    ///
    /// # Panics
    /// A story on this machine has none.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn world(&self) -> &World {
        self.world.as_ref().expect("this story has no world of its own")
    }

    /// The folder of this story's own files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the status goes.
    #[must_use]
    pub fn status_folder(&self) -> PathBuf {
        self.folder().join("status")
    }

    /// A certificate for `NAME.contoso.com`, valid for 90 days.
    pub fn issue(&self, name: &str) -> Result<Issued> {
        self.authority.issue(&Request::new(&format!("{name}.contoso.com")))
    }

    /// Puts a fresh certificate into the vault `contoso` as the service itself would. Answers it and its version.
    pub fn put(&self, name: &str) -> Result<(Issued, String)> {
        let issued = self.issue(name)?;
        let version = self.azure.put("contoso", name, issued.pfx(&Pfx::KEY_VAULT)?)?;
        Ok((issued, version))
    }

    /// Puts this value into the vault `contoso`. Answers its version.
    pub fn put_bundle(&self, name: &str, bundle: Bundle) -> Result<String> {
        self.azure.put("contoso", name, bundle)
    }

    /// `https://contoso.vault.azure.net/secrets/NAME`.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        self.azure.url("contoso", name)
    }

    /// Public settings that observe these secrets of the vault `contoso`.
    #[must_use]
    pub fn observing(&self, names: &[&str]) -> Value {
        let urls: Vec<Value> = names.iter().map(|name| json!(self.url(name))).collect();
        observing(&urls)
    }

    /// Writes `document` as `0.settings`.
    pub fn write_settings(&self, document: &Value) -> Result<PathBuf> {
        self.write_file("0.settings", &serde_json::to_vec(document)?)
    }

    /// Writes a file of the story.
    pub fn write_file(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.folder().join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// `akvvm_service` with these arguments, in this story's world and with its state.
    pub fn service(&self, arguments: &[&str]) -> Result<Command> {
        let program = binary("akvvm_service")?;
        let mut command = match &self.world {
            Some(world) => world.command(program),
            None => {
                let mut command = Command::new(program);
                command.env_clear().envs(self.azure.environment()).stdin(Stdio::null());
                command
            }
        };
        let (verb, others) = arguments.split_first().context("no verb")?;
        command.arg(verb);
        if matches!(*verb, "run" | "sync" | "ended") {
            command.arg("--state-folder").arg(self.folder().join("state"));
        }
        command.args(others);
        Ok(command)
    }

    /// The processes of the service that something in this world started, by their numbers outside of any machine in it: one
    /// at most, unless something is wrong.
    pub fn services(&self) -> Result<Vec<i32>> {
        let processes = self.world().processes()?.into_iter();
        Ok(processes.filter(|(_, words)| words.contains("akvvm_service run ")).map(|(id, _)| id).collect())
    }

    /// The one process of the service.
    pub fn only_service(&self) -> Result<i32> {
        match self.services()?[..] {
            [id] => Ok(id),
            ref others => bail!("not one process of the service but these: {others:?}"),
        }
    }

    /// `sync --json` with these settings.
    pub fn sync(&self, document: &Value) -> Result<Synced> {
        self.sync_with(document, &[])
    }

    /// The same with these variables in its environment.
    pub fn sync_with(&self, document: &Value, environment: &[(&str, &str)]) -> Result<Synced> {
        let settings = self.write_settings(document)?;
        let mut command = self.service(&["sync", &settings.to_string_lossy(), "--json"])?;
        let finished = finish(command.envs(environment.iter().copied()))?;
        let result = serde_json::from_str(&finished.output);
        Ok(Synced { result: result.with_context(|| format!("{finished:?}"))?, finished })
    }

    /// Starts `run --status-folder` with these settings.
    pub fn run(&self, document: &Value) -> Result<Service> {
        self.run_with(document, &[])
    }

    /// The same with these variables in its environment.
    pub fn run_with(&self, document: &Value, environment: &[(&str, &str)]) -> Result<Service> {
        self.run_as(document, &[], environment)
    }

    /// The same with these arguments, too.
    pub fn run_as(&self, document: &Value, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Service> {
        let settings = self.write_settings(document)?;
        let mut command = self.service(&["run", &settings.to_string_lossy(), "--status-folder"])?;
        command.arg(self.status_folder()).args(arguments).envs(environment.iter().copied());
        self.spawn(&mut command)
    }

    /// Starts a command that is the service and reports to the status folder; an older status is taken away before.
    pub fn spawn(&self, command: &mut Command) -> Result<Service> {
        let (log, status) = (self.folder().join("service.log"), self.status_folder().join("0.status"));
        if status.exists() {
            fs::remove_file(&status)?;
        }
        let (file, copy) = {
            let file = fs::OpenOptions::new().append(true).create(true).open(&log)?;
            (file.try_clone()?, file)
        };
        let child = command.stdout(file).stderr(copy).spawn().context("cannot start the service")?;
        Ok(Service { child, log, status })
    }
}

/// Tells one story for each of `cases` at the same time, because a thread can enter a few worlds only.
///
/// # Panics
/// When one of them does.
#[allow(clippy::panic, clippy::unwrap_used)]
pub fn each_in_a_world_of_its_own<C: Send>(cases: impl IntoIterator<Item = C>, tell: impl Fn(&Story, C) + Sync) {
    thread::scope(|scope| {
        let threads: Vec<_> =
            cases.into_iter().map(|case| scope.spawn(|| tell(&Story::begin().unwrap(), case))).collect();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// Public settings that observe these URLs (or objects) with the system-assigned identity.
#[must_use]
pub fn observing(certificates: &[Value]) -> Value {
    json!({"secretsManagementSettings": {"observedCertificates": certificates}})
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs a command to its end, or kills it when it takes too long.
pub fn finish(command: &mut Command) -> Result<Finished> {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start")?;
    let output = drain(child.stdout.take());
    let errors = drain(child.stderr.take());
    let status = wait_for(PATIENCE, "end of the command", || child.try_wait().ok().flatten());
    if status.is_err() {
        let _ = child.kill();
    }
    let read = |thread: thread::JoinHandle<String>| thread.join().unwrap_or_default();
    let (output, errors) = (read(output), read(errors));
    let status: ExitStatus = status.with_context(|| format!("{output}{errors}"))?;
    if let Some(signal) = status.signal() {
        bail!("ended by signal {signal}: {output}{errors}");
    }
    Ok(Finished { code: status.code(), output, errors, took: start.elapsed() })
}

fn drain(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth to be seen.
        let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What `sync --json` made of its settings.
#[derive(Debug)]
pub struct Synced {
    /// The JSON that it printed.
    pub result: Value,
    /// How it ended, and all that it printed.
    pub finished: Finished,
}

impl Synced {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.finished.code
    }

    /// The certificate at this place of the settings.
    #[must_use]
    pub fn certificate(&self, index: usize) -> &Value {
        &self.result["certificates"][index]
    }

    /// Code and message of a certificate's error; fails when it has none.
    pub fn error(&self, index: usize) -> Result<(i64, String)> {
        let error = &self.certificate(index)["error"];
        let code = error["code"].as_i64();
        let message = error["message"].as_str();
        code.zip(message.map(str::to_owned)).with_context(|| format!("certificate {index} has no error: {self:?}"))
    }

    /// Where a certificate was installed; fails when it was not, or something is to be said about it.
    pub fn place(&self, index: usize) -> Result<PathBuf> {
        let certificate = self.certificate(index);
        let place = certificate["place"].as_str().filter(|_| certificate["error"].is_null());
        place.map(PathBuf::from).with_context(|| format!("certificate {index} was not installed: {self:?}"))
    }
}

/// A service that runs until it is dropped.
pub struct Service {
    child: Child,
    log: PathBuf,
    status: PathBuf,
}

impl Service {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it said so far.
    pub fn log(&self) -> Result<String> {
        let mut bytes = Vec::new();
        File::open(&self.log)?.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What the guest agent reports of it now.
    #[must_use]
    pub fn reported(&self) -> Reported {
        judge("Microsoft.Azure.KeyVault.KeyVaultForLinux", &self.status)
    }

    /// Waits until what the agent reports fulfils `condition`.
    pub fn wait_until(&self, limit: Duration, condition: impl Fn(&Reported) -> bool) -> Result<Reported> {
        let reported = wait_for(limit, "such status", || Some(self.reported()).filter(|reported| condition(reported)));
        reported.with_context(|| format!("{:?}\n{}", self.reported(), self.log().unwrap_or_default()))
    }

    /// Waits until the log holds `words` at least `times` times.
    pub fn wait_for_log(&self, limit: Duration, words: &str, times: usize) -> Result<String> {
        let log = wait_for(limit, words, || self.log().ok().filter(|log| log.matches(words).count() >= times));
        log.with_context(|| self.log().unwrap_or_default())
    }

    /// Asks for a poll, as `systemctl reload` does, and waits until a pass that began after it is over.
    pub fn poll(&self) -> Result<()> {
        const BEGUN: &str = "polling now, as asked";
        let before = self.log()?.matches(BEGUN).count();
        self.signal(Signal::HUP)?;
        let over = wait_for(PATIENCE, "poll", || {
            let log = self.log().ok()?;
            let since = log.match_indices(BEGUN).nth(before).map(|(at, _)| &log[at..])?;
            since.contains("next poll in").then_some(())
        });
        over.with_context(|| self.log().unwrap_or_default())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        Ok(kill_process(id, signal)?)
    }

    /// Sends TERM; answers the exit code, and how long it took.
    pub fn end(mut self) -> Result<(Option<i32>, Duration)> {
        let start = Instant::now();
        self.signal(Signal::TERM)?;
        let code = self.wait()?;
        Ok((code, start.elapsed()))
    }

    /// Waits until it ends by itself; answers the exit code.
    pub fn wait(&mut self) -> Result<Option<i32>> {
        Ok(wait_for(PATIENCE, "end of the service", || self.child.try_wait().ok().flatten())?.code())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
