//! Key Vault: which secret is asked for, with which token, and what the service makes of every refusal.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::dns::NameServer;
use tests::fault::{Fault, Scope, Times};
use tests::http::Server;
use tests::identity::SUBSCRIPTION;
use tests::refusal::Refusal;
use tests::story::{Story, each_in_a_world_of_its_own, observing};

const SOON: Duration = Duration::from_secs(30);
const STORE: &str = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store";

#[test]
fn the_newest_version_is_installed_and_a_pinned_one_stays() {
    let story = Story::begin().unwrap();
    let (_, first) = story.put("web").unwrap();
    let pinned =
        json!({"url": format!("{}/{}", story.url("web"), first.to_uppercase()), "customSymbolicLinkName": "pinned"});
    let settings = observing(&[json!(story.url("web")), pinned]);
    let both = story.sync(&settings).unwrap();
    assert_eq!((&both.certificate(0)["version"], &both.certificate(1)["version"]), (&json!(first), &json!(first)));
    let (_, second) = story.put("web").unwrap();
    let renewed = story.sync(&settings).unwrap();
    assert_eq!(renewed.code(), Some(0));
    assert_eq!(
        (&renewed.certificate(0)["version"], &renewed.certificate(0)["changed"]),
        (&json!(second), &json!(true))
    );
    assert_eq!(
        (&renewed.certificate(1)["version"], &renewed.certificate(1)["changed"]),
        (&json!(first), &json!(false))
    );
    let target = |link: &str| fs::read_link(Path::new(STORE).join(link)).unwrap();
    assert_eq!(target("contoso.web"), Path::new(&format!("contoso.web.{second}")));
    assert_eq!(target("pinned"), Path::new(&format!("contoso.web.{first}")));
    let asked: BTreeSet<String> =
        story.azure.requests_to(Server::Vault).into_iter().map(|request| request.target).collect();
    let expected = ["/secrets/web?api-version=7.4".to_owned(), format!("/secrets/web/{first}?api-version=7.4")];
    assert_eq!(asked, BTreeSet::from(expected));
}

#[test]
fn names_in_another_case_and_slashes_at_the_end_are_the_same_secret() {
    let story = Story::begin().unwrap();
    let (_, version) = story.put("Web-Site").unwrap();
    for url in [
        "https://contoso.vault.azure.net/secrets/web-site",
        "https://CONTOSO.Vault.Azure.Net/Secrets/WEB-SITE/",
        "https://contoso.vault.azure.net:443/secrets/Web-Site",
    ] {
        let synced = story.sync(&observing(&[json!(url)])).unwrap();
        assert_eq!(synced.code(), Some(0), "{url}: {synced:?}");
        assert_eq!(synced.certificate(0)["version"], json!(version), "{url}");
    }
}

#[test]
fn each_cloud_gets_a_token_for_its_own_audience() {
    let story = Story::begin().unwrap();
    let hosts = ["abc.vault.azure.cn", "abc.vault.usgovcloudapi.net", "abc.vault.azure.net"];
    for host in hosts {
        story.azure.create_vault(host);
        story.azure.put(host, "web", story.issue("web").unwrap().pem().unwrap()).unwrap();
    }
    story.world().connect(&story.azure).unwrap();
    let certificates = hosts.map(|host| json!({"url": story.azure.url(host, "web"), "customSymbolicLinkName": host}));
    let synced = story.sync(&observing(&certificates)).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:?}");
    let mut asked: Vec<_> = story.azure.requests_to(Server::Imds);
    asked.sort_by(|one, other| one.target.cmp(&other.target));
    let audiences: Vec<_> = asked.iter().filter_map(|request| request.parameter("resource")).collect();
    assert_eq!(audiences, ["https://vault.azure.cn", "https://vault.azure.net", "https://vault.usgovcloudapi.net"]);
}

