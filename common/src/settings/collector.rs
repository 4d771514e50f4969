//! The Fluentd collector that `loggingSettings` names.
//!
//! Whoever writes the settings need not be allowed to send anything from this machine elsewhere, so that a collector is on
//! this machine, and decides itself what it passes on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::reader::{Findings, Node};
use crate::text::excerpt;

/// The port of Fluentd's forward protocol.
const PORT: u16 = 24224;
/// The tag when the settings have none.
const SERVICE_NAME: &str = "akvvm_service";
/// The longest tag.
const LONGEST_NAME: usize = 128;
/// The longest path of a socket (unix(7)).
const LONGEST_PATH: usize = 107;
/// What follows from a mistake that leaves no collector.
const ONLY_LOCAL: &str = "logs go to the local log files only";

/// Who gets the log lines by Fluentd's forward protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Where it listens.
    pub endpoint: CollectorEndpoint,
    /// What its events are called: letters, digits, `.`, `_` and `-`. Nothing in it can be a command to something else
    /// that listens there.
    pub tag: String,
}

/// A place on this machine where a collector may listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollectorEndpoint {
    /// A port of `localhost`: either family, whatever a name service says of it.
    Localhost(u16),
    /// A loopback address.
    Address(SocketAddr),
    /// An absolute path.
    Unix(PathBuf),
}

impl CollectorEndpoint {
    /// The addresses to try in turn; none for a path.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Localhost(port) => {
                vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()]
            }
            Self::Address(address) => vec![*address],
            Self::Unix(_) => Vec::new(),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let scheme_and_rest = trimmed.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        let parsed = match scheme_and_rest {
            Some((scheme, rest)) if scheme == "tcp" => tcp(rest),
            Some((scheme, rest)) if scheme == "unix" => unix(rest),
            _ => Err("begins with neither tcp:// nor unix://".to_owned()),
        };
        parsed.map_err(|reason| {
            format!("\"{}\" {reason}: write tcp://localhost:{PORT} or unix:///PATH", excerpt(trimmed))
        })
    }
}

fn tcp(authority: &str) -> Result<CollectorEndpoint, String> {
    let authority = authority.trim_end_matches('/');
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        None => (authority, PORT),
        Some((host, port)) => {
            let digits = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
            let port = digits.and_then(|port| port.parse().ok()).filter(|port| *port > 0);
            (host, port.ok_or("has no valid port")?)
        }
    };
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(CollectorEndpoint::Localhost(port));
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = match bare {
        Some(host) => host.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    };
    match address.filter(IpAddr::is_loopback) {
        Some(address) => Ok(CollectorEndpoint::Address(SocketAddr::new(address, port))),
        None => {
            Err("is not on this machine, and settings may send log lines to collectors on this machine only".to_owned())
        }
    }
}

fn unix(path: &str) -> Result<CollectorEndpoint, String> {
    if !path.starts_with('/') || path.ends_with('/') {
        return Err("does not name a socket by an absolute path".to_owned());
    }
    if path.split('/').any(|part| part == "..") || path.chars().any(char::is_control) {
        return Err("has .. or a control character in its path".to_owned());
    }
    if path.len() > LONGEST_PATH {
        return Err(format!("has a path of more than {LONGEST_PATH} bytes, too long for a socket"));
    }
    Ok(CollectorEndpoint::Unix(path.into()))
}

