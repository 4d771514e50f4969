//! What the service says to the service manager that looks after it, and when it ends without being asked to.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tests::agent::Reported;
use tests::clock::Clock;
use tests::fault::{Scope, Times};
use tests::notify_socket::NotifySocket;
use tests::story::{Service, Story, finish};
use tests::wire::Wire;

const LONG: Duration = Duration::from_secs(30);

/// A service that observes `web` and talks to `socket`.
fn supervised(story: &Story, socket: &NotifySocket, arguments: &[&str]) -> Service {
    let environment = [("NOTIFY_SOCKET", socket.name()), ("TZ", "UTC")];
    story.run_as(&story.observing(&["web"]), arguments, &environment).unwrap()
}

fn fine(reported: &Reported) -> bool {
    let message = reported.message.as_deref().unwrap_or_default();
    reported.status.as_deref() == Some("success") && message.starts_with("1 of 1 certificates installed")
}

fn status(line: &str) -> bool {
    line.starts_with("STATUS=") && line.contains("next poll")
}

#[test]
fn says_when_it_is_ready_how_it_stands_and_when_it_ends() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for mut socket in
        [NotifySocket::at(&story.folder().join("notify")).unwrap(), NotifySocket::named("akvvm/notify").unwrap()]
    {
        let service = supervised(&story, &socket, &[]);
        socket.wait_for(LONG, |line| line == "READY=1").unwrap();
        let line = socket.wait_for(LONG, status).unwrap();
        let time = line.strip_prefix("STATUS=1 of 1 certificates, next poll ").unwrap();
        assert!(time.len() >= "14:05".len() && time.as_bytes()[time.len() - 3] == b':', "{line}");
        story.azure.fault(Scope::secret("contoso", "web"), Wire::Reset, Times::Always);
        service.signal(Signal::HUP).unwrap();
        let reload = socket.wait_for(LONG, |line| line.starts_with("MONOTONIC_USEC=")).unwrap();
        assert!(reload["MONOTONIC_USEC=".len()..].parse::<u64>().unwrap() > 0);
        assert!(socket.heard().contains(&"RELOADING=1".to_owned()));
        socket.wait_for(LONG, |line| line == "READY=1").unwrap();
        let line = socket.wait_for(LONG, |line| line.contains("failing")).unwrap();
        assert!(line.starts_with("STATUS=1 of 1 certificates, failing: contoso.web, next poll "), "{line}");
        story.azure.repair(&Scope::secret("contoso", "web"));
        assert_eq!(service.end().unwrap().0, Some(0));
        socket.wait_for(LONG, |line| line == "STOPPING=1").unwrap();
    }
}

#[test]
fn a_listener_that_does_not_listen_stops_nothing() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for name in ["/nonexistent/notify", "@", "relative", &"x".repeat(200)] {
        let service = story.run_with(&story.observing(&["web"]), &[("NOTIFY_SOCKET", name)]).unwrap();
        service.wait_until(LONG, fine).unwrap();
        assert_eq!(service.end().unwrap().0, Some(0));
    }
}

#[test]
fn shows_its_watchdog_that_it_lives_while_it_waits_and_while_a_pass_takes_long() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    story.azure.fault(Scope::secret("contoso", "web"), Wire::Hang, Times::Next(1));
    let mut socket = NotifySocket::at(&story.folder().join("notify")).unwrap();
    let name = socket.name().to_owned();
    let environment = [("NOTIFY_SOCKET", name.as_str()), ("WATCHDOG_USEC", "2000000")];
    let service = story.run_with(&story.observing(&["web"]), &environment).unwrap();
    // The first pass waits half a minute for its answer.
    for _ in 0..10 {
        socket.wait_for(Duration::from_secs(2), |line| line == "WATCHDOG=1").unwrap();
        assert!(!socket.heard().iter().any(|line| status(line)));
    }
    socket.wait_for(LONG, status).unwrap();
    for _ in 0..5 {
        socket.wait_for(Duration::from_secs(2), |line| line == "WATCHDOG=1").unwrap();
    }
    drop(service);
    let elsewhere = [environment[0], environment[1], ("WATCHDOG_PID", "1")];
    let _service = story.run_with(&story.observing(&["web"]), &elsewhere).unwrap();
    let before = socket.wait_for(LONG, |line| line == "READY=1").map(|_| socket.heard().len()).unwrap();
    assert!(socket.wait_for(Duration::from_secs(3), |line| line == "WATCHDOG=1").is_err());
    assert!(socket.heard().len() > before, "its status was heard");
}

