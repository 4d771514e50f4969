//! The schedule and the status of the running service, as the guest agent reports it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::agent::Reported;
use tests::fault::{Scope, Times};
use tests::http::Server;
use tests::identity::Identity;
use tests::pki::{DAY, Request};
use tests::refusal::Refusal;
use tests::story::{Service, Story, each_in_a_world_of_its_own, observing, wait_for};
use tests::tls::Tls;
use tests::wire::Wire;

const SOON: Duration = Duration::from_secs(30);
const STORE: &str = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store";

fn held_back(mut settings: Value) -> Value {
    settings["secretsManagementSettings"]["requireInitialSync"] = json!(true);
    settings
}

fn is(status: &str) -> impl Fn(&Reported) -> bool {
    move |reported| reported.valid() && reported.status.as_deref() == Some(status)
}

fn part_is(name: &str, status: &str) -> impl Fn(&Reported) -> bool {
    move |reported| reported.part(&format!("contoso.{name}")).is_some_and(|part| part.status == status)
}

fn message(reported: &Reported) -> &str {
    reported.message.as_deref().unwrap()
}

fn part_message(reported: &Reported, name: &str) -> String {
    reported.part(&format!("contoso.{name}")).unwrap().message.clone().unwrap()
}

/// The version that a link of the default store leads to.
fn linked(name: &str) -> String {
    let target = fs::read_link(Path::new(STORE).join(format!("contoso.{name}"))).unwrap();
    target.extension().unwrap().to_str().unwrap().to_owned()
}

fn log_of_both(story: &Story, service: &Service) -> String {
    format!("{}{}", service.log().unwrap(), fs::read_to_string(story.status_folder().join("0.status")).unwrap())
}

#[test]
fn success_is_reported_as_soon_as_polling_starts() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    story.azure.fault(Scope::Vaults, Wire::Hang, Times::Always);
    let service = story.run(&story.observing(&["web"])).unwrap();
    let reported = service.wait_until(Duration::from_secs(5), is("success")).unwrap();
    assert_eq!(reported.operation.as_deref(), Some("Service start."));
    assert!(message(&reported).starts_with("0 of 1 certificates installed"), "{reported:?}");
    assert_eq!(reported.part("contoso.web").unwrap().status, "transitioning");
}

#[test]
fn an_initial_sync_is_transitioning_until_the_role_that_is_given_late() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let identity = story.azure.machine(|machine| machine.system.clone().unwrap());
    story.azure.revoke("contoso", &identity).unwrap();
    let service = story.run(&held_back(story.observing(&["web"]))).unwrap();
    let waiting = service.wait_until(SOON, part_is("web", "error")).unwrap();
    assert_eq!(waiting.status.as_deref(), Some("transitioning"), "{waiting:?}");
    assert!(
        message(&waiting).contains("failing: contoso.web: ") && message(&waiting).contains("Key Vault Secrets User")
    );
    assert!(part_message(&waiting, "web").contains("a template that assigns it after the extensions never gets there"));
    story.azure.grant("contoso", &identity).unwrap();
    let done = service.wait_until(Duration::from_secs(60), is("success")).unwrap();
    assert!(message(&done).starts_with("1 of 1 certificates installed; identity: the system-assigned identity"));
    assert!(message(&done).contains(&identity.client_id) && message(&done).contains("next poll 20"));
}

#[test]
fn an_initial_sync_that_cannot_succeed_is_an_error_at_once_and_heals_all_the_same() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let app = Identity::user("app");
    story.azure.machine(|machine| (machine.system, machine.users) = (None, vec![app.clone(), Identity::user("b")]));
    let service = story.run(&held_back(story.observing(&["web"]))).unwrap();
    let failed = service.wait_until(Duration::from_secs(10), is("error")).unwrap();
    assert_eq!(failed.code, json!(12));
    assert!(
        message(&failed).contains("several user-assigned identities") && message(&failed).contains("polling goes on")
    );
    story.azure.machine(|machine| machine.users.truncate(1));
    let healed = service.wait_until(Duration::from_secs(60), is("success")).unwrap();
    assert!(message(&healed).contains(&app.client_id), "{healed:?}");
}

