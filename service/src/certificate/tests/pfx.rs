//! PKCS #12: what exporters write, and what attackers would.

use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkcs12::Pkcs12;
use openssl::stack::Stack;

use super::world::*;
use crate::certificate::{Certificate, CertificateError, initialise_openssl};

const TYPE: Option<&str> = Some("application/x-pkcs12");

fn decode(pfx: &[u8]) -> Result<Certificate, CertificateError> {
    Certificate::decode(&in_base64(pfx), TYPE)
}

fn refusal(pfx: &[u8]) -> CertificateError {
    decode(pfx).err().expect("must be refused")
}

/// An unencrypted part with everything that is needed.
fn good_part(chain: &[Issued; 3]) -> Vec<u8> {
    plain_part(&[
        &key_bag(&chain[0].key),
        &certificate_bag(&chain[2].certificate),
        &certificate_bag(&chain[1].certificate),
        &certificate_bag(&chain[0].certificate),
    ])
}

fn chain() -> [Issued; 3] {
    chain_of_three(&ec_key(Nid::X9_62_PRIME256V1))
}

macro_rules! sample {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../tests/data/pkcs12/", $name, ".p12")).as_slice())
    };
}

#[test]
fn reads_what_openssl_java_and_bouncy_castle_write() {
    for (name, pfx) in [
        sample!("openssl-default"),
        sample!("openssl-legacy"),
        sample!("openssl-rc2-128"),
        sample!("openssl-2des"),
        sample!("openssl-descert"),
        sample!("openssl-aes128-sha512"),
        sample!("openssl-des3-pbes2"),
        sample!("openssl-without-mac"),
        sample!("openssl-without-encryption"),
        sample!("java"),
        sample!("java-legacy"),
        sample!("bouncy-castle"),
    ] {
        let certificate = decode(pfx).unwrap_or_else(|error| panic!("{name}: {error}"));
        let names = names_of_valid(&certificate);
        assert_eq!(names, ["web.contoso.com", "Contoso Intermediate", "Contoso Root"], "{name}");
        assert!(certificate.warnings().is_empty(), "{name}");
    }
}

#[test]
fn reads_every_pseudorandom_function_cipher_and_mac() {
    initialise_openssl();
    let chain = chain();
    let ciphers = [Nid::AES_128_CBC, Nid::AES_192_CBC, Nid::AES_256_CBC, Nid::PBE_WITHSHA1AND3_KEY_TRIPLEDES_CBC];
    let macs = [
        MessageDigest::sha1(),
        MessageDigest::sha224(),
        MessageDigest::sha256(),
        MessageDigest::sha384(),
        MessageDigest::sha512(),
    ];
    for cipher in ciphers {
        for mac in macs {
            let mut others = Stack::new().unwrap();
            others.push(chain[2].certificate.clone()).unwrap();
            others.push(chain[1].certificate.clone()).unwrap();
            let mut builder = Pkcs12::builder();
            builder.name("web").pkey(&chain[0].key).cert(&chain[0].certificate).ca(others);
            builder.key_algorithm(cipher).cert_algorithm(cipher).key_iter(5).mac_iter(3).mac_md(mac);
            let pfx = builder.build2("").unwrap().to_der().unwrap();
            assert_eq!(names_of_valid(&decode(&pfx).unwrap()), ["leaf", "Intermediate", "Root"]);
        }
    }
    // hmacWithSHA1 (also when not named), 224, 256, 384, 512.
    let functions = [(None, MessageDigest::sha1()), (Some(7), MessageDigest::sha1())].into_iter().chain(
        (8..).zip(macs.into_iter().skip(1)).map(|(at, mac)| (Some([0, 0, 0, 0, 0, 0, 0, 0, 8, 9, 10, 11][at]), mac)),
    );
    for (number, digest) in functions {
        let function = number.map(|number| seq(&[&oid(&format!("1.2.840.113549.2.{number}")), NULL]));
        let algorithm = pbes2(&pbkdf2(7, &[&function.unwrap_or_default()]), AES_256_CBC);
        let mut key = [0; 32];
        pbkdf2_hmac(b"", SALT, 7, digest, &mut key).unwrap();
        let cipher = openssl::symm::Cipher::aes_256_cbc();
        let pkcs8 = chain[0].key.private_key_to_pkcs8().unwrap();
        let ciphertext = openssl::symm::encrypt(cipher, &key, Some(&[1; 16]), &pkcs8).unwrap();
        let key_bag = bag(2, &seq(&[&algorithm, &octets(&ciphertext)]), &[]);
        let part = plain_part(&[&key_bag, &certificate_bag(&chain[0].certificate)]);
        assert_eq!(names_of_valid(&decode(&pfx(&[&part], EMPTY, 1)).unwrap()), ["leaf"]);
    }
}

