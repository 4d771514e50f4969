//! Input that somebody made bad on purpose, row by row of T1 to T21 in `docs/threat-model.md`: what is refused, with the
//! words that say why, beside what looks like it and is accepted. All of it goes to the production program.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tests::bundle::{Bundle, Part};
use tests::fault::{Fault, Scope, Times};
use tests::hostile;
use tests::http::Response;
use tests::imds::Trouble;
use tests::pkcs12::Pfx;
use tests::pki::{Authority, DAY, Issued, KeyKind, Request};
use tests::refusal::Refusal;
use tests::settings::{Check, refused, with_section};
use tests::story::{Story, binary, finish, observing};
use tests::wire::Wire;

/// Rows whose inputs are no settings, answers or values, but certificates, proxies and agents; the stories that try these.
const ELSEWHERE: [(u8, &str); 3] = [
    (6, "service_identity::tokens_are_never_asked_for_through_a_proxy, service_transport::a_proxy_…"),
    (7, "service_transport::a_vault_that_cannot_prove_who_it_is_gets_no_token, …::tls_older_than_1_2_is_refused"),
    (9, "service_arc::nothing_but_a_key_file_of_the_agent_is_read"),
];

/// What must come of an input.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It is taken, and nothing is said about it.
    Fine,
    /// It is taken, with a warning that has these words.
    Warned(&'static str),
    /// It is not, and the message has these words.
    Refused(&'static str),
}
use Outcome::{Fine, Refused, Warned};

/// The row, what the input is, the input, and what must come of it.
type Case<T> = (u8, &'static str, T, Outcome);

/// What is refused is listed in [`tests::settings`], by the place of the mistake.
fn settings() -> Vec<Case<Value>> {
    let url = |url: &str| observing(&[json!(url)]);
    let identity = |members: Value| with_section("authenticationSettings", members);
    let guid = "00001111-aaaa-2222-bbbb-3333cccc4444";
    let mut cases = vec![
        (1, "plain", url("https://contoso.vault.azure.net/secrets/web"), Fine),
        (1, "capitals, port, slash", url("HTTPS://Contoso.Vault.Azure.Net:443/Secrets/Web/"), Fine),
        (1, "21Vianet, a version", url(&format!("https://abc.vault.azure.cn/secrets/web/{}", "0a".repeat(16))), Fine),
        (1, "US government", url("https://abc.vault.usgovcloudapi.net/secrets/web"), Fine),
        (4, "no client id", identity(json!({"msiClientId": ""})), Fine),
        (4, "a GUID in capitals", identity(json!({"msiClientId": guid.to_uppercase()})), Fine),
        (
            4,
            "a resource id",
            identity(json!({"msiClientId": format!("/subscriptions/{guid}/resourcegroups/rg/providers/\
                Microsoft.ManagedIdentity/userAssignedIdentities/app1")})),
            Fine,
        ),
        (5, "no endpoint", identity(json!({"msiEndpoint": ""})), Fine),
        (5, "the metadata service", identity(json!({"msiEndpoint": "http://169.254.169.254/metadata/identity"})), Fine),
        (5, "loopback", identity(json!({"msiEndpoint": "http://127.0.0.1:40342/metadata/identity"})), Fine),
        (5, "loopback of IPv6", identity(json!({"msiEndpoint": "http://[::1]:40342"})), Fine),
        (5, "localhost", identity(json!({"msiEndpoint": "HTTP://LOCALHOST:40342"})), Fine),
    ];
    for case in refused() {
        let Check::Refuses(place, words) = case.check else { continue };
        let row = match place {
            "secretsManagementSettings.observedCertificates[0]" => 1,
            "authenticationSettings.msiClientId" => 4,
            "authenticationSettings.msiEndpoint" => 5,
            _ => continue,
        };
        cases.push((row, "as in tests::settings", case.settings, Refused(words)));
    }
    cases
}

/// What a vault answers to a request for one secret.
fn answers() -> Vec<Case<Option<(Fault, Times)>>> {
    let always = |fault: Fault| Some((fault, Times::Always));
    let moved = |status: u16| {
        let answer = Response::new(status, "").header("Location", "https://evil.example/secrets/web");
        always(Fault::Answer(answer))
    };
    let foreign = |resource: &str| always(Refusal::ForeignChallenge(resource.to_owned()).into());
    let named = |id: &str| always(Fault::Id(id.to_owned()));
    let other = Refused("another secret than the one that was asked for");
    let version = "ca256f81a079427485e0e5d11c666b7f";
    vec![
        (2, "no redirect", None, Fine),
        (2, "301", moved(301), Refused("redirected (HTTP 301)")),
        (2, "302", moved(302), Refused("redirected (HTTP 302)")),
        (2, "303", moved(303), Refused("redirected (HTTP 303)")),
        (2, "307", moved(307), Refused("redirected (HTTP 307)")),
        (2, "308", moved(308), Refused("redirected (HTTP 308)")),
        (3, "its own challenge, once", Some((Refusal::InvalidToken.into(), Times::Next(1))), Fine),
        (3, "evil.example", foreign("https://evil.example"), Refused("no token is sent")),
        (3, "a longer host", foreign("https://vault.azure.net.evil.example"), Refused("no token is sent")),
        (3, "another service", foreign("https://management.azure.com/"), Refused("no token is sent")),
        (3, "another cloud", foreign("https://vault.azure.cn"), Refused("no token is sent")),
        (8, "an answer in pieces", always(Wire::Pause(Duration::from_millis(100)).into()), Fine),
        (8, "5 MB", always(Fault::Big(5_000_000)), Refused("larger than 1048576 bytes")),
        (8, "no end of the body", always(Wire::EndlessBody.into()), Refused("larger than 1048576 bytes")),
        (8, "no end of the header", always(Wire::EndlessHeader.into()), Refused("too many headers")),
        (8, "gzip", always(Fault::Gzip), Refused("cannot be used")),
        (8, "a sign-in page", always(Fault::Html), Refused("does a proxy answer?")),
        (11, "its own id", None, Fine),
        (11, "another vault", named(&format!("https://fabrikam.vault.azure.net/secrets/web/{version}")), other),
        (11, "another secret", named(&format!("https://contoso.vault.azure.net/secrets/api/{version}")), other),
        (11, "a path as the version", named("https://contoso.vault.azure.net/secrets/s/../../etc/cron.d/x"), other),
        (11, "no version", named("https://contoso.vault.azure.net/secrets/s"), other),
        (11, "escape sequences", named("\u{1b}[2J\r\nroot"), other),
        (12, "401 once", Some((Refusal::InvalidToken.into(), Times::Next(1))), Fine),
        (12, "401 for ever", always(Refusal::InvalidToken.into()), Refused("HTTP 401 Unauthorized")),
        (12, "a token of another tenant", always(Refusal::InvalidIssuer.into()), Refused("another tenant")),
    ]
}

/// What the metadata service answers; `None` is a token.
fn tokens() -> Vec<Case<Option<Fault>>> {
    let token =
        |token: Value| Some(Fault::Answer(Response::json(200, &json!({"access_token": token, "expires_in": "3600"}))));
    vec![
        (10, "a token", None, Fine),
        (10, "a line end", token(json!("eyJ0.Canary.x\r\nX-Other: 1")), Refused("did not answer with a token")),
        (10, "a blank", token(json!("eyJ0 Canary")), Refused("did not answer with a token")),
        (10, "a letter that is no ASCII", token(json!("eyJ0.C\u{430}nary")), Refused("did not answer with a token")),
        (10, "nothing", token(json!("")), Refused("did not answer with a token")),
        (10, "a list", token(json!(["Canary"])), Refused("did not answer with a token")),
        (10, "a refusal", Some(Trouble::IdentityNotFound.into()), Refused("identity")),
    ]
}

/// What a secret holds.
fn values(story: &Story, issued: &Issued) -> Vec<Case<Bundle>> {
    let pfx = |form: Pfx| issued.pfx(&form).unwrap();
    let pem = |parts: &[Part]| Bundle::pem(parts).unwrap();
    let rounds = |claimed| hostile::claimed_rounds(issued, claimed).unwrap();
    let whole = pfx(Pfx::MODERN).bytes().unwrap();
    let stranger = Part::Certificate(Authority::new("Stranger", 0).unwrap().root().clone());
    let now = SystemTime::now();
    let valid = |from, to| {
        let request = Request::new("web.contoso.com").valid(from, to);
        story.authority.issue(&request).unwrap().pfx(&Pfx::KEY_VAULT).unwrap()
    };
    let hostile_name = Pfx { friendly_name: "\u{1b}[2J\r\n-----BEGIN PRIVATE KEY-----", ..Pfx::KEY_VAULT };
    let many_rounds = Pfx { iterations: 100_000, mac_iterations: 100_000, ..Pfx::MODERN };
    let text = || Part::Text("Bag Attributes\n    friendlyName: \u{1b}[2J\n".to_owned());
    let noted: Vec<Part> = issued.parts().into_iter().flat_map(|part| [text(), part]).collect();
    let two_keys = [issued.parts(), vec![Part::Key(KeyKind::P256.generate().unwrap())]].concat();
    let beyond = "from 1 to 1000000 in all are accepted";
    vec![
        (13, "100,000 rounds", pfx(many_rounds), Fine),
        (13, "2^31-1 rounds", rounds(i64::from(i32::MAX)), Refused("asks for 2147483647 rounds")),
        (13, "no rounds", rounds(0), Refused("asks for 0 rounds")),
        (13, "less than none", rounds(-1), Refused(beyond)),
        (14, "one part", pfx(Pfx::MODERN), Fine),
        (14, "40 parts of 100,000", hostile::many_parts(issued, 40, 100_000).unwrap(), Refused(beyond)),
        (14, "8 million for each part", rounds(8_000_000), Refused("asks for 8000000 rounds")),
        (15, "3 deep", hostile::nested(issued, 3).unwrap(), Warned("chain")),
        (15, "1,000 deep", hostile::nested(issued, 1000).unwrap(), Refused("8 levels of bags in bags")),
        (15, "20 certificates", hostile::many_certificates(issued, 20).unwrap(), Fine),
        (15, "1,500 certificates", hostile::many_certificates(issued, 1500).unwrap(), Refused("certificates")),
        (15, "a length of 4 GiB", hostile::claimed_length(&whole), Refused("damaged")),
        (15, "half of it", Bundle::der(&whole[..whole.len() / 2]), Refused("damaged")),
        (15, "more bytes at the end", Bundle::der(&[&whole[..], b"more"].concat()), Refused("bytes follow the end")),
        (16, "a loop", hostile::endless_chain().unwrap(), Warned("leads to no root of this machine")),
        (16, "a stranger", pem(&[issued.parts(), vec![stranger]].concat()), Warned("Stranger")),
        (
            16,
            "30 deep",
            deep(30),
            Warned("refuse it: its chain has more intermediates than many TLS clients follow (6)"),
        ),
        (16, "the same twice", pem(&[issued.parts(), issued.parts()].concat()), Fine),
        (16, "300 issuers of one name", hostile::namesakes(300).unwrap(), Refused("certificates")),
        (17, "a mark that lies", pfx(Pfx { wrong_local_key_id: true, ..Pfx::KEY_VAULT }), Fine),
        (17, "a key that does not fit", hostile::wrong_key(issued).unwrap(), Refused("belongs to its private key")),
        (17, "two keys", hostile::two_keys(issued).unwrap(), Refused("two different private keys")),
        (17, "two keys in a PEM", pem(&two_keys), Refused("two different private keys")),
        (17, "no key", pem(&hostile::without_key(issued)), Refused("has no private key")),
        (17, "no certificate", pem(&[issued.key_part()]), Refused("a private key but no certificate")),
        (18, "a name that is a PEM", pfx(hostile_name), Fine),
        (18, "text between the blocks", pem(&noted), Fine),
        (18, "a type that is an escape", pfx(Pfx::MODERN).content_type(Some("\u{1b}[2Jx")), Warned("content type")),
        (19, "a certificate", pfx(Pfx::KEY_VAULT), Fine),
        (19, "a password", Bundle::text("Canary horse battery staple"), Refused("no certificate (neither PKCS #12")),
        (19, "a connection", Bundle::text("Server=db;Password=Canary"), Refused("no certificate (neither PKCS #12")),
        (
            19,
            "a password called a PFX",
            Bundle::text("Canary").content_type(Some("application/x-pkcs12")),
            Refused("no certificate (neither PKCS #12"),
        ),
        (
            19,
            "a password in a PEM",
            Bundle::text("-----BEGIN PRIVATE KEY-----\nCanary\n-----END PRIVATE KEY-----"),
            Refused("damaged"),
        ),
        (20, "it has ended", valid(now - 90 * DAY, now - DAY), Warned("has expired")),
        (20, "it has not begun", valid(now + DAY, now + 90 * DAY), Warned("is not valid yet")),
        (20, "it is valid", valid(now - DAY, now + 90 * DAY), Fine),
        (21, "lines", pfx(Pfx::KEY_VAULT).with_line_breaks(64, "\r\n"), Fine),
        (21, "escape sequences", Bundle::text("\u{1b}[2J\u{1b}[31mCanary\u{7}\r\n\0"), Refused("no certificate")),
        (21, "nothing", Bundle::text(""), Refused("no certificate")),
        (21, "NUL", Bundle::text(&"\0".repeat(3000)), Refused("no certificate")),
        (21, "random bytes", Bundle::der(&[0x42; 3000]), Refused("no certificate")),
    ]
}

/// A leaf below this many authorities.
fn deep(authorities: usize) -> Bundle {
    let authority = Authority::with_keys("Deep", authorities, KeyKind::P256).unwrap();
    authority.issue(&Request::new("web.contoso.com")).unwrap().pem().unwrap()
}

/// Fails unless this came of the input. `error` is the message, empty for none.
fn judge(row: u8, name: &str, outcome: Outcome, error: &str, warnings: &str) {
    let case = format!("T{row}, {name}");
    let all = format!("{error}{warnings}");
    assert!(!all.contains("Canary") && !all.chars().any(char::is_control) && all.len() < 2000, "{case}: {all}");
    match outcome {
        Fine => assert_eq!((error, warnings), ("", "[]"), "{case}"),
        Warned(words) => assert!(error.is_empty() && warnings.contains(words), "{case}: {all}"),
        Refused(words) => assert!(error.contains(words), "{case}: {error:?}, not {words:?}"),
    }
}

/// Judges what `sync` said of one certificate.
fn judge_certificate(row: u8, name: &str, outcome: Outcome, said: &Value) {
    judge(row, name, outcome, said["error"]["message"].as_str().unwrap_or_default(), &said["warnings"].to_string());
}

#[test]
fn settings_are_refused_with_the_place_and_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    for (row, name, settings, outcome) in settings() {
        let path = folder.path().join("0.settings");
        fs::write(&path, settings.to_string()).unwrap();
        let mut check = Command::new(binary("akvvm_service").unwrap());
        let checked = finish(check.arg("check").arg(&path).arg("--json")).unwrap();
        let said: Value = serde_json::from_str(&checked.output).unwrap();
        let errors = said["errors"].as_array().unwrap();
        let error = errors.first().map_or("", |error| error["message"].as_str().unwrap());
        assert_eq!(checked.code, Some(if matches!(outcome, Refused(_)) { 2 } else { 0 }), "T{row}: {settings}");
        judge(row, &format!("{name}: {settings}"), outcome, error, &said["warnings"].to_string());
    }
}

#[test]
fn answers_of_a_vault_are_refused_one_by_one() {
    let story = Story::begin().unwrap();
    let bundle = story.issue("web").unwrap().pem().unwrap();
    let cases = answers();
    let secret = |number: usize| format!("s{number}");
    for (number, (_, _, fault, _)) in cases.iter().enumerate() {
        story.put_bundle(&secret(number), bundle.clone()).unwrap();
        if let Some((fault, times)) = fault {
            story.azure.fault(Scope::secret("contoso", &secret(number)), fault.clone(), *times);
        }
    }
    // One after the other: a token that one answer calls wrong is thrown away for all.
    for (number, (row, name, _, outcome)) in cases.into_iter().enumerate() {
        let synced = story.sync(&story.observing(&[&secret(number)])).unwrap();
        judge_certificate(row, name, outcome, synced.certificate(0));
    }
}

#[test]
fn answers_of_the_metadata_service_are_refused_without_the_token() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for (row, name, fault, outcome) in tokens() {
        if let Some(fault) = fault {
            story.azure.fault(Scope::Imds, fault, Times::Always);
        }
        let synced = story.sync(&story.observing(&["web"])).unwrap();
        judge_certificate(row, name, outcome, synced.certificate(0));
        story.azure.repair(&Scope::Imds);
    }
}