#[test]
fn wrong_settings_are_an_error_with_all_mistakes() {
    let story = Story::begin().unwrap();
    let settings = observing(&[json!("https://contoso.vault.azure.net/keys/web"), json!(7)]);
    let mut service = story.run(&settings).unwrap();
    let failed = service.wait_until(SOON, is("error")).unwrap();
    assert_eq!(failed.code, json!(10));
    for words in ["0.settings", "observedCertificates[0]", "/secrets/web", "observedCertificates[1]"] {
        assert!(message(&failed).contains(words), "{failed:?}");
    }
    assert_eq!(service.wait().unwrap(), Some(2));
}

#[test]
fn what_is_installed_counts_when_the_vault_is_out_at_a_reboot() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    story.put("api").unwrap();
    assert_eq!(story.sync(&story.observing(&["web"])).unwrap().code(), Some(0));
    for outage in ["vault", "metadata service"] {
        match outage {
            "vault" => story.azure.fault(Scope::Vaults, Refusal::Unavailable(503, None), Times::Always),
            _ => story.azure.fault(Scope::Imds, Wire::Close, Times::Always),
        }
        let service = story.run(&held_back(story.observing(&["web"]))).unwrap();
        let reported = service.wait_until(SOON, part_is("web", "error")).unwrap();
        assert_eq!(reported.status.as_deref(), Some("success"), "{outage}: {reported:?}");
        assert!(message(&reported).starts_with("1 of 1 certificates installed; failing: contoso.web"), "{reported:?}");
        let said = part_message(&reported, "web");
        assert!(
            said.contains("stale since 20") && said.contains("thumbprint") && said.contains("next try 20"),
            "{said}"
        );
        drop(service);
        let service = story.run(&held_back(story.observing(&["web", "api"]))).unwrap();
        let reported = service.wait_until(SOON, part_is("api", "error")).unwrap();
        assert_eq!(reported.status.as_deref(), Some("transitioning"), "what was never installed holds it back");
        assert!(message(&reported).starts_with("1 of 2 certificates installed"), "{reported:?}");
        drop(service);
        story.azure.repair(&Scope::Vaults);
        story.azure.repair(&Scope::Imds);
    }
}

#[test]
fn an_expired_certificate_does_not_count_when_the_vault_is_out() {
    let story = Story::begin().unwrap();
    let now = SystemTime::now();
    let expired = Request::new("web.contoso.com").valid(now - 90 * DAY, now - DAY);
    story.put_bundle("web", story.authority.issue(&expired).unwrap().pem().unwrap()).unwrap();
    let synced = story.sync(&story.observing(&["web"])).unwrap();
    assert_eq!(synced.code(), Some(0), "installed all the same: {synced:?}");
    story.azure.fault(Scope::Vaults, Refusal::Unavailable(503, None), Times::Always);
    let service = story.run(&held_back(story.observing(&["web"]))).unwrap();
    let reported = service.wait_until(SOON, part_is("web", "error")).unwrap();
    assert_eq!(reported.status.as_deref(), Some("transitioning"));
    assert!(part_message(&reported, "web").contains("expired 20"), "{reported:?}");
}

#[test]
fn hup_polls_now_also_while_a_pass_is_under_way() {
    let story = Story::begin().unwrap();
    let (_, first) = story.put("web").unwrap();
    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_until(SOON, part_is("web", "success")).unwrap();
    assert_eq!(linked("web"), first);
    let (_, second) = story.put("web").unwrap();
    service.poll().unwrap();
    assert_eq!(linked("web"), second);
    story.azure.fault(Scope::Vaults, Wire::Delay(Duration::from_millis(700)), Times::Next(1));
    let asked = story.azure.requests_to(Server::Vault).len();
    service.signal(Signal::HUP).unwrap();
    let under_way = || (story.azure.requests_to(Server::Vault).len() > asked).then_some(());
    wait_for(SOON, "request", under_way).unwrap();
    let (_, third) = story.put("web").unwrap();
    service.signal(Signal::HUP).unwrap();
    wait_for(SOON, "third version", || (linked("web") == third).then_some(())).unwrap();
}