#[test]
fn reads_both_encodings_of_the_empty_password_with_and_without_a_mac() {
    let chain = chain();
    for password in [EMPTY, ABSENT] {
        let keys = plain_part(&[&shrouded_key_bag(&chain[0].key, password, 20)]);
        let certificates: Vec<_> = chain.iter().map(|issued| certificate_bag(&issued.certificate)).collect();
        let certificates: Vec<_> = certificates.iter().map(Vec::as_slice).collect();
        let certificates = encrypted_part(&certificates, password, 10);
        for pfx in [pfx(&[&keys, &certificates], password, 1), pfx_without_mac(&[&keys, &certificates])] {
            assert_eq!(names_of_valid(&decode(&pfx).unwrap()), ["leaf", "Intermediate", "Root"]);
        }
    }
}

#[test]
fn reads_a_mac_of_pbmac1() {
    let chain = chain();
    let part = good_part(&chain);
    let with = |iterations, key_length: i64| {
        let function = seq(&[&oid("1.2.840.113549.2.9"), NULL]);
        let derivation = pbkdf2(iterations, &[&integer(key_length), &function]);
        let parameters = seq(&[&derivation, &function]);
        let mut key = [0; 32];
        pbkdf2_hmac(b"", SALT, 50, MessageDigest::sha256(), &mut key).unwrap();
        let code = hmac(MessageDigest::sha256(), &key, &seq(&[&part]));
        let info = seq(&[&seq(&[&oid("1.2.840.113549.1.5.14"), &parameters]), &octets(&code)]);
        pfx_with_mac(&[&part], &seq(&[&info, &octets(b"not used"), &integer(1)]))
    };
    assert_eq!(names_of_valid(&decode(&with(50, 32)).unwrap()), ["leaf", "Intermediate", "Root"]);
    assert!(matches!(refusal(&with(51, 32)), CertificateError::Password));
    assert!(matches!(refusal(&with(50, i64::MAX)), CertificateError::Password));
    assert!(matches!(refusal(&with(1_000_001, 32)), CertificateError::Iterations(1_000_001)));
}

#[test]
fn refuses_a_password_by_name() {
    let chain = chain();
    let mut builder = Pkcs12::builder();
    builder.pkey(&chain[0].key).cert(&chain[0].certificate);
    let with_mac = builder.build2("correct horse").unwrap().to_der().unwrap();
    assert!(matches!(refusal(&with_mac), CertificateError::Password));

    let key = shrouded_key_bag(&chain[0].key, b"\0s\0e\0c\0r\0e\0t\0\0", 10);
    let part = plain_part(&[&key, &certificate_bag(&chain[0].certificate)]);
    assert!(matches!(refusal(&pfx_without_mac(&[&part])), CertificateError::Password));
}

/// The refusal, which must come before the work: half a million rounds take longer than this.
fn prompt_refusal(pfx: &[u8]) -> CertificateError {
    let value = in_base64(pfx);
    let start = Instant::now();
    let refusal = Certificate::decode(&value, TYPE).err().expect("must be refused");
    assert!(start.elapsed() < Duration::from_millis(1000), "{refusal} took {:?}", start.elapsed());
    refusal
}

