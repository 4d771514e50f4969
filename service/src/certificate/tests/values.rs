//! What holds for every value: its form is recognised, nothing of it leaks, nothing in it can do harm.

use std::process::Command;
use std::sync::LazyLock;

use openssl::nid::Nid;

use super::world::*;
use crate::certificate::{Certificate, CertificateError, initialise_openssl};

static CHAIN: LazyLock<[Issued; 3]> = LazyLock::new(|| chain_of_three(&ec_key(Nid::X9_62_PRIME256V1)));

fn good_pfx() -> Vec<u8> {
    let chain = &*CHAIN;
    let keys = plain_part(&[&shrouded_key_bag(&chain[0].key, EMPTY, 3)]);
    let certificates: Vec<_> = chain.iter().map(|issued| certificate_bag(&issued.certificate)).collect();
    let certificates: Vec<_> = certificates.iter().map(Vec::as_slice).collect();
    pfx(&[&keys, &encrypted_part(&certificates, EMPTY, 3)], EMPTY, 1)
}

fn good_pem() -> String {
    let chain = &*CHAIN;
    pem_of(Some(&chain[0].key), &[&chain[2].certificate, &chain[1].certificate, &chain[0].certificate])
}

#[test]
fn the_content_wins_over_the_content_type() {
    let (pfx, pem) = (in_base64(&good_pfx()), good_pem());
    let warnings = |value: &str, said: Option<&str>| Certificate::decode(value, said).unwrap().warnings().to_vec();
    for (value, right, wrong) in [
        (&pfx, "application/x-pkcs12", "application/x-pem-file"),
        (&pem, "application/x-pem-file", "application/x-pkcs12"),
    ] {
        for silent in [None, Some(""), Some(right), Some(&*right.to_uppercase()), Some(&*format!("{right}; v=1"))] {
            assert!(warnings(value, silent).is_empty(), "{silent:?}");
        }
        let warning = format!("the content type says {wrong}, but the value is {right}; it was read as that");
        assert_eq!(warnings(value, Some(wrong)), [warning]);
        assert!(warnings(value, Some("te\nxt"))[0].starts_with(r"the content type says te\nxt, but"));
    }
}

#[test]
fn reads_base64_without_padding_and_with_line_breaks() {
    let pfx = good_pfx();
    let mut padded = 0;
    for value in [0, 1, 2].map(|more| {
        // Three lengths, so that every padding is among them: the bag attributes of nobody grow.
        let salt = vec![7; 8 + more];
        let part = plain_part(&[
            &key_bag(&CHAIN[0].key),
            &certificate_bag(&CHAIN[0].certificate),
            &bag(5, &octets(&salt), &[]),
        ]);
        in_base64(&pfx_without_mac(&[&part]))
    }) {
        padded += usize::from(value.ends_with('='));
        let lines: Vec<_> = value.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        for value in [value.trim_end_matches('=').to_string(), lines.join("\n"), lines.join("\r\n")] {
            assert_eq!(names_of_valid(&Certificate::decode(&value, None).unwrap()), ["leaf"]);
        }
    }
    assert_eq!(padded, 2);
    assert!(Certificate::decode(&in_base64(&pfx), None).is_ok());
}

#[test]
fn thumbprint_and_dates_are_the_leafs() {
    let certificate = Certificate::decode(&good_pem(), None).unwrap();
    let leaf = &CHAIN[0].certificate;
    let digest = leaf.digest(openssl::hash::MessageDigest::sha1()).unwrap();
    let digest: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(certificate.thumbprint().to_string(), digest);
    assert_eq!(certificate.thumbprint().to_string().len(), 40);
    assert_eq!(certificate.not_after().as_second() - certificate.not_before().as_second(), 365 * 86_400);
    let age = jiff::Timestamp::now().as_second() - certificate.not_before().as_second();
    assert!((86_400..90_000).contains(&age));
    assert!(certificate.key.public_eq(&leaf.public_key().unwrap()));
    assert_eq!(certificate.chain.len(), 3);
}

#[test]
fn a_certificate_that_never_ends_ends_with_time() {
    // 9999-12-31 23:59:59 is what RFC 5280 gives certificates without an end.
    let days = (253_402_300_799 - jiff::Timestamp::now().as_second()) / 86_400;
    let leaf = Request::new("leaf").validity(-40_000, days).self_signed();
    let certificate = Certificate::decode(&pem_of(Some(&leaf.key), &[&leaf.certificate]), None).unwrap();
    assert_eq!(certificate.not_after(), jiff::Timestamp::MAX);
    assert!(certificate.not_before().as_second() < 0);
}

#[test]
fn an_expired_certificate_is_still_a_certificate() {
    let leaf = Request::new("leaf").validity(-300, -100).self_signed();
    let certificate = Certificate::decode(&pem_of(Some(&leaf.key), &[&leaf.certificate]), None).unwrap();
    assert!(certificate.not_after() < jiff::Timestamp::now());
}