#[test]
fn a_cloud_of_the_machines_own_list_is_a_cloud_and_an_untrusted_list_is_an_error() {
    use std::os::unix::fs::{PermissionsExt, chown};

    let story = Story::begin().unwrap();
    let settings = observing(&[json!("https://contoso.vault.private.example/secrets/web")]);
    let refused = || {
        let path = story.write_settings(&settings).unwrap();
        let finished = tests::story::finish(&mut story.service(&["check", path.to_str().unwrap()]).unwrap()).unwrap();
        (finished.code, finished.output)
    };
    let (code, output) = refused();
    assert!(code == Some(2) && output.contains("recognised Key Vault host"), "{output}");
    fs::create_dir("/etc/akvvm").unwrap();
    let list = Path::new("/etc/akvvm/clouds.json");
    let cloud = json!({"clouds": [{"suffix": "vault.private.example", "audience": "https://vault.private.example"}]});
    fs::write(list, cloud.to_string()).unwrap();
    let (code, output) = refused();
    assert_eq!(code, Some(0), "{output}");
    fs::set_permissions(list, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, output) = refused();
    assert!(code == Some(2) && output.contains("/etc/akvvm/clouds.json") && output.contains("chown root"), "{output}");
    fs::set_permissions(list, fs::Permissions::from_mode(0o644)).unwrap();
    chown(list, Some(65534), None).unwrap();
    assert_eq!(refused().0, Some(2));
    chown(list, Some(0), None).unwrap();
    fs::write(list, "{\"clouds\": [{\"suffix\": \"vault.private.example\"}]}").unwrap();
    let (code, output) = refused();
    assert!(code == Some(2) && output.contains("audience"), "{output}");
}

#[test]
fn a_token_that_the_vault_forgot_is_replaced_once() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let service = story.run(&story.observing(&["web"])).unwrap();
    service.wait_for_log(SOON, "1 of 1 certificates installed", 1).unwrap();
    story.azure.revoke_tokens();
    service.poll().unwrap();
    assert_eq!(story.azure.tokens_issued(), 2);
    let statuses: Vec<_> = story.azure.requests_to(Server::Vault).iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(200), Some(401), Some(200)]);
    assert_eq!(service.reported().part("contoso.web").unwrap().status, "success");
}

#[test]
fn a_vault_that_accepts_no_token_is_asked_twice_with_two_tokens_in_all() {
    let refusals = [Refusal::InvalidToken, Refusal::InvalidIssuer, Refusal::InvalidAudience("https://x".to_owned())];
    each_in_a_world_of_its_own(refusals, |story, refusal| {
        let names = ["a", "b", "c", "d", "e", "f"];
        for name in names {
            story.put(name).unwrap();
        }
        story.azure.fault(Scope::Vaults, refusal.clone(), Times::Always);
        let synced = story.sync(&story.observing(&names)).unwrap();
        for index in 0..names.len() {
            let (code, message) = synced.error(index).unwrap();
            assert_eq!(code, 31, "{refusal:?}");
            assert!(message.contains("HTTP 401 Unauthorized") && message.contains("another tenant"), "{message}");
        }
        assert_eq!(story.azure.tokens_issued(), 2, "{refusal:?}: one more, however many certificates");
        assert!(story.azure.requests_to(Server::Vault).len() <= 2 * names.len());
    });
}

#[test]
fn a_challenge_for_another_resource_ends_in_an_error_and_sends_no_token() {
    let story = Story::begin().unwrap();
    let names = NameServer::start(story.world()).unwrap();
    story.put("web").unwrap();
    for resource in ["https://evil.example", "https://vault.azure.net.evil.example", "https://management.azure.com/"] {
        story.azure.fault(Scope::Vaults, Refusal::ForeignChallenge(resource.to_owned()), Times::Always);
        let (code, message) = story.sync(&story.observing(&["web"])).unwrap().error(0).unwrap();
        assert_eq!(code, 31);
        assert!(message.contains(resource.trim_end_matches('/')) && message.contains("no token is sent"), "{message}");
        story.azure.repair(&Scope::Vaults);
    }
    let audiences = story.azure.requests_to(Server::Imds);
    assert!(audiences.iter().all(|request| request.parameter("resource") == Some("https://vault.azure.net")));
    assert_eq!(names.questions(), [] as [String; 0]);
    assert_eq!(story.azure.connections(Server::Vault), 3, "one a sync");
}

