//! Versions: which of them a machine holds, what the vault is asked to know it, and an operator who rolls back.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::fault::{Fault, Scope, Times};
use tests::http::{Request, Response, Server};
use tests::pkcs12::Pfx;
use tests::pki::{KeyKind, Request as CertificateRequest};
use tests::refusal::Refusal;
use tests::story::{Service, Story, each_in_a_world_of_its_own, observing};
use tests::vault::Secret;

const SOON: Duration = Duration::from_secs(30);
const STORE: &str = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store";

/// What was asked of the vault since the last time: `list`, `newest` or a version.
fn asked(story: &Story, name: &str) -> Vec<String> {
    let kind = |request: &Request| match request.segments()[..] {
        ["secrets", _] => "newest".to_owned(),
        ["secrets", _, "versions"] => "list".to_owned(),
        ["secrets", _, version] => version.to_owned(),
        _ => panic!("{request:?}"),
    };
    let asked = story.azure.requests_for("contoso", name).iter().map(kind).collect();
    story.azure.forget_requests();
    asked
}

/// The version that the link leads to.
fn linked(name: &str) -> String {
    let target = fs::read_link(Path::new(STORE).join(format!("contoso.{name}"))).unwrap();
    target.to_str().unwrap().rsplit('.').next().unwrap().to_owned()
}

fn is_in_place(name: &str, version: &str) -> bool {
    Path::new(STORE).join(format!("contoso.{name}.{version}")).exists()
}

/// Puts this many versions into the vault, the oldest first.
fn put(story: &Story, name: &str, count: usize) -> Vec<String> {
    let bundle = story.issue(name).unwrap().pem().unwrap();
    (0..count).map(|_| story.put_bundle(name, bundle.clone()).unwrap()).collect()
}

fn enable(story: &Story, name: &str, version: &str, enabled: bool) {
    let change = |secret: &mut Secret| {
        secret.versions.iter_mut().filter(|found| found.id == version).for_each(|found| found.enabled = enabled);
    };
    story.azure.secret("contoso", name, change).unwrap();
}

fn installed(story: &Story, settings: &Value) -> Service {
    let service = story.run(settings).unwrap();
    service.wait_for_log(SOON, "next poll in", 1).unwrap();
    service
}

#[test]
fn a_fresh_machine_gets_the_newest_at_once_and_the_one_before_it_later() {
    let story = Story::begin().unwrap();
    let versions = put(&story, "web", 4);
    let service = installed(&story, &story.observing(&["web"]));
    assert_eq!(asked(&story, "web"), ["newest"], "the initial sync waits for nothing else");
    assert!(is_in_place("web", &versions[3]) && !is_in_place("web", &versions[2]));

    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list", versions[2].as_str()]);
    assert!(is_in_place("web", &versions[2]) && !is_in_place("web", &versions[1]));
    assert_eq!(linked("web"), versions[3]);

    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list"]);
    fs::remove_file(Path::new(STORE).join(format!("contoso.web.{}", versions[2]))).unwrap();
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list"], "who removed it wants it removed");
}

#[test]
fn a_single_pass_fetches_each_newest_version_and_lists_only_to_follow_a_rollback() {
    let story = Story::begin().unwrap();
    let versions = put(&story, "web", 2);
    for _ in 0..2 {
        story.sync(&story.observing(&["web"])).unwrap().place(0).unwrap();
        assert_eq!(asked(&story, "web"), ["newest"]);
    }
    enable(&story, "web", &versions[1], false);
    story.sync(&story.observing(&["web"])).unwrap().place(0).unwrap();
    assert_eq!(asked(&story, "web"), ["newest", "list", versions[0].as_str()]);
    assert_eq!(linked("web"), versions[0]);
}

/// What a pass asked of the vault.
struct Asked {
    lists: usize,
    secrets: usize,
    /// Of all answers.
    bytes: usize,
}

fn pass<T>(story: &Story, pass: impl FnOnce() -> T) -> (T, Asked) {
    story.azure.forget_requests();
    let result = pass();
    let requests = story.azure.requests_to(Server::Vault);
    for request in &requests {
        assert_eq!((request.status, request.parameter("api-version")), (Some(200), Some("7.4")));
        assert_ne!(request.segments(), ["secrets"], "the vault itself is never listed");
    }
    let (lists, secrets): (Vec<&Request>, Vec<&Request>) =
        requests.iter().partition(|request| request.segments().last() == Some(&"versions"));
    assert!(lists.iter().all(|request| request.parameter("maxresults") == Some("25")));
    let bytes = requests.iter().map(|request| request.answered).sum();
    (result, Asked { lists: lists.len(), secrets: secrets.len(), bytes })
}

