//! The way to the vault: names, TLS, proxies, and answers that break on the wire.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::iter;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use openssl::pkey::PKey;
use serde_json::{Value, json};
use tests::azure::Addresses;
use tests::bundle::Bundle;
use tests::fault::{Fault, Scope, Times};
use tests::http::Server;
use tests::pki::Request;
use tests::story::{Story, Synced, finish, observing, wait_for};
use tests::tls::{TLS_PROXY_HOST, Tls};
use tests::wire::Wire;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_spoiled_answer_fails_this_certificate_only_and_says_how() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    story.put("api").unwrap();
    const HOST: &str = "contoso.vault.azure.net";
    let cases: Vec<(&str, Fault, i64, &[&str])> = vec![
        ("truncated", Wire::Truncated.into(), 30, &[HOST]),
        ("reset", Wire::Reset.into(), 30, &[HOST, "the connection failed"]),
        ("closed", Wire::Close.into(), 30, &[HOST]),
        ("short length", Wire::ShortLength.into(), 36, &["cannot be used"]),
        ("garbage", Wire::Garbage.into(), 30, &[HOST, "cannot be read as HTTP"]),
        ("endless header", Wire::EndlessHeader.into(), 30, &[HOST, "too many headers"]),
        ("endless body", Wire::EndlessBody.into(), 30, &[HOST, "larger than 1048576 bytes"]),
        ("big", Fault::Big(5_000_000), 30, &[HOST, "larger than 1048576 bytes"]),
        ("html", Fault::Html, 36, &["does a proxy answer?"]),
        ("gzip", Fault::Gzip, 36, &["cannot be used"]),
    ];
    for (case, fault, code, words) in cases {
        story.azure.fault(Scope::secret("contoso", "web"), fault, Times::Always);
        let synced = story.sync(&story.observing(&["web", "api"])).unwrap();
        let (found, message) = synced.error(0).unwrap();
        assert_eq!((synced.code(), found), (Some(1), code), "{case}: {message}");
        for word in words {
            assert!(message.contains(word), "{case}: {message}");
        }
        assert!(!message.chars().any(char::is_control) && message.len() < 400, "{case}: {message}");
        synced.place(1).unwrap();
        assert!(synced.finished.took < Duration::from_secs(10), "{case}: {:?}", synced.finished.took);
        story.azure.repair(&Scope::secret("contoso", "web"));
    }
    story.sync(&story.observing(&["web", "api"])).unwrap().place(0).unwrap();
}

#[test]
fn a_slow_answer_is_waited_for() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let second = Duration::from_secs(1);
    for manner in [Wire::Delay(second), Wire::Pause(second)] {
        story.azure.fault(Scope::Vaults, manner.clone(), Times::Next(1));
        let synced = story.sync(&story.observing(&["web"])).unwrap();
        assert_eq!(synced.code(), Some(0), "{manner:?}: {synced:?}");
        assert!(synced.finished.took >= second);
    }
}

#[test]
fn a_vault_that_cannot_prove_who_it_is_gets_no_token() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for (tls, words) in [
        (Tls::UnknownAuthority, &["nobody this machine trusts", "CA", "trust store"][..]),
        (Tls::SelfSigned, &["nobody this machine trusts"]),
        (Tls::WrongName, &["another name", "DNS"]),
        (Tls::Expired, &["not valid at this time", "clock"]),
        (Tls::NotYetValid, &["not valid at this time", "clock"]),
        (Tls::Stalled, &["no answer in time"]),
    ] {
        story.azure.vault("contoso", |vault| vault.tls = tls).unwrap();
        let synced = story.sync(&story.observing(&["web"])).unwrap();
        let (code, message) = synced.error(0).unwrap();
        assert_eq!(code, 30, "{message}");
        assert!(message.starts_with("contoso.vault.azure.net: "), "{message}");
        for word in words {
            assert!(message.contains(word), "{tls:?}: {message}");
        }
        assert!(story.azure.requests_to(Server::Vault).is_empty(), "{tls:?}");
        assert!(synced.finished.took < Duration::from_secs(15), "{tls:?}: {:?}", synced.finished.took);
    }
    for tls in [Tls::Version12, Tls::Trusted] {
        story.azure.vault("contoso", |vault| vault.tls = tls).unwrap();
        story.sync(&story.observing(&["web"])).unwrap().place(0).unwrap();
    }
}

/// A server of OpenSSL's that speaks TLS 1.1 at most, on 127.0.0.2.
struct OldServer(Child);

