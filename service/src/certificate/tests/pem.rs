//! PEM in all orders and forms.

use openssl::ec::EcKey;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey};
use openssl::symm::Cipher;

use super::world::*;
use crate::certificate::{Certificate, CertificateError};

const TYPE: Option<&str> = Some("application/x-pem-file");

fn names(value: &str) -> Vec<String> {
    let certificate = Certificate::decode(value, TYPE).unwrap();
    assert!(certificate.warnings().is_empty(), "{:?}", certificate.warnings());
    names_of_valid(&certificate)
}

fn refusal(value: &str) -> CertificateError {
    Certificate::decode(value, TYPE).err().expect("must be refused")
}

fn chain() -> [Issued; 3] {
    chain_of_three(&ec_key(Nid::X9_62_PRIME256V1))
}

#[test]
fn reads_the_blocks_in_any_order() {
    let chain = chain();
    let blocks = [
        pem_of(Some(&chain[0].key), &[]),
        pem_of(None, &[&chain[0].certificate]),
        pem_of(None, &[&chain[1].certificate]),
        pem_of(None, &[&chain[2].certificate]),
    ];
    for order in [[0, 1, 2, 3], [1, 2, 3, 0], [3, 2, 1, 0], [2, 0, 3, 1], [3, 0, 1, 2]] {
        assert_eq!(names(&order.map(|at| blocks[at].as_str()).concat()), ["leaf", "Intermediate", "Root"]);
    }
}

#[test]
fn ignores_text_and_blocks_of_other_kinds() {
    let chain = chain();
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let value = format!(
        "Bag Attributes\n    friendlyName: \x1b[2J\n{parameters}{}\nsubject=/CN=evil\n{}trailing \u{202e}",
        pem_of(Some(&chain[0].key), &[]),
        pem_of(None, &[&chain[0].certificate, &chain[1].certificate]),
    );
    assert_eq!(names(&value), ["leaf", "Intermediate"]);
    let pem = Certificate::decode(&value, TYPE).unwrap().to_pem().unwrap();
    assert!(!String::from_utf8_lossy(&pem).contains("evil"));
}

#[test]
fn reads_other_line_ends_lengths_and_none_at_all() {
    let chain = chain();
    let value = pem_of(Some(&chain[0].key), &[&chain[0].certificate, &chain[1].certificate]);
    for value in [
        value.replace('\n', "\r\n"),
        value.replace('\n', " "),
        value.replace('\n', "\n  "),
        format!("\u{feff}{value}"),
        value.trim_end().to_string(),
        value.replace("=\n", "\n"),
    ] {
        assert_eq!(names(&value), ["leaf", "Intermediate"]);
    }
}

#[test]
fn reads_keys_of_pkcs8_pkcs1_and_sec1() {
    for key in [rsa_key(), ec_key(Nid::X9_62_PRIME256V1)] {
        let chain = chain_of_three(&key);
        let certificates = pem_of(None, &[&chain[0].certificate, &chain[1].certificate]);
        let traditional = match key.id() {
            Id::RSA => key.rsa().unwrap().private_key_to_pem().unwrap(),
            _ => key.ec_key().unwrap().private_key_to_pem().unwrap(),
        };
        for form in [traditional, key.private_key_to_pem_pkcs8().unwrap()] {
            assert_eq!(names(&format!("{}{certificates}", String::from_utf8(form).unwrap())), ["leaf", "Intermediate"]);
        }
    }
}

#[test]
fn the_same_key_twice_is_one_key_and_two_keys_are_refused() {
    let chain = chain();
    let certificates = [&chain[0].certificate, &chain[1].certificate];
    let sec1 = String::from_utf8(chain[0].key.ec_key().unwrap().private_key_to_pem().unwrap()).unwrap();
    assert_eq!(names(&format!("{sec1}{}", pem_of(Some(&chain[0].key), &certificates))), ["leaf", "Intermediate"]);
    for other in [&chain[1].key, &rsa_key()] {
        let value = format!("{}{}", pem_of(Some(other), &[]), pem_of(Some(&chain[0].key), &certificates));
        assert!(matches!(refusal(&value), CertificateError::TwoKeys));
    }
}