#[test]
fn a_day_without_a_change_takes_a_list_for_each_certificate_and_no_secret() {
    each_in_a_world_of_its_own([1, 20, 1000], |story, count| {
        let names: Vec<String> = (0..count).map(|number| format!("certificate-{number}")).collect();
        let settings = story.observing(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let rsa = CertificateRequest::new("www.contoso.com").key(KeyKind::Rsa2048);
        let bundle = story.authority.issue(&rsa).unwrap().pfx(&Pfx::KEY_VAULT).unwrap();
        let renew = |name: &String| drop(story.put_bundle(name, bundle.clone()).unwrap());
        names.iter().for_each(renew);

        let (service, first) = pass(story, || installed(story, &settings));
        assert_eq!((first.lists, first.secrets), (0, count));
        let (_, unchanged) = pass(story, || service.poll().unwrap());
        assert_eq!((unchanged.lists, unchanged.secrets), (count, 0));
        assert!(unchanged.bytes * 8 < first.bytes, "{} of {} bytes", unchanged.bytes, first.bytes);
        let renewed = count.div_ceil(100);
        names.iter().take(renewed).for_each(renew);
        let (_, partly) = pass(story, || service.poll().unwrap());
        assert_eq!((partly.lists, partly.secrets), (count, renewed));
    });
}

#[test]
fn a_renewal_is_seen_in_the_list_and_only_it_is_fetched() {
    let story = Story::begin().unwrap();
    let old = put(&story, "web", 1).remove(0);
    let service = installed(&story, &story.observing(&["web"]));
    service.poll().unwrap();
    asked(&story, "web");
    let new = put(&story, "web", 1).remove(0);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list", new.as_str()]);
    assert_eq!(linked("web"), new);
    assert!(is_in_place("web", &old), "the one before stays");
    fs::write(Path::new(STORE).join(format!("contoso.web.{new}")), "damaged").unwrap();
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list", new.as_str()], "what is damaged is fetched again");
}

#[test]
fn the_newest_is_by_its_creation_whatever_the_order_of_the_list() {
    let story = Story::begin().unwrap();
    let versions = put(&story, "web", 25);
    let service = installed(&story, &story.observing(&["web"]));
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["newest", "list", versions[23].as_str()]);
    assert_eq!(linked("web"), versions[24]);
    let oldest_is_newest = |secret: &mut Secret| {
        secret
            .versions
            .iter_mut()
            .rev()
            .zip(0..)
            .for_each(|(version, created)| version.created = 1_700_000_000 + created);
    };
    story.azure.secret("contoso", "web", oldest_is_newest).unwrap();
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list", versions[0].as_str()]);
    assert_eq!(linked("web"), versions[0]);
}

#[test]
fn two_versions_of_the_same_second_are_told_apart_by_the_vault() {
    let story = Story::begin().unwrap();
    let versions = put(&story, "web", 2);
    let together = |secret: &mut Secret| {
        secret.versions.iter_mut().for_each(|version| version.created = 1_700_000_000);
    };
    story.azure.secret("contoso", "web", together).unwrap();
    let service = installed(&story, &story.observing(&["web"]));
    assert_eq!(asked(&story, "web"), ["newest"]);
    assert_eq!(linked("web"), versions[1]);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list", "newest"]);
    assert_eq!(linked("web"), versions[1]);
}

#[test]
fn a_long_list_is_read_once_for_a_fresh_machine_and_then_a_fetch_costs_less() {
    let story = Story::begin().unwrap();
    let versions = put(&story, "web", 60);
    let settings = story.observing(&["web"]);
    let service = installed(&story, &settings);
    assert_eq!(asked(&story, "web"), ["newest"]);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list", "list", "list", versions[58].as_str()]);
    assert!(is_in_place("web", &versions[58]));
    for _ in 0..2 {
        service.poll().unwrap();
        assert_eq!(asked(&story, "web"), ["newest"]);
    }
    drop(service);
    fs::remove_file(story.folder().join("service.log")).unwrap();
    let service = installed(&story, &settings);
    assert_eq!(asked(&story, "web"), ["list", "newest"], "an installed one is asked for its length once");
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["newest"]);

    enable(&story, "web", &versions[59], false);
    service.poll().unwrap();
    let wanted = ["newest", "list", "list", "list", versions[57].as_str()];
    assert_eq!(asked(&story, "web"), wanted, "a rollback is seen all the same");
    assert_eq!(linked("web"), versions[58]);
}

