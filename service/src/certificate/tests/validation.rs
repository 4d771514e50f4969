//! What clients would say of a chain, and of a renewal.

use std::sync::Arc;

use rustls::pki_types::UnixTime;

use super::world::*;
use crate::certificate::{Certificate, distrust, initialise_openssl, lost_names};
use crate::system::Trust;

const SERVER: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT: &str = "1.3.6.1.5.5.7.3.2";

#[test]
fn only_servers_need_a_chain_to_a_root_of_this_machine() {
    initialise_openssl();
    let trust = Trust::load(Arc::new(rustls::crypto::ring::default_provider())).unwrap();
    let root = Request::new("Root").self_signed();
    let remark = |purposes: &[&str]| {
        let leaf = Request::new("leaf").server(&["web.contoso.com"], purposes).issued_by(&root);
        distrust(&[leaf.certificate, root.certificate.clone()], &trust, UnixTime::now())
    };
    for purposes in [&[][..], &[SERVER], &[CLIENT, SERVER]] {
        assert_eq!(
            remark(purposes).as_deref(),
            Some(
                "TLS clients that trust what this machine trusts refuse it: its chain ends with CN=Root, which leads to \
                 no root of this machine"
            ),
            "{purposes:?}"
        );
    }
    assert_eq!(remark(&[CLIENT]), None);
    assert_eq!(distrust(&[], &trust, UnixTime::now()), None);
}

#[test]
fn a_renewal_without_a_name_of_the_version_before_is_told() {
    let root = Request::new("Root").self_signed();
    let issued = |subject: &str, hosts: &[&str]| Request::new(subject).server(hosts, &[]).issued_by(&root);
    let lost = |before: &Issued, now: &Issued| {
        let value = pem_of(Some(&now.key), &[&now.certificate, &root.certificate]);
        lost_names(&before.certificate, &Certificate::decode(&value, None).unwrap())
    };
    let said = |old: &str, new: &str| Some(format!("it holds no name of the version before: {old} then, {new} now"));

    let web = issued("Contoso", &["web.contoso.com", "10.0.0.4", "2001:db8::1"]);
    let named = issued("Web.Contoso.com", &[]);
    for (before, now) in [
        (&web, &issued("other", &["web.CONTOSO.com", "new.contoso.com"])),
        (&web, &issued("other", &["10.0.0.4"])),
        (&web, &issued("other", &["2001:db8::1"])),
        (&web, &named),
        (&named, &web),
    ] {
        assert_eq!(lost(before, now), None);
    }
    assert_eq!(
        lost(&web, &issued("Contoso", &["shop.contoso.com", "10.0.0.5"])),
        said("10.0.0.4, 2001:db8::1, web.contoso.com", "10.0.0.5, shop.contoso.com"),
        "the common name counts only where there is no other"
    );
    assert_eq!(lost(&named, &issued("shop.contoso.com", &[])), said("web.contoso.com", "shop.contoso.com"));
    assert_eq!(lost(&named, &issued("", &[])), said("web.contoso.com", "none"));
    assert_eq!(lost(&issued("", &[]), &named), None, "nothing was there to be lost");
}
