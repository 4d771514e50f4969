//! How long the service waits: the stories that take a minute, together, so that they wait at the same time.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use serde_json::json;
use tests::fault::{Scope, Times};
use tests::story::{Story, finish, observing, wait_for};
use tests::wire::Wire;

#[test]
fn a_sync_beside_a_running_service_waits_and_then_names_its_process() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_for_log(Duration::from_secs(30), "1 of 1 certificates installed", 1).unwrap();
    let settings = story.folder().join("0.settings");
    let finished = finish(&mut story.service(&["sync", settings.to_str().unwrap()]).unwrap()).unwrap();
    assert_eq!(finished.code, Some(1));
    assert!(finished.errors.contains(&format!("process {}", service.id())), "{finished:?}");
    assert!((60..70).contains(&finished.took.as_secs()), "{finished:?}");
    assert_eq!(finished.output, "");
}

#[test]
fn an_idle_service_sees_within_a_minute_that_its_handler_is_gone() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let handler = story.folder().join("handler");
    std::fs::create_dir(&handler).unwrap();
    let arguments = ["--handler-folder", handler.to_str().unwrap()];
    let mut service = story.run_as(&story.observing(&["web"]), &arguments, &[]).unwrap();
    service.wait_for_log(Duration::from_secs(30), "1 of 1 certificates installed", 1).unwrap();
    std::fs::remove_dir(&handler).unwrap();
    let start = Instant::now();
    assert_eq!(service.wait().unwrap(), Some(4));
    assert!(start.elapsed() <= Duration::from_secs(61), "{:?}", start.elapsed());
}

#[test]
fn a_regular_poll_that_finds_nothing_new_leaves_no_line_in_the_journal() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let journal = std::fs::File::create(story.folder().join("service.log")).unwrap().metadata().unwrap();
    let stream = format!("{}:{}", journal.dev(), journal.ino());
    let folder = story.folder().join("log");
    let mut document = story.observing(&["web"]);
    document["secretsManagementSettings"]["pollingIntervalInS"] = 60.into();
    let arguments = ["--log-folder", folder.to_str().unwrap()];
    let service = story.run_as(&document, &arguments, &[("JOURNAL_STREAM", &stream)]).unwrap();
    let polls = || {
        let file = std::fs::read_to_string(folder.join("akvvm_service.log")).unwrap_or_default();
        file.matches("next poll in").count()
    };
    wait_for(Duration::from_secs(30), "first poll", || (polls() == 1).then_some(())).unwrap();
    let before = service.log().unwrap();
    wait_for(Duration::from_secs(65), "second poll", || (polls() == 2).then_some(())).unwrap();
    assert_eq!(service.log().unwrap(), before);
    assert!(before.lines().count() <= 6, "{before}");
}

#[test]
fn a_metadata_service_that_hangs_is_given_up_after_its_deadline() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    story.put("api").unwrap();
    story.azure.fault(Scope::Imds, Wire::Hang, Times::Always);
    let synced = story.sync(&story.observing(&["web", "api"])).unwrap();
    let (code, message) = synced.error(1).unwrap();
    assert_eq!(code, 20);
    assert!(message.contains("169.254.169.254") && message.contains("no answer in time"), "{message}");
    assert!(synced.finished.took < Duration::from_secs(35), "once for all certificates: {:?}", synced.finished.took);
}

/// Connections beyond those that a listener keeps for later are lost without an answer.
#[test]
fn a_vault_and_a_name_service_that_drop_every_packet_are_given_up_after_their_deadlines() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 2], 443));
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let _kept = TcpStream::connect(address).unwrap();
    story.world().resolve(&["dropped.vault.azure.net"], address.ip()).unwrap();
    let _silent = UdpSocket::bind("127.0.0.3:53").unwrap();
    fs::write("/etc/resolv.conf", "nameserver 127.0.0.3\n").unwrap();
    let url = |vault: &str| json!(story.azure.url(vault, "web"));
    let synced = story.sync(&observing(&[url("dropped"), url("unresolved"), url("contoso")])).unwrap();
    for (index, words) in [(0, "dropped.vault.azure.net: no answer in time"), (1, "its name cannot be resolved")] {
        let (code, message) = synced.error(index).unwrap();
        assert!(code == 30 && message.contains(words), "{message}");
    }
    synced.place(2).unwrap();
    assert!(synced.finished.took < Duration::from_secs(36), "{:?}", synced.finished.took);
}

#[test]
fn an_answer_that_never_ends_is_given_up_after_half_a_minute() {
    let story = Story::begin().unwrap();
    // Three connections: two wait for the first two that do not end, the third one serves the others before its own.
    let names = ["hang", "a", "drip", "b", "c", "long"];
    for name in names {
        story.put(name).unwrap();
    }
    let fault = |name: &str, manner: Wire| story.azure.fault(Scope::secret("contoso", name), manner, Times::Always);
    fault("hang", Wire::Hang);
    fault("drip", Wire::Drip(Duration::from_millis(100)));
    fault("long", Wire::LongLength(100));
    let synced = story.sync(&story.observing(&names)).unwrap();
    for (index, name) in names.iter().enumerate() {
        if name.len() == 1 {
            synced.place(index).unwrap();
            continue;
        }
        let (code, message) = synced.error(index).unwrap();
        assert_eq!(code, 30, "{name}: {message}");
        assert!(message.starts_with("contoso.vault.azure.net: no answer in time"), "{name}: {message}");
    }
    let took = synced.finished.took;
    assert!(took >= Duration::from_secs(29) && took < Duration::from_secs(36), "{took:?}");
}