#[test]
fn an_operator_rolls_back_by_disabling_the_newest_version() {
    let story = Story::begin().unwrap();
    let versions = put(&story, "web", 3);
    let service = installed(&story, &story.observing(&["web"]));
    service.poll().unwrap();
    asked(&story, "web");

    enable(&story, "web", &versions[2], false);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list"], "it was in place already");
    assert_eq!(linked("web"), versions[1]);
    let part = service.reported().part("contoso.web").cloned().unwrap();
    assert_eq!(part.status, "success");
    let message = part.message.unwrap();
    assert!(message.contains(&format!("the vault's newest version {} is disabled", versions[2])), "{message}");

    enable(&story, "web", &versions[1], false);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list", versions[0].as_str()]);
    assert_eq!(linked("web"), versions[0]);

    enable(&story, "web", &versions[2], true);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list"]);
    assert_eq!(linked("web"), versions[2]);
    let message = service.reported().part("contoso.web").cloned().unwrap().message.unwrap();
    assert!(!message.contains("disabled"), "{message}");

    for version in &versions {
        enable(&story, "web", version, false);
    }
    service.poll().unwrap();
    assert_eq!(linked("web"), versions[2], "without any enabled version what is installed stays");
    assert_eq!(service.reported().part("contoso.web").unwrap().code, 33);
}

#[test]
fn a_fresh_machine_follows_a_rollback_too() {
    let story = Story::begin().unwrap();
    let versions = put(&story, "web", 30);
    enable(&story, "web", &versions[29], false);
    let synced = story.sync(&story.observing(&["web"])).unwrap();
    synced.place(0).unwrap();
    assert_eq!(asked(&story, "web"), ["newest", "list", "list", versions[28].as_str()]);
    assert_eq!(linked("web"), versions[28]);
    let said = synced.certificate(0)["warnings"][0].as_str().unwrap();
    assert!(said.contains(&versions[29]) && said.contains("is disabled"), "{said}");
}

#[test]
fn without_the_permission_to_list_the_newest_alone_is_installed_and_this_said_once() {
    let story = Story::begin().unwrap();
    story.azure.vault("contoso", |vault| vault.listing = false).unwrap();
    let versions = put(&story, "web", 2);
    put(&story, "api", 2);
    let service = installed(&story, &story.observing(&["web", "api"]));
    for _ in 0..3 {
        service.poll().unwrap();
    }
    let requests = story.azure.requests_to(Server::Vault);
    let lists = requests.iter().filter(|request| request.segments().last() == Some(&"versions")).count();
    assert!((1..=2).contains(&lists), "{lists} lists: asked for by each connection at most once");
    assert_eq!(requests.len() - lists, 8);
    assert!(is_in_place("web", &versions[1]) && !is_in_place("web", &versions[0]));
    let log = service.log().unwrap();
    assert_eq!(log.matches("cannot be listed").count(), 1, "{log}");
    assert_eq!(service.reported().part("contoso.web").unwrap().status, "success");
    story.azure.forget_requests();

    let new = put(&story, "web", 1).remove(0);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["newest"]);
    assert_eq!(linked("web"), new);

    enable(&story, "web", &new, false);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["newest"]);
    assert_eq!(linked("web"), new, "what is installed stays");
    let part = service.reported().part("contoso.web").cloned().unwrap();
    assert_eq!(part.code, 33);
}

#[test]
fn a_vault_that_cannot_list_is_asked_for_the_secret() {
    let answers = [
        Fault::Refuse(Refusal::BadParameter("no such operation".to_owned())),
        Fault::Refuse(Refusal::Unavailable(503, None)),
        Fault::Html,
        Fault::Answer(Response::json(200, &json!({"value": [{"id": "https://evil.example/secrets/web/1"}]}))),
        Fault::Answer(Response::json(
            200,
            &json!({"value": [], "nextLink": "https://evil.example/secrets/web/versions?api-version=7.4"}),
        )),
        Fault::Redirect("https://evil.example/".to_owned()),
    ];
    each_in_a_world_of_its_own(answers, |story, fault| {
        let version = put(story, "web", 1).remove(0);
        let service = installed(story, &story.observing(&["web"]));
        asked(story, "web");
        story.azure.fault(Scope::secret("contoso", "web"), fault.clone(), Times::Next(1));
        service.poll().unwrap();
        assert_eq!(asked(story, "web"), ["list", "newest"], "{fault:?}");
        assert_eq!(linked("web"), version);
        assert_eq!(service.reported().part("contoso.web").unwrap().status, "success", "{fault:?}");
    });
}