#[test]
fn no_redirect_is_followed() {
    let story = Story::begin().unwrap();
    let names = NameServer::start(story.world()).unwrap();
    story.azure.create_vault("fabrikam");
    story.azure.put("fabrikam", "web", story.issue("web").unwrap().pem().unwrap()).unwrap();
    story.put("web").unwrap();
    let targets = [
        "https://evil.example/secrets/web",
        "http://evil.example/",
        "https://fabrikam.vault.azure.net/secrets/web",
        "/",
    ];
    for target in targets {
        story.azure.fault(Scope::vault("contoso"), Fault::Redirect(target.to_owned()), Times::Always);
        let (code, message) = story.sync(&story.observing(&["web"])).unwrap().error(0).unwrap();
        assert_eq!(code, 36);
        assert!(message.contains("redirected (HTTP 302)") && message.contains("check proxies"), "{message}");
        story.azure.repair(&Scope::vault("contoso"));
    }
    assert_eq!(story.azure.connections(Server::Vault), targets.len() as u64, "one a sync");
    assert_eq!(names.questions(), [] as [String; 0]);
}

/// Every refusal of a vault: the status code, the inner code that must be kept, our code, and words of advice.
fn refusals() -> Vec<(&'static str, Refusal, &'static str, i64, &'static str)> {
    vec![
        ("rbac", Refusal::ForbiddenByRbac, "HTTP 403 ForbiddenByRbac", 31, "Key Vault Secrets User"),
        ("policy", Refusal::ForbiddenByPolicy, "HTTP 403 ForbiddenByPolicy", 31, "access policy"),
        ("denied", Refusal::AccessDenied, "HTTP 403 AccessDenied", 31, "access policy"),
        ("firewall", Refusal::ForbiddenByFirewall, "HTTP 403 ForbiddenByFirewall", 31, "vault's firewall"),
        ("link", Refusal::ForbiddenByConnection, "HTTP 403 ForbiddenByConnection", 31, "private endpoint"),
        ("disabled", Refusal::SecretDisabled, "HTTP 403 SecretDisabled", 33, "enable it, or add a new version"),
        ("missing", Refusal::SecretNotFound, "HTTP 404 SecretNotFound", 32, "check the name"),
        ("bad", Refusal::BadParameter("x".to_owned()), "HTTP 400 BadParameter", 31, "check the name"),
        ("conflict", Refusal::Conflict, "HTTP 409 ObjectIsDeletedButRecoverable", 31, "the local log"),
    ]
}

#[test]
fn every_refusal_keeps_its_code_and_adds_advice_and_its_particulars_stay_in_the_log() {
    let story = Story::begin().unwrap();
    let names: Vec<&str> = refusals().iter().map(|(name, ..)| *name).chain(["fine"]).collect();
    for name in &names {
        story.put(name).unwrap();
    }
    for (name, refusal, ..) in refusals() {
        story.azure.fault(Scope::secret("contoso", name), refusal, Times::Always);
    }
    let service = story.run(&story.observing(&names)).unwrap();
    let reported =
        service.wait_until(SOON, |reported| reported.part("contoso.fine").is_some_and(|part| part.status == "success"));
    let reported = reported.unwrap();
    assert_eq!(reported.status.as_deref(), Some("success"), "polling has started");
    for (name, _, words, code, advice) in refusals() {
        let part = reported.part(&format!("contoso.{name}")).unwrap();
        let message = part.message.clone().unwrap();
        assert_eq!((part.status.as_str(), part.code.as_i64()), ("error", Some(code)), "{message}");
        assert!(message.contains(words) && message.contains(advice), "{message}");
        assert!(message.contains(&story.url(name)) && message.contains("next try 20"), "{message}");
    }
    let identity = story.azure.machine(|machine| machine.system.clone().unwrap());
    let private = [identity.object_id.as_str(), "24.47.181.152", SUBSCRIPTION, "westeurope"];
    let status = fs::read_to_string(story.status_folder().join("0.status")).unwrap();
    let log = service.log().unwrap();
    for words in private {
        assert!(!status.contains(words), "{words} in {status}");
        assert!(log.contains(words), "{words} not in {log}");
    }
    assert!(log.lines().all(|line| line.starts_with("20") && !line.contains('\r')), "{log}");
}

