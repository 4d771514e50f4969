//! Heaps of certificates, and the chain that is in them.

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::world::*;
use crate::certificate::Certificate;

/// The names of the chain and the warnings, for one order of the heap and its reverse: they must be the same.
fn sorted(key: &PKey<Private>, heap: &[&Issued]) -> (Vec<String>, Vec<String>) {
    let decode = |heap: &[&X509]| {
        let certificate = Certificate::decode(&pem_of(Some(key), heap), None).unwrap();
        (names_of_valid(&certificate), certificate.warnings().to_vec())
    };
    let mut heap: Vec<_> = heap.iter().map(|issued| &issued.certificate).collect();
    let outcome = decode(&heap);
    heap.reverse();
    assert_eq!(decode(&heap).0, outcome.0);
    outcome
}

fn quiet(key: &PKey<Private>, heap: &[&Issued]) -> Vec<String> {
    let (names, warnings) = sorted(key, heap);
    assert!(warnings.is_empty(), "{warnings:?}");
    names
}

#[test]
fn a_self_signed_leaf_is_a_whole_chain() {
    let leaf = Request::new("leaf").self_signed();
    assert_eq!(quiet(&leaf.key, &[&leaf]), ["leaf"]);
}

#[test]
fn an_intermediate_that_ends_before_the_leaf_is_said_and_a_root_is_not() {
    let root = Request::new("Root").validity(-10, 20).self_signed();
    let early = Request::new("Early").validity(-5, 30).issued_by(&root);
    let leaf = Request::new("leaf").issued_by(&early);
    for heap in [vec![&leaf, &early, &root], vec![&leaf, &early]] {
        let (names, warnings) = sorted(&leaf.key, &heap);
        assert_eq!(names[..2], ["leaf", "Early"]);
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.starts_with("CN=Early, which its chain needs, expires 20"), "{warning}");
    }
    // On its last day a certificate has been renewed.
    let leaf = Request::new("leaf").validity(-1, 31).issued_by(&early);
    assert_eq!(quiet(&leaf.key, &[&leaf, &early, &root]), ["leaf", "Early", "Root"]);
}

#[test]
fn thirty_certificates_are_sorted_from_any_order() {
    let mut chain = vec![Request::new("0").self_signed()];
    for name in 1..30 {
        chain.push(Request::new(&name.to_string()).issued_by(&chain[name - 1]));
    }
    let leaf = chain[29].key.clone();
    let expected: Vec<_> = (0..30).rev().map(|name| name.to_string()).collect();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..3 {
        random.shuffle(&mut chain);
        assert_eq!(quiet(&leaf, &chain.iter().collect::<Vec<_>>()), expected);
    }
}

#[test]
fn duplicates_are_dropped_without_a_word() {
    let root = Request::new("Root").self_signed();
    let leaf = Request::new("leaf").issued_by(&root);
    assert_eq!(quiet(&leaf.key, &[&root, &leaf, &root, &leaf, &leaf]), ["leaf", "Root"]);
}

#[test]
fn unrelated_certificates_are_left_out_and_named_safely() {
    let root = Request::new("Root").self_signed();
    let leaf = Request::new("leaf").issued_by(&root);
    let hostile = Request::new("evil\n\x1b[2J\u{202e}").self_signed();
    let (names, warnings) = sorted(&leaf.key, &[&hostile, &leaf, &root]);
    assert_eq!(names, ["leaf", "Root"]);
    assert_eq!(
        warnings,
        [r"certificates in the value that are not part of the chain were left out (1): CN=evil\n\u{1b}[2J\u{202e}"]
    );

    let strangers: Vec<_> = (0..9).map(|name| Request::new(&name.to_string()).self_signed()).collect();
    let heap: Vec<_> = strangers.iter().chain([&leaf, &root]).collect();
    let (_, warnings) = sorted(&leaf.key, &heap);
    assert_eq!(
        warnings,
        ["certificates in the value that are not part of the chain were left out (9): CN=0; CN=1; CN=2; and 6 more"]
    );
}

#[test]
fn a_wrong_twin_of_an_issuer_is_passed_over() {
    let root = Request::new("Root").self_signed();
    let right = Request::new("Intermediate").issued_by(&root);
    let leaf = Request::new("leaf").issued_by(&right);
    let twins: Vec<_> = (0..40).map(|_| Request::new("Intermediate").issued_by(&root)).collect();
    let heap: Vec<_> = twins.iter().chain([&leaf, &root, &right]).collect();
    let (names, warnings) = sorted(&leaf.key, &heap);
    assert_eq!(names, ["leaf", "Intermediate", "Root"]);
    assert!(warnings[0].contains("left out (40)"), "{warnings:?}");
}

