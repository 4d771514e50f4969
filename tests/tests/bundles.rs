//! Every form of a secret, read back by the system's own `openssl`: a reader that we did not write.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::fs;
use std::process::Command;

use tests::bundle::{Bundle, Part};
use tests::hostile;
use tests::pkcs12::{Cipher, Digest, EmptyPassword, Pfx};
use tests::pki::{Authority, Issued, KeyKind, Request};

/// Runs openssl; answers whether it succeeded, its output and its complaints.
fn openssl(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new("openssl").args(arguments).output();
    let output = output.expect("these tests need the openssl command");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// What openssl makes of a PFX.
fn read_pfx(bundle: &Bundle, arguments: &[&str]) -> (bool, String, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bundle.bytes().unwrap()).unwrap();
    let path = file.path().to_str().unwrap();
    let mut all = vec!["pkcs12", "-in", path, "-passin", "pass:", "-nodes", "-info"];
    all.extend(arguments);
    openssl(&all)
}

fn issued(kind: KeyKind) -> Issued {
    let authority = Authority::new("Contoso", 2).unwrap();
    authority.issue(&Request::new("www.contoso.com").key(kind)).unwrap()
}

#[test]
fn openssl_reads_a_pfx_of_every_encryption() {
    let issued = issued(KeyKind::P256);
    let key = String::from_utf8(issued.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let aes = |digest| Pfx { key: Cipher::Aes128(digest), certificates: Cipher::Aes256(digest), ..Pfx::MODERN };
    for (form, words) in [
        (Pfx::LEGACY, vec!["pbeWithSHA1And40BitRC2-CBC, Iteration 2000", "MAC: sha1, Iteration 1\n"]),
        (Pfx::KEY_VAULT, vec!["pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2000", "MAC: sha1, Iteration 2000"]),
        (Pfx::MODERN, vec!["PBES2, PBKDF2, AES-256-CBC, Iteration 2048, PRF hmacWithSHA256", "MAC: sha256"]),
        (aes(Digest::Sha1), vec!["AES-128-CBC, Iteration 2048, PRF hmacWithSHA1"]),
        (aes(Digest::Sha256), vec!["AES-128-CBC, Iteration 2048, PRF hmacWithSHA256", "AES-256-CBC"]),
        (Pfx { iterations: 1, mac_iterations: 7, ..Pfx::MODERN }, vec!["Iteration 1,", "MAC: sha256, Iteration 7"]),
    ] {
        for password in [EmptyPassword::Terminated, EmptyPassword::Absent] {
            let form = Pfx { password, ..form };
            let bundle = issued.pfx(&form).unwrap();
            let (read, text, complaints) = read_pfx(&bundle, &["-legacy"]);
            assert!(read, "{form:?}: {complaints}");
            assert!(text.contains(&key), "{form:?}");
            assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 4);
            for word in &words {
                assert!(complaints.contains(word), "{word} not in {complaints}");
            }
        }
    }
    let (read, _, complaints) = read_pfx(&issued.pfx(&Pfx::LEGACY).unwrap(), &[]);
    assert!(!read && complaints.contains("RC2-40"), "{complaints}");
}

#[test]
fn a_pfx_holds_leaf_root_and_intermediates_in_this_order() {
    let (_, text, _) = read_pfx(&issued(KeyKind::P256).pfx(&Pfx::KEY_VAULT).unwrap(), &[]);
    let subjects = text.lines().filter_map(|line| line.strip_prefix("subject=CN = "));
    let subjects: Vec<&str> = subjects.collect();
    let expected = ["www.contoso.com", "Contoso Root", "Contoso Intermediate 2", "Contoso Intermediate 1"];
    assert_eq!(subjects, expected);
}

#[test]
fn a_local_key_id_can_mark_the_wrong_certificate() {
    let issued = issued(KeyKind::P256);
    let marked = |form: &Pfx| {
        let (_, text, _) = read_pfx(&issued.pfx(form).unwrap(), &[]);
        let certificates = text.split("Bag Attributes").filter(|bag| bag.contains("subject="));
        let marks: Vec<bool> = certificates.map(|bag| bag.contains("localKeyID")).collect();
        marks
    };
    assert!(marked(&Pfx::KEY_VAULT)[0]);
    let lie = Pfx { wrong_local_key_id: true, friendly_name: "\u{1b}[2Jroot", ..Pfx::KEY_VAULT };
    assert_eq!(marked(&lie).last(), Some(&true));
}