impl OldServer {
    fn start(story: &Story) -> Self {
        let issued = story.authority.issue(&Request::new("contoso.vault.azure.net")).unwrap();
        let pem: Bundle = issued.pem().unwrap();
        let file = story.write_file("server.pem", pem.value.as_bytes()).unwrap();
        let mut server = story.world().command("openssl");
        server.args(["s_server", "-accept", "127.0.0.2:443", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-cert"]);
        let child = server.arg(&file).arg("-key").arg(&file).arg("-www").stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self(child.spawn().unwrap());
        let address = "127.0.0.2:443".parse().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok();
        drop(wait_for(SOON, "old server", connect).unwrap());
        server
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn tls_older_than_1_2_is_refused() {
    let story = Story::begin().unwrap();
    story.world().trust(&String::from_utf8(story.authority.root().to_pem().unwrap()).unwrap()).unwrap();
    fs::write("/etc/hosts", "127.0.0.2 contoso.vault.azure.net\n").unwrap();
    let _server = OldServer::start(&story);
    let (code, message) = story.sync(&story.observing(&["web"])).unwrap().error(0).unwrap();
    assert_eq!(code, 30);
    assert!(message.contains("TLS failed") && message.contains("intercepting"), "{message}");
}

#[test]
fn a_vault_that_is_not_there_is_told_apart_from_a_name_that_is_not_known() {
    let story = Story::begin().unwrap();
    let other = |story: &Story, vault: &str| observing(&[json!(story.azure.url(vault, "web"))]);
    story.world().resolve(&["fabrikam.vault.azure.net"], IpAddr::from([127, 0, 0, 2])).unwrap();
    let (code, message) = story.sync(&other(&story, "fabrikam")).unwrap().error(0).unwrap();
    assert_eq!(code, 30);
    assert!(message.starts_with("fabrikam.vault.azure.net: the connection failed (Connection refused"), "{message}");
    let (code, message) = story.sync(&other(&story, "unknown")).unwrap().error(0).unwrap();
    assert_eq!(code, 30);
    assert!(message.contains("unknown.vault.azure.net: its name cannot be resolved: check the spelling"), "{message}");
    story.world().resolve(&["far.vault.azure.net"], IpAddr::from([192, 0, 2, 1])).unwrap();
    let (code, message) = story.sync(&other(&story, "far")).unwrap().error(0).unwrap();
    assert_eq!(code, 30);
    assert!(message.starts_with("far.vault.azure.net: the connection failed (Network is unreachable"), "{message}");
}

#[test]
fn a_vault_that_has_an_address_of_ipv6_only_is_reached() {
    let story = Story::begin_with(Addresses::real().with_vaults_on_ipv6()).unwrap();
    story.put("web").unwrap();
    let synced = story.sync(&story.observing(&["web"])).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:?}");
    assert!(story.azure.connections(Server::Vault) > 0);
}

#[test]
fn without_trusted_roots_the_missing_store_is_named() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let empty = story.write_file("empty.pem", b"").unwrap();
    let garbage = story.write_file("garbage.pem", b"no certificate\n").unwrap();
    let missing = story.folder().join("missing.pem");
    for path in [&empty, &garbage, &missing] {
        let path = path.to_str().unwrap();
        let synced = story.sync_with(&story.observing(&["web"]), &[("SSL_CERT_FILE", path)]);
        let (code, message) = synced.unwrap().error(0).unwrap();
        assert_eq!(code, 30);
        assert!(message.contains("no trusted roots") && message.contains(path), "{message}");
    }
    assert_eq!(story.azure.connections(Server::Vault), 0);
    let folder = [("SSL_CERT_DIR", "/etc/ssl/certs")];
    story.sync_with(&story.observing(&["web"]), &folder).unwrap().place(0).unwrap();
}

#[test]
fn a_trust_store_that_cannot_be_read_to_its_end_is_named_and_not_mistaken_for_a_stranger_at_the_vault() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let store = "/etc/ssl/certs/ca-certificates.crt";
    let path = story.write_settings(&story.observing(&["web"])).unwrap();
    let service = story.service(&["sync", "--json", path.to_str().unwrap()]).unwrap();
    let mut strace = story.world().command("strace");
    strace.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        store,
        "-e",
        "trace=read",
        "-e",
        "inject=read:error=EIO:when=2",
    ]);
    let finished = finish(strace.arg(service.get_program()).args(service.get_args())).unwrap();
    let told: Value = serde_json::from_str(&finished.output).unwrap();
    let message = told["certificates"][0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("Input/output error") && message.contains(store), "{message}");
    assert_eq!(story.azure.connections(Server::Vault), 0);
}

