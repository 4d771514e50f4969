//! What goes wrong on demand: where, how, and how often.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::http::{Request, Response, Server};
use crate::imds::Trouble;
use crate::refusal::Refusal;
use crate::wire::Wire;

/// What a fault applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Requests for tokens.
    Imds,
    /// Requests for tokens that bring the Azure Arc agent a key.
    Arc,
    /// Everything in every vault.
    Vaults,
    /// Everything in one vault, by its host.
    Vault(String),
    /// One secret of one vault: host and name.
    Secret(String, String),
}

impl Scope {
    /// One vault, by its name (`contoso`, in the public cloud) or its whole host name.
    #[must_use]
    pub fn vault(vault: &str) -> Self {
        Self::Vault(host_of(vault))
    }

    /// One secret.
    #[must_use]
    pub fn secret(vault: &str, name: &str) -> Self {
        Self::Secret(host_of(vault), name.to_ascii_lowercase())
    }

    fn covers(&self, request: &Request) -> bool {
        let vault = request.server == Server::Vault;
        match self {
            Self::Imds => request.server == Server::Imds,
            Self::Arc => request.server == Server::Arc,
            Self::Vaults => vault,
            Self::Vault(host) => vault && *host == request.host,
            Self::Secret(host, name) => {
                let segments = request.segments();
                let asked = segments.get(1).map(|segment| segment.to_ascii_lowercase());
                vault && *host == request.host && asked.as_ref() == Some(name)
            }
        }
    }
}

/// The host of a vault that is given by name or by host, in lower case.
pub(crate) fn host_of(vault: &str) -> String {
    let vault = vault.to_ascii_lowercase();
    match vault.contains('.') {
        true => vault,
        false => format!("{vault}.vault.azure.net"),
    }
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// At every request until it is repaired.
    Always,
    /// At this many requests.
    Next(u32),
}

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The right answer, spoiled on the wire.
    Wire(Wire),
    /// An error of Key Vault, in its own words.
    Refuse(Refusal),
    /// An error of the metadata service, in its own words.
    Imds(Trouble),
    /// This answer, whatever it is.
    Answer(Response),
    /// 302 to this address.
    Redirect(String),
    /// 200 with the HTML of a captive portal.
    Html,
    /// 200 with a JSON document of about this many bytes.
    Big(usize),
    /// The right answer, compressed though nobody asked for it.
    Gzip,
    /// The right answer with this `id`, which may name another secret, another vault or a path.
    Id(String),
}

impl From<Wire> for Fault {
    fn from(wire: Wire) -> Self {
        Self::Wire(wire)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Self::Imds(trouble)
    }
}

/// The faults that wait for their requests.
#[derive(Default)]
pub(crate) struct Faults(Vec<(Scope, Fault, Times)>);

impl Faults {
    pub(crate) fn add(&mut self, scope: Scope, fault: Fault, times: Times) {
        self.0.push((scope, fault, times));
    }

    pub(crate) fn remove(&mut self, scope: &Scope) {
        self.0.retain(|(covered, _, _)| covered != scope);
    }

    /// The oldest fault that this request meets; a counted one is used up by it.
    pub(crate) fn strike(&mut self, request: &Request) -> Option<Fault> {
        let covers = |(scope, _, _): &(Scope, Fault, Times)| scope.covers(request);
        let at = self.0.iter().position(covers)?;
        let (_, fault, times) = &mut self.0[at];
        let fault = fault.clone();
        match times {
            Times::Always => {}
            Times::Next(left) if *left > 1 => *left -= 1,
            Times::Next(_) => {
                self.0.remove(at);
            }
        }
        Some(fault)
    }
}

/// Applies what any HTTP server can do wrong; errors in a service's own words are that service's to write.
pub(crate) fn spoil(response: Response, fault: Option<Fault>) -> (Response, Option<Wire>) {
    match fault {
        Some(Fault::Wire(wire)) => (response, Some(wire)),
        Some(Fault::Answer(answer)) => (answer, None),
        Some(Fault::Redirect(address)) => (Response::new(302, "").header("Location", &address), None),
        Some(Fault::Html) => {
            let page = "<!DOCTYPE html><html><title>Welcome</title><body>Please sign in to the guest network.";
            let page = Response::new(200, page).header("Content-Type", "text/html");
            (page, None)
        }
        Some(Fault::Big(bytes)) => {
            let body = format!("{{\"value\":\"{}\"}}", "A".repeat(bytes));
            let big = Response::new(200, body).header("Content-Type", "application/json");
            (big, None)
        }
        Some(Fault::Gzip) => {
            let mut response = response.header("Content-Encoding", "gzip");
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            // Writing into memory cannot fail.
            let _ = encoder.write_all(&response.body);
            response.body = encoder.finish().unwrap_or_default();
            (response, None)
        }
        _ => (response, None),
    }
}