impl fmt::Display for CollectorEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost(port) => write!(f, "tcp://localhost:{port}"),
            Self::Address(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// The collector, where one is asked for in a way that can be followed.
pub(super) fn parse(section: &Node<'_>, findings: &mut Findings) -> Option<Collector> {
    let [logger, endpoint, format, name] =
        ["logger", "endpoint", "format", "servicename"].map(|key| section.child(key));
    if [&logger, &endpoint, &format, &name].iter().all(|node| node.is_none()) {
        return None;
    }
    // All are read before any is missed, so that every mistake is said at once.
    let is_fluentd = match logger.filter(|node| !is_word(node, "fluentd")) {
        Some(node) => {
            findings.warning(node.path(), format!("must be \"fluentd\": {ONLY_LOCAL}"));
            false
        }
        None => true,
    };
    let endpoint = match endpoint {
        Some(node) => parse_endpoint(&node, findings),
        None => {
            let place = format!("{}.endpoint", section.path());
            findings.warning(&place, format!("is missing: write tcp://localhost:{PORT} or unix:///PATH; {ONLY_LOCAL}"));
            None
        }
    };
    if let Some(node) = format.filter(|node| !is_word(node, "forward")) {
        findings.warning(node.path(), "must be \"forward\", which is what is sent");
    }
    let tag = tag(name.as_ref(), findings);
    endpoint.filter(|_| is_fluentd).map(|endpoint| Collector { endpoint, tag })
}

fn parse_endpoint(node: &Node<'_>, findings: &mut Findings) -> Option<CollectorEndpoint> {
    let parsed = match node.text() {
        Some(text) => CollectorEndpoint::parse(text),
        None => Err(node.mismatch("a string")),
    };
    parsed.map_err(|reason| findings.warning(node.path(), format!("{reason}; {ONLY_LOCAL}"))).ok()
}

fn is_word(node: &Node<'_>, word: &str) -> bool {
    node.text().is_some_and(|text| text.trim().eq_ignore_ascii_case(word))
}

fn tag(name: Option<&Node<'_>>, findings: &mut Findings) -> String {
    let Some(node) = name else { return SERVICE_NAME.to_owned() };
    let is_plain = |name: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_plain)
    };
    node.text().map(str::trim).filter(is_plain).map(str::to_owned).unwrap_or_else(|| {
        findings.warning(
            node.path(),
            format!(
                "must be 1 to {LONGEST_NAME} letters, digits, dots, underscores and hyphens: {SERVICE_NAME} is used"
            ),
        );
        SERVICE_NAME.to_owned()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(section: &Value) -> (Option<Collector>, Vec<String>) {
        let (section, _) = crate::settings::json::read(&section.to_string()).unwrap();
        let mut findings = Findings::default();
        let collector = parse(&Node::new("loggingSettings", &section).unwrap(), &mut findings);
        assert_eq!(findings.errors, []);
        (collector, findings.warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn understands_a_collector_on_this_machine() {
        for (text, meant) in [
            ("tcp://localhost:24224", "tcp://localhost:24224"),
            ("TCP://Localhost:5170/", "tcp://localhost:5170"),
            ("tcp://localhost", "tcp://localhost:24224"),
            ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1"),
            ("tcp://127.3.2.1", "tcp://127.3.2.1:24224"),
            ("tcp://[::1]:24224", "tcp://[::1]:24224"),
            ("tcp://[::1]", "tcp://[::1]:24224"),
            ("unix:///var/run/azuremonitoragent/x/fluent.socket", "unix:///var/run/azuremonitoragent/x/fluent.socket"),
        ] {
            assert_eq!(CollectorEndpoint::parse(text).unwrap().to_string(), meant, "{text}");
        }
        let longest = format!("unix:///{}", "x".repeat(106));
        assert_eq!(CollectorEndpoint::parse(&longest).unwrap().to_string(), longest);
    }

    #[test]
    fn tries_both_families_of_localhost_and_only_what_an_address_says() {
        for (text, addresses) in [
            ("tcp://localhost:5170", &["127.0.0.1:5170", "[::1]:5170"][..]),
            ("tcp://127.3.2.1:5170", &["127.3.2.1:5170"]),
            ("unix:///run/fluent.socket", &[]),
        ] {
            let tried = CollectorEndpoint::parse(text).unwrap().addresses();
            assert_eq!(tried.iter().map(ToString::to_string).collect::<Vec<_>>(), addresses, "{text}");
        }
    }

    #[test]
    fn sends_no_line_to_another_machine_and_says_why() {
        for text in [
            "tcp://10.0.0.1:24224",
            "tcp://169.254.169.254",
            "tcp://logs.contoso.com:24224",
            "tcp://localhost.contoso.com",
            "tcp://127.0.0.1.contoso.com",
            "tcp://127.0.0.1@contoso.com",
            "tcp://0.0.0.0",
            "tcp://0x7f000001",
            "tcp://[::]:24224",
            "tcp://::1",
        ] {
            let (collector, warnings) = parsed(&json!({"logger": "fluentd", "endpoint": text}));
            assert_eq!((collector, warnings.len()), (None, 1), "{text}");
            assert!(warnings[0].contains("this machine only"), "{warnings:?}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_an_endpoint() {
        let long = format!("unix:///{}", "x".repeat(107));
        for (text, words) in [
            ("localhost:24224", "neither tcp:// nor unix://"),
            ("http://localhost:24224", "neither tcp:// nor unix://"),
            ("tcp://localhost:0", "valid port"),
            ("tcp://localhost:+1", "valid port"),
            ("tcp://localhost:", "valid port"),
            ("tcp://localhost:65536", "valid port"),
            ("unix://run/fluent.socket", "absolute path"),
            ("unix:///run/", "absolute path"),
            ("unix:///run/../etc/x", ".. or a control"),
            ("unix:///run/a\u{0}b", ".. or a control"),
            (long.as_str(), "too long"),
        ] {
            let (collector, warnings) = parsed(&json!({"endpoint": text}));
            assert_eq!((collector, warnings.len()), (None, 1), "{text}");
            assert!(warnings[0].contains(words) && warnings[0].contains("local log files only"), "{warnings:?}");
        }
    }

    #[test]
    fn says_all_mistakes_at_once() {
        let (collector, warnings) =
            parsed(&json!({"logger": "syslog", "endpoint": "tcp://10.0.0.1", "format": "json", "servicename": "a b"}));
        let places: Vec<_> = warnings.iter().filter_map(|warning| warning.split(':').next()).collect();
        let all = ["logger", "endpoint", "format", "servicename"].map(|key| format!("loggingSettings.{key}"));
        assert_eq!((collector, places), (None, all.iter().map(String::as_str).collect()), "{warnings:?}");
    }

    #[test]
    fn keeps_to_the_documented_values_and_warns_about_others() {
        let endpoint = "tcp://localhost:24224";
        for (section, tag, count) in [
            (json!({"logger": "fluentd", "endpoint": endpoint, "format": "forward"}), Some("akvvm_service"), 0),
            (json!({"logger": "Fluentd", "endpoint": endpoint, "servicename": "app.certs"}), Some("app.certs"), 0),
            (json!({"endpoint": endpoint, "format": "json"}), Some("akvvm_service"), 1),
            (json!({"endpoint": endpoint, "servicename": "a\r\nCONFIG SET"}), Some("akvvm_service"), 1),
            (json!({"endpoint": endpoint, "servicename": ""}), Some("akvvm_service"), 1),
            (json!({"endpoint": endpoint, "servicename": 7}), Some("akvvm_service"), 1),
            (json!({"logger": "syslog", "endpoint": endpoint}), None, 1),
            (json!({"logger": "fluentd"}), None, 1),
            (json!({"telemetryEvents": true}), None, 0),
            (json!({}), None, 0),
        ] {
            let (collector, warnings) = parsed(&section);
            let found = collector.map(|collector| collector.tag);
            assert_eq!((found.as_deref(), warnings.len()), (tag, count), "{section}: {warnings:?}");
        }
    }
}
