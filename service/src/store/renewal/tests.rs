//! Which older certificates lead to a new one.

use super::*;

/// A certificate of a vault, called by one letter, in use from one day to another.
fn held(letter: u8, names: &[&str], days: (i64, i64)) -> Held {
    Held {
        thumbprint: Thumbprint([letter; 20]),
        names: Names { known: names.iter().map(|name| Name::Dns((*name).to_owned())).collect(), has_unknown: false },
        not_before: Timestamp::from_second(days.0 * 86_400).unwrap(),
        not_after: Timestamp::from_second(days.1 * 86_400).unwrap(),
        source: Some(format!("contoso.{}", char::from(letter))),
        is_in_use: true,
        link: None,
    }
}

fn version_of(source: u8, held: Held) -> Held {
    Held { source: Some(format!("contoso.{}", char::from(source))), ..held }
}

fn foreign(held: Held) -> Held {
    Held { source: None, is_in_use: false, ..held }
}

fn old(held: Held) -> Held {
    Held { is_in_use: false, ..held }
}

fn linked(held: Held, to: u8) -> Held {
    Held { link: Some(Thumbprint([to; 20])), ..held }
}

/// The links of a store, as `A→C`, after the plan was carried out.
fn links(store: &[Held], scope: Scope) -> Vec<(char, char)> {
    let mut links: HashMap<u8, u8> =
        store.iter().filter_map(|held| Some((held.thumbprint.0[0], held.link?.0[0]))).collect();
    for change in plan(store, scope) {
        match change {
            Change::Set { from, to, .. } => assert_ne!(links.insert(from.0[0], to.0[0]), Some(to.0[0])),
            Change::Clear { from } => assert!(links.remove(&from.0[0]).is_some()),
        }
    }
    let mut links: Vec<_> = links.into_iter().map(|(from, to)| (char::from(from), char::from(to))).collect();
    links.sort_unstable();
    links
}

/// Lets the certificates come one after the other in each order, linking each time.
fn in_every_order(store: &[Held], scope: Scope) -> Vec<Vec<(char, char)>> {
    let mut results = Vec::new();
    permute(&mut store.to_vec(), 0, &mut |order| {
        let mut there: Vec<Held> = Vec::new();
        for next in order {
            there.push(next.clone());
            for change in plan(&there, scope) {
                let (from, link) = match change {
                    Change::Set { from, to, .. } => (from, Some(to)),
                    Change::Clear { from } => (from, None),
                };
                there.iter_mut().find(|held| held.thumbprint == from).unwrap().link = link;
            }
        }
        assert_eq!(plan(&there, scope), [], "nothing is left to do");
        results.push(links(&there, scope));
    });
    results.sort();
    results.dedup();
    results
}

fn permute(store: &mut Vec<Held>, at: usize, done: &mut impl FnMut(&[Held])) {
    if at == store.len() {
        return done(store);
    }
    for other in at..store.len() {
        store.swap(at, other);
        permute(store, at + 1, done);
        store.swap(at, other);
    }
}

#[test]
fn leads_alice_to_mallory_and_leaves_bob_alone() {
    let alice = held(b'A', &["alice"], (0, 100));
    let bob = held(b'B', &["bob.com", "bob.net"], (0, 100));
    let mallory = held(b'C', &["alice", "bob.com", "mallory"], (50, 200));
    let store = [alice, bob, mallory];
    assert_eq!(in_every_order(&store, Scope::Store), [[('A', 'C')]]);
    assert_eq!(in_every_order(&store, Scope::SameCertificate), [[]], "Service Fabric must not follow");
}

#[test]
fn leads_all_versions_to_the_newest_in_whatever_order_they_came() {
    let versions = [(b'1', (0, 100)), (b'2', (50, 150)), (b'3', (100, 200)), (b'4', (150, 250))];
    let store = versions.map(|(letter, days)| {
        let version = version_of(b'w', held(letter, &["web"], days));
        if letter == b'4' { version } else { old(version) }
    });
    let expected = [('1', '4'), ('2', '4'), ('3', '4')];
    assert_eq!(in_every_order(&store, Scope::SameCertificate), [expected]);
    assert_eq!(in_every_order(&store, Scope::Store), [expected]);
}

#[test]
fn leads_what_others_installed_only_with_the_whole_store() {
    let store = [foreign(held(b'F', &["web"], (0, 100))), held(b'W', &["web", "www"], (50, 200))];
    assert_eq!(links(&store, Scope::Store), [('F', 'W')]);
    assert_eq!(links(&store, Scope::SameCertificate), []);
}

