//! What networks, proxies and broken servers do, as curl sees it from the other end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod curl;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use curl::{ask, bearer, curl, token};
use tests::azure::{Addresses, Azure};
use tests::bundle::Bundle;
use tests::fault::{Fault, Scope, Times};
use tests::http::{Response, Server};
use tests::tls::Tls;
use tests::wire::Wire;
use tests::world::World;

const GET: &str = "/secrets/web?api-version=7.4";

fn contoso() -> (World, Azure) {
    let world = World::enter().unwrap();
    let azure = Azure::start(Addresses::real()).unwrap();
    azure.create_vault("contoso");
    azure.put("contoso", "web", Bundle::text("a value that is long enough")).unwrap();
    world.connect(&azure).unwrap();
    (world, azure)
}

#[test]
fn answers_are_spoilt_on_the_wire() {
    let (world, azure) = contoso();
    let scope = Scope::secret("contoso", "web");
    // curl's exit codes: 1 not HTTP, 18 partial file, 28 time is up, 52 empty reply, 56 failure in receiving (of a
    // reset, or of a connection that TLS did not say goodbye to).
    for (wire, exits) in [
        (Wire::Truncated, [18, 56]),
        (Wire::Reset, [56, 18]),
        (Wire::Garbage, [1, 1]),
        (Wire::Close, [52, 56]),
        (Wire::Hang, [28, 28]),
        (Wire::LongLength(10), [28, 28]),
        (Wire::EndlessBody, [28, 28]),
        (Wire::EndlessHeader, [56, 27]),
        (Wire::Delay(Duration::from_secs(5)), [28, 28]),
        (Wire::Drip(Duration::from_millis(100)), [28, 28]),
    ] {
        azure.fault(scope.clone(), wire.clone(), Times::Next(1));
        let answer = ask(&world, &azure, GET);
        assert!(exits.contains(&answer.exit), "{wire:?} {} {}", answer.exit, answer.status);
        assert_eq!(ask(&world, &azure, GET).status, 200, "after {wire:?}");
    }
    for wire in [Wire::Delay(Duration::from_secs(1)), Wire::Pause(Duration::from_secs(1))] {
        azure.fault(scope.clone(), wire, Times::Next(1));
        let start = Instant::now();
        assert_eq!(ask(&world, &azure, GET).status, 200);
        assert!(start.elapsed() >= Duration::from_secs(1));
    }
    azure.fault(scope, Wire::ShortLength, Times::Next(1));
    let whole = ask(&world, &azure, GET).body.len();
    assert!(whole > 100 && ask(&world, &azure, GET).body.len() > whole + 100);
}

#[test]
fn answers_are_not_what_they_should_be() {
    let (world, azure) = contoso();
    let scope = Scope::Vaults;
    let next = |fault: Fault| {
        azure.fault(scope.clone(), fault, Times::Next(1));
        ask(&world, &azure, GET)
    };
    let redirect = next(Fault::Redirect("https://evil.example/".to_owned()));
    assert_eq!((redirect.status, redirect.header("location")), (302, "https://evil.example/"));
    let html = next(Fault::Html);
    assert_eq!((html.status, html.header("content-type")), (200, "text/html"));
    assert_eq!(next(Fault::Big(5_000_000)).body.len(), 5_000_012);
    let gzip = next(Fault::Gzip);
    assert_eq!(gzip.header("content-encoding"), "gzip");
    assert!(!gzip.body.contains("value"));
    let id = "https://contoso.vault.azure.net/secrets/web/../../etc/passwd";
    assert_eq!(next(Fault::Id(id.to_owned())).json()["id"], id);
    let answer = next(Fault::Answer(Response::new(418, "short and stout")));
    assert_eq!((answer.status, answer.body.as_str()), (418, "short and stout"));
    azure.fault(scope.clone(), Fault::Gzip, Times::Next(1));
    let url = format!("https://contoso.vault.azure.net{GET}");
    let unpacked = curl(&world, &["--compressed", "-H", &bearer(&world), &url]);
    assert!(unpacked.body.contains("long enough"));
}

#[test]
fn the_metadata_service_hangs_and_talks_nonsense() {
    let (world, azure) = contoso();
    for (wire, exit) in [(Wire::Hang, 28), (Wire::Garbage, 1), (Wire::Close, 52)] {
        azure.fault(Scope::Imds, wire, Times::Next(1));
        assert_eq!(token(&world, "&resource=https://vault.azure.net").exit, exit);
    }
    azure.fault(Scope::Imds, Fault::Html, Times::Next(1));
    assert_eq!(token(&world, "&resource=https://vault.azure.net").header("content-type"), "text/html");
}

