//! `afterRenewal`: what happens on this machine when a certificate's link has moved.
//!
//! Settings may come from somebody who is not allowed to run code here. So they name units and hooks, which root on the
//! machine has put there, and nothing else. The types are read from files, too, and refuse there what they refuse here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keys::Place;
use super::reader::{Findings, Node};
use crate::text::excerpt;

/// What is to be done for a certificate after its link has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AfterRenewal {
    /// Each once, in the order in which they are done.
    pub actions: Vec<Action>,
    /// The longest pause before the first action, chosen at random below it. Without one, restarts alone are spread.
    pub splay: Option<Duration>,
    /// Whether the first installation of the certificate counts as a renewal.
    pub on_first_install: bool,
}

/// One thing to do. The order is the order in which things are done for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Run a program of root's.
    Hook(HookName),
    /// Let a unit read its files again.
    Reload(UnitName),
    /// Stop a unit and start it.
    Restart(UnitName),
    /// See which certificate a server shows.
    Verify(Verify),
}

/// The name of a systemd service, `….service` (systemd.unit(5)), none of this product's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(String);

/// The name of a program in the folder of hooks: letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HookName(String);

/// A TLS server of this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// Where it listens.
    pub connect: SocketAddr,
    /// The name that is asked for (SNI).
    pub server_name: ServerName,
}

/// A host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName(String);

/// Of a unit and of a file, in bytes.
const LONGEST_NAME: usize = 255;
/// A renewal that waits longer than this for its applications is an outage in the making.
const LONGEST_SPLAY: u32 = 24 * 3600;

impl AfterRenewal {
    /// Reads the setting; `None` when something of it is wrong.
    pub(super) fn parse(node: &Node<'_>, findings: &mut Findings) -> Option<Self> {
        if !node.is_object() {
            findings.error(node.path(), node.mismatch("an object"));
            return None;
        }
        node.warn_about_all_but(Place::AfterRenewal, findings);
        let hooks = names(node, "hooks", HookName::try_from, findings);
        let reload = names(node, "reload", UnitName::try_from, findings);
        let restart = names(node, "restart", UnitName::try_from, findings);
        let verify = match node.child("verify") {
            Some(node) => Verify::parse(&node, findings).map(Some),
            None => Some(None),
        };
        let splay = match node.child("splayInS") {
            Some(node) => node.seconds_in(0..=LONGEST_SPLAY, "120", findings).map(Some),
            None => Some(None),
        };
        let on_first_install = match node.child("onFirstInstall") {
            Some(node) => node.boolean(findings),
            None => Some(false),
        };
        let hooks = hooks?.into_iter().map(Action::Hook);
        let units = reload?.into_iter().map(Action::Reload).chain(restart?.into_iter().map(Action::Restart));
        let mut actions: Vec<Action> = hooks.chain(units).chain(verify?.map(Action::Verify)).collect();
        actions.sort();
        actions.dedup();
        let splay = splay?.map(|seconds| Duration::from_secs(seconds.into()));
        Some(Self { actions, splay, on_first_install: on_first_install? })
    }

    /// As `check --json` shows it.
    pub fn to_json(&self) -> Value {
        let actions: Vec<String> = self.actions.iter().map(ToString::to_string).collect();
        json!({
            "actions": actions,
            "splayInS": self.splay.map(|splay| splay.as_secs()),
            "onFirstInstall": self.on_first_install,
        })
    }
}

fn names<T>(
    node: &Node<'_>,
    key: &str,
    parse: impl Fn(String) -> Result<T, String>,
    findings: &mut Findings,
) -> Option<Vec<T>> {
    let Some(list) = node.child(key) else { return Some(Vec::new()) };
    let items = list.list(findings)?;
    items.map(|item| item.parsed(findings, |text| parse(text.to_owned()))).collect()
}

impl Action {
    /// What comes before what: hooks may prepare what units read, and a server is looked at when it has read it.
    pub fn stage(&self) -> u8 {
        match self {
            Self::Hook(_) => 0,
            Self::Reload(_) | Self::Restart(_) => 1,
            Self::Verify(_) => 2,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(name) => write!(f, "hook {}", name.0),
            Self::Reload(unit) => write!(f, "reload {}", unit.0),
            Self::Restart(unit) => write!(f, "restart {}", unit.0),
            Self::Verify(Verify { connect, server_name }) => write!(f, "verify {connect} ({})", server_name.0),
        }
    }
}

impl UnitName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UnitName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused =
            |reason: &str| Err(format!("\"{}\" {reason}: write a name such as nginx.service", excerpt(&text)));
        let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '@' | '\\');
        let Some(stem) = text.strip_suffix(".service") else { return refused("is not the name of a service unit") };
        if stem.is_empty() || stem.starts_with(['-', '.']) || stem.ends_with('@') || !stem.chars().all(is_known) {
            refused("is not the name of a unit")
        } else if text.len() > LONGEST_NAME {
            refused("is too long")
        } else if stem.starts_with("akvvm_") {
            refused("is this extension's own unit")
        } else {
            Ok(Self(text))
        }
    }
}

impl HookName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HookName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = |reason: &str| {
            Err(format!(
                "\"{}\" {reason}: write the name of a file in /etc/akvvm/hooks.d, such as deploy-tomcat",
                excerpt(&text)
            ))
        };
        let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.contains(['/', '\\']) {
            refused("is a path")
        } else if text.contains(' ') {
            refused("is a command: hooks get no arguments")
        } else if text.is_empty() || text.starts_with(['-', '.']) || !text.chars().all(is_known) {
            refused("is not the name of a hook")
        } else if text.len() > LONGEST_NAME {
            refused("is too long")
        } else {
            Ok(Self(text))
        }
    }
}

impl Verify {
    fn parse(node: &Node<'_>, findings: &mut Findings) -> Option<Self> {
        let form = "write {\"connect\": \"127.0.0.1:443\", \"serverName\": \"www.contoso.com\"}";
        if !node.is_object() {
            findings.error(node.path(), node.mismatch("an object"));
            return None;
        }
        node.warn_about_all_but(Place::Verify, findings);
        let mut child = |key: &str| {
            let child = node.child(key);
            if child.is_none() {
                findings.error(&format!("{}.{key}", node.path()), format!("is missing: {form}"));
            }
            child
        };
        let (connect, server_name) = (child("connect"), child("serverName"));
        let connect = connect.and_then(|node| node.parsed(findings, own_address));
        let server_name =
            server_name.and_then(|node| node.parsed(findings, |text| ServerName::try_from(text.to_owned())));
        Some(Self { connect: connect?, server_name: server_name? })
    }
}

/// An address with a port; whether it is this machine's own is seen when it is used.
fn own_address(text: &str) -> Result<SocketAddr, String> {
    let local = |port: &str| port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let address = text.strip_prefix("localhost:").map_or_else(|| text.parse().ok(), local);
    let advice = "write an address of this machine with a port, such as 127.0.0.1:443";
    match address {
        Some(address) if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() => {
            Err(format!("\"{}\" is nobody's address: {advice}", excerpt(text)))
        }
        Some(address) => Ok(address),
        None => Err(format!("\"{}\" is no address: {advice}", excerpt(text))),
    }
}

impl ServerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServerName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        match text.len() <= 253 && text.split('.').all(is_label) {
            true => Ok(Self(text)),
            false => Err(format!("\"{}\" is no host name: write one such as www.contoso.com", excerpt(&text))),
        }
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> Self {
        name.0
    }
}

impl From<HookName> for String {
    fn from(name: HookName) -> Self {
        name.0
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests;
