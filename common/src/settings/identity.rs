//! Which managed identity asks for the certificates, and where its tokens come from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::keys::{Place, Root, Section};
use super::reader::{Findings, Node};
use crate::text::excerpt;

/// A managed identity of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Where tokens are asked for.
    pub endpoint: Endpoint,
    /// Which of the machine's identities.
    pub selector: Selector,
}

/// Which of the machine's identities.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The system-assigned identity.
    SystemAssigned,
    /// A user-assigned identity by its client id, a GUID in lower case.
    ClientId(String),
    /// A user-assigned identity by its ARM resource id.
    ResourceId(String),
    /// A user-assigned identity by its object id: what settings gave as a client id, and is none.
    ObjectId(String),
}

/// The token endpoint: the instance metadata service, or something on the loopback interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: Host,
    port: u16,
    path: String,
    protocol: Protocol,
}

/// How tokens are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The instance metadata service's: who reaches it gets a token.
    Metadata,
    /// The Azure Arc agent's: who asks must show that it may read the agent's key file.
    Arc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Host {
    Metadata,
    Localhost,
    LoopbackV4,
    LoopbackV6,
}

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Where the Azure Arc agent listens.
const ARC_PORT: u16 = 40342;
/// By these two variables the Azure Arc agent tells the services of its machine where it is.
const ARC_VARIABLE: &str = "IDENTITY_ENDPOINT";
const ARC_COMPANION: &str = "IMDS_ENDPOINT";

impl Selector {
    /// What the settings call it, if they name one.
    pub fn configured(&self) -> Option<&str> {
        match self {
            Self::SystemAssigned => None,
            Self::ClientId(id) | Self::ResourceId(id) | Self::ObjectId(id) => Some(id),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SystemAssigned => f.write_str("the system-assigned identity"),
            Self::ClientId(id) => write!(f, "the user-assigned identity {id}"),
            Self::ResourceId(id) => write!(f, "the user-assigned identity {id}"),
            Self::ObjectId(id) => {
                write!(
                    f,
                    "the user-assigned identity with the object id {id}: write its client id as msiClientId instead"
                )
            }
        }
    }
}

impl Endpoint {
    /// The instance metadata service of an Azure VM.
    pub fn metadata_service() -> Self {
        Self {
            host: Host::Metadata,
            port: 80,
            path: "/metadata/identity/oauth2/token".to_owned(),
            protocol: Protocol::Metadata,
        }
    }

    /// How tokens are asked for there.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The address to connect to. `localhost` is the loopback address, whatever a name service says of it.
    pub fn address(&self) -> SocketAddr {
        let ip = match self.host {
            Host::Metadata => IpAddr::V4(METADATA),
            Host::Localhost | Host::LoopbackV4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::LoopbackV6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        SocketAddr::new(ip, self.port)
    }

    /// The path of the token endpoint, from its slash on.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wanted = "write http://169.254.169.254/metadata/identity, or leave it out";
        let refused = |reason: String| format!("\"{}\" {reason}: {wanted}", excerpt(text));
        let trimmed = text.trim();
        if trimmed.chars().any(|c| !c.is_ascii_graphic() || matches!(c, '@' | '\\' | '#' | '%')) {
            return Err(refused("holds a character that has no place here".to_owned()));
        }
        let Some(rest) =
            trimmed.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).map(|_| &trimmed[7..])
        else {
            return Err(refused("must begin with http://".to_owned()));
        };
        let rest = rest.split('?').next().unwrap_or_default();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            None => (authority, 80),
            Some((host, port)) => (
                host,
                port.parse().ok().filter(|port| *port > 0).ok_or_else(|| refused("has no valid port".to_owned()))?,
            ),
        };
        let host = match host.to_ascii_lowercase().as_str() {
            "169.254.169.254" => Host::Metadata,
            "localhost" => Host::Localhost,
            "127.0.0.1" => Host::LoopbackV4,
            "[::1]" => Host::LoopbackV6,
            _ => return Err(refused("names neither the metadata service (169.254.169.254) nor localhost".to_owned())),
        };
        let protocol = if host != Host::Metadata && port == ARC_PORT { Protocol::Arc } else { Protocol::Metadata };
        Ok(Self { host, port, path: token_path(path).map_err(refused)?, protocol })
    }

    /// What the Azure Arc agent calls its endpoint, on whichever port of this machine.
    fn parse_arc(text: &str) -> Result<Self, String> {
        match Self::parse(text)? {
            Self { host: Host::Metadata, .. } => {
                Err(format!("\"{}\" is not on this machine: the Azure Arc agent's is at localhost", excerpt(text)))
            }
            endpoint => Ok(Self { protocol: Protocol::Arc, ..endpoint }),
        }
    }
}