#[test]
fn refuses_iterations_out_of_bounds_before_any_work() {
    let chain = chain();
    let certificate = certificate_bag(&chain[0].certificate);
    for refused in [i64::from(i32::MAX), 1_000_001, 1 << 40, i64::MAX, 0, -1, i64::from(i32::MIN), i64::MIN] {
        let sham = sham_key_bag(&pbe_3des(refused));
        let in_pbes2 = sham_key_bag(&pbes2(&pbkdf2(refused, &[]), AES_256_CBC));
        let cases = [
            pfx(&[&good_part(&chain)], EMPTY, refused),
            pfx(&[&plain_part(&[&sham, &certificate])], EMPTY, 1),
            pfx_without_mac(&[&plain_part(&[&in_pbes2, &certificate])]),
            pfx(&[&encrypted_data(&pbe_3des(refused), &[7; 64])], EMPTY, 1),
            // Seen only once the part around it is decrypted.
            pfx(&[&encrypted_part(&[&sham, &certificate], EMPTY, 10)], EMPTY, 1),
            pfx_without_mac(&[&encrypted_part(&[&safe_contents_bag(&[&in_pbes2])], EMPTY, 10)]),
        ];
        for pfx in cases {
            let error = prompt_refusal(&pfx);
            assert!(matches!(error, CertificateError::Iterations(n) if n == refused), "{error}");
            assert!(error.to_string().contains(&refused.to_string()) && error.to_string().contains("1000000"));
        }
    }
}

#[test]
fn refuses_what_nss_and_gnutls_write_for_its_rounds() {
    for (name, pfx) in [sample!("nss"), sample!("gnutls")] {
        let error = prompt_refusal(pfx);
        assert!(matches!(error, CertificateError::Iterations(600_000)), "{name}: {error}");
    }
}

#[test]
fn refuses_many_bags_that_are_too_much_together() {
    let chain = chain();
    let bag = sham_key_bag(&pbes2(&pbkdf2(250_001, &[]), AES_256_CBC));
    let part = plain_part(&[&bag, &bag, &bag, &bag, &certificate_bag(&chain[0].certificate)]);
    assert!(matches!(prompt_refusal(&pfx(&[&part], EMPTY, 1)), CertificateError::Iterations(250_001)));
    let part = encrypted_part(&[&bag, &bag, &bag, &bag], EMPTY, 10);
    assert!(matches!(prompt_refusal(&pfx(&[&part], EMPTY, 1)), CertificateError::Iterations(250_001)));
}

#[test]
fn accepts_a_hundred_thousand_iterations() {
    let chain = chain();
    let part = plain_part(&[&shrouded_key_bag(&chain[0].key, EMPTY, 100_000), &certificate_bag(&chain[0].certificate)]);
    assert_eq!(names_of_valid(&decode(&pfx(&[&part], EMPTY, 100_000)).unwrap()), ["leaf"]);
}