#[test]
fn term_ends_it_within_five_seconds_in_every_state() {
    let states = ["idle", "vault hangs", "handshake hangs", "metadata service hangs", "waiting to try again"];
    each_in_a_world_of_its_own(states, |story, state| {
        story.put("web").unwrap();
        match state {
            "idle" => {}
            "vault hangs" => story.azure.fault(Scope::Vaults, Wire::Hang, Times::Always),
            "handshake hangs" => story.azure.vault("contoso", |vault| vault.tls = Tls::Stalled).unwrap(),
            "metadata service hangs" => story.azure.fault(Scope::Imds, Wire::Hang, Times::Always),
            _ => story.azure.fault(Scope::Vaults, Refusal::ForbiddenByRbac, Times::Always),
        }
        let service = story.run(&story.observing(&["web"])).unwrap();
        match state {
            "idle" => drop(service.wait_until(SOON, part_is("web", "success")).unwrap()),
            "waiting to try again" => drop(service.wait_until(SOON, part_is("web", "error")).unwrap()),
            _ => {
                let server = if state.starts_with("metadata") { Server::Imds } else { Server::Vault };
                let begun = || (story.azure.connections(server) > 0).then_some(());
                wait_for(SOON, "connection", begun).unwrap();
            }
        }
        let (code, took) = service.end().unwrap();
        assert_eq!(code, Some(0), "{state}");
        assert!(took < Duration::from_secs(5), "{state}: {took:?}");
    });
}

#[test]
fn a_failing_certificate_leaves_the_success_alone_and_heals() {
    let story = Story::begin().unwrap();
    for name in ["web", "api", "bad"] {
        story.put(name).unwrap();
    }
    let service = story.run(&held_back(story.observing(&["web", "api", "bad"]))).unwrap();
    service.wait_until(SOON, is("success")).unwrap();
    let (_, newest) = story.put("bad").unwrap();
    story.azure.fault(Scope::secret("contoso", "bad"), Refusal::ForbiddenByRbac, Times::Always);
    service.poll().unwrap();
    let reported = service.reported();
    assert_eq!(reported.status.as_deref(), Some("success"));
    assert!(message(&reported).starts_with("3 of 3 certificates installed; failing: contoso.bad: "), "{reported:?}");
    assert_eq!(reported.part("contoso.bad").unwrap().status, "error");
    assert!(part_message(&reported, "bad").contains("stale since"), "{reported:?}");
    assert_eq!(reported.part("contoso.web").unwrap().status, "success");
    service.poll().unwrap();
    let warnings = service.log().unwrap().matches("secrets/bad: HTTP 403").count();
    assert_eq!(warnings, 1, "said once, not at every poll: {}", service.log().unwrap());
    story.azure.repair(&Scope::secret("contoso", "bad"));
    service.poll().unwrap();
    let reported = service.reported();
    assert!(part_is("bad", "success")(&reported) && linked("bad") == newest, "{reported:?}");
    assert!(message(&reported).starts_with("3 of 3 certificates installed; identity"), "{reported:?}");
}

