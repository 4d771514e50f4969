//! Writes and signs one certificate. Which ones there are, and who signs whom, is [`crate::pki`]'s.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// The common name of a certificate's subject; empty when it has none.
pub(crate) fn common_name(certificate: &X509) -> String {
    let mut names = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
    let name = names.next().map(|entry| entry.data().as_slice());
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

/// What the certificate to be signed shall say.
pub(crate) struct Plan<'a> {
    pub(crate) subject: &'a str,
    pub(crate) names: &'a [String],
    pub(crate) authority: bool,
    pub(crate) key_identifiers: bool,
    pub(crate) for_servers: bool,
    pub(crate) serial: Option<u64>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// Signs `plan` for `key`, by `issuer` or, without one, by the key itself.
///
/// One signature of ECDSA in a hundred has a number that begins with zeros, and Wine takes none of these: others are made.
pub(crate) fn sign(plan: &Plan<'_>, key: &PKey<Private>, issuer: Option<&(X509, PKey<Private>)>) -> Result<X509> {
    loop {
        let certificate = sign_once(plan, key, issuer)?;
        let Ok(curve) = issuer.map_or(key, |(_, key)| key).ec_key() else { return Ok(certificate) };
        let signature = EcdsaSig::from_der(certificate.signature().as_slice())?;
        let full = curve.group().degree().div_ceil(8);
        if [signature.r(), signature.s()].iter().all(|number| number.num_bytes().cast_unsigned() == full) {
            return Ok(certificate);
        }
    }
}

fn sign_once(plan: &Plan<'_>, key: &PKey<Private>, issuer: Option<&(X509, PKey<Private>)>) -> Result<X509> {
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
        if !plan.for_servers {
            extensions.push(ExtendedKeyUsage::new().client_auth().build()?);
        }
    } else {
        extensions.push(BasicConstraints::new().critical().build()?);
        let mut usage = KeyUsage::new();
        usage.critical().digital_signature();
        if key.id() == Id::RSA {
            usage.key_encipherment();
        }
        extensions.push(usage.build()?);
        let mut purpose = ExtendedKeyUsage::new();
        let purpose = if plan.for_servers { purpose.server_auth() } else { purpose.client_auth() };
        extensions.push(purpose.build()?);
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
