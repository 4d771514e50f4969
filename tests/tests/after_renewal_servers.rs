//! Renewals that reach the application: real servers as units of a real systemd, under clients that connect all the time.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use serde_json::{Value, json};
use tests::handler_story::{Extension, PATIENCE, observed};
use tests::pki::Issued;
use tests::story::{observing, wait_for};
use tests::systemd::Systemd;

const STORE: &str = "/srv/certs";
const NGINX: u16 = 8443;
const HAPROXY: u16 = 8444;
const DATABASE: u16 = 5433;
/// Of each web server; the database has one more, and together they are a hundred.
const WEB: usize = 49;
const BALANCED: usize = 50;

/// The certificate of each name, as the vault has it.
type Certificates = BTreeMap<String, Issued>;

fn put(extension: &Extension, names: &[String]) -> Certificates {
    let put = |name: &String| (name.clone(), extension.story.put(name).unwrap().0);
    names.iter().map(put).collect()
}

fn serial(issued: &Issued) -> String {
    issued.leaf.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number:02}")).collect()
}

/// The serial number that a TLS server shows for a name.
fn shown(port: u16, name: &str) -> Result<String, String> {
    let stream = std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    let configuration = connector.build().configure().unwrap().verify_hostname(false);
    let session = configuration.connect(&format!("{name}.contoso.com"), stream).map_err(|error| error.to_string())?;
    let leaf = session.ssl().peer_certificate().ok_or("no certificate")?;
    Ok(leaf.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string())
}