#[test]
fn a_newest_version_that_is_not_valid_now_leaves_the_link_with_the_valid_one() {
    let now = SystemTime::now();
    let expired = Request::new("web.contoso.com").valid(now - 90 * DAY, now - DAY);
    let future = Request::new("web.contoso.com").valid(now + DAY, now + 90 * DAY);
    for (request, words) in [(expired, "expired 20"), (future, "is not valid before 20")] {
        let story = Story::begin().unwrap();
        let (_, valid) = story.put("web").unwrap();
        let service = story.run(&story.observing(&["web"])).unwrap();
        service.wait_until(SOON, part_is("web", "success")).unwrap();
        let newest = story.put_bundle("web", story.authority.issue(&request).unwrap().pem().unwrap()).unwrap();
        service.poll().unwrap();
        assert_eq!(linked("web"), valid, "{words}");
        assert!(Path::new(STORE).join(format!("contoso.web.{newest}")).is_file(), "but it is there");
        let said = part_message(&service.reported(), "web");
        assert!(said.contains(&newest) && said.contains(words) && said.contains("applications stay with"), "{said}");
        assert!(service.log().unwrap().contains("applications stay with"));
        for (skew, moved) in [(Some(-3600), true), (Some(3600), true)] {
            story.azure.vault("contoso", |vault| vault.clock_skew = skew.unwrap_or_default()).unwrap();
            service.poll().unwrap();
            assert_eq!(linked("web") == newest, moved, "{words}: our clock may be the one that is wrong");
        }
        assert!(part_message(&service.reported(), "web").contains("clock"), "{:?}", service.reported());
    }
}

#[test]
fn the_link_moves_on_when_the_newer_version_becomes_valid() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_until(SOON, part_is("web", "success")).unwrap();
    let start = SystemTime::now() + Duration::from_secs(4);
    let next = Request::new("web.contoso.com").valid(start, start + 90 * DAY);
    let newest = story.put_bundle("web", story.authority.issue(&next).unwrap().pem().unwrap()).unwrap();
    service.poll().unwrap();
    assert_ne!(linked("web"), newest);
    let moved = || {
        service.poll().unwrap();
        (linked("web") == newest).then_some(())
    };
    wait_for(SOON, "move of the link", moved).unwrap();
    // Certificates count whole seconds.
    assert!(SystemTime::now() >= start - Duration::from_secs(1));
    assert_eq!(story.azure.requests_for("contoso", "web").last().unwrap().status, Some(200));
}

#[test]
fn what_expired_and_what_expires_soon_is_pointed_out() {
    let story = Story::begin().unwrap();
    let now = SystemTime::now();
    for (name, start, end) in [("gone", now - 90 * DAY, now - DAY), ("soon", now - 40 * DAY, now + 6 * DAY)] {
        let request = Request::new("web.contoso.com").valid(start, end);
        story.put_bundle(name, story.authority.issue(&request).unwrap().pem().unwrap()).unwrap();
    }
    story.put("fine").unwrap();
    let service = story.run(&story.observing(&["gone", "soon", "fine"])).unwrap();
    let reported = service.wait_until(SOON, part_is("fine", "success")).unwrap();
    assert!(message(&reported).contains("2 expired or expiring soon"), "{reported:?}");
    assert!(part_message(&reported, "gone").contains("expired 20"), "{reported:?}");
    assert!(part_message(&reported, "soon").contains("expires soon and the vault has nothing newer"), "{reported:?}");
    assert!(!part_message(&reported, "fine").contains("soon"), "{reported:?}");
}

#[test]
fn the_status_of_a_thousand_certificates_stays_below_the_agents_limit_and_keeps_the_failures() {
    let story = Story::begin().unwrap();
    let bundle = story.issue("web").unwrap().pem().unwrap();
    let names: Vec<String> = (0..1000).map(|number| format!("certificate-with-a-long-name-{number}")).collect();
    for name in &names {
        story.put_bundle(name, bundle.clone()).unwrap();
    }
    let failing = |count: usize| {
        for name in names.iter().step_by(1000 / count) {
            story.azure.fault(Scope::secret("contoso", name), Refusal::ForbiddenByFirewall, Times::Always);
        }
    };
    failing(50);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let service = story.run(&story.observing(&names)).unwrap();
    let reported =
        service.wait_until(Duration::from_secs(60), |reported| message(reported).starts_with("950 of 1000")).unwrap();
    assert!(is("success")(&reported) && !reported.too_large);
    assert_eq!(reported.substatus.iter().filter(|part| part.status == "error").count(), 50);
    drop(service);
    failing(1000);
    let service = story.run(&story.observing(&names)).unwrap();
    let all_stale = |reported: &Reported| message(reported).contains("(and 999 more)");
    let reported = service.wait_until(Duration::from_secs(60), all_stale).unwrap();
    assert!(is("success")(&reported) && !reported.too_large);
    assert!(reported.substatus.len() > 100 && reported.substatus.iter().all(|part| part.status == "error"));
    let length = fs::metadata(story.status_folder().join("0.status")).unwrap().len();
    assert!(length < 128 * 1024 && length > 64 * 1024, "{length}");
    assert!(log_of_both(&story, &service).len() < 4 * 1024 * 1024);
}

