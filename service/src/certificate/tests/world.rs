//! Makes keys, certificates, and PKCS #12 piece by piece, also as no exporter would.

use std::net::IpAddr;
use std::sync::LazyLock;

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::{Hasher, MessageDigest};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::symm::{Cipher, encrypt};
use openssl::x509::extension::BasicConstraints;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509StoreContext};

use crate::certificate::{Certificate, initialise_openssl};

/// A certificate with its key.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) certificate: X509,
    pub(super) key: PKey<Private>,
}

/// A certificate to be made: valid from yesterday for a year, with a new P-256 key, unless said otherwise.
pub(super) struct Request {
    pub(super) subject: String,
    pub(super) key: PKey<Private>,
    /// Days from now.
    pub(super) validity: (i64, i64),
    pub(super) key_identifier: Option<Vec<u8>>,
    pub(super) authority_key_identifier: Option<Vec<u8>>,
    /// In place of what makes it one that may issue others.
    pub(super) extensions: Option<Vec<X509Extension>>,
}

impl Request {
    pub(super) fn new(subject: &str) -> Self {
        Self {
            subject: subject.into(),
            key: ec_key(Nid::X9_62_PRIME256V1),
            validity: (-1, 364),
            key_identifier: None,
            authority_key_identifier: None,
            extensions: None,
        }
    }

    pub(super) fn key(mut self, key: &PKey<Private>) -> Self {
        self.key = key.clone();
        self
    }

    pub(super) fn validity(mut self, from: i64, to: i64) -> Self {
        self.validity = (from, to);
        self
    }

    pub(super) fn identifiers(mut self, own: &[u8], authority: &[u8]) -> Self {
        self.key_identifier = Some(own.into());
        self.authority_key_identifier = Some(authority.into());
        self
    }

    /// One that issues no others, for these hosts and addresses, and for these purposes by their object identifiers.
    pub(super) fn server(mut self, hosts: &[&str], purposes: &[&str]) -> Self {
        let names = hosts.iter().map(|host| match host.parse() {
            Ok(IpAddr::V4(address)) => der(0x87, &[&address.octets()]),
            Ok(IpAddr::V6(address)) => der(0x87, &[&address.octets()]),
            Err(_) => der(0x82, &[host.as_bytes()]),
        });
        let (names, purposes) = (names.collect::<Vec<_>>().concat(), purposes.iter().flat_map(|purpose| oid(purpose)));
        let extensions = [("2.5.29.17", names), ("2.5.29.37", purposes.collect())].into_iter();
        let given = extensions.filter(|(_, value)| !value.is_empty());
        self.extensions = Some(given.map(|(identifier, value)| extension(identifier, &seq(&[&value]))).collect());
        self
    }

    pub(super) fn self_signed(self) -> Issued {
        let (name, key) = (self.subject.clone(), self.key.clone());
        self.sign(&name, &key)
    }

    pub(super) fn issued_by(self, issuer: &Issued) -> Issued {
        let issuer_name = common_name(&issuer.certificate);
        self.sign(&issuer_name, &issuer.key)
    }

    pub(super) fn sign(self, issuer: &str, issuer_key: &PKey<Private>) -> Issued {
        initialise_openssl();
        // Of the whole test, so that what ends a day later does so to the second.
        static NOW: LazyLock<i64> = LazyLock::new(|| jiff::Timestamp::now().as_second());
        let now = *NOW;
        let day = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&x509_name(&self.subject)).unwrap();
        builder.set_issuer_name(&x509_name(issuer)).unwrap();
        builder.set_not_before(&day(self.validity.0)).unwrap();
        builder.set_not_after(&day(self.validity.1)).unwrap();
        builder.set_pubkey(&self.key).unwrap();
        match &self.extensions {
            Some(extensions) => extensions.iter().for_each(|extension| builder.append_extension2(extension).unwrap()),
            None => builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap(),
        }
        if let Some(identifier) = &self.key_identifier {
            builder.append_extension(extension("2.5.29.14", &der(0x04, &[identifier]))).unwrap();
        }
        if let Some(identifier) = &self.authority_key_identifier {
            builder.append_extension(extension("2.5.29.35", &seq(&[&der(0x80, &[identifier])]))).unwrap();
        }
        let digest =
            if issuer_key.id() == openssl::pkey::Id::ED25519 { MessageDigest::null() } else { MessageDigest::sha256() };
        builder.sign(issuer_key, digest).unwrap();
        Issued { certificate: builder.build(), key: self.key }
    }
}