#[test]
fn key_identifiers_only_say_where_to_look_first() {
    // The twin claims the identifier that the leaf asks for, the right issuer another one.
    let root = Request::new("Root").self_signed();
    let right = Request::new("Intermediate").identifiers(b"other", b"root").issued_by(&root);
    let twin = Request::new("Intermediate").identifiers(b"wanted", b"root").validity(-1, 9999).issued_by(&root);
    let leaf = Request::new("leaf").identifiers(b"leaf", b"wanted").issued_by(&right);
    let heap = [&twin, &root, &right, &leaf].map(|issued| &issued.certificate);
    let chain = checked(&Certificate::decode(&pem_of(Some(&leaf.key), &heap), None).unwrap());
    assert_eq!(chain[1].to_der().unwrap(), right.certificate.to_der().unwrap());
    assert_eq!(chain.len(), 3);

    // Twins with other identifiers cost none of the hundred checks, although they would be looked at twice.
    let old = Request::new("Intermediate").identifiers(b"old", b"old").self_signed();
    let right = Request::new("Intermediate").identifiers(b"wanted", b"old").issued_by(&old);
    let leaf = Request::new("leaf").identifiers(b"leaf", b"wanted").issued_by(&right);
    let twin = || Request::new("Intermediate").identifiers(b"twin", b"twin").validity(-1, 9999).self_signed();
    let twins: Vec<_> = (0..60).map(|_| twin()).collect();
    let heap: Vec<_> = twins.iter().chain([&leaf, &old, &right]).collect();
    assert_eq!(sorted(&leaf.key, &heap).0, ["leaf", "Intermediate", "Intermediate"]);
}

#[test]
fn certificates_that_certify_one_another_end() {
    let (a, b) = (Request::new("A").self_signed(), Request::new("B").self_signed());
    let a_by_b = Request::new("A").key(&a.key).issued_by(&b);
    let b_by_a = Request::new("B").key(&b.key).issued_by(&a);
    let leaf = Request::new("leaf").issued_by(&a);
    let (names, _) = sorted(&leaf.key, &[&a_by_b, &leaf, &b_by_a]);
    assert_eq!(names, ["leaf", "A", "B"]);
    // The leaf itself in the loop.
    let leaf = Request::new("leaf").key(&leaf.key).issued_by(&a);
    let a_by_leaf = Request::new("A").key(&a.key).issued_by(&leaf);
    assert_eq!(quiet(&leaf.key, &[&a_by_leaf, &leaf]), ["leaf", "A"]);
}

#[test]
fn of_cross_signed_issuers_the_shortest_way_to_a_root_wins_then_the_later_expiry() {
    let old_root = Request::new("Old Root").validity(-1, 9999).self_signed();
    let new_root = Request::new("New Root").validity(-1, 500).self_signed();
    let crossed = Request::new("New Root").key(&new_root.key).validity(-1, 900).issued_by(&old_root);
    let intermediate = Request::new("Intermediate").issued_by(&new_root);
    let leaf = Request::new("leaf").issued_by(&intermediate);
    let all = [&old_root, &crossed, &intermediate, &leaf, &new_root];
    assert_eq!(sorted(&leaf.key, &all).0, ["leaf", "Intermediate", "New Root"]);
    // Without the new root itself the way leads over the old one.
    assert_eq!(quiet(&leaf.key, &all[..4]), ["leaf", "Intermediate", "New Root", "Old Root"]);

    // Only one of two roots is there: its way is taken although the other issuer lasts longer.
    let by_old = Request::new("Intermediate").key(&intermediate.key).validity(-1, 800).issued_by(&old_root);
    assert_eq!(sorted(&leaf.key, &[&by_old, &intermediate, &new_root, &leaf]).0, ["leaf", "Intermediate", "New Root"]);
    // Both are there, equally near: the issuer that lasts longer decides.
    assert_eq!(
        sorted(&leaf.key, &[&by_old, &intermediate, &new_root, &leaf, &old_root]).0,
        ["leaf", "Intermediate", "Old Root"]
    );
}

#[test]
fn a_root_that_changed_its_key_is_followed_to_its_newer_self() {
    let old = Request::new("Root").identifiers(b"old", b"old").self_signed();
    let new = Request::new("Root").identifiers(b"new", b"new").self_signed();
    let old_by_new = Request::new("Root").key(&old.key).identifiers(b"old", b"new").issued_by(&new);
    let leaf = Request::new("leaf").identifiers(b"leaf", b"old").issued_by(&old);
    assert_eq!(quiet(&leaf.key, &[&new, &leaf, &old_by_new]), ["leaf", "Root", "Root"]);
}

