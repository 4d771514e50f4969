//! Certificate authorities, the certificates they issue, and the keys of both.
//!
//! Chains are real: every certificate is signed by the one above it. What becomes of an issued certificate
//! (a PFX, a PEM, the TLS identity of a server) is decided elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{Asn1Flag, EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// One day, the unit in which certificates count.
pub const DAY: Duration = Duration::from_secs(86_400);

/// The kinds of keys that certificates are issued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA with a modulus of 2,048 bits.
    Rsa2048,
    /// RSA with a modulus of 3,072 bits.
    Rsa3072,
    /// RSA with a modulus of 4,096 bits.
    Rsa4096,
    /// Elliptic curve P-256.
    P256,
    /// Elliptic curve P-384.
    P384,
    /// Elliptic curve P-521.
    P521,
    /// Elliptic curve secp256k1, which Key Vault calls P-256K.
    P256K,
    /// Edwards curve 25519.
    Ed25519,
}

/// RSA keys made so far. Making one takes up to a second, so a few are made of each size and then used in turn:
/// two renewals in a row always have different keys.
static RSA_KEYS: Mutex<Option<HashMap<u32, RsaPool>>> = Mutex::new(None);

/// How many RSA keys of one size there are in a process.
const RSA_POOL: usize = 3;

#[derive(Default)]
struct RsaPool {
    keys: Vec<PKey<Private>>,
    next: usize,
}

impl KeyKind {
    /// A key of this kind: fresh for the elliptic curves, one of a few in turn for RSA.
    pub fn generate(self) -> Result<PKey<Private>> {
        Ok(match self {
            Self::Rsa2048 => rsa_key(2048)?,
            Self::Rsa3072 => rsa_key(3072)?,
            Self::Rsa4096 => rsa_key(4096)?,
            Self::P256 => ec_key(Nid::X9_62_PRIME256V1)?,
            Self::P384 => ec_key(Nid::SECP384R1)?,
            Self::P521 => ec_key(Nid::SECP521R1)?,
            Self::P256K => ec_key(Nid::SECP256K1)?,
            Self::Ed25519 => PKey::generate_ed25519()?,
        })
    }
}

fn rsa_key(bits: u32) -> Result<PKey<Private>> {
    let mut pools = RSA_KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = pools.get_or_insert_default().entry(bits).or_default();
    if pool.keys.len() < RSA_POOL {
        pool.keys.push(PKey::from_rsa(Rsa::generate(bits)?)?);
        pool.next = pool.keys.len() - 1;
    }
    let key = pool.keys[pool.next % pool.keys.len()].clone();
    pool.next += 1;
    Ok(key)
}