#[test]
fn refuses_other_algorithms_by_name() {
    let chain = chain();
    let scrypt =
        seq(&[&oid("1.3.6.1.4.1.11591.4.11"), &seq(&[&octets(SALT), &integer(1 << 20), &integer(8), &integer(1)])]);
    let hmac_sha512_256 = seq(&[&oid("1.2.840.113549.2.13"), NULL]);
    for (algorithm, name) in [
        (pbes2(&scrypt, AES_256_CBC), "scrypt"),
        (pbes2(&pbkdf2(1, &[]), "1.2.840.113549.3.2"), "rc2-cbc"),
        (pbes2(&pbkdf2(1, &[]), "2.16.840.1.101.3.4.1.46"), "aes-256-gcm"),
        (pbes2(&pbkdf2(1, &[&hmac_sha512_256]), AES_256_CBC), "hmacWithSHA512-256"),
        (seq(&[&oid("1.2.840.113549.1.12.1.1"), &seq(&[&octets(SALT), &integer(1)])]), "pbeWithSHA1And128BitRC4"),
        (seq(&[&oid("1.2.840.113549.1.5.3"), &seq(&[&octets(SALT), &integer(1)])]), "pbeWithMD5AndDES-CBC"),
        (seq(&[&oid("1.2.3.4")]), "1.2.3.4"),
    ] {
        let part = plain_part(&[&sham_key_bag(&algorithm), &certificate_bag(&chain[0].certificate)]);
        let error = refusal(&pfx(&[&part], EMPTY, 1));
        assert!(matches!(error, CertificateError::Algorithm(_)) && error.to_string().contains(name), "{error}");
    }
    let md5 = seq(&[&seq(&[&seq(&[&oid("1.2.840.113549.2.5"), NULL]), &octets(&[7; 16])]), &octets(SALT), &integer(1)]);
    assert!(refusal(&pfx_with_mac(&[&good_part(&chain)], &md5)).to_string().contains("uses md5,"));
    let enveloped = seq(&[&oid("1.2.840.113549.1.7.3"), &der(0xa0, &[&seq(&[])])]);
    assert!(refusal(&pfx(&[&enveloped], EMPTY, 1)).to_string().contains("pkcs7-envelopedData"));
    let signed = seq(&[&integer(3), &seq(&[&oid("1.2.840.113549.1.7.2"), &der(0xa0, &[&seq(&[])])])]);
    assert!(refusal(&signed).to_string().contains("pkcs7-signedData"));
}

#[test]
fn bounds_nested_bags_and_certificates_and_bags_and_keys() {
    let chain = chain();
    let nested = |depth: usize| {
        let innermost = safe_contents_bag(&[&key_bag(&chain[0].key), &certificate_bag(&chain[0].certificate)]);
        (1..depth).fold(innermost, |bag, _| safe_contents_bag(&[&bag]))
    };
    assert!(decode(&pfx(&[&plain_part(&[&nested(7)])], EMPTY, 1)).is_ok());
    for depth in [8, 1000] {
        for part in [plain_part(&[&nested(depth)]), encrypted_part(&[&nested(depth)], EMPTY, 1)] {
            assert!(matches!(refusal(&pfx(&[&part], EMPTY, 1)), CertificateError::Limit { limit: 8, .. }));
        }
    }

    let certificate = certificate_bag(&chain[1].certificate);
    let (leaf, key) = (certificate_bag(&chain[0].certificate), key_bag(&chain[0].key));
    let crowd =
        |certificates: usize| pfx(&[&plain_part(&[&key, &leaf, &certificate.repeat(certificates - 1)])], EMPTY, 1);
    assert_eq!(names_of_valid(&decode(&crowd(100)).unwrap()), ["leaf", "Intermediate"]);
    for certificates in [101, 1500] {
        let error = refusal(&crowd(certificates));
        assert_eq!(error.to_string().split(':').next().unwrap(), "the value has more than 100 certificates");
    }
    let error = refusal(&pfx(&[&plain_part(&[&key.repeat(21), &leaf])], EMPTY, 1));
    assert!(matches!(error, CertificateError::Limit { what: "private keys", .. }));
    let other = bag(5, &seq(&[]), &[]);
    // The part itself counts as well.
    let bags = |bags: usize| pfx(&[&plain_part(&[&key, &leaf, &other.repeat(bags - 3)])], EMPTY, 1);
    assert!(decode(&bags(400)).is_ok());
    assert!(matches!(refusal(&bags(401)), CertificateError::Limit { what: "bags", .. }));
    let error = refusal(&pfx(&[&plain_part(&[&other.repeat(10_000)])], EMPTY, 1));
    assert!(matches!(error, CertificateError::Limit { what: "bags", .. }));
    let error = refusal(&pfx(&vec![plain_part(&[]).as_slice(); 10_000], EMPTY, 1));
    assert!(matches!(error, CertificateError::Limit { what: "bags", .. }));
}