#[test]
fn a_real_role_a_disabled_version_and_a_deleted_secret_are_told_apart_and_heal() {
    let story = Story::begin().unwrap();
    let identity = story.azure.machine(|machine| machine.system.clone().unwrap());
    story.put("web").unwrap();
    let settings = story.observing(&["web"]);
    let code = || story.sync(&settings).unwrap().error(0).unwrap().0;
    story.azure.revoke("contoso", &identity).unwrap();
    assert_eq!(code(), 31);
    story.azure.grant("contoso", &identity).unwrap();
    story.azure.disable("contoso", "web").unwrap();
    assert_eq!(code(), 33);
    story.azure.enable_newest("contoso", "web", true).unwrap();
    story.azure.delete("contoso", "web").unwrap();
    assert_eq!(code(), 32);
    story.put("web").unwrap();
    assert_eq!(story.sync(&settings).unwrap().code(), Some(0));
}

#[test]
fn a_throttled_vault_gets_its_pause_while_another_goes_on() {
    each_in_a_world_of_its_own([Some(4), None], |story, wait| {
        story.azure.create_vault("fabrikam");
        story.world().connect(&story.azure).unwrap();
        let mut urls = Vec::new();
        for vault in ["contoso", "fabrikam"] {
            for number in 0..6 {
                let name = format!("c{number}");
                story.azure.put(vault, &name, story.issue(&name).unwrap().pem().unwrap()).unwrap();
                urls.push(json!(story.azure.url(vault, &name)));
            }
        }
        story.azure.fault(Scope::vault("contoso"), Refusal::Throttled(wait), Times::Always);
        let service = story.run(&observing(&urls)).unwrap();
        service.wait_for_log(SOON, "6 of 12 certificates installed", 1).unwrap();
        let reported =
            service.wait_until(SOON, |reported| !reported.substatus.iter().any(|part| part.status == "transitioning"));
        let reported = reported.unwrap();
        for number in 0..6 {
            let part = reported.part(&format!("contoso.c{number}")).unwrap();
            let message = part.message.clone().unwrap();
            assert_eq!(part.code, 34, "{message}");
            assert!(message.contains("contoso.vault.azure.net: ") && message.contains("HTTP 429"), "{message}");
            assert_eq!(reported.part(&format!("fabrikam.c{number}")).unwrap().status, "success");
        }
        let to_contoso = || {
            let mut requests = story.azure.requests_to(Server::Vault);
            requests.retain(|request| request.host == "contoso.vault.azure.net");
            requests
        };
        let refused = to_contoso();
        assert!(refused.len() <= 3, "at most one a connection, of six: {}", refused.len());
        story.azure.repair(&Scope::vault("contoso"));
        service.wait_for_log(SOON, "12 of 12 certificates installed", 1).unwrap();
        let later = to_contoso();
        let pause = later[refused.len()].at.duration_since(refused.last().unwrap().at).unwrap();
        let asked = Duration::from_secs(wait.unwrap_or(5).into());
        assert!(pause >= asked.mul_f64(0.95) && pause < asked + Duration::from_secs(12), "{wait:?}: {pause:?}");
        assert_eq!(later.len(), refused.len() + 6, "each once, those that were there already not at all");
    });
}

