//! The life of the extension on a machine: the package as it is, every verb as the guest agent runs it, and at each step
//! the processes, the status that Azure would see, and the certificates.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::agent::{Goal, Outcome, Reported, Verb};
use tests::azure::Azure;
use tests::fault::{Scope, Times};
use tests::handler_story::{DISK, Extension, PATIENCE, observed, package_of_version, unfinished};
use tests::reader::Reader;
use tests::story::{Finished, observing, wait_for};
use tests::wire::Wire;

const STORE: &str = "/srv/certs";

/// A verb that takes longer has hung: the agent gives it minutes, but everything else on the machine waits for it.
const VERB: Duration = Duration::from_secs(30);

/// A machine with a certificate `web` in its vault, on which nothing is deployed yet.
fn machine() -> (Extension, String) {
    let extension = Extension::begin().unwrap();
    let (_, version) = extension.story.put("web").unwrap();
    (extension, version)
}

/// Settings that observe these certificates and wait for all of them.
fn settings(names: &[&str]) -> Value {
    let certificates: Vec<Value> = names.iter().map(|name| observed(name, STORE, &json!({}))).collect();
    let mut settings = observing(&certificates);
    settings["secretsManagementSettings"]["requireInitialSync"] = json!(true);
    settings
}

/// Settings with a mistake, and where it is.
fn wrong() -> (Value, &'static str) {
    (
        json!({"secretsManagementSettings": {"observedCertificates": [{"url": "https://evil.example/secrets/web"}]}}),
        "secretsManagementSettings.observedCertificates[0].url",
    )
}

/// That each verb ended well and in time.
fn well(outcome: &Outcome) {
    assert!(outcome.runs.iter().all(|run| run.exit == Some(0)), "{outcome:#?}");
    in_time(outcome);
}

fn in_time(outcome: &Outcome) {
    assert!(outcome.runs.iter().all(|run| run.duration < VERB && !run.timed_out), "{outcome:#?}");
}

fn link(name: &str) -> PathBuf {
    Path::new(STORE).join(format!("contoso.{name}"))
}

/// Waits until the link leads to this version.
fn points_to(name: &str, version: &str) {
    let wanted = PathBuf::from(format!("contoso.{name}.{version}"));
    let pointed = wait_for(PATIENCE, "new version", || fs::read_link(link(name)).ok().filter(|to| *to == wanted));
    pointed.unwrap();
}

fn succeeds(extension: &Extension) -> Reported {
    let status = extension.agent.wait_for("success", PATIENCE).unwrap();
    assert!(status.valid() && !status.too_large, "{status:#?}");
    status
}

fn renew(azure: &Azure, extension: &Extension) -> String {
    let issued = extension.story.issue("web").unwrap();
    azure.put("contoso", "web", issued.pem().unwrap()).unwrap()
}

#[test]
fn a_first_deployment_is_transitioning_until_every_certificate_is_there() {
    let (mut extension, version) = machine();
    let identity = extension.story.azure.machine(|machine| machine.system.clone()).unwrap();
    extension.story.azure.revoke("contoso", &identity).unwrap();
    let outcome = extension.deploy(0, &settings(&["web"])).unwrap();
    assert_eq!(outcome.verbs(), [Verb::Install, Verb::Enable]);
    well(&outcome);
    assert!(outcome.ready());
    let status = extension.agent.wait_until(PATIENCE, |status| {
        assert!(status.valid() && status.status.as_deref() == Some("transitioning"), "{status:#?}");
        status.part("contoso.web").is_some_and(|part| part.status == "error")
    });
    let message = status.unwrap().message.unwrap();
    assert!(message.starts_with("0 of 1 certificates installed") && message.contains("ForbiddenByRbac"), "{message}");
    assert!(!link("web").exists());
    extension.story.azure.grant("contoso", &identity).unwrap();
    let status = succeeds(&extension);
    assert!(status.message.unwrap().starts_with("1 of 1 certificates installed"));
    points_to("web", &version);
    assert_eq!(unfinished(&[DISK, "/var/lib", "/var/log/azure"]), Vec::<PathBuf>::new());
}

#[test]
fn enabling_again_leaves_the_service_and_its_status_alone() {
    let (mut extension, _) = machine();
    well(&extension.deploy(3, &settings(&["web"])).unwrap());
    succeeds(&extension);
    let look = |extension: &Extension| {
        let file = fs::metadata(extension.agent.status_file().unwrap()).unwrap();
        (extension.service().unwrap(), file.ino(), file.mtime(), file.mtime_nsec())
    };
    let before = look(&extension);
    let requests = extension.story.azure.requests().len();
    for _ in 0..3 {
        let outcome = extension.agent.again().unwrap();
        assert_eq!(outcome.verbs(), [Verb::Enable]);
        well(&outcome);
    }
    assert_eq!(look(&extension), before);
    assert_eq!(extension.story.azure.requests().len(), requests, "nobody is asked anything");
}

