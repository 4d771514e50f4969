//! The request for a token, as the metadata service and the Azure Arc agent both understand it.

use common::settings::{Identity, Selector};
use ureq::Agent;
use ureq::http::HeaderValue;

use super::IdentityError;
use crate::http::{self, Answer};
use crate::network::Network;

/// Whose token is wanted, and for what.
pub(super) struct Request<'a> {
    pub(super) network: &'a Network,
    pub(super) agent: &'a Agent,
    pub(super) identity: &'a Identity,
    pub(super) audience: &'a str,
}

impl Request<'_> {
    /// Sends it, to this machine or its metadata service and nowhere else.
    ///
    /// # Errors
    /// No answer came.
    pub(super) fn send(&self, version: &str, authorization: Option<&HeaderValue>) -> Result<Answer, IdentityError> {
        let endpoint = &self.identity.endpoint;
        let mut query = format!("?api-version={version}&resource={}", percent_encoded(self.audience));
        match &self.identity.selector {
            Selector::SystemAssigned => {}
            Selector::ClientId(id) => query.push_str(&format!("&client_id={}", percent_encoded(id))),
            Selector::ResourceId(id) => query.push_str(&format!("&msi_res_id={}", percent_encoded(id))),
            Selector::ObjectId(id) => query.push_str(&format!("&object_id={}", percent_encoded(id))),
        }
        // By address: `localhost` must not depend on what a name service says.
        let url = format!("http://{}{}{query}", endpoint.address(), endpoint.path());
        let metadata = HeaderValue::from_static("true");
        let mut headers = vec![("Metadata", &metadata)];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        http::get(self.agent, &url, &headers)
            .map_err(|source| IdentityError::Transport { endpoint: endpoint.to_string(), source })
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
