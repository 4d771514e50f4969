//! Orders to an emulator that runs as a program: over a Unix socket comes an order, back goes the text to print.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent::{Agent, Goal};
use crate::azure::Azure;
use crate::catalogue::{Breakage, Kind};
use crate::fault::{Scope, Times, host_of};
use crate::pki::Authority;

/// Something that a running emulator is told to do.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
pub enum Order {
    /// Create a secret, or a new version of it
    Put {
        /// The secret's name
        name: String,
        /// What it holds
        #[arg(long, value_enum, default_value = "rsa-pfx")]
        kind: Kind,
        /// The certificate's DNS name [default: NAME.example.com]
        #[arg(long)]
        dns: Option<String>,
    },
    /// Renew a certificate: a new version with a new key, of the same kind
    Renew {
        /// The secret's name
        name: String,
    },
    /// Make something go wrong
    Break {
        /// The secret's name; the whole vault without it
        name: Option<String>,
        /// What goes wrong
        #[arg(long, value_enum, default_value = "forbidden")]
        how: Breakage,
        /// How many requests it strikes; all without it
        #[arg(long)]
        times: Option<u32>,
    },
    /// End what `break` began
    Repair {
        /// The secret's name; without it the whole vault, and the metadata service
        name: Option<String>,
    },
    /// Disable the newest version
    Disable {
        /// The secret's name
        name: String,
    },
    /// Enable the newest version again
    Enable {
        /// The secret's name
        name: String,
    },
    /// Delete a secret
    Delete {
        /// The secret's name
        name: String,
    },
    /// Show the secrets of all vaults
    List,
    /// Show the requests so far
    Requests,
    /// Have the emulated guest agent process a goal state: install, enable or update an extension
    Goal {
        /// The extension's package, `<name>-<version>.zip`
        package: PathBuf,
        /// A file with the public settings
        settings: Option<PathBuf>,
        /// The sequence number of the settings
        #[arg(long, default_value_t = 0)]
        sequence: u32,
    },
    /// Show the extension's status as the guest agent would report it
    Status,
    /// Have the guest agent remove the extension
    Remove,
}

impl Order {
    /// The same with paths that mean the same in another process.
    pub fn with_absolute_paths(mut self) -> Result<Self> {
        if let Self::Goal {
            package, settings, ..
        } = &mut self
        {
            *package = std::path::absolute(&package)?;
            if let Some(settings) = settings {
                *settings = std::path::absolute(&settings)?;
            }
        }
        Ok(self)
    }
}

/// An order with the vault that it is about, as it goes over the socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Letter {
    /// The vault's name or host.
    pub vault: String,
    /// What to do.
    pub order: Order,
}

/// What an emulator as a program has beside the emulated Azure.
pub struct Console<'a> {
    azure: &'a Azure,
    authority: Authority,
    kinds: HashMap<(String, String), (Kind, String)>,
    agent: Agent,
}

impl<'a> Console<'a> {
    /// A console for `azure`, with an authority for the certificates that are asked for.
    pub fn new(azure: &'a Azure, agent: Agent) -> Result<Self> {
        Ok(Self {
            azure,
            authority: Authority::new("Example", 1)?,
            kinds: HashMap::new(),
            agent,
        })
    }

    /// Carries out one order; answers the text to print.
    pub fn carry_out(&mut self, vault: &str, order: Order) -> Result<String> {
        let host = host_of(vault);
        let scope = |name: Option<String>| match name {
            Some(name) => Scope::secret(vault, &name),
            None => Scope::vault(vault),
        };
        match order {
            Order::Put { name, kind, dns } => {
                let dns = dns.unwrap_or_else(|| format!("{name}.example.com"));
                self.put(vault, &name, kind, dns)
            }
            Order::Renew { name } => {
                let known = self.kinds.get(&(host, name.clone())).cloned();
                let (kind, dns) = known.with_context(|| format!("{name}: put it first"))?;
                self.put(vault, &name, kind, dns)
            }
            Order::Break { name, how, times } => {
                let scope = match how.of_imds() {
                    true => Scope::Imds,
                    false => scope(name),
                };
                self.azure
                    .fault(scope, how.fault(), times.map_or(Times::Always, Times::Next));
                Ok(String::new())
            }
            Order::Repair { name } => {
                if name.is_none() {
                    self.azure.repair(&Scope::Imds);
                }
                self.azure.repair(&scope(name));
                Ok(String::new())
            }
            Order::Disable { name } => done(self.azure.disable(vault, &name)),
            Order::Enable { name } => done(self.azure.enable_newest(vault, &name, true)),
            Order::Delete { name } => done(self.azure.delete(vault, &name)),
            Order::List => self.list(),
            Order::Requests => Ok(self.requests()),
            Order::Goal {
                package,
                settings,
                sequence,
            } => {
                let goal = match settings {
                    Some(path) => {
                        let text = fs::read_to_string(&path);
                        let text = text.with_context(|| path.display().to_string())?;
                        let settings = serde_json::from_str(&text);
                        let settings = settings.with_context(|| path.display().to_string())?;
                        Goal::new(&package, sequence, settings)
                    }
                    None => Goal::without_settings(&package),
                };
                let outcome = self.agent.apply(&goal)?;
                Ok(report(
                    &outcome.runs,
                    outcome.handler.as_ref().map(|handler| &handler.message),
                ))
            }
            Order::Status => {
                let status = self.agent.status()?;
                let word = status.status.unwrap_or_else(|| "none".to_owned());
                let mut text = format!("{word}: {}\n", status.message.unwrap_or_default());
                for part in status.substatus {
                    let name = part.name.unwrap_or_default();
                    let message = part.message.unwrap_or_default();
                    writeln!(text, "  {name}: {}: {message}", part.status)?;
                }
                Ok(text)
            }
            Order::Remove => {
                let outcome = self.agent.uninstall()?;
                Ok(report(
                    &outcome.runs,
                    outcome.handler.as_ref().map(|handler| &handler.message),
                ))
            }
        }
    }