#[test]
fn a_secret_that_is_no_certificate_is_refused_without_showing_it() {
    let canary = "hunter2CANARY";
    let base64_of_text = in_base64(canary.as_bytes());
    for value in [
        "",
        " \n",
        canary,
        "Server=db;Password=hunter2CANARY;",
        &base64_of_text,
        "MA==",
        "MAA=",
        "{\"value\":\"hunter2CANARY\"}",
        "-----BEGIN hunter2CANARY-----\nhunter2CANARY\n-----END hunter2CANARY-----\n",
        "-----BEGIN hunter2CANARY",
        "-----BEGIN CERTIFICATE-----\nhunter2CANARY!\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nhunter2CANARY\n-----END PRIVATE KEY-----\n",
        "hunter2CANARY\0\x1b[31m",
        "MIIhunter2CANARY",
    ] {
        for content_type in [None, Some("text/plain"), Some("application/x-pkcs12"), Some("application/x-pem-file")] {
            let error = Certificate::decode(value, content_type).err().expect("must be refused");
            let shown = format!("{error} {error:?}");
            assert!(!shown.to_lowercase().contains("hunter2") && !shown.contains(&base64_of_text), "{shown}");
            if !value.contains("-----") {
                assert!(matches!(error, CertificateError::NotACertificate), "{value}: {error}");
            }
        }
    }
}

#[test]
fn a_megabyte_is_read_and_five_are_refused() {
    let pem = good_pem();
    let padded = |length: usize| format!("{pem}{}", " ".repeat(length - pem.len()));
    assert!(Certificate::decode(&padded(1 << 20), None).is_ok());
    assert!(Certificate::decode(&padded((1 << 20) + 1), None).is_err());
    for value in ["A".repeat(5 << 20), "\0".repeat(5 << 20), format!("{}{}", good_pem(), " ".repeat(5 << 20))] {
        let error = Certificate::decode(&value, None).err().expect("must be refused");
        assert!(matches!(error, CertificateError::Limit { what: "bytes", .. }));
    }
}

/// Changes one to four places: a bit, a byte, a cut, a repetition.
fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..bytes.len());
        match random.u8(..4) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => drop(bytes.drain(at..(at + random.usize(1..20)).min(bytes.len()))),
            _ => {
                let piece = bytes[at..(at + random.usize(1..20)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

#[test]
fn damaged_values_are_refused_or_still_whole() {
    let mut random = fastrand::Rng::with_seed(20);
    let with_mac = good_pfx();
    let plain: Vec<_> = CHAIN.iter().map(|issued| certificate_bag(&issued.certificate)).collect();
    let plain: Vec<_> = plain.iter().map(Vec::as_slice).collect();
    let plain = pfx_without_mac(&[&plain_part(&[&key_bag(&CHAIN[0].key), &plain.concat()])]);
    let mut outcomes = [0; 2];
    for round in 0..5000 {
        let mut pfx = if round % 2 == 0 { with_mac.clone() } else { plain.clone() };
        mutate(&mut pfx, &mut random);
        let mut pem = good_pem().into_bytes();
        mutate(&mut pem, &mut random);
        for value in [in_base64(&pfx), String::from_utf8_lossy(&pem).into_owned()] {
            let outcome = Certificate::decode(&value, None);
            outcomes[usize::from(outcome.is_ok())] += 1;
            if let Ok(certificate) = outcome {
                let pem = certificate.to_pem().unwrap();
                let key = openssl::pkey::PKey::private_key_from_pem(&pem).unwrap();
                let leaf = openssl::x509::X509::from_pem(&pem).unwrap();
                assert!(leaf.public_key().unwrap().public_eq(&key));
            }
            assert!(openssl::error::ErrorStack::get().errors().is_empty(), "left on the queue");
        }
    }
    assert!(outcomes[0] > 2500 && outcomes[1] > 250, "{outcomes:?}");
}

#[test]
fn no_configuration_file_of_openssl_is_read() {
    const CHILD: &str = "certificate::tests::values::no_configuration_file_of_openssl_is_read";
    if std::env::var_os("OPENSSL_CONF").is_some() {
        // The child: with this configuration there would be no algorithm at all but those of the base provider.
        initialise_openssl();
        openssl::init();
        assert!(Certificate::decode(&in_base64(&good_pfx()), None).is_ok());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("openssl.cnf");
    let lines = "openssl_conf = a\n[a]\nproviders = b\nalg_section = d\n[b]\nbase = c\n[c]\nactivate = 1\n[d]\ndefault_properties = fips=yes\n";
    std::fs::write(&configuration, lines).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD])
        .env("OPENSSL_CONF", &configuration)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

#[test]
fn curves_that_are_written_out_are_refused() {
    let leaf = &CHAIN[0];
    let mut group = openssl::ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    group.set_asn1_flag(openssl::ec::Asn1Flag::EXPLICIT_CURVE);
    let named = leaf.key.ec_key().unwrap();
    let written_out =
        openssl::ec::EcKey::from_private_components(&group, named.private_key(), named.public_key()).unwrap();
    let sec1 = written_out.private_key_to_der().unwrap();
    let key = openssl::pkey::PKey::from_ec_key(written_out).unwrap();
    // The named curve outside, the other inside.
    let algorithm = seq(&[&oid("1.2.840.10045.2.1"), &oid("1.2.840.10045.3.1.7")]);
    let mixed = seq(&[&integer(0), &algorithm, &octets(&sec1)]);
    let certificate = pem_of(None, &[&leaf.certificate]);
    for der in [key.private_key_to_pkcs8().unwrap(), sec1, mixed] {
        let value = format!("-----BEGIN PRIVATE KEY-----{}-----END PRIVATE KEY-----{certificate}", in_base64(&der));
        let error = Certificate::decode(&value, None).err().expect("must be refused");
        assert!(error.to_string().starts_with("the private key is EC on a curve without a name,"), "{error}");
    }

    let stranger = Request::new("Stranger").key(&key).self_signed();
    let value = pem_of(Some(&leaf.key), &[&leaf.certificate, &stranger.certificate]);
    let error = Certificate::decode(&value, None).err().expect("must be refused");
    assert!(matches!(error, CertificateError::UnnamedCurve), "{error}");
}
