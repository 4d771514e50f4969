//! Certificate authorities, the certificates they issue, and the keys of both.
//!
//! Chains are real: every certificate is signed by the one above it. What becomes of an issued certificate
//! (a PFX, a PEM, the TLS identity of a server) is decided elsewhere.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

pub use crate::keys::KeyKind;
use crate::x509::{Plan, common_name, sign};

/// One day, the unit in which certificates count.
pub const DAY: Duration = Duration::from_secs(86_400);

/// A certificate authority: a root and the intermediates below it.
#[derive(Clone)]
pub struct Authority {
    /// Root first, the one that issues last.
    chain: Vec<(X509, PKey<Private>)>,
    /// Whether certificates carry the identifiers of subject key and authority key.
    key_identifiers: bool,
}

/// What is wrong with the intermediates of an authority.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Expired,
    ForClients,
}

impl Authority {
    /// A root named `name` with `intermediates` levels below it, all with P-256 keys.
    pub fn new(name: &str, intermediates: usize) -> Result<Self> {
        Self::with_keys(name, intermediates, KeyKind::P256)
    }

    /// As [`Self::new`], with keys of another kind.
    pub fn with_keys(name: &str, intermediates: usize, kind: KeyKind) -> Result<Self> {
        Self::build(name, intermediates, kind, true, None)
    }

    /// As [`Self::new`], but no certificate says by an identifier which key it has or which one signed it: chains
    /// can be found by names and signatures only.
    pub fn without_key_identifiers(name: &str, intermediates: usize) -> Result<Self> {
        Self::build(name, intermediates, KeyKind::P256, false, None)
    }

    /// As [`Self::new`], with one intermediate, which has expired.
    pub fn with_expired_intermediate(name: &str) -> Result<Self> {
        Self::build(name, 1, KeyKind::P256, true, Some(Flaw::Expired))
    }

    /// As [`Self::new`], with one intermediate, which may certify TLS clients only.
    pub fn with_intermediate_for_clients(name: &str) -> Result<Self> {
        Self::build(name, 1, KeyKind::P256, true, Some(Flaw::ForClients))
    }

    fn build(
        name: &str,
        intermediates: usize,
        kind: KeyKind,
        key_identifiers: bool,
        flaw: Option<Flaw>,
    ) -> Result<Self> {
        let mut chain: Vec<(X509, PKey<Private>)> = Vec::new();
        for level in 0..=intermediates {
            let subject = match level {
                0 => format!("{name} Root"),
                level => format!("{name} Intermediate {level}"),
            };
            let key = kind.generate()?;
            let flaw = flaw.filter(|_| level > 0);
            let plan = Plan {
                subject: &subject,
                names: &[],
                authority: true,
                key_identifiers,
                for_servers: flaw != Some(Flaw::ForClients),
                serial: None,
                not_before: SystemTime::now() - DAY,
                not_after: match flaw {
                    Some(Flaw::Expired) => SystemTime::now() - DAY / 2,
                    _ => SystemTime::now() + 3650 * DAY,
                },
            };
            let certificate = sign(&plan, &key, chain.last())?;
            chain.push((certificate, key));
        }
        Ok(Self { chain, key_identifiers })
    }

    /// The self-signed certificate at the top.
    #[must_use]
    pub fn root(&self) -> &X509 {
        &self.chain[0].0
    }

    /// The certificates between leaf and root, the issuer of the leaf first.
    #[must_use]
    pub fn intermediates(&self) -> Vec<X509> {
        let below_root = self.chain[1..].iter().rev();
        below_root.map(|(certificate, _)| certificate.clone()).collect()
    }

    /// The same name and key as `other`'s issuing certificate, signed by this root: a cross-signed certificate.
    pub fn cross_sign(&self, other: &Self) -> Result<X509> {
        let Some((certificate, key)) = other.chain.last() else { bail!("an authority without certificates") };
        let subject = common_name(certificate);
        let plan = Plan {
            subject: &subject,
            names: &[],
            authority: true,
            key_identifiers: self.key_identifiers,
            for_servers: true,
            serial: None,
            not_before: SystemTime::now() - DAY,
            not_after: SystemTime::now() + 3650 * DAY,
        };
        sign(&plan, key, self.chain.first())
    }

