//! Log lines for a collector: a server that we did not write gets them all, and one that is dead or means harm costs
//! nothing. `tests/sdk/setup` installs the server.

#![allow(clippy::unwrap_used, clippy::panic)]

mod sdk;

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sdk::{installed, script};
use serde_json::{Value, json};
use tests::bundle::Bundle;
use tests::story::{Service, Story, wait_for};

const LONG: Duration = Duration::from_secs(30);

/// Fluentd's protocol as npm's `@fluent-org/logger` serves it.
struct Collector {
    child: Child,
    output: PathBuf,
}

impl Collector {
    /// On a port of 127.0.0.1, or at a path.
    fn start(story: &Story, endpoint: &str, name: &str) -> Self {
        let modules = installed("node/node_modules");
        let output = story.folder().join(name);
        let mut command = story.world().command("node");
        command.arg(script("node/collector.mjs")).arg(modules.parent().unwrap()).arg(endpoint);
        let child = command.stdout(File::create(&output).unwrap()).stderr(Stdio::inherit()).spawn().unwrap();
        let collector = Self { child, output };
        wait_for(LONG, "collector", || collector.lines().first().cloned()).unwrap();
        collector
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.output).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn events(&self) -> Vec<Value> {
        self.lines().split_off(1)
    }

    fn messages(&self) -> Vec<String> {
        let message = |event: &Value| event["record"]["message"].as_str().unwrap().to_owned();
        self.events().iter().map(message).collect()
    }

    fn wait_for(&self, words: &str) {
        let found = || self.messages().iter().any(|message| message.contains(words)).then_some(());
        wait_for(LONG, words, found).unwrap_or_else(|error| panic!("{error}: {:?}", self.messages()));
    }

    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.messages()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sending_to(story: &Story, endpoint: &str) -> Value {
    let mut document = story.observing(&["web"]);
    document["loggingSettings"] = json!({"logger": "fluentd", "endpoint": endpoint, "format": "forward"});
    document
}

/// What the service said itself, without times and levels.
fn said(service: &Service) -> Vec<String> {
    let log = service.log().unwrap();
    let message = |line: &str| line.splitn(3, ' ').nth(2).unwrap().trim_start().to_owned();
    log.lines().map(message).collect()
}

fn tells_everything_to(endpoint: impl Fn(&Story) -> (String, String)) {
    let story = Story::begin().unwrap();
    let (_, version) = story.put("web").unwrap();
    let (place, url) = endpoint(&story);
    let collector = Collector::start(&story, &place, "events");
    let mut document = sending_to(&story, &url);
    document["loggingSettings"]["servicename"] = json!("contoso.certificates");
    let service = story.run(&document).unwrap();
    collector.wait_for("next poll in");
    let (said, id) = (said(&service), service.id());
    assert_eq!(service.end().unwrap().0, Some(0));

    let now = jiff::Timestamp::now().as_second();
    let events = collector.events();
    for event in &events {
        assert_eq!(event["tag"], "contoso.certificates", "{event}");
        assert!((now - 60..=now).contains(&event["time"]["seconds"].as_i64().unwrap()), "{event}");
        let record = &event["record"];
        assert_eq!((record["component"].as_str(), record["pid"].as_u64()), (Some("akvvm_service"), Some(id.into())));
        assert!(record["host"].as_str().is_some_and(|host| !host.is_empty()), "{event}");
        assert!(record["version"].is_string(), "{event}");
    }
    assert!(events.iter().any(|event| event["time"]["nanoseconds"].as_u64().unwrap() > 0), "{events:?}");
    let installed = |event: &&Value| event["record"]["message"].as_str().unwrap().contains(&version);
    let record = &events.iter().find(installed).unwrap()["record"];
    assert_eq!(record["level"], "info");
    let vault = story.url("web").split(['/', '.']).nth(2).unwrap().to_owned();
    assert_eq!((&record["vault"], &record["certificate"]), (&json!(vault), &json!("web")));
    let start = &events[0]["record"];
    assert!(start.get("vault").is_none() && start.get("certificate").is_none(), "not about a certificate: {start}");
    let messages = collector.messages();
    assert_eq!(messages[..said.len()], said);
    assert_eq!(messages.last().unwrap(), "ended", "the last words arrive, too");
}

#[test]
fn a_collector_gets_every_line_over_tcp() {
    tells_everything_to(|_| ("24224".to_owned(), "tcp://localhost:24224".to_owned()));
}

#[test]
fn a_collector_gets_every_line_over_a_socket() {
    tells_everything_to(|story| {
        let path = story.folder().join("fluent.socket").display().to_string();
        (path.clone(), format!("unix://{path}"))
    });
}

#[test]
fn a_collector_that_restarts_misses_nothing() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let first = Collector::start(&story, "24224", "first");
    let service = story.run(&sending_to(&story, "tcp://127.0.0.1:24224")).unwrap();
    first.wait_for("next poll in");
    let mut messages = first.kill();

