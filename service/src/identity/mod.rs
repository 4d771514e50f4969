//! Tokens of the machine's managed identities, asked for once and kept until shortly before they expire.
//!
//! Wire contracts: the instance metadata service's `/metadata/identity/oauth2/token`, api-version 2018-02-01, and in
//! [`arc`] the Azure Arc agent's.

pub(crate) mod answer;
pub(crate) mod arc;
mod error;
pub(crate) mod key_file;
mod request;

pub(crate) use error::IdentityError;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use common::settings::{Identity, Protocol, Selector};
use ureq::Agent;
use ureq::http::HeaderValue;

use crate::http;
use crate::network::Network;
use request::Request;

const METADATA_VERSION: &str = "2018-02-01";

/// A bearer token. Its text is shown nowhere.
pub(crate) struct Token {
    bearer: HeaderValue,
    /// How its identity was asked for.
    selector: Selector,
    /// The client id of the identity that answered, when the answer tells.
    client_id: Option<String>,
    refresh_at: Instant,
    expires_at: Instant,
}

impl Token {
    /// The value of an `Authorization` header.
    pub(crate) fn bearer(&self) -> &HeaderValue {
        &self.bearer
    }

    pub(crate) fn selector(&self) -> &Selector {
        &self.selector
    }

    pub(crate) fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// What a token is for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Purpose {
    identity: Identity,
    audience: String,
}

/// The tokens of this process.
pub(crate) struct Tokens {
    network: Network,
    agent: Agent,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    tokens: HashMap<Purpose, Result<Arc<Token>, IdentityError>>,
    /// For what a token that a vault did not accept was replaced in this pass.
    replaced: HashSet<Purpose>,
    /// For what a token that is due for renewal is used on in this pass, because no new one was given.
    kept: HashSet<Purpose>,
}

impl Tokens {
    pub(crate) fn new(network: &Network) -> Self {
        Self { network: network.clone(), agent: http::metadata_agent(network), known: Mutex::default() }
    }

    /// Forgets failures: each pass asks again, once, however many certificates wait for the answer.
    pub(crate) fn begin_pass(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.tokens.retain(|_, token| token.is_ok());
        known.replaced.clear();
        known.kept.clear();
    }

    /// A token of `identity` for `audience`. `refused` is one that a vault did not accept: it is replaced once in a pass,
    /// and given again after that, for a vault that accepts none must not cost a token for each of its certificates.
    ///
    /// # Errors
    /// The metadata service gave none.
    pub(crate) fn get(
        &self,
        identity: &Identity,
        audience: &str,
        refused: Option<&Arc<Token>>,
    ) -> Result<Arc<Token>, IdentityError> {
        let purpose = Purpose { identity: identity.clone(), audience: audience.to_owned() };
        // Held while asking, so that all certificates of a pass wait for one answer.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match (known.tokens.get(&purpose), refused) {
            (Some(Err(error)), _) => return Err(error.clone()),
            (Some(Ok(token)), None) if now < token.refresh_at => return Ok(Arc::clone(token)),
            (Some(Ok(token)), None) if known.kept.contains(&purpose) && now < token.expires_at => {
                return Ok(Arc::clone(token));
            }
            (Some(Ok(token)), Some(refused)) if !Arc::ptr_eq(refused, token) || known.replaced.contains(&purpose) => {
                return Ok(Arc::clone(token));
            }
            _ => {}
        }
        if refused.is_some() {
            known.replaced.insert(purpose.clone());
        }
        // An endpoint that did not answer is asked once a pass: each of its identities would wait for a deadline.
        let silent = known.tokens.iter().find_map(|(other, token)| match token {
            Err(error @ IdentityError::Transport { .. }) if other.identity.endpoint == identity.endpoint => Some(error),
            _ => None,
        });
        let token = match silent {
            Some(error) => Err(error.clone()),
            None => self.request(identity, audience).map(Arc::new),
        };
        if let (Err(error), None, Some(Ok(old))) = (&token, refused, known.tokens.get(&purpose))
            && now < old.expires_at
        {
            log::warn!("the token in use is kept: {error}");
            let old = Arc::clone(old);
            known.kept.insert(purpose);
            return Ok(old);
        }
        known.tokens.insert(purpose, token.clone());
        token
    }

    /// A client id that nobody has may be an object id: people confuse them. Once more then, by that one.
    fn request(&self, identity: &Identity, audience: &str) -> Result<Token, IdentityError> {
        let unknown = match self.ask(identity, audience) {
            Err(error @ IdentityError::NotFound { .. }) => error,
            other => return other,
        };
        let Selector::ClientId(id) = &identity.selector else { return Err(unknown) };
        let by_object_id = Identity { selector: Selector::ObjectId(id.clone()), ..identity.clone() };
        let token = self.ask(&by_object_id, audience).map_err(|_| unknown)?;
        log::warn!(
            "the token is of {}{}",
            token.selector,
            match &token.client_id {
                Some(client_id) => format!(": {client_id}"),
                None => String::new(),
            }
        );
        Ok(token)
    }

    fn ask(&self, identity: &Identity, audience: &str) -> Result<Token, IdentityError> {
        let request = Request { network: &self.network, agent: &self.agent, identity, audience };
        let answer = match identity.endpoint.protocol() {
            Protocol::Metadata => request.send(METADATA_VERSION, None)?,
            Protocol::Arc => arc::ask(&request)?,
        };
        answer::read(&answer, identity)
    }
}
