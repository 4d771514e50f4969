//! Tokens, keys and passwords: where they must not appear, whatever happens and however much is logged.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::azure::Addresses;
use tests::bundle::Bundle;
use tests::catalogue::Kind;
use tests::fault::{Fault, Scope, Times};
use tests::hostile;
use tests::http::Response;
use tests::pkcs12::Pfx;
use tests::pki::{KeyKind, Request};
use tests::refusal::Refusal;
use tests::story::{Story, finish, observing, wait_for};
use tests::wire::Wire;

const PASSWORD: &str = "Canary-in-a-secret-1d8f7a";
const CONNECTION: &str = "Server=db;Password=Canary-in-a-connection-string";
const PROXY_PASSWORD: &str = "Canary-of-the-proxy";

/// Pieces of everything secret, short enough to be found in a line that was cut.
struct Canaries(Vec<String>);

impl Canaries {
    fn new() -> Self {
        Self(vec![PASSWORD.to_owned(), "Canary-in-a-connection-string".to_owned(), PROXY_PASSWORD.to_owned()])
    }

    /// Every 24 characters of a text are a piece; line ends are none.
    fn add(&mut self, text: &str) {
        let text: Vec<char> = text.chars().filter(|character| !character.is_whitespace()).collect();
        self.0.extend(text.chunks_exact(24).map(String::from_iter));
    }

    /// Fails when `text` holds a piece, in one line or in the last columns of many, as in the dump of a buffer.
    fn must_not_be_in(&self, place: &str, text: &str) {
        let joined: String = text.chars().filter(|character| !character.is_whitespace()).collect();
        let dumped: String = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
        for piece in &self.0 {
            let found = [text, &joined, &dumped].iter().any(|text| text.contains(piece));
            assert!(!found, "{place} holds a secret");
        }
        for word in ["Bearer ", "eyJ0eX", "PRIVATE KEY"] {
            assert!(!text.contains(word), "{place} holds {word:?}: {text}");
        }
    }
}