fn extension(identifier: &str, value: &[u8]) -> X509Extension {
    let identifier = Asn1Object::from_str(identifier).unwrap();
    X509Extension::new_from_der(&identifier, false, &Asn1OctetString::new_from_bytes(value).unwrap()).unwrap()
}

fn x509_name(common_name: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    if !common_name.is_empty() {
        name.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
    }
    name.build()
}

pub(super) fn common_name(certificate: &X509) -> String {
    let entry = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next().unwrap();
    entry.data().to_string().unwrap()
}

pub(super) fn ec_key(curve: Nid) -> PKey<Private> {
    initialise_openssl();
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub(super) fn rsa_key() -> PKey<Private> {
    static KEY: LazyLock<PKey<Private>> = LazyLock::new(|| new_rsa_key(2048));
    KEY.clone()
}

pub(super) fn new_rsa_key(bits: u32) -> PKey<Private> {
    initialise_openssl();
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

/// Leaf, intermediate, root.
pub(super) fn chain_of_three(leaf_key: &PKey<Private>) -> [Issued; 3] {
    let root = Request::new("Root").self_signed();
    let intermediate = Request::new("Intermediate").issued_by(&root);
    let leaf = Request::new("leaf").key(leaf_key).issued_by(&intermediate);
    [leaf, intermediate, root]
}

pub(super) fn pem_of(key: Option<&PKey<Private>>, certificates: &[&X509]) -> String {
    let mut pem = key.map(|key| key.private_key_to_pem_pkcs8().unwrap()).unwrap_or_default();
    certificates.iter().for_each(|certificate| pem.extend(certificate.to_pem().unwrap()));
    String::from_utf8(pem).unwrap()
}

/// Checks what must hold for every certificate that was decoded, and returns its chain.
pub(super) fn checked(certificate: &Certificate) -> Vec<X509> {
    let pem = certificate.to_pem().unwrap();
    let text = std::str::from_utf8(&pem).unwrap();
    let key_at = text.find("-----BEGIN PRIVATE KEY-----\n").unwrap();
    assert!(text[key_at..].ends_with("-----END PRIVATE KEY-----\n"));
    assert!(
        text[..key_at]
            .split("-----END CERTIFICATE-----\n")
            .all(|block| { block.is_empty() || block.starts_with("-----BEGIN CERTIFICATE-----\n") })
    );

    let chain = X509::stack_from_pem(&text.as_bytes()[..key_at]).unwrap();
    let key = PKey::private_key_from_pem(&pem).unwrap();
    assert!(chain[0].public_key().unwrap().public_eq(&key));
    for pair in chain.windows(2) {
        assert!(pair[0].verify(&pair[1].public_key().unwrap()).unwrap());
    }
    chain
}

/// The common names of the chain, which a client accepts as it stands.
pub(super) fn names_of_valid(certificate: &Certificate) -> Vec<String> {
    let chain = checked(certificate);
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(chain[chain.len() - 1].clone()).unwrap();
    let flags = X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::NO_CHECK_TIME;
    store.set_flags(flags).unwrap();
    let mut between = openssl::stack::Stack::new().unwrap();
    chain[1..].iter().for_each(|certificate| between.push(certificate.clone()).unwrap());
    let mut context = X509StoreContext::new().unwrap();
    let mut depth = 0;
    let verified = context.init(&store.build(), &chain[0], &between, |context| {
        let verified = context.verify_cert()?;
        depth = context.chain().map_or(0, |chain| chain.len());
        Ok(verified)
    });
    assert!(verified.unwrap(), "{}", context.error());
    assert_eq!(depth, chain.len());
    chain.iter().map(common_name).collect()
}

// ---- DER ----

pub(super) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut bytes = vec![tag];
    match content.len() {
        short @ 0..0x80 => bytes.push(short as u8),
        long => {
            bytes.push(0x84);
            bytes.extend((long as u32).to_be_bytes());
        }
    }
    bytes.extend(content);
    bytes
}

pub(super) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

pub(super) fn octets(bytes: &[u8]) -> Vec<u8> {
    der(0x04, &[bytes])
}

pub(super) fn oid(dotted: &str) -> Vec<u8> {
    initialise_openssl();
    der(0x06, &[Asn1Object::from_str(dotted).unwrap().as_slice()])
}

pub(super) fn integer(value: i64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let redundant = bytes
        .windows(2)
        .take_while(|pair| (pair[0] == 0 && pair[1] & 0x80 == 0) || (pair[0] == 0xff && pair[1] & 0x80 != 0));
    der(0x02, &[&bytes[redundant.count()..]])
}

/// An odd INTEGER of 32,000 bits.
pub(super) fn huge_number() -> Vec<u8> {
    der(0x02, &[&[0x7f], &[0xff; 3999]])
}

/// A key in PKCS #8 with the parameters of DSA (p, q, g) and a private number, all of them huge.
pub(super) fn huge_key(kind: &str) -> Vec<u8> {
    let number = huge_number();
    let parameters = seq(&[&number, &number, &integer(2)]);
    seq(&[&integer(0), &seq(&[&oid(kind), &parameters]), &octets(&number)])
}

// ---- PKCS #12 ----

pub(super) const NULL: &[u8] = &[0x05, 0];
/// The empty password as a BMPString with its termination.
pub(super) const EMPTY: &[u8] = &[0, 0];
/// The empty password as no bytes.
pub(super) const ABSENT: &[u8] = &[];
pub(super) const SALT: &[u8] = b"saltsalt";

pub(super) fn bag(kind: u8, value: &[u8], attributes: &[u8]) -> Vec<u8> {
    seq(&[&oid(&format!("1.2.840.113549.1.12.10.1.{kind}")), &der(0xa0, &[value]), attributes])
}

pub(super) fn certificate_bag(certificate: &X509) -> Vec<u8> {
    let certificate = octets(&certificate.to_der().unwrap());
    bag(3, &seq(&[&oid("1.2.840.113549.1.9.22.1"), &der(0xa0, &[&certificate])]), &[])
}

pub(super) fn key_bag(key: &PKey<Private>) -> Vec<u8> {
    bag(1, &key.private_key_to_pkcs8().unwrap(), &[])
}

pub(super) fn shrouded_key_bag(key: &PKey<Private>, password: &[u8], iterations: i64) -> Vec<u8> {
    let ciphertext = encrypt_3des(&key.private_key_to_pkcs8().unwrap(), password, iterations);
    bag(2, &seq(&[&pbe_3des(iterations), &octets(&ciphertext)]), &[])
}

/// A bag whose ciphertext is nonsense: for what must be refused before it is looked at.
pub(super) fn sham_key_bag(algorithm: &[u8]) -> Vec<u8> {
    bag(2, &seq(&[algorithm, &octets(&[7; 64])]), &[])
}

pub(super) fn safe_contents_bag(bags: &[&[u8]]) -> Vec<u8> {
    bag(6, &seq(bags), &[])
}

pub(super) fn pbe_3des(iterations: i64) -> Vec<u8> {
    seq(&[&oid("1.2.840.113549.1.12.1.3"), &seq(&[&octets(SALT), &integer(iterations)])])
}

pub(super) fn pbkdf2(iterations: i64, more: &[&[u8]]) -> Vec<u8> {
    let parameters = seq(&[&octets(SALT), &integer(iterations), &more.concat()]);
    seq(&[&oid("1.2.840.113549.1.5.12"), &parameters])
}

pub(super) fn pbes2(derivation: &[u8], cipher: &str) -> Vec<u8> {
    let cipher = seq(&[&oid(cipher), &octets(&[1; 16])]);
    seq(&[&oid("1.2.840.113549.1.5.13"), &seq(&[derivation, &cipher])])
}

pub(super) const AES_256_CBC: &str = "2.16.840.1.101.3.4.1.42";

pub(super) fn data(content: &[u8]) -> Vec<u8> {
    seq(&[&oid("1.2.840.113549.1.7.1"), &der(0xa0, &[&octets(content)])])
}

pub(super) fn plain_part(bags: &[&[u8]]) -> Vec<u8> {
    data(&seq(bags))
}

pub(super) fn encrypted_part(bags: &[&[u8]], password: &[u8], iterations: i64) -> Vec<u8> {
    encrypted_data(&pbe_3des(iterations), &encrypt_3des(&seq(bags), password, iterations))
}

pub(super) fn encrypted_data(algorithm: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let content = seq(&[&oid("1.2.840.113549.1.7.1"), algorithm, &der(0x80, &[ciphertext])]);
    let encrypted_data = seq(&[&integer(0), &content]);
    seq(&[&oid("1.2.840.113549.1.7.6"), &der(0xa0, &[&encrypted_data])])
}

pub(super) fn pfx_without_mac(parts: &[&[u8]]) -> Vec<u8> {
    seq(&[&integer(3), &data(&seq(parts))])
}

/// With a MAC of SHA-1.
pub(super) fn pfx(parts: &[&[u8]], password: &[u8], mac_iterations: i64) -> Vec<u8> {
    let safe = seq(parts);
    let key = derive(3, password, mac_iterations, 20);
    let info = seq(&[&seq(&[&oid("1.3.14.3.2.26"), NULL]), &octets(&hmac(MessageDigest::sha1(), &key, &safe))]);
    pfx_with_mac(parts, &seq(&[&info, &octets(SALT), &integer(mac_iterations)]))
}

pub(super) fn pfx_with_mac(parts: &[&[u8]], mac: &[u8]) -> Vec<u8> {
    seq(&[&integer(3), &data(&seq(parts)), mac])
}

pub(super) fn hmac(digest: MessageDigest, key: &[u8], content: &[u8]) -> Vec<u8> {
    Signer::new(digest, &PKey::hmac(key).unwrap()).unwrap().sign_oneshot_to_vec(content).unwrap()
}

fn encrypt_3des(plaintext: &[u8], password: &[u8], iterations: i64) -> Vec<u8> {
    let (key, iv) = (derive(1, password, iterations, 24), derive(2, password, iterations, 8));
    encrypt(Cipher::des_ede3_cbc(), &key, Some(&iv), plaintext).unwrap()
}

/// RFC 7292, appendix B.2, with SHA-1. Iterations that nobody can do are not done: such a value is refused before.
fn derive(id: u8, password: &[u8], iterations: i64, length: usize) -> Vec<u8> {
    initialise_openssl();
    let fill = |bytes: &[u8]| -> Vec<u8> {
        let blocks = bytes.len().div_ceil(64) * 64;
        bytes.iter().copied().cycle().take(blocks).collect()
    };
    let mut input = [fill(SALT), fill(password)].concat();
    let mut output = vec![];
    while output.len() < length {
        let mut hasher = Hasher::new(MessageDigest::sha1()).unwrap();
        hasher.update(&[id; 64]).unwrap();
        hasher.update(&input).unwrap();
        let mut digest = hasher.finish().unwrap().to_vec();
        for _ in 1..iterations.min(1_000_000) {
            digest = openssl::sha::sha1(&digest).to_vec();
        }
        let addend: Vec<u8> = digest.iter().copied().cycle().take(64).collect();
        for block in input.chunks_mut(64) {
            let mut carry = 1_u16;
            for (byte, more) in block.iter_mut().zip(&addend).rev() {
                carry += u16::from(*byte) + u16::from(*more);
                *byte = carry as u8;
                carry >>= 8;
            }
        }
        output.extend(digest);
    }
    output.truncate(length);
    output
}

pub(super) fn in_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