#[test]
fn never_leads_to_what_others_installed_or_to_a_lost_key() {
    let store = [held(b'A', &["web"], (0, 100)), foreign(held(b'B', &["web"], (50, 200)))];
    assert_eq!(links(&store, Scope::Store), []);
    let store = [held(b'A', &["web"], (0, 100)), old(version_of(b'A', held(b'B', &["web"], (50, 200))))];
    assert_eq!(links(&store, Scope::SameCertificate), []);
}

#[test]
fn never_leads_to_an_earlier_end_or_an_earlier_beginning() {
    let long = old(held(b'A', &["web"], (0, 365)));
    assert_eq!(links(&[long.clone(), version_of(b'A', held(b'B', &["web"], (50, 97)))], Scope::Store), []);
    let fresh = held(b'F', &["web"], (60, 107));
    assert_eq!(links(&[Held { is_in_use: true, ..long }, fresh], Scope::Store), []);
}

#[test]
fn makes_one_link_between_twins_and_not_two() {
    let store = [held(b'A', &["web"], (0, 100)), held(b'B', &["web"], (0, 100))];
    assert_eq!(in_every_order(&store, Scope::Store), [[('A', 'B')]]);
}

#[test]
fn never_makes_a_cycle_with_links_of_others() {
    let store = [
        held(b'A', &["web"], (0, 100)),
        linked(held(b'B', &["web"], (50, 200)), b'C'),
        linked(foreign(held(b'C', &["other"], (0, 50))), b'A'),
    ];
    assert_eq!(links(&store, Scope::Store), [('B', 'C'), ('C', 'A')]);
    let circle = [
        held(b'A', &["web"], (0, 100)),
        linked(held(b'B', &["web"], (50, 200)), b'C'),
        linked(foreign(held(b'C', &["other"], (0, 50))), b'B'),
    ];
    assert_eq!(links(&circle, Scope::Store), [('B', 'C'), ('C', 'B')], "a circle leads nowhere");
}

#[test]
fn keeps_a_link_of_others_to_what_is_newer_still() {
    let newer = foreign(held(b'X', &["web"], (90, 300)));
    let store = [linked(held(b'A', &["web"], (0, 100)), b'X'), held(b'B', &["web"], (50, 200)), newer];
    assert_eq!(plan(&store, Scope::Store), []);
    let elsewhere = [linked(held(b'A', &["web"], (0, 100)), b'X'), held(b'B', &["web"], (50, 200))];
    assert_eq!(links(&elsewhere, Scope::Store), [('A', 'B')], "what is not there cannot be followed");
}

#[test]
fn leads_back_when_the_vault_disables_the_newest_version() {
    let of = |letter, days| version_of(b'w', held(letter, &["web"], days));
    let store = [linked(old(of(b'1', (0, 100))), b'3'), linked(of(b'2', (50, 150)), b'3'), old(of(b'3', (100, 200)))];
    for scope in [Scope::Store, Scope::SameCertificate] {
        assert_eq!(links(&store, scope), [('1', '2')], "2 itself leads nowhere, and 3 not to an earlier end");
    }
}

#[test]
fn does_not_take_a_certificate_without_names_for_each() {
    let store = [foreign(held(b'F', &[], (0, 100))), held(b'W', &["web"], (50, 200))];
    assert_eq!(links(&store, Scope::Store), []);
    let versions = [old(held(b'A', &[], (0, 100))), version_of(b'A', held(b'B', &[], (50, 200)))];
    assert_eq!(links(&versions, Scope::SameCertificate), [('A', 'B')]);
}

#[test]
fn reads_names_of_all_kinds_and_gives_way_to_unknown_ones() {
    use openssl::x509::extension::SubjectAlternativeName;
    let read = |names: &SubjectAlternativeName| {
        let mut builder = openssl::x509::X509Builder::new().unwrap();
        let extension = names.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(extension).unwrap();
        Names::of(&builder.build())
    };
    let many = read(SubjectAlternativeName::new().dns("WWW.Contoso.com").dns("b").ip("10.0.0.4").email("a@b"));
    assert!(read(SubjectAlternativeName::new().dns("www.contoso.COM").ip("10.0.0.4")).are_in(&many));
    assert!(!read(SubjectAlternativeName::new().dns("10.0.0.4")).are_in(&many));
    assert!(
        !read(SubjectAlternativeName::new().dns("b").rid("1.2.3"))
            .are_in(&read(SubjectAlternativeName::new().dns("b").rid("1.2.3")))
    );
}
