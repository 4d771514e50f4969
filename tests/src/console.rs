//! The console of an emulator that runs as a program: carries out orders, one after the other.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::azure::Azure;
use crate::catalogue::Kind;
use crate::fault::{Scope, Times, host_of};
use crate::operator::Operator;
use crate::order::{Letter, Order};
use crate::pki::Authority;

/// What an emulator as a program has beside the emulated Azure.
pub struct Console<'a> {
    azure: &'a Azure,
    authority: Authority,
    kinds: HashMap<(String, String), (Kind, String)>,
    operator: Operator<'a>,
}

impl<'a> Console<'a> {
    /// A console for `azure`, with an authority for the certificates that are asked for.
    pub fn new(azure: &'a Azure, operator: Operator<'a>) -> Result<Self> {
        Ok(Self { azure, authority: Authority::new("Example", 1)?, kinds: HashMap::new(), operator })
    }

    /// Who issues the certificates, for a machine that is to trust them, in PEM.
    pub fn root_pem(&self) -> Result<String> {
        Ok(String::from_utf8(self.authority.root().to_pem()?)?)
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
                self.azure.fault(scope, how.fault(), times.map_or(Times::Always, Times::Next));
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
            Order::Goal { package, settings, sequence } => {
                let read = |path: &PathBuf| {
                    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
                    serde_json::from_str(&text).with_context(|| path.display().to_string())
                };
                let settings = settings.as_ref().map(read).transpose()?;
                self.operator.apply(&package, sequence, settings)
            }
            Order::Status => self.operator.status(),
            Order::Remove => self.operator.remove(),
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
        self.kinds.insert((host_of(vault), name.to_owned()), (kind, dns));
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
            let status = request.status.map_or("-".to_owned(), |status| status.to_string());
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

fn done(result: Result<()>) -> Result<String> {
    result.map(|()| String::new())
}

fn day(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.to_zoned(TimeZone::UTC).date().to_string()
}