/// Where the Azure Arc agent says that it is, in an environment.
pub(super) fn arc_of(environment: impl Fn(&str) -> Option<String>) -> Option<String> {
    let variable = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    variable(ARC_COMPANION).and_then(|_| variable(ARC_VARIABLE))
}

/// Every documented spelling means the token endpoint below it.
fn token_path(path: &str) -> Result<String, String> {
    let path = path.trim_end_matches('/');
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("has . or .. in its path".to_owned());
    }
    Ok(if path.is_empty() {
        "/metadata/identity/oauth2/token".to_owned()
    } else if path.ends_with("oauth2/token") {
        format!("/{path}")
    } else {
        format!("/{path}/oauth2/token")
    })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.host {
            Host::Metadata => "169.254.169.254",
            Host::Localhost => "localhost",
            Host::LoopbackV4 => "127.0.0.1",
            Host::LoopbackV6 => "[::1]",
        };
        write!(f, "http://{host}")?;
        if self.port != 80 {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

/// `authenticationSettings`; absent or empty means the system-assigned identity. `arc` is where the Azure Arc agent says
/// that it is, for settings that name no endpoint.
pub(super) fn parse(root: &Root<'_>, arc: Option<&str>, findings: &mut Findings) -> Option<Identity> {
    let endpoint = root.get(Section::Authentication, "msiEndpoint", findings);
    let endpoint = match endpoint.filter(|node| node.text().is_none_or(|text| !text.trim().is_empty())) {
        Some(node) => node.parsed(findings, Endpoint::parse),
        None => match arc.map_or_else(|| Ok(Endpoint::metadata_service()), Endpoint::parse_arc) {
            Ok(endpoint) => Some(endpoint),
            Err(reason) => {
                findings.error(&format!("the environment variable {ARC_VARIABLE}"), reason);
                None
            }
        },
    };
    let selector = match root.get(Section::Authentication, "msiClientId", findings) {
        Some(node) => node.parsed(findings, selector),
        None => Some(Selector::SystemAssigned),
    };
    Some(Identity { endpoint: endpoint?, selector: selector? })
}

/// `authenticationOverride` of a certificate: another identity at the same endpoint.
pub(super) fn parse_override(node: &Node<'_>, general: Option<&Identity>, findings: &mut Findings) -> Option<Identity> {
    if !node.is_object() {
        findings.error(node.path(), node.mismatch("an object"));
        return None;
    }
    node.warn_about_all_but(Place::Override, findings);
    let Some(id) = node.child("msiClientId") else {
        findings.error(node.path(), "has no msiClientId: write {\"msiClientId\": \"…\"} or leave it out");
        return None;
    };
    let selector = id.parsed(findings, selector)?;
    Some(Identity { endpoint: general?.endpoint.clone(), selector })
}

fn selector(text: &str) -> Result<Selector, String> {
    let id = text.trim();
    if id.is_empty() {
        return Ok(Selector::SystemAssigned);
    }
    if is_guid(id) {
        return Ok(Selector::ClientId(id.to_ascii_lowercase()));
    }
    if is_identity_resource(id) {
        return Ok(Selector::ResourceId(id.to_owned()));
    }
    Err(format!(
        "\"{}\" must be the identity's client id (a GUID such as 00001111-aaaa-2222-bbbb-3333cccc4444) or its resource id \
         (/subscriptions/…/resourceGroups/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME)",
        excerpt(text)
    ))
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_identity_resource(text: &str) -> bool {
    let segments: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
    let fixed: Vec<&str> = segments.iter().map(String::as_str).collect();
    let plain = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'(' | b')'))
    };
    matches!(
        fixed[..],
        ["", "subscriptions", subscription, "resourcegroups", group, "providers", "microsoft.managedidentity",
            "userassignedidentities", name]
            if is_guid(subscription) && plain(group) && plain(name)
    )
}

#[cfg(test)]
mod tests;