#[test]
fn new_settings_take_effect_whatever_their_number() {
    let (mut extension, _) = machine();
    let (_, mail) = extension.story.put("mail").unwrap();
    let (_, api) = extension.story.put("api").unwrap();
    well(&extension.deploy(5, &settings(&["web"])).unwrap());
    succeeds(&extension);
    let mut processes = vec![extension.service().unwrap()];
    for (sequence, name, version) in [(6, "mail", mail), (2, "api", api)] {
        let outcome = extension.deploy(sequence, &settings(&[name])).unwrap();
        assert_eq!(outcome.verbs(), [Verb::Enable]);
        well(&outcome);
        let status = succeeds(&extension);
        assert_eq!(status.substatus.len(), 1);
        points_to(name, &version);
        processes.push(extension.service().unwrap());
    }
    processes.sort_unstable();
    processes.dedup();
    assert_eq!(processes.len(), 3, "each has its own process");
    assert!(link("web").exists(), "what is no longer observed stays");
}

#[test]
fn wrong_new_settings_leave_the_service_with_the_last_good_ones_also_after_a_reboot() {
    let (mut extension, _) = machine();
    well(&extension.deploy(0, &settings(&["web"])).unwrap());
    succeeds(&extension);
    let process = extension.service().unwrap();
    let (wrong, path) = wrong();
    let refused = |extension: &Extension, outcome: &Outcome| {
        in_time(outcome);
        assert!(!outcome.ready() && outcome.runs.last().unwrap().exit != Some(0), "{outcome:#?}");
        let said = &outcome.handler.as_ref().unwrap().message;
        assert!(said.contains(path) && said.contains("1.settings"), "{said}");
        let status = extension.agent.status().unwrap();
        assert!(status.valid() && status.status.as_deref() == Some("error"), "{status:#?}");
        assert_eq!(status.code, json!(10));
        let message = status.message.unwrap();
        assert!(message.contains(path) && message.contains("goes on"), "{message}");
    };
    let outcome = extension.deploy(1, &wrong).unwrap();
    refused(&extension, &outcome);
    assert_eq!(extension.service().unwrap(), process);
    let version = renew(&extension.story.azure, &extension);
    extension.poll_soon().unwrap();
    points_to("web", &version);

    extension.lose_power().unwrap();
    let version = renew(&extension.story.azure, &extension);
    let outcome = extension.agent.again().unwrap();
    refused(&extension, &outcome);
    extension.service().unwrap();
    points_to("web", &version);
    refused(&extension, &outcome);

    well(&extension.deploy(2, &settings(&["web"])).unwrap());
    succeeds(&extension);
    extension.service().unwrap();
}

#[test]
fn a_deployment_without_settings_says_what_is_missing() {
    let (mut extension, version) = machine();
    let outcome = extension.agent.apply(&Goal::without_settings(&extension.package)).unwrap();
    well(&outcome);
    assert!(outcome.ready());
    let status = extension.agent.status().unwrap();
    assert!(status.valid() && status.status.as_deref() == Some("error"), "{status:#?}");
    let message = status.message.unwrap();
    assert!(message.contains("0.settings is empty") && message.contains("observedCertificates"), "{message}");
    assert!(extension.story.services().unwrap().is_empty());
    well(&extension.deploy(0, &settings(&["web"])).unwrap());
    succeeds(&extension);
    points_to("web", &version);
}

#[test]
fn settings_that_arrive_as_a_string_are_understood() {
    let (mut extension, version) = machine();
    let text = Value::String(settings(&["web"]).to_string());
    well(&extension.deploy(0, &text).unwrap());
    succeeds(&extension);
    points_to("web", &version);
    assert!(extension.log().contains("string"), "a warning says so: {}", extension.log());
}

/// Runs `enable` by hand with this number.
fn enable(extension: &Extension, folder: &Path, number: u32) -> Finished {
    let handler = folder.join("akvvm_handler").to_string_lossy().into_owned();
    extension.attempt("env", &[&format!("ConfigSequenceNumber={number}"), &handler, "enable"]).unwrap()
}

/// The word and the message of a status file, if it is there and whole.
fn status(folder: &Path, number: u32) -> Option<(String, String)> {
    let text = fs::read_to_string(folder.join(format!("status/{number}.status"))).ok()?;
    let status = &serde_json::from_str::<Value>(&text).ok()?[0]["status"];
    let message = status["formattedMessage"]["message"].as_str()?;
    Some((status["status"].as_str()?.to_owned(), message.to_owned()))
}