    /// Issues a certificate for a fresh key.
    pub fn issue(&self, request: &Request) -> Result<Issued> {
        let key = request.key.generate()?;
        self.issue_for(request, key)
    }

    /// Issues a certificate for a key that exists already.
    pub fn issue_for(&self, request: &Request, key: PKey<Private>) -> Result<Issued> {
        let leaf = sign(&request.plan(self.key_identifiers), &key, self.chain.last())?;
        Ok(Issued { key, leaf, intermediates: self.intermediates(), root: Some(self.root().clone()) })
    }
}

/// What is asked of an authority; the defaults are those of a web server's certificate.
#[derive(Clone, Debug)]
pub struct Request {
    /// DNS names; the first is the common name too.
    pub names: Vec<String>,
    /// The kind of key.
    pub key: KeyKind,
    /// Whether it is for TLS servers, by its extended key usage, or for clients.
    pub for_servers: bool,
    /// The serial number; a random one of 128 bits when absent.
    pub serial: Option<u64>,
    /// When validity starts.
    pub not_before: SystemTime,
    /// When validity ends.
    pub not_after: SystemTime,
}

impl Request {
    /// A P-256 certificate for one name, valid since a day ago and for 90 days more.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            names: vec![name.to_owned()],
            key: KeyKind::P256,
            for_servers: true,
            serial: None,
            not_before: SystemTime::now() - DAY,
            not_after: SystemTime::now() + 90 * DAY,
        }
    }

    /// Another kind of key.
    #[must_use]
    pub fn key(mut self, key: KeyKind) -> Self {
        self.key = key;
        self
    }

    /// One more DNS name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// For TLS clients, not for servers.
    #[must_use]
    pub fn for_clients(mut self) -> Self {
        self.for_servers = false;
        self
    }

    /// A serial number chosen by the caller.
    #[must_use]
    pub fn serial(mut self, serial: u64) -> Self {
        self.serial = Some(serial);
        self
    }

    /// Another time of validity.
    #[must_use]
    pub fn valid(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }

    /// Signed by its own key, with no authority: what a hurried administrator makes.
    pub fn self_signed(&self) -> Result<Issued> {
        let key = self.key.generate()?;
        let leaf = sign(&self.plan(true), &key, None)?;
        Ok(Issued { key, leaf, intermediates: Vec::new(), root: None })
    }

    fn plan(&self, key_identifiers: bool) -> Plan<'_> {
        Plan {
            subject: self.names.first().map_or("", String::as_str),
            names: &self.names,
            authority: false,
            key_identifiers,
            for_servers: self.for_servers,
            serial: self.serial,
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }
}

/// A certificate with its key and everything above it.
#[derive(Clone)]
pub struct Issued {
    /// The private key.
    pub key: PKey<Private>,
    /// The certificate of that key.
    pub leaf: X509,
    /// The certificates between leaf and root, the issuer of the leaf first.
    pub intermediates: Vec<X509>,
    /// The root; absent for a self-signed certificate.
    pub root: Option<X509>,
}

impl Issued {
    /// Leaf, intermediates and root: the order in which a file must hold them.
    #[must_use]
    pub fn chain(&self) -> Vec<X509> {
        let mut chain = vec![self.leaf.clone()];
        chain.extend(self.intermediates.iter().cloned());
        chain.extend(self.root.iter().cloned());
        chain
    }

    /// The serial number in hexadecimal digits, as `openssl x509 -serial` prints it.
    pub fn serial(&self) -> Result<String> {
        let serial = self.leaf.serial_number().to_bn()?;
        Ok(serial.to_hex_str()?.to_string())
    }

    /// The SHA-1 thumbprint in upper-case hexadecimal digits.
    pub fn thumbprint(&self) -> Result<String> {
        let digest = self.leaf.digest(MessageDigest::sha1())?;
        Ok(digest.iter().map(|byte| format!("{byte:02X}")).collect())
    }
}
