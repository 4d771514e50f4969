//! What a fuzzer calls: each function gives some bytes to a parser of the service, as if they came from outside, and checks
//! what must hold whatever they are. A panic is a finding.
//!
//! The service is a program, so its modules are compiled in here, as they are.

#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

#[path = "../../service/src/after_renewal/mod.rs"]
mod after_renewal;
#[path = "../../service/src/agent.rs"]
mod agent;
#[path = "../../service/src/certificate/mod.rs"]
mod certificate;
#[path = "../../service/src/error.rs"]
mod error;
#[path = "../../service/src/fluentd/mod.rs"]
mod fluentd;
#[path = "../../service/src/http/mod.rs"]
mod http;
#[path = "../../service/src/identity/mod.rs"]
mod identity;
pub mod json;
#[path = "../../service/src/memory.rs"]
mod memory;
#[path = "../../service/src/network.rs"]
mod network;
#[path = "../../service/src/queue.rs"]
mod queue;
#[path = "../../service/src/recovery.rs"]
mod recovery;
#[path = "../../service/src/schedule.rs"]
mod schedule;
#[path = "../../service/src/standing.rs"]
mod standing;
#[path = "../../service/src/store/mod.rs"]
mod store;
#[path = "../../service/src/sync/mod.rs"]
mod sync;
#[path = "../../service/src/system/mod.rs"]
mod system;
#[path = "../../service/src/telemetry.rs"]
mod telemetry;
#[path = "../../service/src/vault/mod.rs"]
mod vault;
#[path = "../../service/src/versions.rs"]
mod versions;
#[path = "../../service/src/vigil.rs"]
mod vigil;
#[path = "../../service/src/wiped.rs"]
mod wiped;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::settings::{Clouds, Identity, SecretUrl, Settings, Version};
use common::text;
use openssl::pkey::PKey;
use openssl::x509::X509;
use rustix::time::{ClockId, clock_gettime};
use ureq::http::{HeaderMap, HeaderValue, header};

use certificate::Certificate;
use http::Answer;
use vault::SecretBundle;
use vault::list::Page;
use wiped::Wiped;

// What modules expect of the program's root.
const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG: u8 = 2;
const DROPPED: u8 = 4;

static WEB: LazyLock<SecretUrl> = LazyLock::new(|| {
    SecretUrl::parse("https://contoso.vault.azure.net/secrets/web", &Clouds::built_in()).expect("a URL")
});

/// The processor's time that an input may take, in milliseconds, the sanitizer's included.
const SLOWEST: u64 = 1000;

/// Gives an input to one of the functions below, and fails when it takes too long. The processor's time counts: what else the
/// machine does is not the input's fault. Says each input that is slower than all before.
pub fn in_time(parse: fn(&[u8]), data: &[u8]) {
    static SLOWEST_YET: AtomicU64 = AtomicU64::new(0);
    let before = processor_time();
    parse(data);
    let taken = processor_time() - before;
    if SLOWEST_YET.fetch_max(taken, Ordering::Relaxed) < taken {
        eprintln!("slowest input yet: {taken} ms");
    }
    assert!(taken <= SLOWEST, "{taken} ms of the processor's time");
}

/// What the fuzzer has used of the processor's time, in milliseconds.
fn processor_time() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).expect("a time") * 1000 + u64::try_from(time.tv_nsec).expect("a time") / 1_000_000
}