#[test]
fn settings_that_are_missing_are_an_error_in_the_status() {
    let (mut extension, _) = machine();
    well(&extension.deploy(0, &settings(&["web"])).unwrap());
    succeeds(&extension);
    let process = extension.service().unwrap();
    let folder = extension.agent.folder().unwrap();
    let enabled = enable(&extension, &folder, 7);
    assert_ne!(enabled.code, Some(0));
    let (word, message) = status(&folder, 7).unwrap();
    assert_eq!(word, "error");
    assert!(message.contains("7.settings") && enabled.errors.contains("7.settings"), "{message}");
    assert_eq!(extension.service().unwrap(), process);
}

#[test]
fn settings_that_are_half_written_leave_the_last_good_ones_in_use_until_they_are_whole() {
    let (mut extension, _) = machine();
    well(&extension.deploy(0, &settings(&["web"])).unwrap());
    succeeds(&extension);
    let process = extension.service().unwrap();
    let folder = extension.agent.folder().unwrap();
    let whole = fs::read(folder.join("config/0.settings")).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(folder.join("config/1.settings"), &whole[..length]).unwrap();
        enable(&extension, &folder, 1);
        let (word, message) = status(&folder, 1).unwrap();
        assert_eq!(word, "error", "{length}");
        assert!(message.contains("1.settings") && message.contains("goes on"), "{length}: {message}");
        assert_eq!(extension.service().unwrap(), process, "{length}");
        let version = renew(&extension.story.azure, &extension);
        extension.poll_soon().unwrap();
        points_to("web", &version);
    }
    fs::write(folder.join("config/1.settings"), &whole).unwrap();
    let enabled = enable(&extension, &folder, 1);
    assert_eq!(enabled.code, Some(0), "{enabled:?}");
    let is_well = || status(&folder, 1).filter(|(word, _)| word == "success");
    wait_for(PATIENCE, "success under the new number", is_well).unwrap();
}

#[test]
fn an_update_and_a_way_back_never_break_the_link() {
    let (mut extension, _) = machine();
    well(&extension.deploy(0, &settings(&["web"])).unwrap());
    succeeds(&extension);
    let reader = Reader::start(link("web"));
    let old = extension.package.clone();
    let new = package_of_version("98.7.6", extension.story.folder()).unwrap();
    for package in [&new, &old] {
        let before = extension.agent.folder().unwrap();
        let version = renew(&extension.story.azure, &extension);
        extension.package.clone_from(package);
        let outcome = extension.deploy(1, &settings(&["web"])).unwrap();
        let update = [Verb::Disable, Verb::Update, Verb::Uninstall, Verb::Install, Verb::Enable];
        assert_eq!(outcome.verbs(), update);
        well(&outcome);
        assert!(outcome.ready() && !before.exists());
        succeeds(&extension);
        points_to("web", &version);
        let program = fs::read_link(format!("/proc/{}/exe", extension.service().unwrap())).unwrap();
        let version = package.file_stem().unwrap().to_string_lossy().rsplit('-').next().unwrap().to_owned();
        assert_eq!(program, Path::new("/opt/akvvm").join(version).join("libexec/akvvm_service"));
    }
    reader.end().unwrap();
    assert_eq!(unfinished(&[DISK, "/var/lib"]), Vec::<PathBuf>::new());
}

#[test]
fn an_update_to_wrong_settings_goes_on_with_the_good_ones() {
    let (mut extension, _) = machine();
    well(&extension.deploy(0, &settings(&["web"])).unwrap());
    succeeds(&extension);
    extension.package = package_of_version("98.7.6", extension.story.folder()).unwrap();
    let outcome = extension.deploy(1, &wrong().0).unwrap();
    in_time(&outcome);
    assert!(!outcome.ready());
    assert_eq!(extension.agent.status().unwrap().code, json!(10));
    let version = renew(&extension.story.azure, &extension);
    let program = fs::read_link(format!("/proc/{}/exe", extension.service().unwrap())).unwrap();
    assert!(program.to_string_lossy().contains("98.7.6"), "{program:?}");
    extension.poll_soon().unwrap();
    points_to("web", &version);
}