/// As where a limit on tasks is reached, or no memory is left for a stack.
#[test]
fn where_the_system_gives_no_thread_the_cause_is_named_and_nothing_panics() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let path = story.write_settings(&story.observing(&["web"])).unwrap();
    let run = |service: &Command, when: &str| {
        let inject = format!("inject=clone,clone3:error=EAGAIN:when={when}");
        let mut strace = story.world().command("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=clone,clone3", "-e", &inject]);
        let finished = finish(strace.arg(service.get_program()).args(service.get_args())).unwrap();
        assert!(!finished.errors.contains("panicked"), "{when}: {finished:?}");
        finished
    };
    let sync = story.service(&["sync", "--json", path.to_str().unwrap()]).unwrap();
    // The first that each thread asks for, and all.
    for (when, goes_on) in [("1", true), ("1+", false)] {
        let told: Value = serde_json::from_str(&run(&sync, when).output).unwrap();
        let message = told["certificates"][0]["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(message.is_empty(), goes_on, "{when}: {message}");
        // The metadata service is asked by its address, the vault by a name, which is looked up in a thread.
        let begin = "contoso.vault.azure.net: the connection failed (Resource temporarily";
        assert!(goes_on || message.starts_with(begin), "{when}: {message}");
    }
    let status = story.status_folder();
    let service = ["run", path.to_str().unwrap(), "--status-folder", status.to_str().unwrap()];
    let finished = run(&story.service(&service).unwrap(), "1+");
    assert_ne!(finished.code, Some(0));
    assert!(finished.errors.contains("cannot receive signals: Resource temporarily"), "{finished:?}");
}

#[test]
fn a_root_that_is_added_while_the_service_runs_counts_at_the_next_poll() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let store = Path::new("/etc/ssl/certs/ca-certificates.crt");
    let trusting = fs::read(store).unwrap();
    let own = fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap();
    let own = String::from_utf8(own).unwrap().replace(story.azure.root_pem().trim(), "");
    fs::write(store, own).unwrap();
    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_until(SOON, |reported| reported.part("contoso.web").is_some_and(|part| part.code == 30)).unwrap();
    fs::write(store, trusting).unwrap();
    service.poll().unwrap();
    let fine = |reported: &tests::agent::Reported| reported.part("contoso.web").is_some_and(|part| part.code == 0);
    service.wait_until(SOON, fine).unwrap();
}