/// A vault full of secrets that work and secrets that do not, each failing in another way.
fn full_vault(story: &Story, canaries: &mut Canaries) -> Value {
    let issued = story.issue("web").unwrap();
    let key = String::from_utf8(issued.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    canaries.add(&key.lines().filter(|line| !line.starts_with('-')).collect::<String>());
    let mut bundles = vec![
        ("pfx", issued.pfx(&Pfx::KEY_VAULT).unwrap()),
        ("pem", issued.pem().unwrap()),
        ("password", Bundle::text(PASSWORD)),
        ("connection", Bundle::text(CONNECTION)),
        ("password-called-pfx", Bundle::text(PASSWORD).content_type(Some("application/x-pkcs12"))),
        (
            "password-in-pem",
            Bundle::text(&format!("-----BEGIN PRIVATE KEY-----\n{PASSWORD}\n-----END PRIVATE KEY-----")),
        ),
        ("wrong-key", Kind::WrongKey.bundle(&story.authority, "web").unwrap()),
        ("two-keys", hostile::two_keys(&issued).unwrap()),
    ];
    for name in ["truncated", "reset", "html", "wrong-id", "forbidden", "gzip", "echo"] {
        bundles.push((name, issued.pem().unwrap()));
    }
    let mut urls = Vec::new();
    for (name, bundle) in bundles {
        canaries.add(&bundle.value.lines().filter(|line| !line.starts_with('-')).collect::<String>());
        story.put_bundle(name, bundle).unwrap();
        urls.push(json!(story.url(name)));
    }
    // The public half of what a PEM holds is no secret and stands in each file; only keys and values count here.
    let fault = |name: &str, fault: Fault| story.azure.fault(Scope::secret("contoso", name), fault, Times::Always);
    fault("truncated", Wire::Truncated.into());
    fault("reset", Wire::Reset.into());
    fault("html", Fault::Html);
    fault("gzip", Fault::Gzip);
    fault("wrong-id", Fault::Id(format!("https://contoso.vault.azure.net/secrets/{PASSWORD}/1")));
    fault("forbidden", Refusal::ForbiddenByRbac.into());
    let body = json!({"value": PASSWORD, "id": 7, "error": {"code": "x"}});
    fault("echo", Fault::Answer(Response::json(200, &body)));
    observing(&urls)
}

#[test]
fn no_secret_is_in_any_output_log_status_or_event_at_any_log_level() {
    let story = Story::begin_with(Addresses::real().with_proxy()).unwrap();
    let mut canaries = Canaries::new();
    let mut settings = full_vault(&story, &mut canaries);
    settings["loggingSettings"] = json!({"telemetryEvents": true});
    let login = format!("user:{PROXY_PASSWORD}");
    story.azure.demand_proxy_login(Some(&login));
    let proxy = story.azure.proxy_url().unwrap().replace("http://", &format!("http://{login}@"));
    for level in ["info", "debug", "trace", "warn,ureq_proto=trace,ureq=trace,rustls=trace"] {
        let environment = [("RUST_LOG", level), ("HTTPS_PROXY", proxy.as_str())];
        let synced = story.sync_with(&settings, &environment).unwrap();
        assert_eq!(synced.code(), Some(1), "{synced:?}");
        synced.place(0).unwrap();
        let log = story.folder().join("log");
        let events = log.join("events");
        fs::create_dir_all(&events).unwrap();
        let folders = ["--log-folder", log.to_str().unwrap(), "--events-folder", events.to_str().unwrap()];
        let service = story.run_as(&settings, &folders, &environment).unwrap();
        service
            .wait_until(Duration::from_secs(30), |reported| {
                let failed = reported.substatus.iter().filter(|part| part.status == "error").count();
                failed == 13
            })
            .unwrap();
        for text in story.azure.token_texts() {
            canaries.add(&text);
        }
        canaries.must_not_be_in("standard output", &synced.finished.output);
        canaries.must_not_be_in("standard error", &synced.finished.errors);
        canaries.must_not_be_in("the service's output", &service.log().unwrap());
        wait_for(Duration::from_secs(30), "event", || (read_all(&events).matches('{').count() > 1).then_some(()))
            .unwrap();
        for (place, folder) in [("the log", &log), ("the events", &events)] {
            let text = read_all(folder);
            assert!(!text.is_empty(), "{place}");
            canaries.must_not_be_in(place, &text);
        }
        let status = fs::read_to_string(story.status_folder().join("0.status")).unwrap();
        canaries.must_not_be_in("the status", &status);
        let environment = fs::read_to_string(format!("/proc/{}/cmdline", service.id())).unwrap();
        canaries.must_not_be_in("the command line", &environment);
        drop(service);
        fs::remove_dir_all(&log).unwrap();
    }
}

/// What the files of a folder hold.
fn read_all(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.filter_map(|path| fs::read_to_string(path).ok()).collect()
}

#[test]
fn a_token_in_an_answer_that_is_refused_is_not_quoted() {
    let story = Story::begin().unwrap();
    let mut canaries = Canaries::new();
    let token = "Canary.of.the.metadata.service.that.is.long.enough";
    canaries.add(token);
    for answer in [
        Response::json(200, &json!({"access_token": format!("{token}\r\nX: 1"), "expires_in": "3600"})),
        Response::json(200, &json!({"access_token": [token]})),
        Response::new(200, format!("{{\"access_token\": \"{token}")),
    ] {
        story.azure.fault(Scope::Imds, Fault::Answer(answer), Times::Always);
        let synced = story.sync_with(&observing(&[json!(story.url("web"))]), &[("RUST_LOG", "trace")]).unwrap();
        assert_eq!(synced.error(0).unwrap().0, 25);
        canaries.must_not_be_in("the output", &format!("{:?}", synced.finished));
        story.azure.repair(&Scope::Imds);
    }
}

#[test]
fn no_core_dump_and_no_debugger_of_another_gets_at_the_memory() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let mut service = story.run(&observing(&[json!(story.url("web"))])).unwrap();
    service.wait_for_log(Duration::from_secs(30), "1 of 1 certificates installed", 1).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let status = fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    let umask = status.lines().find(|line| line.starts_with("Umask")).unwrap();
    assert!(umask.ends_with("0077"), "{umask}");
    let folder = fs::read_link(format!("/proc/{}/cwd", service.id())).unwrap();
    let dumps = || -> Vec<_> {
        let entries = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name());
        entries.filter(|name| name.to_string_lossy().starts_with("core")).collect()
    };
    let before = dumps();
    service.signal(Signal::ABORT).unwrap();
    assert_eq!(service.wait().unwrap(), None, "ended by the signal");
    assert_eq!(dumps(), before);
}

