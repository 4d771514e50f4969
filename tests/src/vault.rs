//! What the emulated vaults hold: secrets, their versions, and who may read them. How it is asked for
//! is not decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

use crate::bundle::Bundle;
use crate::identity::Identity;
use crate::tls::Tls;
use crate::x509::unix_seconds;

/// The window in which the service counts requests.
const THROTTLE_WINDOW: Duration = Duration::from_secs(10);

/// A vault.
pub struct Vault {
    /// Its host name, in lower case.
    pub host: String,
    /// Whether listing secrets and versions is allowed to those who may read them.
    pub listing: bool,
    /// The most requests it answers within ten seconds; 429 beyond.
    pub throttle: Option<u32>,
    /// What 429 says in Retry-After, in seconds.
    pub retry_after: Option<u32>,
    /// Seconds by which its clock, as the Date header shows it, is ahead of ours.
    pub clock_skew: i64,
    /// How it presents itself in the TLS handshake.
    pub tls: Tls,
    /// Its secrets, by their names in lower case.
    pub secrets: BTreeMap<String, Secret>,
    /// Requests that it saw with a valid token.
    pub accesses: u64,
    /// Object ids without a role assignment.
    denied: BTreeSet<String>,
    window: Option<(Instant, u32)>,
}

/// A secret.
pub struct Secret {
    /// The name with the case that it was created with.
    pub name: String,
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
    /// Whether it was deleted (and may be recovered).
    pub deleted: bool,
}

/// One version of a secret.
pub struct Version {
    /// 32 hexadecimal digits.
    pub id: String,
    /// What it holds.
    pub bundle: Bundle,
    /// Whether it may be read.
    pub enabled: bool,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// Tags.
    pub tags: Vec<(String, String)>,
}

impl Vault {
    pub(crate) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            listing: true,
            throttle: None,
            retry_after: Some(10),
            clock_skew: 0,
            tls: Tls::Trusted,
            secrets: BTreeMap::new(),
            accesses: 0,
            denied: BTreeSet::new(),
            window: None,
        }
    }

    /// A secret, by its name in any case, deleted ones included.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(&name.to_ascii_lowercase())
    }

    /// As [`Self::secret`], to be changed.
    pub fn secret_mut(&mut self, name: &str) -> Option<&mut Secret> {
        self.secrets.get_mut(&name.to_ascii_lowercase())
    }

    /// Adds a version, which is the newest then; a deleted secret is recovered by it. Answers the version.
    pub(crate) fn put(&mut self, name: &str, bundle: Bundle) -> String {
        let secret = self.secrets.entry(name.to_ascii_lowercase()).or_insert_with(|| Secret {
            name: name.to_owned(),
            versions: Vec::new(),
            deleted: false,
        });
        secret.deleted = false;
        // No two versions are of the same second, which is all that a list tells.
        let after = secret.versions.last().map_or(0, |last| last.created + 1);
        let id = format!("{:032x}", fastrand::u128(..));
        secret.versions.push(Version {
            id: id.clone(),
            bundle,
            enabled: true,
            created: unix_seconds(SystemTime::now()).max(after),
            tags: Vec::new(),
        });
        id
    }

    /// Gives an identity the role that reads secrets.
    pub(crate) fn grant(&mut self, identity: &Identity) {
        self.denied.remove(&identity.object_id);
    }

    /// Takes it away.
    pub(crate) fn revoke(&mut self, identity: &Identity) {
        self.denied.insert(identity.object_id.clone());
    }

    pub(crate) fn allows(&self, identity: &Identity) -> bool {
        !self.denied.contains(&identity.object_id)
    }

    /// Counts a request; `false` when it is one too many for this window.
    pub(crate) fn admit(&mut self) -> bool {
        let Some(limit) = self.throttle else {
            return true;
        };
        let now = Instant::now();
        let (start, count) = match self.window {
            Some((start, count)) if now - start < THROTTLE_WINDOW => (start, count + 1),
            _ => (now, 1),
        };
        self.window = Some((start, count));
        count <= limit
    }
}

impl Secret {
    /// The version that a request without one gets.
    #[must_use]
    pub fn newest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// The version with this id, in any case.
    #[must_use]
    pub fn version(&self, id: &str) -> Option<&Version> {
        let mut versions = self.versions.iter();
        versions.find(|version| version.id.eq_ignore_ascii_case(id))
    }
}

impl Version {
    /// The object that a GET answers.
    pub(crate) fn bundle_json(&self, host: &str, name: &str, as_pem: bool) -> Value {
        let mut object = self.item_json(&format!("https://{host}/secrets/{name}/{}", self.id));
        let (value, content_type) = match (&self.bundle.pem, as_pem) {
            (Some(pem), true) => (pem, Some("application/x-pem-file")),
            _ => (&self.bundle.value, self.bundle.content_type.as_deref()),
        };
        object.insert("value".to_owned(), json!(value));
        if let Some(content_type) = content_type {
            object.insert("contentType".to_owned(), json!(content_type));
        }
        if self.bundle.validity.is_some() {
            let kid = format!("https://{host}/keys/{name}/{}", self.id);
            object.insert("kid".to_owned(), json!(kid));
        }
        Value::Object(object)
    }

    /// The object that a list holds, under the given id.
    pub(crate) fn item_json(&self, id: &str) -> Map<String, Value> {
        let mut attributes = json!({
            "enabled": self.enabled, "created": self.created, "updated": self.created,
            "recoveryLevel": "CustomizedRecoverable+Purgeable", "recoverableDays": 7,
        });
        let mut object = Map::new();
        object.insert("id".to_owned(), json!(id));
        if let Some((not_before, expires)) = self.bundle.validity {
            attributes["nbf"] = json!(not_before);
            attributes["exp"] = json!(expires);
            object.insert("managed".to_owned(), json!(true));
        }
        if let Some(content_type) = &self.bundle.content_type {
            object.insert("contentType".to_owned(), json!(content_type));
        }
        object.insert("attributes".to_owned(), attributes);
        if !self.tags.is_empty() {
            let tags = self.tags.iter().map(|(key, value)| (key.clone(), json!(value)));
            object.insert("tags".to_owned(), Value::Object(tags.collect()));
        }
        object
    }
}