#[test]
fn values_are_refused_one_by_one_and_harm_no_other() {
    let story = Story::begin().unwrap();
    let issued = story.issue("web").unwrap();
    let cases = values(&story, &issued);
    let urls: Vec<Value> = (0..cases.len()).map(|number| json!(story.url(&format!("s{number}")))).collect();
    for (number, (_, _, bundle, _)) in cases.iter().enumerate() {
        story.put_bundle(&format!("s{number}"), bundle.clone()).unwrap();
    }
    let synced = story.sync(&observing(&urls)).unwrap();
    for (number, (row, name, _, outcome)) in cases.into_iter().enumerate() {
        judge_certificate(row, name, outcome, synced.certificate(number));
    }
}

#[test]
fn every_row_has_what_is_accepted_beside_what_is_refused() {
    let story = Story::begin().unwrap();
    let issued = story.issue("web").unwrap();
    let outcomes = (settings().into_iter().map(|(row, .., outcome)| (row, outcome)))
        .chain(answers().into_iter().map(|(row, .., outcome)| (row, outcome)))
        .chain(tokens().into_iter().map(|(row, .., outcome)| (row, outcome)))
        .chain(values(&story, &issued).into_iter().map(|(row, .., outcome)| (row, outcome)));
    let mut rows = BTreeMap::<u8, [usize; 2]>::new();
    for (row, outcome) in outcomes {
        rows.entry(row).or_default()[usize::from(!matches!(outcome, Fine))] += 1;
    }
    for row in 1..=21 {
        match ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == row) {
            Some(_) => assert!(!rows.contains_key(&row), "T{row}"),
            None => assert!(
                rows[&row][0] >= 1 && rows[&row][1] >= 1 && rows[&row].iter().sum::<usize>() >= 3,
                "T{row}: {:?}",
                rows[&row]
            ),
        }
    }
}