#[test]
fn refuses_more_than_a_mebibyte() {
    let chain = chain();
    let filler = bag(5, &octets(&vec![0; 1 << 20]), &[]);
    let part = plain_part(&[&key_bag(&chain[0].key), &certificate_bag(&chain[0].certificate), &filler]);
    let error = refusal(&pfx(&[&part], EMPTY, 1));
    assert!(matches!(error, CertificateError::Limit { what: "bytes", limit: 1_048_576 }));
}

#[test]
fn refuses_bytes_after_the_end_and_accepts_white_space() {
    let pfx = pfx(&[&good_part(&chain())], EMPTY, 1);
    for tail in [&[0][..], &[0, 0], b"-----", &pfx] {
        assert!(matches!(refusal(&[&pfx, tail].concat()), CertificateError::TrailingBytes));
    }
    assert!(Certificate::decode(&format!("\n {}\r\n\t ", in_base64(&pfx)), TYPE).is_ok());
}

#[test]
fn refuses_lengths_that_are_not_there() {
    for bytes in [
        &b"\x30\x84\xff\xff\xff\xff\x02\x01\x03"[..],
        b"\x30\x80\x02\x01\x03",
        b"\x30\x03\x02\x01\x03",
        b"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff\x02\x01\x03",
        b"\x30\x09\x02\x01\x03\x30\x84\xff\xff\xff\xff",
    ] {
        assert!(matches!(refusal(bytes), CertificateError::Damaged("PKCS #12")), "{bytes:?}");
    }
    let whole = pfx(&[&good_part(&chain())], EMPTY, 1);
    for length in (20..whole.len()).step_by(97) {
        assert!(matches!(refusal(&whole[..length]), CertificateError::Damaged("PKCS #12")), "{length}");
    }
}

#[test]
fn attributes_decide_nothing_and_go_nowhere() {
    // localKeyId says that the root belongs to the key, and the friendly name would clear the screen.
    let attribute = |kind: &str, value: &[u8]| seq(&[&oid(kind), &der(0x31, &[value])]);
    let local_key_id = attribute("1.2.840.113549.1.9.21", &octets(b"\x01"));
    let friendly_name = attribute("1.2.840.113549.1.9.20", &der(0x1e, &[b"\0\x1b\0[\x002\0J"]));
    let attributes = der(0x31, &[&local_key_id, &friendly_name]);
    let chain = chain();
    let with_attributes = |bag: Vec<u8>| {
        let content = crate::certificate::ber::Reader::new(&bag).next().unwrap().content.to_vec();
        seq(&[&content, &attributes])
    };
    let part = plain_part(&[
        &with_attributes(certificate_bag(&chain[2].certificate)),
        &with_attributes(key_bag(&chain[0].key)),
        &certificate_bag(&chain[1].certificate),
        &certificate_bag(&chain[0].certificate),
    ]);
    let certificate = decode(&pfx(&[&part], EMPTY, 1)).unwrap();
    assert_eq!(names_of_valid(&certificate), ["leaf", "Intermediate", "Root"]);
    assert!(!certificate.to_pem().unwrap().contains(&0x1b));
    assert!(certificate.warnings().is_empty());
}

#[test]
fn a_changed_mac_or_content_is_refused() {
    let good = pfx(&[&good_part(&chain())], EMPTY, 2);
    let at = good.len() - 20;
    let mut changed = good.clone();
    changed[at] ^= 1;
    assert!(matches!(refusal(&changed), CertificateError::Password));
}

#[test]
fn refuses_a_huge_dsa_key_before_any_arithmetic() {
    let certificate = certificate_bag(&chain()[0].certificate);
    let key = bag(1, &huge_key("1.2.840.10040.4.1"), &[]);
    for part in [plain_part(&[&key, &certificate]), encrypted_part(&[&key, &certificate], EMPTY, 1)] {
        let start = Instant::now();
        let error = refusal(&pfx(&[&part], EMPTY, 1));
        assert!(error.to_string().starts_with("the private key is of the kind DSA,"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