/// Each connection verifies the vault, and none of them reads the trust store for it.
#[test]
fn the_trusted_roots_are_read_once_for_all_connections_of_a_pass() {
    let story = Story::begin().unwrap();
    let bundle = story.issue("web").unwrap().pem().unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    for name in &names {
        story.put_bundle(name, bundle.clone()).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let path = story.write_settings(&story.observing(&names)).unwrap();
    let (trace, service) = (story.folder().join("trace"), story.service(&["sync", path.to_str().unwrap()]).unwrap());
    let mut strace = story.world().command("strace");
    strace.args(["-f", "-e", "trace=open,openat,openat2", "-o"]).arg(&trace).arg(service.get_program());
    let finished = finish(strace.args(service.get_args())).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(story.azure.connections(Server::Vault) > 1, "{}", story.azure.connections(Server::Vault));
    let trace = fs::read_to_string(trace).unwrap();
    let opened: Vec<&str> = trace.lines().filter(|line| line.contains("ca-certificates.crt")).collect();
    assert_eq!(opened.len(), 1, "{opened:#?}");
}

const LOGIN: &str = "proxy-user:Canary/Pass+word";
/// The same, percent-encoded for a URL.
const LOGIN_IN_URL: &str = "proxy-user:Canary%2FPass%2Bword";

#[test]
fn a_proxy_is_used_for_the_vaults_with_its_login() {
    let story = Story::begin_with(Addresses::real().with_proxy()).unwrap();
    story.put("web").unwrap();
    // No other way: the name is not known here.
    fs::write("/etc/hosts", "127.0.0.1 localhost\n").unwrap();
    let address = story.azure.proxy_url().unwrap().replace("http://", "");
    let through = |proxy: &str| {
        story.azure.forget_requests();
        story.sync_with(&story.observing(&["web"]), &[("HTTPS_PROXY", proxy), ("RUST_LOG", "trace")]).unwrap()
    };
    for proxy in
        [format!("http://{address}"), format!("http://{address}/"), address.clone(), format!(" http://{address}\n")]
    {
        assert_eq!(through(&proxy).code(), Some(0), "{proxy}");
        assert_eq!(story.azure.requests_to(Server::Proxy).len(), 1, "{proxy}");
    }
    story.azure.demand_proxy_login(Some(LOGIN));
    let synced = through(&format!("http://{LOGIN_IN_URL}@{address}"));
    synced.place(0).unwrap();
    no_password(&synced);
    for wrong in [format!("http://{address}"), format!("http://proxy-user:Canary-wrong@{address}")] {
        let synced = through(&wrong);
        let (code, message) = synced.error(0).unwrap();
        assert_eq!(code, 30);
        assert!(message.contains("proxy") && message.contains("407") && message.contains("HTTPS_PROXY"), "{message}");
        no_password(&synced);
        assert!(story.azure.requests_to(Server::Vault).is_empty());
    }
}

#[test]
fn a_proxy_behind_tls_must_prove_who_it_is_and_is_used_like_any_other() {
    let story = Story::begin_with(Addresses::real().with_proxy()).unwrap();
    story.put("web").unwrap();
    story.put("api").unwrap();
    fs::write("/etc/hosts", format!("127.0.0.1 {TLS_PROXY_HOST} other.contoso.com\n")).unwrap();
    let port = story.azure.tls_proxy_port().unwrap();
    let through = |proxy: &str| {
        story.azure.forget_requests();
        story.sync_with(&story.observing(&["web", "api"]), &[("HTTPS_PROXY", proxy), ("RUST_LOG", "trace")]).unwrap()
    };
    story.azure.demand_proxy_login(Some(LOGIN));
    let synced = through(&format!("https://{LOGIN_IN_URL}@{TLS_PROXY_HOST}:{port}"));
    synced.place(0).unwrap();
    synced.place(1).unwrap();
    no_password(&synced);
    assert!(!story.azure.requests_to(Server::Proxy).is_empty());
    for (proxy, words) in [
        (format!("https://{LOGIN_IN_URL}@other.contoso.com:{port}"), "another name"),
        (format!("https://{TLS_PROXY_HOST}:{port}"), "407"),
    ] {
        let synced = through(&proxy);
        let (code, message) = synced.error(0).unwrap();
        assert_eq!(code, 30, "{proxy}");
        assert!(message.contains(words), "{proxy}: {message}");
        no_password(&synced);
        assert!(story.azure.requests_to(Server::Vault).is_empty(), "{proxy}");
    }
}

fn no_password(synced: &Synced) {
    let said = format!("{}{}", synced.finished.output, synced.finished.errors);
    assert!(!said.contains("Canary"), "{said}");
}

#[test]
fn a_proxy_that_refuses_or_is_not_there_is_named_as_the_cause() {
    let story = Story::begin_with(Addresses::real().with_proxy()).unwrap();
    let (proxy, unknown) = (story.azure.proxy_url().unwrap(), observing(&[json!(story.azure.url("unknown", "web"))]));
    let with =
        |settings: &Value, proxy: &str| story.sync_with(settings, &[("HTTPS_PROXY", proxy)]).unwrap().error(0).unwrap();
    let (code, message) = with(&unknown, &proxy);
    assert_eq!(code, 30);
    assert!(
        message.contains("unknown.vault.azure.net: no way through the proxy") && message.contains("403"),
        "{message}"
    );
    let (code, message) = with(&unknown, "http://127.0.0.1:9");
    assert_eq!(code, 30);
    assert!(
        message.contains("no way through the proxy (Connection refused") && message.contains("check HTTPS_PROXY"),
        "{message}"
    );
    let (code, message) = with(&unknown, "http://proxy.invalid:8080");
    assert_eq!(code, 30);
    assert!(message.contains("no way through the proxy (its name cannot be resolved)"), "{message}");
}

/// Answers CONNECT without an end and without a pause, until the client has enough.
fn drip(mut client: TcpStream) {
    let head = b"HTTP/1.1 200 Connection established\r\nX-Slow: ".iter().chain(iter::repeat(&b'x'));
    for byte in head {
        if client.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_proxy_that_drips_its_answer_does_not_keep_a_request_beyond_its_time() {
    let story = Story::begin().unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    thread::spawn(move || proxy.incoming().flatten().for_each(|client| drop(thread::spawn(|| drip(client)))));
    let synced = story.sync_with(&story.observing(&["web"]), &[("HTTPS_PROXY", &url)]).unwrap();
    let (code, message) = synced.error(0).unwrap();
    assert_eq!(code, 30, "{message}");
    assert!(message.contains("no answer in time") && message.contains("proxies"), "{message}");
    assert!(synced.finished.took < Duration::from_secs(20), "{:?}", synced.finished.took);
}

#[test]
fn no_proxy_is_asked_for_the_names_that_are_excepted() {
    let story = Story::begin_with(Addresses::real().with_proxy()).unwrap();
    story.put("web").unwrap();
    let proxy = story.azure.proxy_url().unwrap();
    for (exceptions, direct) in [
        ("contoso.vault.azure.net", true),
        ("CONTOSO.vault.azure.net", true),
        (".vault.azure.net", true),
        ("*.azure.net", true),
        ("vault.azure.net", true),
        ("azure.net", true),
        ("localhost, 127.0.0.1 , .azure.net,", true),
        ("*", true),
        ("contoso.vault.azure.net:443", true),
        ("fabrikam.vault.azure.net", false),
        ("toso.vault.azure.net", false),
        ("169.254.169.254", false),
        (" , ,", false),
    ] {
        story.azure.forget_requests();
        let synced = story.sync_with(&story.observing(&["web"]), &[("HTTPS_PROXY", &proxy), ("NO_PROXY", exceptions)]);
        synced.unwrap().place(0).unwrap();
        assert_eq!(story.azure.requests_to(Server::Proxy).is_empty(), direct, "{exceptions:?}");
    }
    let proxy = proxy.as_str();
    for (environment, direct) in [
        (&[("https_proxy", proxy)][..], false),
        (&[("all_proxy", proxy)], false),
        (&[("HTTPS_PROXY", ""), ("ALL_PROXY", proxy)], false),
        (&[("HTTPS_PROXY", " ")], true),
        (&[("HTTP_PROXY", proxy), ("http_proxy", proxy)], true),
    ] {
        story.azure.forget_requests();
        story.sync_with(&story.observing(&["web"]), environment).unwrap().place(0).unwrap();
        assert_eq!(story.azure.requests_to(Server::Proxy).is_empty(), direct, "{environment:?}");
    }
}

#[test]
fn a_proxy_setting_that_is_no_address_is_an_error_and_not_a_way_around_the_proxy() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for value in [
        "http://",
        "://proxy",
        "http://proxy:port",
        "http://a b:8080",
        "ftp://127.0.0.1:21",
        "socks5://127.0.0.1:1080",
        "socks4://Canary@127.0.0.1:1080",
        "/etc/proxy",
        "http://Canary:Canary@",
    ] {
        let synced = story.sync_with(&story.observing(&["web"]), &[("HTTPS_PROXY", value)]).unwrap();
        let (code, message) = synced.error(0).unwrap();
        assert_eq!(code, 30, "{value}");
        assert!(
            message.contains("HTTPS_PROXY is not") && message.contains("write http://HOST:PORT"),
            "{value}: {message}"
        );
        no_password(&synced);
    }
    assert_eq!(story.azure.connections(Server::Vault), 0);
}

#[test]
fn without_namespaces_a_proxy_and_a_ca_file_are_enough() {
    let story = Story::on_this_machine().unwrap();
    let (issued, version) = story.put("web").unwrap();
    let certs = story.folder().join("certs");
    let mut settings = story.observing(&["web"]);
    settings["secretsManagementSettings"]["certificateStoreLocation"] = json!(certs);
    settings["authenticationSettings"] = json!({"msiEndpoint": story.azure.msi_endpoint()});
    let first = story.sync(&settings).unwrap();
    assert_eq!(first.code(), Some(0), "{first:?}");
    assert_eq!(first.certificate(0)["thumbprint"], json!(issued.thumbprint().unwrap()));
    let place = first.place(0).unwrap();
    assert_eq!(fs::read_link(&place).unwrap(), Path::new(&format!("contoso.web.{version}")));
    let installed = fs::read(&place).unwrap();
    assert!(PKey::private_key_from_pem(&installed).unwrap().public_eq(&issued.key));
    let service = story.run(&settings).unwrap();
    let fine =
        |reported: &tests::agent::Reported| reported.part("contoso.web").is_some_and(|part| part.status == "success");
    service.wait_until(SOON, fine).unwrap();
    assert_eq!(service.end().unwrap().0, Some(0));
}