#[test]
fn one_bad_certificate_among_fifty_stops_none_of_the_others_wherever_it_stands() {
    each_in_a_world_of_its_own([0, 25, 49], |story, bad| {
        let bundle = story.issue("web").unwrap().pem().unwrap();
        let names: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
        for name in &names {
            story.put_bundle(name, bundle.clone()).unwrap();
        }
        story.put_bundle(&names[bad], tests::bundle::Bundle::text("no certificate")).unwrap();
        let urls: Vec<&str> = names.iter().map(String::as_str).collect();
        let synced = story.sync(&story.observing(&urls)).unwrap();
        assert_eq!(synced.code(), Some(1));
        for index in 0..50 {
            match index == bad {
                true => assert_eq!(synced.error(index).unwrap().0, 40),
                false => drop(synced.place(index).unwrap()),
            }
        }
    });
}

#[test]
fn certificates_whose_connections_always_break_do_not_starve_the_others() {
    let story = Story::begin().unwrap();
    let broken = (1..=10).map(|number| format!("broken{number}"));
    let names: Vec<String> = broken.chain(["a", "b", "c"].map(str::to_owned)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        story.put(name).unwrap();
        if name.starts_with("broken") {
            story.azure.fault(Scope::secret("contoso", name), Wire::Close, Times::Always);
        }
    }
    let service = story.run(&story.observing(&names)).unwrap();
    for name in ["a", "b", "c"] {
        service.wait_until(SOON, part_is(name, "success")).unwrap();
    }
    assert!(part_is("broken1", "error")(&service.reported()));
}

#[test]
fn a_status_that_cannot_be_written_stops_nothing_and_is_written_when_it_can_be() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let folder = story.status_folder();
    fs::remove_dir(&folder).unwrap();
    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_for_log(SOON, "1 of 1 certificates installed", 1).unwrap();
    let log = service.log().unwrap();
    assert!(log.contains("the status cannot be saved") && log.contains(folder.to_str().unwrap()), "{log}");
    fs::create_dir(&folder).unwrap();
    service.poll().unwrap();
    assert!(is("success")(&service.wait_until(SOON, is("success")).unwrap()));
    drop(service);
    story.world().tmpfs(&folder, "size=64k").unwrap();
    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_until(SOON, part_is("web", "success")).unwrap();
    while fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("filler"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]))
        .is_ok()
    {}
    let (_, version) = story.put("web").unwrap();
    service.poll().unwrap();
    assert_eq!(linked("web"), version);
    assert!(is("success")(&service.reported()), "the old status is whole: {:?}", service.reported());
    assert!(!part_message(&service.reported(), "web").contains(&version));
    fs::remove_file(folder.join("filler")).unwrap();
    service.poll().unwrap();
    assert!(part_message(&service.reported(), "web").contains(&version));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_reader_of_the_status_never_sees_half_of_it() {
    let story = Story::begin().unwrap();
    for name in ["a", "b", "c"] {
        story.put(name).unwrap();
    }
    let service = story.run(&story.observing(&["a", "b", "c"])).unwrap();
    service.wait_until(SOON, is("success")).unwrap();
    let polls = service.log().unwrap().matches("next poll in").count();
    let mut reads = 0;
    for round in 0..20 {
        service.signal(Signal::HUP).unwrap();
        let over = || {
            reads += 1;
            assert!(service.reported().valid(), "{:?}", service.reported());
            (service.log().unwrap().matches("next poll in").count() > polls + round / 2).then_some(())
        };
        wait_for(SOON, "poll", over).unwrap();
    }
    assert!(reads >= 20);
}