#[test]
fn a_vault_that_cannot_be_asked_is_not_asked_twice() {
    let story = Story::begin().unwrap();
    put(&story, "web", 1);
    let service = installed(&story, &story.observing(&["web"]));
    asked(&story, "web");
    for (fault, code) in [(Fault::Refuse(Refusal::Throttled(Some(1))), 34), (Fault::Wire(tests::wire::Wire::Close), 30)]
    {
        story.azure.fault(Scope::secret("contoso", "web"), fault, Times::Always);
        service.poll().unwrap();
        assert_eq!(service.reported().part("contoso.web").unwrap().code, code);
        assert!(!asked(&story, "web").contains(&"newest".to_owned()));
        story.azure.repair(&Scope::secret("contoso", "web"));
    }
}

#[test]
fn a_pinned_version_is_fetched_and_never_listed() {
    let story = Story::begin().unwrap();
    let versions = put(&story, "web", 3);
    let settings = observing(&[json!(format!("{}/{}", story.url("web"), versions[1]))]);
    let service = installed(&story, &settings);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), [versions[1].as_str(), versions[1].as_str()]);
    assert_eq!(linked("web"), versions[1]);
    assert!(!is_in_place("web", &versions[0]) && !is_in_place("web", &versions[2]));
}

#[test]
fn chain_and_key_in_files_of_their_own_follow_a_rollback_too() {
    let story = Story::begin().unwrap();
    let versions = put(&story, "web", 2);
    let mut settings = story.observing(&["web"]);
    settings["secretsManagementSettings"]["certificateFiles"] = json!("split");
    let service = installed(&story, &settings);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["newest", "list", versions[0].as_str()]);
    let leads_to = |version: &str| {
        ["pem", "keyid"].iter().all(|kind| {
            let target = fs::read_link(Path::new(STORE).join(format!("contoso.web.{kind}"))).unwrap();
            target.to_str().unwrap().starts_with(&format!("contoso.web.{version}.{kind}."))
        })
    };
    assert!(leads_to(&versions[1]), "the second one moves no link");
    enable(&story, "web", &versions[1], false);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list"]);
    assert!(leads_to(&versions[0]));
    enable(&story, "web", &versions[1], true);
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list"], "both are in place");
    assert!(leads_to(&versions[1]));
}

#[test]
fn a_version_before_the_newest_that_is_no_certificate_harms_nothing() {
    let story = Story::begin().unwrap();
    story.put_bundle("web", tests::bundle::Bundle::text("a password")).unwrap();
    let newest = put(&story, "web", 1).remove(0);
    let service = installed(&story, &story.observing(&["web"]));
    for _ in 0..3 {
        service.poll().unwrap();
    }
    assert_eq!(asked(&story, "web").iter().filter(|asked| asked.len() == 32).count(), 1, "tried once");
    assert_eq!(linked("web"), newest);
    assert_eq!(service.reported().part("contoso.web").unwrap().status, "success");
    let log = service.log().unwrap();
    assert_eq!(log.matches("the version before the newest").count(), 1, "{log}");
}

#[test]
fn dates_are_judged_by_the_clock_of_whichever_answer() {
    let story = Story::begin().unwrap();
    let good = put(&story, "web", 1).remove(0);
    let service = installed(&story, &story.observing(&["web"]));
    let now = std::time::SystemTime::now();
    let day = Duration::from_secs(24 * 3600);
    let early = CertificateRequest::new("web.contoso.com").valid(now + day, now + 90 * day);
    let early = story.authority.issue(&early).unwrap().pem().unwrap();
    let early = story.put_bundle("web", early).unwrap();
    for _ in 0..2 {
        service.poll().unwrap();
        assert_eq!(linked("web"), good);
        let message = service.reported().part("contoso.web").cloned().unwrap().message.unwrap();
        assert!(message.contains(&format!("newest version {early} is not valid before")), "{message}");
    }
    asked(&story, "web");
    story.azure.vault("contoso", |vault| vault.clock_skew = 2 * 24 * 3600).unwrap();
    service.poll().unwrap();
    assert_eq!(asked(&story, "web"), ["list"]);
    assert_eq!(linked("web"), early, "this machine's clock is wrong, by the list's Date");
}