#[test]
fn chains_of_every_kind_of_key_verify() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for kind in [
        KeyKind::Rsa2048,
        KeyKind::Rsa3072,
        KeyKind::Rsa4096,
        KeyKind::P256,
        KeyKind::P384,
        KeyKind::P521,
        KeyKind::P256K,
        KeyKind::Ed25519,
    ] {
        let issued = issued(kind);
        let pem = |parts: &[Part], name: &str| {
            fs::write(path(name), Bundle::pem(parts).unwrap().value).unwrap();
        };
        pem(&[issued.leaf_part()], "leaf");
        pem(&[issued.key_part()], "key");
        pem(&[Part::Certificate(issued.root.clone().unwrap())], "root");
        let above = issued.intermediates.iter().cloned().map(Part::Certificate);
        pem(&above.collect::<Vec<_>>(), "above");
        let name = ["-purpose", "sslserver", "-verify_hostname", "www.contoso.com"];
        let (root, above, leaf) = (path("root"), path("above"), path("leaf"));
        let mut arguments = vec!["verify", "-x509_strict", "-CAfile", &root, "-untrusted", &above];
        arguments.extend(name);
        arguments.push(&leaf);
        let (verified, _, complaints) = openssl(&arguments);
        assert!(verified, "{kind:?}: {complaints}");
        let (_, of_leaf, _) = openssl(&["x509", "-in", &leaf, "-noout", "-pubkey"]);
        let (_, of_key, _) = openssl(&["pkey", "-in", &path("key"), "-pubout"]);
        assert_eq!(of_leaf, of_key, "{kind:?}");
    }
}

#[test]
fn a_cross_signed_certificate_leads_to_the_other_root() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (old, new) = (Authority::new("Old", 0).unwrap(), Authority::new("New", 1).unwrap());
    let leaf = new.issue(&Request::new("www.contoso.com")).unwrap().leaf;
    let crossed = old.cross_sign(&new).unwrap();
    fs::write(path("root"), old.root().to_pem().unwrap()).unwrap();
    fs::write(path("crossed"), crossed.to_pem().unwrap()).unwrap();
    fs::write(path("leaf"), leaf.to_pem().unwrap()).unwrap();
    let (root, crossed, leaf) = (path("root"), path("crossed"), path("leaf"));
    let (verified, _, complaints) = openssl(&["verify", "-CAfile", &root, "-untrusted", &crossed, &leaf]);
    assert!(verified, "{complaints}");
}

#[test]
fn a_pem_keeps_the_order_of_its_parts() {
    let issued = issued(KeyKind::P256);
    let mut parts = issued.authority_parts();
    parts.reverse();
    parts.push(Part::Text("Bag Attributes\n    friendlyName: old\n".to_owned()));
    parts.extend([issued.leaf_part(), issued.key_part()]);
    let text = Bundle::pem(&parts).unwrap().value;
    let position = |needle: &str| text.find(needle).unwrap();
    let leaf = String::from_utf8(issued.leaf.to_pem().unwrap()).unwrap();
    assert!(position("friendlyName") < position(&leaf));
    assert!(position(&leaf) < position("BEGIN PRIVATE KEY"));
    assert!(text.ends_with("-----END PRIVATE KEY-----\n"));
}

#[test]
fn every_hostile_secret_is_what_it_says() {
    let issued = issued(KeyKind::P256);
    let all = hostile::all(&issued).unwrap();
    let find = |name: &str| &all.iter().find(|(known, _)| *known == name).unwrap().1;
    let (_, dump, _) = parse(&find("2^31-1 rounds").bytes().unwrap());
    assert_eq!(dump.matches(":7FFFFFFF").count(), 1, "the MAC's count is in the clear");
    assert!(parse(&find("negative rounds").bytes().unwrap()).1.contains(":-01"));
    assert!(!read_pfx(find("cut in half"), &[]).0);
    assert!(!read_pfx(find("a length of 4 GiB"), &[]).0);
    let (_, text, _) = read_pfx(find("two keys"), &[]);
    assert_eq!(text.matches("BEGIN PRIVATE KEY").count(), 2);
    let (_, text, _) = read_pfx(find("1,500 certificates"), &[]);
    assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 1501);
    let (_, text, _) = read_pfx(find("no key"), &[]);
    assert!(!text.contains("PRIVATE KEY") && text.contains("BEGIN CERTIFICATE"));
    assert!(hostile::endless_chain().unwrap().value.matches("BEGIN CERTIFICATE").count() == 3);
}

fn parse(der: &[u8]) -> (bool, String, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), der).unwrap();
    openssl(&["asn1parse", "-inform", "DER", "-in", file.path().to_str().unwrap()])
}