#[test]
fn ends_when_the_folder_of_its_handler_is_gone() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let handler = story.folder().join("handler");
    fs::create_dir(&handler).unwrap();
    let mut socket = NotifySocket::at(&story.folder().join("notify")).unwrap();
    let mut service = supervised(&story, &socket, &["--handler-folder", handler.to_str().unwrap()]);
    socket.wait_for(LONG, status).unwrap();
    service.poll().unwrap();
    fs::remove_dir(&handler).unwrap();
    service.signal(Signal::HUP).unwrap();
    assert_eq!(service.wait().unwrap(), Some(4));
    socket.wait_for(LONG, |line| line == "STOPPING=1").unwrap();
    let log = service.log().unwrap();
    assert!(log.contains(&format!("{} is gone: the extension was removed", handler.display())), "{log}");
}

/// Gives the world's machine this number.
fn set_machine(story: &Story, number: &str) {
    let class = Path::new("/sys/class");
    if !class.join("dmi/id/product_uuid").exists() {
        story.world().tmpfs(class, "size=1m").unwrap();
        fs::create_dir_all(class.join("dmi/id")).unwrap();
    }
    fs::write(class.join("dmi/id/product_uuid"), format!("{number}\n")).unwrap();
}

#[test]
fn on_a_copy_of_its_machine_it_waits_and_says_so() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let (original, copy) = ("5d2d3f5c-0000-4000-8000-00155D000001", "5d2d3f5c-0000-4000-8000-00155d000002");
    let mut socket = NotifySocket::at(&story.folder().join("notify")).unwrap();

    // Without a number, as here, it is the same machine; so it is in another spelling.
    let service = supervised(&story, &socket, &["--machine", original]);
    socket.wait_for(LONG, status).unwrap();
    drop(service);
    set_machine(&story, &original.to_lowercase());
    let service = supervised(&story, &socket, &["--machine", original]);
    socket.wait_for(LONG, status).unwrap();
    drop(service);

    set_machine(&story, copy);
    let before = story.azure.requests().len();
    let service = supervised(&story, &socket, &["--machine", original]);
    socket.wait_for(LONG, |line| line == "READY=1").unwrap();
    assert!(socket.heard().last().unwrap().contains("nothing is polled: this machine is a copy"));
    service.signal(Signal::HUP).unwrap();
    let log = service.wait_for_log(LONG, "nothing is polled: this machine is a copy", 2).unwrap();
    assert_eq!(story.azure.requests().len(), before, "{log}");
    assert_eq!(service.end().unwrap().0, Some(0));
}

/// Runs what systemd runs after the service, with the values of its three variables.
fn ended(story: &Story, values: [&str; 3]) {
    let settings = story.folder().join("0.settings");
    let mut command = story.service(&["ended", settings.to_str().unwrap(), "--status-folder"]).unwrap();
    command.arg(story.status_folder()).envs(["SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"].into_iter().zip(values));
    let finished = finish(&mut command).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn an_end_that_nobody_asked_for_leaves_an_error_behind_until_the_next_start() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let ended = |result: &str, code: &str, status: &str| ended(&story, [result, code, status]);
    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_until(LONG, fine).unwrap();
    ended("signal", "killed", "SEGV");
    assert!(fine(&service.reported()), "another instance lives");

    service.signal(Signal::KILL).unwrap();
    let mut service = service;
    assert_eq!(service.wait().unwrap(), None);
    ended("success", "exited", "0");
    ended("exit-code", "exited", "4");
    assert!(fine(&service.reported()));
    ended("watchdog", "killed", "ABRT");
    let reported = service.reported();
    assert_eq!((reported.status.as_deref(), reported.code.as_i64()), (Some("error"), Some(11)));
    assert!(reported.message.unwrap().contains("its watchdog ended it"));

    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_until(LONG, fine).unwrap();
}

/// Whether a service that has installed its certificate is an error all the same: it ended five times, the last time by this.
fn is_troubled_by(reported: &Reported, cause: &str) -> bool {
    let message = reported.message.as_deref().unwrap_or_default();
    reported.status.as_deref() == Some("error")
        && message.contains(&format!("5 times in a row, last by: {cause}"))
        && message.contains("; 1 of 1 certificates installed")
}

