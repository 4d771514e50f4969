//! Whom a machine with Windows trusts: what its own judgement of chains lets a vault be, and says of certificates.
//!
//! That Windows fetches roots which a chain needs is not seen here: Wine has all of its roots from the beginning.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tests::http::Server;

use tests::pki::{Authority, KeyKind, Request};
use tests::story::{Story, observing};
use tests::tls::Tls;
use tests::wine::{Whose, Wine};

#[test]
fn a_vault_that_cannot_prove_who_it_is_gets_no_token() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    story.put("web").unwrap();
    for (tls, words) in [
        (Tls::UnknownAuthority, "nobody this machine trusts signed it"),
        (Tls::SelfSigned, "nobody this machine trusts signed it"),
        (Tls::WrongName, "it is for another name"),
        (Tls::Expired, "it is not valid at this time"),
        (Tls::NotYetValid, "it is not valid at this time"),
    ] {
        story.azure.vault("contoso", |vault| vault.tls = tls).unwrap();
        let synced = wine.sync(&story.observing(&["web"])).unwrap();
        let (code, message) = synced.error(0).unwrap();
        assert!(code == 30 && message.contains(words), "{tls:?}: {message}");
        assert!(story.azure.requests_to(Server::Vault).is_empty(), "{tls:?}");
    }
    for tls in [Tls::Version12, Tls::Trusted] {
        story.azure.vault("contoso", |vault| vault.tls = tls).unwrap();
        let synced = wine.sync(&story.observing(&["web"])).unwrap();
        assert_eq!(synced.code(), Some(0), "{tls:?}: {synced:?}");
    }
}

#[test]
fn says_at_every_poll_what_clients_will_think_of_a_certificate() {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    let private = Authority::new("Private", 1).unwrap();
    let issued = private.issue(&Request::new("web.contoso.com").key(KeyKind::Rsa2048)).unwrap();
    story.put_bundle("web", issued.pem().unwrap()).unwrap();
    let certificates = [json!(story.url("web"))];
    let mut strict = observing(&certificates);
    strict["secretsManagementSettings"]["chainValidation"] = json!("require");
    let refused = wine.sync(&strict).unwrap();
    assert!(refused.error(0).unwrap().1.contains("leads to no root of this machine"), "{refused:?}");
    assert_eq!(wine.store(Whose::Machine, "MY").unwrap(), [] as [Value; 0]);
    assert_eq!(wine.keys(Whose::Machine).unwrap(), [] as [&str; 0]);
    for changed in [true, false] {
        let synced = wine.sync(&observing(&certificates)).unwrap();
        assert_eq!(synced.certificate(0)["changed"], json!(changed), "{synced:?}");
        let warnings = synced.certificate(0)["warnings"].to_string();
        assert!(warnings.contains("leads to no root of this machine"), "{warnings}");
    }
}
