//! What could lead a token away: addresses, redirects, challenges.

use serde_json::{Value, json};
use tests::fault::Fault;
use tests::http::Response;
use tests::refusal::Refusal;
use tests::settings::{Check, refused, with_section};
use tests::story::observing;
use tests::thief;

use super::{AUDIENCE, VAULT};

/// Addresses that look like a vault's, or like one of the machine, and are the thief's.
pub(super) fn addresses() -> Vec<Value> {
    let mut settings = vec![];
    let hosts = [thief::DOMAIN.to_owned(), thief::ADDRESS.to_string(), format!("{VAULT}.{}", thief::DOMAIN)];
    for host in &hosts {
        for (genuine, scheme, path) in
            [(VAULT, "https", "/secrets/web"), ("169.254.169.254", "http", "/metadata/identity")]
        {
            let urls = [
                format!("{scheme}://{host}{path}"),
                format!("{scheme}://{genuine}@{host}{path}"),
                format!("{scheme}://{genuine}:443@{host}{path}"),
                format!("{scheme}://{genuine}%40{host}{path}"),
                format!("{scheme}://{host}#{genuine}{path}"),
                format!("{scheme}://{host}#@{genuine}{path}"),
                format!("{scheme}://{host}?{genuine}{path}"),
                format!("{scheme}://{host}/{genuine}{path}"),
                format!("{scheme}://{host}\\{genuine}{path}"),
                format!("{scheme}://{host}\\@{genuine}{path}"),
                format!("{scheme}://{host}%2f{genuine}{path}"),
                format!("{scheme}://{host}%00.{genuine}{path}"),
                format!("{scheme}://{host}\0.{genuine}{path}"),
                format!("{scheme}://{host}\t.{genuine}{path}"),
                format!("{scheme}://{host};.{genuine}{path}"),
                format!("{scheme}://{genuine},{host}{path}"),
                format!("{scheme}://{genuine} {host}{path}"),
                format!("{scheme}://{genuine}:443:80@{host}{path}"),
                format!("{scheme}:////{host}{path}"),
                format!("{scheme}:/{host}{path}"),
                format!("{scheme}:{host}{path}"),
                format!("{scheme}:\\\\{host}{path}"),
                format!("//{host}{path}"),
                format!("{host}{path}"),
                format!("{scheme}://{genuine}\r\nHost: {host}{path}"),
            ];
            settings.extend(urls.into_iter().map(|url| match scheme {
                "https" => observing(&[json!(url)]),
                _ => with_section("authenticationSettings", json!({"msiEndpoint": url})),
            }));
        }
    }
    let odd = [
        "https://[::ffff:127.0.0.2]",
        "https://2130706434",
        "https://0x7f.2",
        "https://contoso\u{3002}vault.azure.net",
    ];
    settings.extend(odd.map(|host| observing(&[json!(format!("{host}/secrets/web"))])));
    for client in ["&resource=https://management.azure.com/", "%26resource=x", "#", "\r\nHost: evil.example"] {
        let id = format!("00001111-aaaa-2222-bbbb-3333cccc4444{client}");
        settings.push(with_section("authenticationSettings", json!({"msiClientId": id})));
    }
    let known = refused().into_iter().filter(|case| match case.check {
        Check::Refuses(place, _) => place.contains("msi") || place.ends_with("observedCertificates[0]"),
        _ => false,
    });
    settings.extend(known.map(|case| case.settings));
    settings
}

/// Where a redirect, a link or a header may point.
pub(super) fn lures() -> Vec<String> {
    let domain = thief::DOMAIN;
    vec![
        format!("https://{domain}/secrets/web?api-version=7.4"),
        format!("http://{domain}/secrets/web"),
        format!("https://{domain}:8443/"),
        format!("//{domain}/secrets/web"),
        format!("\\\\{domain}\\secrets\\web"),
        format!("https://{VAULT}@{domain}/secrets/web/versions?api-version=7.4"),
        format!("https://{VAULT}.{domain}/secrets/web/versions?api-version=7.4"),
        format!("https://{domain}#@{VAULT}/secrets/web/versions?api-version=7.4"),
        format!("https://{}/secrets/web", thief::ADDRESS),
        format!("http://{VAULT}:8080/secrets/web"),
        "https://fabrikam.vault.azure.net/secrets/web/versions?api-version=7.4".to_owned(),
    ]
}

/// Answers of a vault that say: come there.
pub(super) fn redirects() -> Vec<Fault> {
    let mut faults = vec![];
    for lure in lures() {
        for status in [301, 302, 303, 307, 308] {
            faults.push(Fault::Answer(Response::new(status, "").header("Location", &lure)));
        }
        let moved = |name: &str, value: String| Response::json(401, &json!({})).header(name, &value);
        let page = Response::new(200, format!("<meta http-equiv=refresh content=\"0; url={lure}\">"));
        faults.push(Fault::Answer(moved("Refresh", format!("0; url={lure}"))));
        faults.push(Fault::Answer(moved("Alt-Svc", format!("h2=\"{}:443\"", thief::DOMAIN))));
        faults.push(Fault::Answer(page.header("Content-Location", &lure)));
        faults.push(Fault::Answer(Response::json(200, &json!({"value": [], "nextLink": lure}))));
        faults.push(Fault::Id(lure));
    }
    faults
}

/// Demands for a token, or for one with which more could be done.
pub(super) fn challenges() -> Vec<Fault> {
    let domain = thief::DOMAIN;
    let resources = [
        format!("https://{domain}"),
        format!("https://vault.azure.net.{domain}"),
        format!("https://{domain}/vault.azure.net"),
        "https://management.azure.com/".to_owned(),
        "https://graph.microsoft.com".to_owned(),
        "https://vault.azure.net@evil.example".to_owned(),
        "https://vault.azure.cn".to_owned(),
        String::new(),
    ];
    let headers = [
        format!("Bearer authorization=\"https://{domain}/tenant\", resource=\"{AUDIENCE}\""),
        format!("Bearer authorization=\"https://{domain}/tenant\", scope=\"https://{domain}/.default\""),
        format!("Bearer resource=\"{AUDIENCE}\", resource=\"https://{domain}\""),
        format!("Bearer resource=\"{AUDIENCE}\", Basic realm=\"https://{domain}\""),
        "Basic realm=/etc/shadow".to_owned(),
        "Negotiate".to_owned(),
        format!("PoP authorization=\"https://{domain}\", nonce=\"1\""),
        format!("Bearer {}", "a=\"b\", ".repeat(2000)),
    ];
    let unauthorized = |header: String| {
        let body = json!({"error": {"code": "Unauthorized", "message": format!("ask https://{domain}")}});
        Fault::Answer(Response::json(401, &body).header("WWW-Authenticate", &header))
    };
    (resources.into_iter().map(|resource| Refusal::ForeignChallenge(resource).into()))
        .chain(headers.into_iter().map(unauthorized))
        .collect()
}