#[test]
fn of_two_leaves_for_one_key_the_newest_is_installed() {
    let root = Request::new("Root").self_signed();
    let leaf = |name: &str, from: i64| Request::new(name).validity(from, 300).issued_by(&root);
    let newest = leaf("newest", -1);
    let older = Request::new("older").key(&newest.key).validity(-20, 900).issued_by(&root);
    let oldest = Request::new("oldest").key(&newest.key).validity(-300, -100).issued_by(&root);
    let (names, warnings) = sorted(&newest.key, &[&oldest, &newest, &older, &root]);
    assert_eq!(names, ["newest", "Root"]);
    assert!(warnings[0].contains("left out (2)"), "{warnings:?}");
}

#[test]
fn only_a_chain_that_should_be_longer_is_called_incomplete() {
    let root = Request::new("Root").self_signed();
    let upper = Request::new("Upper").issued_by(&root);
    let lower = Request::new("Lower").issued_by(&upper);
    let leaf = Request::new("leaf").issued_by(&lower);
    let incomplete = "the chain is incomplete: no certificate of CN=";
    // The usual content of a vault: the root, or all of the upper part, stays with the clients.
    assert_eq!(quiet(&leaf.key, &[&lower, &leaf, &upper]), ["leaf", "Lower", "Upper"]);
    assert_eq!(quiet(&leaf.key, &[&lower, &leaf]), ["leaf", "Lower"]);

    let (names, warnings) = sorted(&leaf.key, &[&leaf]);
    assert_eq!((names.len(), warnings.len()), (1, 1));
    assert_eq!(warnings[0], format!("{incomplete}Lower, which issued CN=leaf, is in the value"));

    let (names, warnings) = sorted(&leaf.key, &[&root, &leaf, &lower]);
    assert_eq!(names, ["leaf", "Lower"]);
    assert_eq!(warnings[0], format!("{incomplete}Upper, which issued CN=Lower, is in the value"));
    assert!(warnings[1].ends_with("left out (1): CN=Root"));

    // An older leaf that was left behind is no gap.
    let older = Request::new("leaf").key(&leaf.key).validity(-300, -100).issued_by(&lower);
    let (_, warnings) = sorted(&leaf.key, &[&older, &lower, &leaf]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_heap_that_asks_for_too_many_checks_ends_soon() {
    // Every certificate could have issued every other.
    let key = Request::new("A").key;
    let heap: Vec<_> = (0..98).map(|_| Request::new("A").key(&key).sign("A", &rsa_key())).collect();
    let leaf = Request::new("leaf").sign("A", &key);
    let heap: Vec<_> = heap.iter().chain([&leaf]).collect();
    let start = std::time::Instant::now();
    let (names, _) = sorted(&leaf.key, &heap);
    assert_eq!(names, ["leaf", "A"]);
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_hundred_checks_are_made_and_no_more() {
    let key = Request::new("Intermediate").key;
    let (upper, stranger) = (Request::new("Upper").self_signed(), Request::new("Stranger").self_signed());
    let intermediate = |issuer: &str, days: i64, signer: &Issued| {
        Request::new("Intermediate").key(&key).validity(-1, days).sign(issuer, &signer.key)
    };
    // The two that last longest are looked at first: each costs a check for every twin.
    let lost = [900, 800].map(|days| intermediate("Twin", days, &stranger));
    let right = intermediate("Upper", 700, &upper);
    let leaf = Request::new("leaf").sign("Intermediate", &key);
    let names = |twins: usize| {
        let twins: Vec<_> = (0..twins).map(|_| Request::new("Twin").self_signed()).collect();
        sorted(&leaf.key, &twins.iter().chain(&lost).chain([&leaf, &right, &upper]).collect::<Vec<_>>()).0
    };
    assert_eq!(names(48), ["leaf", "Intermediate", "Upper"]);
    assert_eq!(names(49), ["leaf", "Intermediate"]);
}

#[test]
fn issuers_with_rsa_keys_are_followed() {
    let root = Request::new("Root").key(&rsa_key()).self_signed();
    let leaf = Request::new("leaf").issued_by(&root);
    assert_eq!(quiet(&leaf.key, &[&root, &leaf]), ["leaf", "Root"]);
}

#[test]
fn a_chain_ends_before_an_issuer_whose_key_is_not_checked() {
    let dsa = PKey::from_dsa(openssl::dsa::Dsa::generate(1024).unwrap()).unwrap();
    let root = Request::new("Root").key(&dsa).self_signed();
    let leaf = Request::new("leaf").issued_by(&root);
    let (names, warnings) = sorted(&leaf.key, &[&root, &leaf]);
    assert_eq!(names, ["leaf"]);
    assert!(warnings[0].starts_with("the chain is incomplete: no certificate of CN=Root"), "{warnings:?}");
    assert!(warnings[1].ends_with("left out (1): CN=Root"), "{warnings:?}");
}