/// The serial number that the database shows, after it was asked for TLS.
fn shown_by_database(extension: &Extension) -> Option<String> {
    let client = format!(
        "openssl s_client -starttls postgres -connect 127.0.0.1:{DATABASE} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    let finished = extension.attempt("bash", &["-o", "pipefail", "-c", &client]).unwrap();
    (finished.code == Some(0)).then(|| finished.output.trim().trim_start_matches("serial=").to_owned())
}

fn write(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Debian's nginx and HAProxy with their own units, and a database of PostgreSQL.
fn start_servers(systemd: &Systemd, web: &[String], balanced: &[String], database: &str) {
    let server = |name: &String| {
        let link = format!("{STORE}/contoso.{name}");
        format!(
            "server {{ listen 127.0.0.1:{NGINX} ssl; server_name {name}.contoso.com; ssl_certificate {link}; \
             ssl_certificate_key {link}; }}\n"
        )
    };
    let _ = fs::remove_file("/etc/nginx/sites-enabled/default");
    write("/etc/nginx/conf.d/certificates.conf", &web.iter().map(server).collect::<String>());

    let list: String = balanced.iter().map(|name| format!("{STORE}/contoso.{name}\n")).collect();
    write("/etc/haproxy/certificates.list", &list);
    let text = format!(
        "defaults\n  mode http\n  timeout client 10s\n  timeout connect 5s\n  timeout server 10s\n\
         frontend tls\n  bind 127.0.0.1:{HAPROXY} ssl crt-list /etc/haproxy/certificates.list\n  http-request return status 200\n"
    );
    write("/etc/haproxy/haproxy.cfg", &text);
    // The machine has no /dev/log.
    write("/etc/systemd/system/haproxy.service.d/log.conf", "[Service]\nBindReadOnlyPaths=\n");

    let programs = fs::read_dir("/usr/lib/postgresql").unwrap().map(|entry| entry.unwrap().path().join("bin"));
    let programs: PathBuf = programs.max().unwrap();
    let programs = programs.display();
    let link = format!("{STORE}/contoso.{database}");
    let unit = format!(
        "[Service]\nUser=postgres\nRuntimeDirectory=database\nType=notify\nExecReload=/bin/kill -HUP $MAINPID\n\
         ExecStart={programs}/postgres -D /srv/database -p {DATABASE} -k /run/database -c ssl=on -c ssl_cert_file={link} \
         -c ssl_key_file={link}\n"
    );
    write("/etc/systemd/system/database.service", &unit);
    systemd.run("install", &["-d", "-o", "postgres", "-m", "700", "/srv/database"]).unwrap();
    let initdb = format!("{programs}/initdb");
    systemd
        .run("setpriv", &["--reuid=postgres", "--regid=postgres", "--init-groups", &initdb, "/srv/database"])
        .unwrap();
    systemd.run("systemctl", &["daemon-reload"]).unwrap();
    for unit in ["nginx", "haproxy", "database"] {
        systemd.run("systemctl", &["start", unit]).unwrap_or_else(|error| {
            panic!("{error:#}\n{}", systemd.run("journalctl", &["--no-pager", "--unit", unit]).unwrap())
        });
    }
}

/// Shakes hands with one name after the other until it is told to stop; how often, or what went wrong.
fn connect_all_the_time(port: u16, names: &[String], stop: &AtomicBool) -> Result<usize, String> {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = &names[count % names.len()];
        shown(port, name).map_err(|error| format!("{name}, after {count} others: {error}"))?;
        count += 1;
    }
    Ok(count)
}

#[test]
fn a_hundred_renewals_reach_nginx_haproxy_and_postgresql_and_no_handshake_fails() {
    let mut extension = Extension::begin().unwrap();
    let (web, balanced, database) = (names("web", WEB), names("balanced", BALANCED), "database");
    let all: Vec<String> = web.iter().chain(&balanced).cloned().chain([database.to_owned()]).collect();
    put(&extension, &all);
    let follow = |names: &[String], more: &Value| -> Vec<Value> {
        names.iter().map(|name| observed(name, STORE, more)).collect()
    };
    let verify = json!({"connect": format!("127.0.0.1:{NGINX}"), "serverName": "web00.contoso.com"});
    let mut certificates = follow(&web[..1], &json!({"afterRenewal": {"reload": ["nginx.service"], "verify": verify}}));
    certificates.extend(follow(&web[1..], &json!({"afterRenewal": {"reload": ["nginx.service"]}})));
    certificates.extend(follow(&balanced, &json!({"afterRenewal": {"reload": ["haproxy.service"]}})));
    let more = json!({"group": "postgres", "afterRenewal": {"reload": ["database.service"]}});
    certificates.push(observed(database, STORE, &more));
    let mut settings = observing(&certificates);
    settings["secretsManagementSettings"]["requireInitialSync"] = json!(true);

    let systemd = Systemd::boot(extension.story.world()).unwrap();
    extension.agent.enter(&systemd);
    let deployed = extension.deploy(0, &settings).unwrap();
    assert!(deployed.ready(), "{deployed:#?}");
    extension.agent.wait_for("success", PATIENCE).unwrap();
    start_servers(&systemd, &web, &balanced, database);

    let stop = AtomicBool::new(false);
    let waited = thread::scope(|scope| {
        let stop = &stop;
        let clients = [(NGINX, &web), (HAPROXY, &balanced)]
            .map(|(port, names)| scope.spawn(move || connect_all_the_time(port, names, stop)));
        let renewed = put(&extension, &all);
        systemd.run("systemctl", &["reload", "akvvm_service"]).unwrap();
        let begin = Instant::now();
        let serves = |name: &String, issued: &Issued| {
            match name {
                name if web.contains(name) => shown(NGINX, name).ok(),
                name if balanced.contains(name) => shown(HAPROXY, name).ok(),
                _ => shown_by_database(&extension),
            }
            .is_some_and(|shown| shown == serial(issued))
        };
        let mut left: BTreeSet<&String> = renewed.keys().collect();
        let all_serve = || {
            left.retain(|name| !serves(name, &renewed[*name]));
            left.is_empty().then_some(())
        };
        let waited = wait_for(PATIENCE, "new certificates", all_serve).map(|()| begin.elapsed());
        let waited = waited.unwrap_or_else(|error| {
            let journal = systemd.run("journalctl", &["--no-pager", "--lines=80"]).unwrap_or_default();
            panic!("{error}: {left:?}\n{}\n{journal}", extension.log())
        });
        stop.store(true, Ordering::Relaxed);
        let handshakes: usize = clients.into_iter().map(|client| client.join().unwrap().unwrap()).sum();
        println!(
            "100 renewed: from the poll to the last leaf on the wire {waited:.1?}; {handshakes} handshakes, 0 failed"
        );
        waited
    });
    assert!(waited < PATIENCE);
    wait_for(PATIENCE, "end of what follows", || {
        (extension.log().matches("all that follows from its renewal is done").count() == 100).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", extension.log()));
    let reloads = systemd.run("journalctl", &["--no-pager", "--output=cat", "--unit=nginx"]).unwrap();
    assert_eq!(reloads.matches("Reloaded").count(), 1, "once, for all of its certificates: {reloads}");
}

#[test]
fn a_restart_waits_for_its_turn_and_a_unit_that_is_missing_or_stands_still_is_told_apart() {
    let mut extension = Extension::begin().unwrap();
    extension.story.put("web").unwrap();
    let after_renewal = json!({"restart": ["app.service", "still.service", "broken.service"], "reload": ["missing.service", "app.service"],
        "splayInS": 3});
    let settings = observing(&[observed("web", STORE, &json!({ "afterRenewal": after_renewal }))]);
    let systemd = Systemd::boot(extension.story.world()).unwrap();
    extension.agent.enter(&systemd);
    for unit in ["app", "still"] {
        write(&format!("/etc/systemd/system/{unit}.service"), "[Service]\nExecStart=/bin/sleep infinity\n");
    }
    write(
        "/etc/systemd/system/broken.service",
        "[Service]\nExecStart=/bin/sh -c '[ -e /run/mended ] && sleep infinity'\n",
    );
    systemd.run("systemctl", &["daemon-reload"]).unwrap();
    systemd.run("systemctl", &["start", "app", "broken"]).unwrap();
    let broken = || systemd.property("broken", "ActiveState").unwrap();
    wait_for(PATIENCE, "a unit that failed", || (broken() == "failed").then_some(())).unwrap();
    systemd.run("touch", &["/run/mended"]).unwrap();
    extension.deploy_and_wait(&settings).unwrap();
    let process = || systemd.property("app", "MainPID").unwrap();
    let before = process();

    extension.story.put("web").unwrap();
    systemd.run("systemctl", &["reload", "akvvm_service"]).unwrap();
    wait_for(PATIENCE, "restart", || (process() != before).then_some(())).unwrap();
    let part = || extension.agent.status().unwrap().part("contoso.web").and_then(|part| part.message.clone());
    let message = wait_for(PATIENCE, "reasons", || {
        part().filter(|text| text.contains("missing.service: ") && text.contains("reload app.service: "))
    });
    let message = message.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", part(), extension.log()));
    assert!(message.contains("missing.service: there is no such unit"), "{message}");
    assert!(message.contains("app.service: the unit cannot be reloaded: name it under restart"), "{message}");
    assert!(!message.contains("still"), "it reads the new one when it starts: {message}");
    assert_eq!(systemd.property("still", "ActiveState").unwrap(), "inactive");
    wait_for(PATIENCE, "a unit that failed runs again", || (broken() == "active").then_some(())).unwrap();

    extension.agent.uninstall().unwrap();
    for unit in ["akvvm_after_renewal.path", "akvvm_after_renewal.service"] {
        assert_eq!(systemd.property(unit, "LoadState").unwrap(), "not-found");
        assert!(!Path::new("/etc/systemd/system").join(unit).exists());
    }
}
