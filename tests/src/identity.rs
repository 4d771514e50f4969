//! The managed identities of the emulated machine, and the tokens that were given out for them.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::x509::unix_seconds;

/// The tenant that everything emulated belongs to.
pub const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

/// The subscription that everything emulated belongs to.
pub const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000001";

/// A managed identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The client id (`appid` in tokens).
    pub client_id: String,
    /// The object id (`oid` in tokens).
    pub object_id: String,
    /// The ARM resource id: of the machine for its own identity, else of the identity.
    pub resource_id: String,
}

impl Identity {
    /// The identity of the machine itself.
    #[must_use]
    pub fn system() -> Self {
        Self::of("Microsoft.Compute/virtualMachines/emulated")
    }

    /// A user-assigned identity of this name.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::of(&format!("Microsoft.ManagedIdentity/userAssignedIdentities/{name}"))
    }

    fn of(resource: &str) -> Self {
        Self {
            client_id: guid(),
            object_id: guid(),
            resource_id: format!("/subscriptions/{SUBSCRIPTION}/resourcegroups/emulated/providers/{resource}"),
        }
    }

    /// How Key Vault names this caller in its messages.
    pub(crate) fn caller(&self) -> String {
        format!("appid={};oid={};iss=https://sts.windows.net/{TENANT}/", self.client_id, self.object_id)
    }
}

/// How the two expiry fields of a token's answer are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Expiry {
    /// Numbers in strings, as the metadata service does it.
    #[default]
    Text,
    /// JSON numbers.
    Number,
    /// Text that is no number.
    Garbage,
    /// Neither field is there.
    Absent,
}

/// The emulated machine as its metadata service knows it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The system-assigned identity, once it is assigned.
    pub system: Option<Identity>,
    /// The user-assigned identities.
    pub users: Vec<Identity>,
    /// How long a token lasts.
    pub token_lifetime: Duration,
    /// How its end is written.
    pub expiry: Expiry,
    /// Answers every request with this identity, whichever was asked for.
    pub answer_as: Option<Identity>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            system: Some(Identity::system()),
            users: Vec::new(),
            token_lifetime: Duration::from_secs(86_399),
            expiry: Expiry::Text,
            answer_as: None,
        }
    }
}

/// A token that was given out. Its text stays in here.
pub(crate) struct Token {
    pub(crate) number: u64,
    text: String,
    pub(crate) identity: Identity,
    pub(crate) audience: String,
    pub(crate) expires: SystemTime,
}

/// All tokens that are valid or were, until they are revoked.
#[derive(Default)]
pub(crate) struct Tokens {
    tokens: Vec<Token>,
    issued: u64,
}

impl Tokens {
    /// Makes a token in the form of Entra's: a JWT whose signature nobody can check.
    pub(crate) fn issue(&mut self, identity: &Identity, audience: &str, lifetime: Duration) -> String {
        let now = SystemTime::now();
        let expires = now + lifetime;
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": "emulated", "x5t": "emulated"});
        self.issued += 1;
        let claims = json!({
            "aud": audience,
            "iss": format!("https://sts.windows.net/{TENANT}/"),
            "iat": unix_seconds(now), "nbf": unix_seconds(now), "exp": unix_seconds(expires),
            "appid": identity.client_id, "appidacr": "2", "idtyp": "app",
            "oid": identity.object_id, "sub": identity.object_id, "tid": TENANT,
            "uti": format!("emulated-{}", self.issued), "ver": "1.0",
            "xms_mirid": identity.resource_id,
        });
        let signature: Vec<u8> = (0..256).map(|_| fastrand::u8(..)).collect();
        let text = [
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string()),
            URL_SAFE_NO_PAD.encode(signature),
        ]
        .join(".");
        self.tokens.push(Token {
            number: self.issued,
            text: text.clone(),
            identity: identity.clone(),
            audience: audience.to_owned(),
            expires,
        });
        text
    }

    /// The token with this text, if it was given out and not revoked.
    pub(crate) fn find(&self, text: &str) -> Option<&Token> {
        self.tokens.iter().rev().find(|token| token.text == text)
    }

    /// Forgets every token, so that none is accepted any more.
    pub(crate) fn revoke(&mut self) {
        self.tokens.clear();
    }

    /// How many were given out.
    pub(crate) fn issued(&self) -> u64 {
        self.issued
    }

    /// The texts of the tokens that are valid: for tests that look for leaks.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.tokens.iter().map(|token| token.text.clone()).collect()
    }
}

/// A random GUID of version 4.
pub(crate) fn guid() -> String {
    let digits = format!("{:032x}", fastrand::u128(..));
    format!("{}-{}-4{}-8{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..])
}