/// What root would find in the memory of a running service: everything that it may write.
fn memory(id: u32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).unwrap();
    let file = fs::File::open(format!("/proc/{id}/mem")).unwrap();
    let mut all = Vec::new();
    for map in maps.lines().filter(|line| line.contains(" rw") && !line.ends_with("[vvar]")) {
        let (begin, end) = map.split(' ').next().unwrap().split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut part = vec![0; usize::try_from(end - begin).unwrap()];
        if file.read_exact_at(&mut part, begin).is_ok() {
            all.extend(part);
        }
    }
    all
}

#[test]
fn after_a_pass_no_key_is_left_in_memory_as_openssl_has_it() {
    let story = Story::begin().unwrap();
    let mut needles = Vec::new();
    let mut urls = Vec::new();
    for (name, kind) in [("rsa", KeyKind::Rsa2048), ("ec", KeyKind::P256)] {
        let issued = story.authority.issue(&Request::new("web.contoso.com").key(kind)).unwrap();
        // The secret half: of RSA the exponent and the primes, of a curve its number.
        let secret = match issued.key.rsa() {
            Ok(rsa) => vec![rsa.d().to_vec(), rsa.p().unwrap().to_vec(), rsa.q().unwrap().to_vec()],
            Err(_) => vec![issued.key.ec_key().unwrap().private_key().to_vec()],
        };
        // OpenSSL's numbers lie in memory the other way round.
        let numbers = secret.into_iter().flat_map(|number| [number.iter().copied().rev().collect(), number]);
        needles.extend(numbers.map(|number: Vec<u8>| (format!("{name}, a number of its key"), number)));
        // As a value it may be in the buffer of the connection that brought it, until that brings something else or ends.
        for (form, bundle) in [("pfx", issued.pfx(&Pfx::KEY_VAULT).unwrap()), ("pem", issued.pem().unwrap())] {
            let name = format!("{name}-{form}");
            story.put_bundle(&name, bundle).unwrap();
            urls.push(json!(story.url(&name)));
        }
    }
    let service = story.run(&observing(&urls)).unwrap();
    service.wait_for_log(Duration::from_secs(30), "4 of 4 certificates installed", 1).unwrap();
    service.poll().unwrap();
    let memory = memory(service.id());
    let found = |needle: &[u8]| memory.windows(needle.len()).any(|window| window == needle);
    // The token is kept until it ends: what is there is found.
    assert!(story.azure.token_texts().iter().any(|token| found(&token.as_bytes()[..32])), "the memory was read");
    let mut left = needles.iter().filter(|(_, needle)| found(&needle[..needle.len().min(32)])).map(|(name, _)| name);
    assert_eq!(left.next(), None, "left in memory");
}

#[test]
fn what_the_vault_writes_forges_no_line_of_the_log() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let message = "first\r\n2026-01-01T00:00:00Z INFO  1 of 1 certificates installed\u{1b}[2J\u{202e}";
    let body = json!({"error": {"code": "\u{1b}[31mForbidden\nx", "message": message}});
    story.azure.fault(Scope::Vaults, Fault::Answer(Response::json(403, &body)), Times::Always);
    let settings = observing(&[json!(story.url("web"))]);
    let service = story.run(&settings).unwrap();
    let log = service.wait_for_log(Duration::from_secs(30), "the vault says", 1).unwrap();
    assert!(log.contains("first\\r\\n2026") && !log.contains('\u{1b}') && !log.contains('\u{202e}'), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01")), "{log}");
    let path = story.folder().join("0.settings");
    drop(service);
    let shown = finish(&mut story.service(&["sync", path.to_str().unwrap()]).unwrap()).unwrap();
    assert!(!shown.output.contains('\u{1b}') && shown.output.lines().count() == 3, "{shown:?}");
}