    /// Carries out what comes over the socket, one order a connection, until the socket is shut down.
    pub fn serve(&mut self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            // A client that goes away in between has its order carried out and no answer.
            let _ = self.answer(stream);
        }
    }

    fn answer(&mut self, stream: UnixStream) -> Result<()> {
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let result = serde_json::from_str::<Letter>(&line)
            .context("not an order")
            .and_then(|letter| self.carry_out(&letter.vault, letter.order));
        let answer = match result {
            Ok(text) => json!({"text": text}),
            Err(error) => json!({"error": format!("{error:#}")}),
        };
        (&stream).write_all(answer.to_string().as_bytes())?;
        Ok(())
    }

    fn put(&mut self, vault: &str, name: &str, kind: Kind, dns: String) -> Result<String> {
        let bundle = kind.bundle(&self.authority, &dns)?;
        let version = self.azure.put(vault, name, bundle)?;
        self.kinds
            .insert((host_of(vault), name.to_owned()), (kind, dns));
        Ok(format!("{}/{version}\n", self.azure.url(vault, name)))
    }

    fn list(&self) -> Result<String> {
        let mut text = String::new();
        for host in self.azure.hosts() {
            self.azure.vault(&host, |vault| {
                for secret in vault.secrets.values() {
                    let Some(newest) = secret.newest() else {
                        continue;
                    };
                    let state = match (secret.deleted, newest.enabled) {
                        (true, _) => "deleted",
                        (_, true) => "enabled",
                        (_, false) => "disabled",
                    };
                    let expires = newest.bundle.validity.map(|(_, expires)| day(expires));
                    let _ = writeln!(
                        text,
                        "https://{host}/secrets/{}  {} of {} versions  {state}  expires {}",
                        secret.name,
                        newest.id,
                        secret.versions.len(),
                        expires.as_deref().unwrap_or("never"),
                    );
                }
            })?;
        }
        Ok(text)
    }

    fn requests(&self) -> String {
        let mut text = String::new();
        for request in self.azure.requests() {
            let at = Timestamp::try_from(request.at).unwrap_or_default();
            let status = request
                .status
                .map_or("-".to_owned(), |status| status.to_string());
            let _ = writeln!(
                text,
                "{}  {:?}  {status}  {} {}{}",
                at.strftime("%H:%M:%S%.3f"),
                request.server,
                request.method,
                request.host,
                request.path
            );
        }
        text
    }
}

/// Sends an order to the emulator in this folder; answers the text to print.
pub fn send(folder: &Path, letter: &Letter) -> Result<String> {
    let path = folder.join("control");
    let mut stream = UnixStream::connect(&path).with_context(|| {
        format!(
            "{}: no emulator answers; start one with `azure-emulator run`",
            path.display()
        )
    })?;
    stream.write_all(format!("{}\n", json!(letter)).as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let answer: Value = serde_json::from_str(&answer).context("the emulator ended")?;
    match answer["error"].as_str() {
        Some(error) => bail!("{error}"),
        None => Ok(answer["text"].as_str().unwrap_or_default().to_owned()),
    }
}

fn done(result: Result<()>) -> Result<String> {
    result.map(|()| String::new())
}

/// The commands that the agent ran and what it made of them.
fn report(runs: &[crate::agent::Run], message: Option<&String>) -> String {
    let mut text = String::new();
    for run in runs {
        let exit = run
            .exit
            .map_or("killed".to_owned(), |exit| format!("exit {exit}"));
        let _ = writeln!(
            text,
            "{} {}: {exit} after {:.1?}",
            run.verb.name(),
            run.version,
            run.duration
        );
        for line in run.stdout.lines().chain(run.stderr.lines()) {
            let _ = writeln!(text, "  {line}");
        }
    }
    let _ = writeln!(text, "{}", message.map_or("removed", String::as_str));
    text
}

fn day(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.to_zoned(TimeZone::UTC).date().to_string()
}