#[test]
fn refuses_an_encrypted_key_by_name() {
    let chain = chain();
    let certificates = pem_of(None, &[&chain[0].certificate]);
    let cipher = Cipher::aes_256_cbc();
    let pkcs8 = chain[0].key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap();
    let rsa = rsa_key().rsa().unwrap().private_key_to_pem_passphrase(cipher, b"secret").unwrap();
    for key in [pkcs8, rsa] {
        let value = format!("{}{certificates}", String::from_utf8(key).unwrap());
        assert!(matches!(refusal(&value), CertificateError::EncryptedKey));
    }
}

#[test]
fn says_what_is_missing() {
    let chain = chain();
    let without_key = pem_of(None, &[&chain[0].certificate, &chain[1].certificate]);
    let error = refusal(&without_key);
    assert!(matches!(error, CertificateError::NoPrivateKey) && error.to_string().contains("not exportable"), "{error}");
    let der = in_base64(&chain[0].certificate.to_der().unwrap());
    assert!(matches!(refusal(&der), CertificateError::NoPrivateKey));
    assert!(matches!(refusal(&pem_of(Some(&chain[0].key), &[])), CertificateError::NoCertificate));
    let foreign = pem_of(Some(&chain[2].key), &[&chain[0].certificate, &chain[1].certificate]);
    assert!(matches!(refusal(&foreign), CertificateError::NoMatch));
    let public = String::from_utf8(chain[0].key.public_key_to_pem().unwrap()).unwrap();
    assert!(matches!(refusal(&public), CertificateError::NotACertificate));
}

#[test]
fn refuses_damaged_blocks_and_too_many() {
    let chain = chain();
    let value = pem_of(Some(&chain[0].key), &[&chain[0].certificate]);
    for damaged in [
        value.replace("-----END PRIVATE KEY-----", ""),
        value.replace("-----END CERTIFICATE-----", "-----END CERT-----"),
        value.replacen("MI", "M!", 1),
        value[..value.len() - 40].to_string(),
        "-----BEGIN ".to_string(),
        "-----BEGIN CERTIFICATE-----".to_string(),
    ] {
        assert!(matches!(refusal(&damaged), CertificateError::Damaged("PEM")), "{damaged}");
    }
    let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    assert!(matches!(refusal(&format!("{value}{empty}")), CertificateError::Damaged("certificate")));
    let many = format!("{}{}", pem_of(Some(&chain[0].key), &[]), empty.repeat(1500));
    assert!(matches!(refusal(&many), CertificateError::Limit { what: "certificates", .. }));
}

#[test]
fn accepts_the_usual_kinds_of_keys_and_names_the_others() {
    let value = |key: &PKey<_>| {
        let root = Request::new("Root").self_signed();
        pem_of(Some(key), &[&Request::new("leaf").key(key).issued_by(&root).certificate, &root.certificate])
    };
    for key in [
        rsa_key(),
        new_rsa_key(3072),
        ec_key(Nid::X9_62_PRIME256V1),
        ec_key(Nid::SECP384R1),
        ec_key(Nid::SECP521R1),
        ec_key(Nid::SECP256K1),
        PKey::generate_ed25519().unwrap(),
    ] {
        assert_eq!(names(&value(&key)), ["leaf", "Root"]);
    }
    let dsa = PKey::from_dsa(openssl::dsa::Dsa::generate(1024).unwrap()).unwrap();
    for (key, name) in [
        (new_rsa_key(1024), "RSA with 1024 bits"),
        (ec_key(Nid::SECP224R1), "EC on the curve secp224r1"),
        (ec_key(Nid::BRAINPOOL_P256R1), "EC on the curve brainpoolP256r1"),
        (dsa, "of the kind DSA"),
        (PKey::generate_ed448().unwrap(), "of the kind ED448"),
        (PKey::generate_x25519().unwrap(), "of the kind X25519"),
    ] {
        let error = refusal(&format!("{}{}", pem_of(Some(&key), &[]), pem_of(None, &[&chain()[0].certificate])));
        assert!(matches!(error, CertificateError::KeyType(_)) && error.to_string().contains(name), "{error}");
    }
}