#[test]
fn disabled_it_stands_still_and_uninstalled_it_leaves_only_certificates() {
    let (mut extension, first) = machine();
    well(&extension.deploy(0, &settings(&["web"])).unwrap());
    succeeds(&extension);
    let outcome = extension.agent.disable().unwrap();
    assert_eq!(outcome.verbs(), [Verb::Disable]);
    well(&outcome);
    assert!(extension.story.services().unwrap().is_empty());
    let status = extension.agent.status().unwrap();
    assert!(status.valid() && status.terminal(), "{status:#?}");
    assert!(status.message.unwrap().contains("disabled"));
    let second = renew(&extension.story.azure, &extension);
    points_to("web", &first);

    well(&extension.agent.again().unwrap());
    succeeds(&extension);
    points_to("web", &second);

    let outcome = extension.agent.uninstall().unwrap();
    assert_eq!(outcome.verbs(), [Verb::Disable, Verb::Uninstall]);
    well(&outcome);
    let processes = extension.story.world().processes().unwrap();
    assert!(processes.is_empty(), "{processes:?}");
    assert!(!Path::new("/var/lib/akvvm").exists());
    assert_eq!(fs::read_dir("/var/lib/waagent").unwrap().count(), 0);
    assert_eq!(unfinished(&[DISK, "/var/lib", "/etc"]), Vec::<PathBuf>::new());
    assert_eq!(fs::read_dir(STORE).unwrap().count(), 3);
    points_to("web", &second);
}

/// The agent removes the folder and runs no verb. The service sees that its handler is gone, and ends; certificates stay, and
/// the next deployment installs and starts as the first one did.
#[test]
fn dropped_from_the_goal_state_its_service_ends_and_the_next_deployment_starts_another() {
    let (mut extension, version) = machine();
    well(&extension.deploy(0, &settings(&["web"])).unwrap());
    succeeds(&extension);
    let orphan = extension.service().unwrap();
    extension.agent.drop_from_goal_state().unwrap();
    extension.poll_soon().unwrap();
    let ended = || extension.story.services().unwrap().is_empty().then_some(());
    wait_for(PATIENCE, "end of the orphan", ended).unwrap();
    points_to("web", &version);
    let outcome = extension.deploy(0, &settings(&["web"])).unwrap();
    assert_eq!(outcome.verbs(), [Verb::Install, Verb::Enable]);
    well(&outcome);
    succeeds(&extension);
    assert_ne!(extension.service().unwrap(), orphan);
}

/// Of twenty deployments the slowest is the ninety-ninth percentile.
#[test]
fn success_comes_within_ten_seconds_of_enable() {
    let (mut extension, _) = machine();
    let names: Vec<String> = (0..20).map(|number| format!("site{number}")).collect();
    for name in &names {
        extension.story.put(name).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (count, first) in [(1, 0), (20, 100)] {
        let mut took: Vec<Duration> = (first..first + 20)
            .map(|sequence| {
                let _ = fs::remove_dir_all(STORE);
                let begin = Instant::now();
                well(&extension.deploy(sequence, &settings(&names[..count])).unwrap());
                succeeds(&extension);
                begin.elapsed()
            })
            .collect();
        took.sort_unstable();
        println!("{count} certificates: from enable to success {:.2?}, at most {:.2?}", took[10], took[19]);
        assert!(took[19] <= Duration::from_secs(10), "{took:?}");
    }
}

#[test]
fn two_enables_at_once_start_one_service() {
    let (mut extension, _) = machine();
    well(&extension.deploy(0, &settings(&["web"])).unwrap());
    succeeds(&extension);
    extension.lose_power().unwrap();
    let handler = extension.agent.folder().unwrap().join("akvvm_handler");
    let enable = || {
        let mut command = extension.story.world().command(&handler);
        command.arg("enable").env("ConfigSequenceNumber", "0").stdout(Stdio::null()).spawn().unwrap()
    };
    let mut both = [enable(), enable()];
    for child in &mut both {
        let status = wait_for(VERB, "end of enable", || child.try_wait().unwrap()).unwrap();
        assert_eq!(status.code(), Some(0));
    }
    extension.service().unwrap();
    succeeds(&extension);
}

#[test]
fn enable_and_disable_return_although_the_metadata_service_does_not_answer() {
    let (mut extension, _) = machine();
    extension.story.azure.fault(Scope::Imds, Wire::Hang, Times::Always);
    let outcome = extension.deploy(0, &settings(&["web"])).unwrap();
    well(&outcome);
    let status = extension.agent.status().unwrap();
    assert!(status.valid() && status.status.as_deref() == Some("transitioning"), "{status:#?}");
    let asked = || (!extension.story.azure.requests().is_empty() || extension.service().is_err()).then_some(());
    let _ = wait_for(Duration::from_secs(1), "request", asked);
    let outcome = extension.agent.disable().unwrap();
    well(&outcome);
    assert!(extension.story.services().unwrap().is_empty());
}