#[test]
fn presents_certificates_that_must_not_be_trusted() {
    let (world, azure) = contoso();
    for suffix in tests::tls::VAULT_SUFFIXES {
        azure.create_vault(&format!("fabrikam.{suffix}"));
        world.connect(&azure).unwrap();
        let url = format!("https://fabrikam.{suffix}/secrets/x?api-version=7.4");
        assert_eq!(curl(&world, &[&url]).status, 401, "{suffix}");
    }
    for (tls, exit) in [
        (Tls::Trusted, 0),
        (Tls::Version12, 0),
        (Tls::WrongName, 60),
        (Tls::Expired, 60),
        (Tls::NotYetValid, 60),
        (Tls::SelfSigned, 60),
        (Tls::UnknownAuthority, 60),
        (Tls::Stalled, 28),
    ] {
        azure.vault("contoso", |vault| vault.tls = tls).unwrap();
        assert_eq!(ask(&world, &azure, GET).exit, exit, "{tls:?}");
    }
    azure.vault("contoso", |vault| vault.tls = Tls::Version12).unwrap();
    let url = format!("https://contoso.vault.azure.net{GET}");
    assert_eq!(curl(&world, &["--tlsv1.3", &url]).exit, 35);
}

#[test]
fn everything_ends_when_it_is_dropped() {
    let (world, azure) = contoso();
    azure.fault(Scope::Imds, Wire::Hang, Times::Always);
    let mut socket = TcpStream::connect("169.254.169.254:80").unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    while azure.requests().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut sleeper = world.command("sleep").arg("600").spawn().unwrap();
    assert_eq!(world.processes().unwrap()[0].1, "sleep 600");
    drop(azure);
    assert_eq!(socket.read(&mut [0; 10]).unwrap_or(0), 0);
    let again = Azure::start(Addresses::real()).unwrap();
    drop((again, world));
    assert!(!sleeper.wait().unwrap().success());
}

/// Runs curl outside of any private world, as on a machine where namespaces are not allowed.
fn through_the_proxy(azure: &Azure, proxy: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new("curl");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.args(["-sS", "--max-time", "3", "--proxy", proxy, "--cacert"]);
    command.arg(azure.root_file()).args(["-o", "/dev/null", "-w", "%{http_code} %{http_connect}"]);
    let output = command.args(arguments).output().unwrap();
    let codes = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), codes)
}

#[test]
fn a_proxy_leads_to_the_vaults_where_namespaces_are_not_allowed() {
    let azure = Azure::start(Addresses::loopback()).unwrap();
    azure.create_vault("contoso");
    let proxy = azure.proxy_url().unwrap();
    let url = format!("https://contoso.vault.azure.net{GET}");
    assert_eq!(through_the_proxy(&azure, &proxy, &[&url]), (0, "401 200".to_owned()));
    assert_eq!(through_the_proxy(&azure, &proxy, &["https://www.example.com/"]).1, "000 403");
    let imds = azure.msi_endpoint() + "/oauth2/token?api-version=2018-02-01";
    assert_eq!(through_the_proxy(&azure, &proxy, &["-H", "Metadata: true", &imds]).1, "403 000");
    azure.demand_proxy_login(Some("user:pass word"));
    assert_eq!(through_the_proxy(&azure, &proxy, &[&url]).1, "000 407");
    let login = ["--proxy-user", "user:pass word", &url];
    assert_eq!(through_the_proxy(&azure, &proxy, &login), (0, "401 200".to_owned()));
    let seen = azure.requests_to(Server::Proxy);
    let seen: Vec<_> = seen.iter().map(|request| (request.method.as_str(), request.status)).collect();
    assert_eq!(
        seen,
        [
            ("CONNECT", Some(200)),
            ("CONNECT", Some(403)),
            ("GET", Some(403)),
            ("CONNECT", Some(407)),
            ("CONNECT", Some(200)),
        ]
    );
    assert_eq!(azure.requests_to(Server::Vault).len(), 2);
    let environment = azure.environment();
    assert!(environment.iter().any(|(name, value)| name == "HTTPS_PROXY" && *value == proxy));
}