#[test]
fn refuses_a_huge_key_before_any_arithmetic() {
    let certificate = pem_of(None, &[&chain()[0].certificate]);
    let block = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n{certificate}", in_base64(der))
    };
    let number = huge_number();
    let dsa = seq(&[&integer(0), &number, &number, &number, &number, &number]);
    let rsa = seq(&[&integer(0), &number.repeat(8)]);
    let number_of = |bytes: usize| seq(&[&integer(0), &der(0x02, &[&vec![0x7f; bytes - 15]])]);
    let start = std::time::Instant::now();
    for (value, expected) in [
        (block("PRIVATE KEY", &huge_key("1.2.840.10040.4.1")), "the private key is of the kind DSA,"),
        (block("PRIVATE KEY", &huge_key("1.3.14.3.2.12")), "of the kind DSA-old,"),
        (block("PRIVATE KEY", &huge_key("1.2.840.113549.1.3.1")), "of the kind dhKeyAgreement,"),
        (block("PRIVATE KEY", &huge_key("1.2.840.10046.2.1")), "of the kind dhpublicnumber,"),
        (block("PRIVATE KEY", &huge_key("1.2.840.113549.1.1.10")), "of the kind RSASSA-PSS,"),
        (block("PRIVATE KEY", &huge_key("1.2.3.4.5")), "of the kind 1.2.3.4.5,"),
        (block("RSA PRIVATE KEY", &huge_key("1.2.840.10040.4.1")), "of the kind DSA,"),
        (block("DSA PRIVATE KEY", &dsa), "of the kind DSA,"),
        (block("PRIVATE KEY", &dsa), "more than 16384 bytes in a private key"),
        (block("PRIVATE KEY", &number_of(16_385)), "more than 16384 bytes in a private key"),
        (block("PRIVATE KEY", &number_of(16_384)), "the private key is damaged"),
        (block("RSA PRIVATE KEY", &rsa), "more than 16384 bytes in a private key"),
        (block("PRIVATE KEY", &seq(&[&integer(0), &number, &number, &number])), "the private key is damaged"),
    ] {
        let error = refusal(&value);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn refuses_a_key_whose_halves_do_not_fit() {
    // The public half is the leaf's, the private half is another's.
    let chain = chain();
    let (right, wrong) = (chain[0].key.ec_key().unwrap(), chain[1].key.ec_key().unwrap());
    let mixed = EcKey::from_private_components(right.group(), wrong.private_key(), right.public_key()).unwrap();
    let value = pem_of(Some(&PKey::from_ec_key(mixed).unwrap()), &[&chain[0].certificate]);
    assert!(matches!(refusal(&value), CertificateError::Damaged("private key")));

    let key = rsa_key().rsa().unwrap();
    let own = |number: &openssl::bn::BigNumRef| number.to_owned().unwrap();
    let mut exponent = own(key.d());
    exponent.add_word(2).unwrap();
    let mixed = openssl::rsa::Rsa::from_private_components(
        own(key.n()),
        own(key.e()),
        exponent,
        own(key.p().unwrap()),
        own(key.q().unwrap()),
        own(key.dmp1().unwrap()),
        own(key.dmq1().unwrap()),
        own(key.iqmp().unwrap()),
    );
    let leaf = chain_of_three(&rsa_key())[0].certificate.clone();
    let value = pem_of(Some(&PKey::from_rsa(mixed.unwrap()).unwrap()), &[&leaf]);
    assert!(matches!(refusal(&value), CertificateError::Damaged("private key")));
}