/// The file of the guest agent, or what a person wrote.
pub fn settings(data: &[u8]) {
    match Settings::parse(data, &Clouds::built_in()) {
        Ok(settings) => {
            for certificate in &settings.certificates {
                let host = certificate.url.host();
                let (label, suffix) = host.split_once('.').expect("a vault's host");
                assert!(label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{host}");
                let known = ["vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net", "vault.microsoftazure.de"];
                assert!(known.contains(&suffix) || suffix.starts_with("vault.sovcloud-api."), "{host}");
            }
            let address = settings.identity.endpoint.address();
            assert!(address.ip().is_loopback() || address.ip().to_string() == "169.254.169.254", "{address}");
            settings.warnings.iter().for_each(|finding| is_one_line(&finding.to_string()));
        }
        Err(error) => {
            assert!(!error.errors.is_empty());
            error.errors.iter().chain(&error.warnings).for_each(|finding| is_one_line(&finding.to_string()));
        }
    }
}

/// The bytes of a PKCS #12, or what stands in its place.
pub fn pfx(data: &[u8]) {
    decode(&STANDARD.encode(data), Some("application/x-pkcs12"));
}

/// PEM: keys and certificates, which become an ordered chain.
pub fn pem(data: &[u8]) {
    decode(&String::from_utf8_lossy(data), Some("application/x-pem-file"));
}

/// A vault's answer to a request for a secret, or for a page of its versions: refusals, challenges, secrets, lists.
pub fn secret(data: &[u8]) {
    let Some(answer) = answer(data) else { return };
    match Page::read(&answer, &WEB) {
        Ok(page) => {
            page.versions.iter().for_each(|listed| is_version(&listed.version));
            page.next.iter().for_each(|query| is_one_line(query));
        }
        Err(error) => is_one_line(&error.to_string()),
    }
    match SecretBundle::read(answer, &WEB) {
        Ok(bundle) => {
            is_version(bundle.version());
            match bundle.content(&WEB) {
                Ok(content) => decode(&content.value, content.content_type.as_deref()),
                Err(error) => is_one_line(&error.to_string()),
            }
        }
        Err(error) => is_one_line(&error.to_string()),
    }
}

/// An answer of the metadata service, or of the Azure Arc agent: tokens, refusals, challenges.
pub fn identity(data: &[u8]) {
    static IDENTITIES: LazyLock<Vec<Arc<Identity>>> = LazyLock::new(|| {
        let clients = ["", "00001111-aaaa-2222-bbbb-3333cccc4444"];
        let endpoints = ["http://169.254.169.254/metadata/identity", "http://localhost:40342/metadata/identity"];
        let all = clients.iter().flat_map(|client| endpoints.iter().map(move |endpoint| (client, endpoint)));
        all.map(|(client, endpoint)| {
            let document = serde_json::json!({
                "secretsManagementSettings": {"observedCertificates": [WEB.to_string()]},
                "authenticationSettings": {"msiEndpoint": endpoint, "msiClientId": client}});
            Settings::parse(document.to_string().as_bytes(), &Clouds::built_in()).expect("settings").identity
        })
        .collect()
    });
    let Some(answer) = answer(data) else { return };
    for identity in &*IDENTITIES {
        match identity::answer::read(&answer, identity) {
            Ok(token) => is_one_line(&format!("{token:?}")),
            Err(error) => is_one_line(&error.to_string()),
        }
        // The file that a challenge names is looked for, in the agent's folder only.
        if let Err(error) = identity::arc::authorization(&answer, identity, &network::Network::Own) {
            is_one_line(&error.to_string());
        }
    }
}

/// Foreign text on its way into the log.
pub fn log(data: &[u8]) {
    let foreign = String::from_utf8_lossy(data);
    is_one_line(&text::escape(&foreign));
    is_one_line(&text::excerpt(&foreign));
    assert!(text::bounded(&foreign, 10).chars().filter(|&character| character == '…').count() <= 11);
}

/// Decodes a value; what is accepted is whole.
fn decode(value: &str, content_type: Option<&str>) {
    static OPENSSL: LazyLock<()> = LazyLock::new(certificate::initialise_openssl);
    LazyLock::force(&OPENSSL);
    match Certificate::decode(value, content_type) {
        Ok(certificate) => {
            let pem = certificate.to_pem().expect("PEM");
            let key = PKey::private_key_from_pem(&pem).expect("a key");
            let leaf = X509::from_pem(&pem).expect("a leaf");
            assert!(leaf.public_key().expect("a public key").public_eq(&key), "the key does not fit");
            certificate.warnings().iter().for_each(|warning| is_one_line(warning));
        }
        Err(error) => is_one_line(&error.to_string()),
    }
    assert!(openssl::error::ErrorStack::get().errors().is_empty(), "left on the queue");
}

/// A status, lines of headers, an empty line, a body. Of the headers those that the service reads: the others are not its
/// business, and a fuzzer would learn the names of all that there are.
fn answer(data: &[u8]) -> Option<Answer> {
    let end = data.windows(2).position(|pair| pair == b"\n\n")?;
    let mut lines = data[..end].split(|&byte| byte == b'\n');
    let status = std::str::from_utf8(lines.next()?).ok()?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_at(line.iter().position(|&byte| byte == b':')?);
        let read = [header::DATE, header::RETRY_AFTER, header::WWW_AUTHENTICATE];
        if let Some(known) = read.into_iter().find(|known| known.as_str().as_bytes().eq_ignore_ascii_case(name)) {
            headers.append(known, HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?);
        }
    }
    Some(Answer { status, headers, body: Wiped::from(data[end + 2..].to_vec()) })
}

/// Fails when this could not be a part of a file's name.
fn is_version(version: &Version) {
    let version = version.to_string();
    assert!(version.len() == 32 && version.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
}

/// Fails when a message could forge a line of the log or move a terminal's cursor.
fn is_one_line(message: &str) {
    let bad = |character: char| {
        character.is_control()
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!message.contains(bad), "{message:?}");
}