    let (_, version) = story.put("web").unwrap();
    service.poll().unwrap();
    service.wait_for_log(LONG, "does not take log lines", 1).unwrap();
    assert!(service.log().unwrap().contains(&version));
    let second = Collector::start(&story, "24224", "second");
    second.wait_for(&version);
    service.wait_for_log(LONG, "takes log lines again", 1).unwrap();
    second.wait_for("takes log lines again");
    messages.extend(second.messages());
    let said = said(&service);
    let missing: Vec<_> = said.iter().filter(|line| !messages.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:?} of {said:?}");
}

/// Every connection to port 24224 of this world is given to `treat`.
fn hostile(treat: impl Fn(TcpStream) + Send + 'static) {
    let listener = TcpListener::bind("127.0.0.1:24224").unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(treat));
}

#[test]
fn no_secret_reaches_a_collector() {
    let story = Story::begin().unwrap();
    let collector = Collector::start(&story, "24224", "collector");
    let (issued, _) = story.put("web").unwrap();
    let key = String::from_utf8(issued.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    story.put_bundle("password", Bundle::text("Canary-in-a-secret")).unwrap();
    let mut settings = sending_to(&story, "tcp://127.0.0.1:24224");
    settings["secretsManagementSettings"]["observedCertificates"] = json!([story.url("web"), story.url("password")]);
    let _service = story.run_with(&settings, &[("RUST_LOG", "trace")]).unwrap();
    collector.wait_for("the value is no certificate");
    collector.wait_for("1 of 2 certificates installed");
    let told = fs::read_to_string(&collector.output).unwrap();
    let mut secrets = vec!["Canary".to_owned(), key.lines().nth(1).unwrap()[..24].to_owned()];
    secrets.extend(story.azure.token_texts().iter().map(|token| token[..24].to_owned()));
    for secret in secrets {
        assert!(!told.contains(&secret), "{told}");
    }
}

#[test]
fn a_collector_that_never_reads_or_sends_garbage_delays_nothing() {
    type Treatment = Box<dyn Fn(TcpStream) + Send>;
    let silent: Treatment = Box::new(std::mem::forget);
    let garbage: Treatment = Box::new(|mut stream| {
        let _ = stream.write_all(&[0xdf; 1_000_000]);
    });
    for (name, treatment) in [("silent", silent), ("garbage", garbage)] {
        let story = Story::begin().unwrap();
        hostile(treatment);
        let (_, version) = story.put("web").unwrap();
        let start = Instant::now();
        let service = story.run(&sending_to(&story, "tcp://localhost:24224")).unwrap();
        service.wait_for_log(LONG, &version, 1).unwrap();
        service.wait_for_log(LONG, "next poll in", 1).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
        service.wait_for_log(LONG, "does not take log lines", 1).unwrap();
        service.poll().unwrap();
        service.signal(Signal::HUP).unwrap();
        let (code, took) = service.end().unwrap();
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(4), "{name}: {took:?}");
    }
}

/// How often the thread that sends was woken until now.
fn wakes(service: &Service) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", service.id())).unwrap();
    let read = |folder: &PathBuf, name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let thread = threads.map(|entry| entry.unwrap().path()).find(|path| read(path, "comm").trim() == "fluentd");
    let status = read(&thread.unwrap(), "status");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn nothing_happens_while_there_is_nothing_to_say_whether_the_collector_is_there_or_not() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let collector = Collector::start(&story, "24224", "events");
    let service = story.run(&sending_to(&story, "tcp://localhost:24224")).unwrap();
    collector.wait_for("next poll in");
    thread::sleep(Duration::from_secs(1));
    let before = wakes(&service);
    thread::sleep(Duration::from_secs(3));
    collector.kill();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(wakes(&service), before);
}