#[test]
fn five_such_ends_in_a_row_are_an_error_until_the_service_has_lived_for_ten_minutes() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let clock = Clock::new(&story).unwrap();
    let socket = NotifySocket::at(&story.folder().join("notify")).unwrap();
    // A service that shows its watchdog that it lives looks at its clock every second.
    let supervised = [("NOTIFY_SOCKET", socket.name()), ("WATCHDOG_USEC", "2000000")];
    let environment = [&supervised[..], &clock.environment()].concat();
    let run = || {
        clock.pass(0).unwrap();
        story.run_with(&story.observing(&["web"]), &environment).unwrap()
    };
    let crash = |service: Service| {
        let mut service = service;
        service.signal(Signal::KILL).unwrap();
        assert_eq!(service.wait().unwrap(), None);
        ended(&story, ["signal", "killed", "KILL"]);
        service.reported().message.unwrap()
    };

    for times in 1..5 {
        let service = run();
        service.wait_until(LONG, fine).unwrap();
        let message = crash(service);
        assert_eq!(message.contains(&format!(" {times} times in a row")), times > 1, "{message}");
    }
    // One that lived for ten minutes begins another row.
    let service = run();
    service.wait_until(LONG, fine).unwrap();
    clock.pass(600).unwrap();
    service.wait_for_log(LONG, "well for 600 s after 4 ends", 1).unwrap();
    assert!(!crash(service).contains("in a row"));

    for _ in 2..=5 {
        crash(run());
    }
    let service = run();
    let is_trouble = |reported: &Reported| is_troubled_by(reported, "signal KILL");
    service.wait_until(LONG, is_trouble).unwrap();
    clock.pass(599).unwrap();
    service.poll().unwrap();
    assert!(is_trouble(&service.reported()), "{:#?}", service.reported());
    clock.pass(600).unwrap();
    service.poll().unwrap();
    assert!(fine(&service.reported()), "{:#?}", service.reported());
    assert_eq!(service.end().unwrap().0, Some(0));
}

#[test]
fn where_nobody_counts_its_ends_the_next_start_does() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let clock = Clock::new(&story).unwrap();
    let run = || {
        clock.pass(0).unwrap();
        story.run_with(&story.observing(&["web"]), &clock.environment()).unwrap()
    };
    let crash = |service: Service| {
        let mut service = service;
        service.signal(Signal::KILL).unwrap();
        assert_eq!(service.wait().unwrap(), None);
    };
    let state = story.folder().join("state");
    let times = || {
        let text = fs::read(state.join("ends.json")).ok()?;
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()["times"].as_u64()
    };

    for before in 0..5 {
        let service = run();
        service.wait_until(LONG, fine).unwrap();
        assert_eq!(times(), (before > 0).then_some(before));
        crash(service);
    }
    let service = run();
    service.wait_until(LONG, |reported| is_troubled_by(reported, "process ")).unwrap();
    assert!(service.reported().message.unwrap().contains("crashed or was killed"));
    clock.pass(600).unwrap();
    service.poll().unwrap();
    assert!(fine(&service.reported()), "{:#?}", service.reported());
    crash(service);
    let service = run();
    service.wait_until(LONG, fine).unwrap();
    assert_eq!(times(), Some(1), "another row");

    // The machine was booted since.
    crash(service);
    let mark = state.join("run.json");
    fs::write(&mark, r#"{"process": 7, "since": 7}"#).unwrap();
    let service = run();
    service.wait_until(LONG, fine).unwrap();
    assert_eq!(times(), Some(1));
    assert_eq!(service.end().unwrap().0, Some(0));
    assert!(times().is_none() && !mark.exists(), "it was asked to");

    // Systemd would.
    let socket = NotifySocket::at(&story.folder().join("notify")).unwrap();
    let service = supervised(&story, &socket, &[]);
    service.wait_until(LONG, fine).unwrap();
    crash(service);
    assert!(times().is_none() && !mark.exists());
}

#[test]
fn an_end_that_was_asked_for_ends_a_row_of_others() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    drop(story.run(&story.observing(&["web"])).unwrap().wait_until(LONG, fine).unwrap());
    for _ in 0..5 {
        ended(&story, ["core-dump", "dumped", "SEGV"]);
    }
    let service = story.run(&story.observing(&["web"])).unwrap();
    let is_error = |reported: &Reported| reported.status.as_deref() == Some("error");
    service.wait_until(LONG, is_error).unwrap();
    assert_eq!(service.end().unwrap().0, Some(0));
    ended(&story, ["success", "exited", "0"]);
    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_until(LONG, fine).unwrap();
}

#[test]
fn a_service_that_cannot_start_says_why_itself() {
    let story = Story::begin().unwrap();
    let state = story.write_file("state", b"a file in the place of a folder").unwrap();
    let mut service = story.run(&story.observing(&["web"])).unwrap();
    assert_eq!(service.wait().unwrap(), Some(1));
    ended(&story, ["exit-code", "exited", "1"]);
    let reported = service.reported();
    assert_eq!((reported.status.as_deref(), reported.code.as_i64()), (Some("error"), Some(11)));
    let lock = state.join("service.lock");
    assert!(reported.message.unwrap().starts_with(&lock.display().to_string()), "{}", service.log().unwrap());
    ended(&story, ["signal", "killed", "KILL"]);
    assert!(service.reported().message.unwrap().contains("signal KILL"));

    // Whoever could not even say so is spoken for.
    fs::remove_file(story.status_folder().join("0.status")).unwrap();
    ended(&story, ["exit-code", "exited", "2"]);
    assert!(service.reported().message.unwrap().contains("exit code 2"));
}