#[test]
fn a_vault_that_is_not_available_is_named_with_its_status() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for (status, wait) in [(500, None), (502, None), (503, Some(1)), (504, None)] {
        story.azure.fault(Scope::Vaults, Refusal::Unavailable(status, wait), Times::Always);
        let (code, message) = story.sync(&story.observing(&["web"])).unwrap().error(0).unwrap();
        assert_eq!(code, 35);
        assert!(message.contains(&story.url("web")) && message.contains(&format!("HTTP {status}")), "{message}");
        story.azure.repair(&Scope::Vaults);
    }
}

#[test]
fn an_answer_for_anything_else_than_what_was_asked_is_refused_and_writes_nothing() {
    let story = Story::begin().unwrap();
    let (_, version) = story.put("web").unwrap();
    for id in [
        format!("https://fabrikam.vault.azure.net/secrets/web/{version}"),
        format!("https://contoso.vault.azure.net/secrets/api/{version}"),
        format!("https://contoso.vault.azure.net/keys/web/{version}"),
        format!("http://contoso.vault.azure.net/secrets/web/{version}"),
        format!("https://contoso.vault.azure.net.evil.example/secrets/web/{version}"),
        format!("https://contoso.vault.azure.net@evil.example/secrets/web/{version}"),
        "https://contoso.vault.azure.net/secrets/web/../../../../etc/cron.d/x".to_owned(),
        "https://contoso.vault.azure.net/secrets/web/..".to_owned(),
        "https://contoso.vault.azure.net/secrets/web/%2e%2e%2f%2e%2e%2fetc%2fpasswd000000".to_owned(),
        "https://contoso.vault.azure.net/secrets/web/".to_owned(),
        "https://contoso.vault.azure.net/secrets/web".to_owned(),
        "\u{1b}[2J\r\nroot".to_owned(),
        "\0".repeat(32),
        String::new(),
    ] {
        story.azure.fault(Scope::Vaults, Fault::Id(id.clone()), Times::Always);
        let (code, message) = story.sync(&story.observing(&["web"])).unwrap().error(0).unwrap();
        assert_eq!(code, 36, "{id:?}");
        assert!(message.contains("another secret than the one that was asked for"), "{id:?}: {message}");
        assert!(!message.contains("evil") && !message.chars().any(char::is_control), "{message}");
        story.azure.repair(&Scope::Vaults);
    }
    let installed = fs::read_dir(STORE).map_or(0, Iterator::count);
    assert_eq!(installed, 0);
}

#[test]
fn a_pass_opens_few_connections_and_asks_once_for_each_certificate() {
    each_in_a_world_of_its_own([1_usize, 5, 20, 100], |story, count| {
        story.azure.create_vault("fabrikam");
        story.world().connect(&story.azure).unwrap();
        let issued = story.issue("web").unwrap();
        let urls: Vec<Value> = (0..count)
            .map(|number| {
                let vault = if number % 4 == 3 { "fabrikam" } else { "contoso" };
                let name = format!("c{number}");
                story.azure.put(vault, &name, issued.pem().unwrap()).unwrap();
                json!(story.azure.url(vault, &name))
            })
            .collect();
        let synced = story.sync(&observing(&urls)).unwrap();
        assert_eq!(synced.code(), Some(0), "{synced:?}");
        let requests = story.azure.requests_to(Server::Vault);
        assert_eq!(requests.len(), count);
        assert!(requests.iter().all(|request| request.status == Some(200)), "no challenge, no retry");
        assert_eq!((story.azure.tokens_issued(), story.azure.requests_to(Server::Imds).len()), (1, 1));
        let allowed = count.div_ceil(2).min(16) as u64;
        let opened = story.azure.connections(Server::Vault);
        assert!(opened <= allowed, "{count} certificates: {opened} connections of {allowed}");
        let used: BTreeSet<(u64, String)> =
            requests.iter().map(|request| (request.connection, request.host.clone())).collect();
        let connections: BTreeSet<u64> = requests.iter().map(|request| request.connection).collect();
        assert_eq!(used.len(), connections.len(), "each connection serves one vault");
    });
}