fn ec_key(curve: Nid) -> Result<PKey<Private>> {
    let mut group = EcGroup::from_curve_name(curve)?;
    group.set_asn1_flag(Asn1Flag::NAMED_CURVE);
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

/// A certificate authority: a root and the intermediates below it.
#[derive(Clone)]
pub struct Authority {
    /// Root first, the one that issues last.
    chain: Vec<(X509, PKey<Private>)>,
    /// Whether certificates carry the identifiers of subject key and authority key.
    key_identifiers: bool,
}

impl Authority {
    /// A root named `name` with `intermediates` levels below it, all with P-256 keys.
    pub fn new(name: &str, intermediates: usize) -> Result<Self> {
        Self::with_keys(name, intermediates, KeyKind::P256)
    }

    /// As [`Self::new`], with keys of another kind.
    pub fn with_keys(name: &str, intermediates: usize, kind: KeyKind) -> Result<Self> {
        Self::build(name, intermediates, kind, true)
    }

    /// As [`Self::new`], but no certificate says by an identifier which key it has or which one signed it: chains
    /// can be found by names and signatures only.
    pub fn without_key_identifiers(name: &str, intermediates: usize) -> Result<Self> {
        Self::build(name, intermediates, KeyKind::P256, false)
    }

    fn build(
        name: &str,
        intermediates: usize,
        kind: KeyKind,
        key_identifiers: bool,
    ) -> Result<Self> {
        let mut chain: Vec<(X509, PKey<Private>)> = Vec::new();
        for level in 0..=intermediates {
            let subject = match level {
                0 => format!("{name} Root"),
                level => format!("{name} Intermediate {level}"),
            };
            let key = kind.generate()?;
            let plan = Plan {
                subject: &subject,
                names: &[],
                authority: true,
                key_identifiers,
                serial: None,
                not_before: SystemTime::now() - DAY,
                not_after: SystemTime::now() + 3650 * DAY,
            };
            let certificate = sign(&plan, &key, chain.last())?;
            chain.push((certificate, key));
        }
        Ok(Self {
            chain,
            key_identifiers,
        })
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
        below_root
            .map(|(certificate, _)| certificate.clone())
            .collect()
    }

    /// The same name and key as `other`'s issuing certificate, signed by this root: a cross-signed certificate.
    pub fn cross_sign(&self, other: &Self) -> Result<X509> {
        let Some((certificate, key)) = other.chain.last() else {
            bail!("an authority without certificates")
        };
        let subject = common_name(certificate);
        let plan = Plan {
            subject: &subject,
            names: &[],
            authority: true,
            key_identifiers: self.key_identifiers,
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
        Ok(Issued {
            key,
            leaf,
            intermediates: self.intermediates(),
            root: Some(self.root().clone()),
        })
    }
}

/// What is asked of an authority; the defaults are those of a web server's certificate.
#[derive(Clone, Debug)]
pub struct Request {
    /// DNS names; the first is the common name too.
    pub names: Vec<String>,
    /// The kind of key.
    pub key: KeyKind,
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
        Ok(Issued {
            key,
            leaf,
            intermediates: Vec::new(),
            root: None,
        })
    }

    fn plan(&self, key_identifiers: bool) -> Plan<'_> {
        Plan {
            subject: self.names.first().map_or("", String::as_str),
            names: &self.names,
            authority: false,
            key_identifiers,
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

/// The common name of a certificate's subject; empty when it has none.
fn common_name(certificate: &X509) -> String {
    let mut names = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
    let name = names.next().map(|entry| entry.data().as_slice());
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

/// What the certificate to be signed shall say.
struct Plan<'a> {
    subject: &'a str,
    names: &'a [String],
    authority: bool,
    key_identifiers: bool,
    serial: Option<u64>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Signs `plan` for `key`, by `issuer` or, without one, by the key itself.
fn sign(
    plan: &Plan<'_>,
    key: &PKey<Private>,
    issuer: Option<&(X509, PKey<Private>)>,
) -> Result<X509> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, plan.subject)?;
    let subject = subject.build();
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    match plan.serial {
        Some(number) => serial = BigNum::from_slice(&number.to_be_bytes())?,
        None => serial.rand(127, MsbOption::ONE, false)?,
    }
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&subject)?;
    builder.set_not_before(&*asn1_time(plan.not_before)?)?;
    builder.set_not_after(&*asn1_time(plan.not_after)?)?;
    builder.set_pubkey(key)?;
    match issuer {
        Some((certificate, _)) => builder.set_issuer_name(certificate.subject_name())?,
        None => builder.set_issuer_name(&subject)?,
    }
    let issuer_certificate = issuer.map(|(certificate, _)| &**certificate);
    let context = builder.x509v3_context(issuer_certificate, None);
    let mut extensions = Vec::new();
    if plan.key_identifiers {
        extensions.push(SubjectKeyIdentifier::new().build(&context)?);
    }
    if plan.key_identifiers && issuer.is_some() {
        let mut identifier = AuthorityKeyIdentifier::new();
        extensions.push(identifier.keyid(false).build(&context)?);
    }
    if plan.authority {
        extensions.push(BasicConstraints::new().critical().ca().build()?);
        let mut usage = KeyUsage::new();
        extensions.push(usage.critical().key_cert_sign().crl_sign().build()?);
    } else {
        extensions.push(BasicConstraints::new().critical().build()?);
        let mut usage = KeyUsage::new();
        usage.critical().digital_signature();
        if key.id() == Id::RSA {
            usage.key_encipherment();
        }
        extensions.push(usage.build()?);
        extensions.push(ExtendedKeyUsage::new().server_auth().build()?);
        let mut names = SubjectAlternativeName::new();
        for name in plan.names {
            names.dns(name);
        }
        extensions.push(names.build(&context)?);
    }
    for extension in extensions {
        builder.append_extension(extension)?;
    }
    let signing_key = issuer.map_or(key, |(_, key)| key);
    let digest = match signing_key.id() {
        Id::ED25519 => MessageDigest::null(),
        _ => MessageDigest::sha256(),
    };
    builder.sign(signing_key, digest)?;
    Ok(builder.build())
}

fn asn1_time(time: SystemTime) -> Result<Asn1Time> {
    Ok(Asn1Time::from_unix(unix_seconds(time))?)
}

/// Seconds since 1970, negative before.
pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}
