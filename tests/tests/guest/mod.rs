//! The stages of the extension's life under the real guest agent: the same stories with and without systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::agent::Verb;
use tests::fabric::{Handler, Plugin, Settings, State};
use tests::guest::{Command, Dependent, Guest, Kind, PATIENCE};
use tests::handler_story::{DISK, observed, package_of_version, unfinished};
use tests::reader::Reader;
use tests::story::{observing, wait_for};

const STORE: &str = "/srv/certs";
const OTHER_VERSION: &str = "98.7.6";

/// A role that was given late is noticed within a minute: that long is the pause between two tries.
const LATE: Duration = Duration::from_secs(60);

/// Settings that observe these certificates and wait for all of them.
fn settings(names: &[&str]) -> Value {
    let certificates: Vec<Value> = names.iter().map(|name| observed(name, STORE, &json!({}))).collect();
    let mut settings = observing(&certificates);
    settings["secretsManagementSettings"]["requireInitialSync"] = json!(true);
    settings
}

/// Settings with a mistake.
fn wrong_settings() -> Value {
    observing(&[json!({"url": "https://evil.example/secrets/web"})])
}

fn link(name: &str) -> PathBuf {
    Path::new(STORE).join(format!("contoso.{name}"))
}

/// Waits until the link leads to this version.
fn points_to(guest: &Guest, name: &str, version: &str) {
    let wanted = PathBuf::from(format!("contoso.{name}.{version}"));
    let pointed = wait_for(PATIENCE, "new version", || fs::read_link(link(name)).ok().filter(|to| *to == wanted));
    pointed.unwrap_or_else(|error| panic!("{error}\n{}", guest.logs()));
}

fn verbs(commands: &[Command]) -> Vec<Verb> {
    commands.iter().map(|command| command.verb).collect()
}

/// That the agent, since it was last asked, ran exactly these verbs, all with this number.
fn ran(guest: &Guest, expected: &[Verb], sequence: &str) -> Vec<Command> {
    let commands = guest.commands().unwrap();
    assert_eq!(verbs(&commands), expected, "{commands:#?}\n{}", guest.logs());
    for command in &commands {
        assert_eq!(command.variable("ConfigSequenceNumber"), Some(sequence), "{command:?}");
    }
    commands
}

/// Sets a goal state that is to be reached, and waits for its Success.
fn succeeds(guest: &Guest, plugin: &Plugin) -> Handler {
    let handler = guest.apply(std::slice::from_ref(plugin)).unwrap().unwrap();
    assert!(handler.handler.ready, "{handler:#?}\n{}", guest.logs());
    let handler = guest.wait_for("success").unwrap();
    assert_eq!(handler.version, plugin.version);
    if let Settings::Public(sequence, _) = plugin.settings {
        assert_eq!(handler.sequence, Some(u64::from(sequence)));
    }
    handler
}

/// Every stage, one after the other, as a machine may live through them.
pub(crate) fn a_whole_life(kind: Kind) {
    let mut guest = Guest::begin(kind).unwrap();
    let (_, first) = guest.story.put("web").unwrap();

    // First install.
    let plugin = guest.extension(5, &settings(&["web"]));
    let begin = Instant::now();
    let handler = succeeds(&guest, &plugin);
    println!("{kind:?}: from the start of the agent to an uploaded success: {:.1?}", begin.elapsed());
    ran(&guest, &[Verb::Install, Verb::Enable], "5");
    let status = handler.status.unwrap();
    let part = status.part("contoso.web").unwrap();
    assert!(part.status == "success" && part.code == json!(0), "{status:#?}");
    points_to(&guest, "web", &first);
    let service = guest.service().unwrap();

    // The agent restarts; a goal state comes in which nothing changed.
    guest.restart_agent().unwrap();
    guest.wait_for("success").unwrap();
    ran(&guest, &[Verb::Enable], "5");
    succeeds(&guest, &plugin);
    ran(&guest, &[Verb::Enable], "5");
    assert_eq!(guest.service().unwrap(), service, "nothing changed, so it runs on");

    // New settings, whose number is not larger; then an older file that looks newer.
    guest.story.put("mail").unwrap();
    let plugin = plugin.with(Settings::Public(3, settings(&["web", "mail"])));
    let handler = succeeds(&guest, &plugin);
    ran(&guest, &[Verb::Enable], "3");
    assert_eq!(handler.status.unwrap().substatus.len(), 2);
    let service = guest.service().unwrap();
    let older = guest.folder(&guest.version).join("config/5.settings");
    fs::File::options().append(true).open(&older).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    guest.restart_agent().unwrap();
    assert_eq!(guest.wait_for("success").unwrap().sequence, Some(3));
    ran(&guest, &[Verb::Enable], "3");
    assert_eq!(guest.service().unwrap(), service);

    // An update and a way back, under the eyes of an application. The old handler gets the new number.
    let reader = Reader::start(link("web"));
    guest.fabric.publish(&package_of_version(OTHER_VERSION, guest.story.folder()).unwrap()).unwrap();
    let here = guest.version.clone();
    for (sequence, from, to) in [(7, &*here, OTHER_VERSION), (8, OTHER_VERSION, &*here)] {
        let (_, version) = guest.story.put("web").unwrap();
        let plugin = guest.extension(sequence, &settings(&["web", "mail"])).of_version(to);
        succeeds(&guest, &plugin);
        let update = [Verb::Disable, Verb::Update, Verb::Uninstall, Verb::Install, Verb::Enable];
        let commands = ran(&guest, &update, &sequence.to_string());
        assert_eq!((&*commands[0].version, &*commands[4].version), (from, to), "{commands:#?}");
        assert!(!guest.folder(from).exists());
        points_to(&guest, "web", &version);
        guest.service().unwrap();
    }
    reader.end().unwrap();

    // Disabled, as older goal states can ask for, and enabled again.
    let plugin = guest.extension(8, &settings(&["web", "mail"]));
    let handler = guest.apply(&[plugin.clone().to_be(State::Disabled)]).unwrap().unwrap();
    ran(&guest, &[Verb::Disable], "8");
    assert!(!handler.handler.ready, "{handler:#?}");
    let handler = guest.wait_until(PATIENCE, |handler| handler.message().contains("disabled")).unwrap();
    assert_ne!(handler.word(), Some("transitioning"));
    assert_eq!(guest.story.services().unwrap(), Vec::<i32>::new());
    succeeds(&guest, &plugin);
    ran(&guest, &[Verb::Enable], "8");

    // The machine restarts.
    guest.reboot().unwrap();
    let (_, last) = guest.story.put("web").unwrap();
    guest.wait_for("success").unwrap();
    ran(&guest, &[Verb::Enable], "8");
    guest.service().unwrap();

    // Uninstalled: nothing stays but certificates.
    assert!(guest.apply(&[plugin.to_be(State::Uninstall)]).unwrap().is_none());
    ran(&guest, &[Verb::Disable, Verb::Uninstall], "8");
    assert_nothing_left(&guest);
    let certificate = fs::read_to_string(link("web")).unwrap();
    assert!(certificate.contains("PRIVATE KEY"), "certificates stay: {last}");
}

fn assert_nothing_left(guest: &Guest) {
    let processes = guest.story.world().processes().unwrap();
    let left: Vec<_> = processes.iter().filter(|(_, words)| words.contains("akvvm")).collect();
    assert!(left.is_empty(), "{left:?}");
    for path in ["/var/lib/akvvm", "/opt/akvvm", "/etc/systemd/system/akvvm_service.service"] {
        assert!(!Path::new(path).exists(), "{path}");
    }
    for folder in ["/etc/systemd/system", "/etc/systemd/system/multi-user.target.wants", "/var/lib/waagent"] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.contains("akvvm") || (name.starts_with(&guest.name) && entry.path().is_dir());
            assert!(!ours, "{folder}/{name}");
        }
    }
    assert_eq!(unfinished(&[DISK, "/var/lib", "/var/log/azure", "/etc"]), Vec::<PathBuf>::new());
}

/// What the agent uploads when there are no settings, or wrong ones, and afterwards.
pub(crate) fn settings_that_are_refused(kind: Kind) {
    let guest = Guest::begin(kind).unwrap();
    guest.story.put("web").unwrap();
    let plugin = guest.extension(1, &settings(&["web"]));
    let handler = guest.apply(&[plugin.clone().with(Settings::Absent)]).unwrap().unwrap();
    assert!(handler.handler.ready, "{handler:#?}");

    // Without settings there is no number in a report: the file says it.
    let refused = |sequence: u32| {
        let handler = guest.apply(&[plugin.clone().with(Settings::Public(sequence, wrong_settings()))]).unwrap();
        let handler = handler.unwrap();
        assert!(!handler.handler.ready && handler.handler.code == 1009, "{handler:#?}");
        assert_eq!(handler.word(), Some("error"), "{handler:#?}");
        assert_eq!(handler.status.as_ref().unwrap().code, json!(10));
        assert!(handler.message().contains("observedCertificates[0].url"), "{handler:#?}");
    };
    let empty = fs::read_to_string(guest.folder(&guest.version).join("status/0.status")).unwrap();
    assert!(empty.contains("0.settings is empty") && empty.contains(r#""code":10"#), "{empty}");
    assert_eq!(guest.story.services().unwrap(), Vec::<i32>::new());
    refused(1);
    assert_eq!(guest.story.services().unwrap(), Vec::<i32>::new());
    succeeds(&guest, &plugin.clone().with(Settings::Public(2, settings(&["web"]))));
    let service = guest.service().unwrap();
    refused(3);
    assert_eq!(guest.service().unwrap(), service, "the service goes on with the last good settings");
}

/// An extension that depends on ours starts when all certificates are there, or not at all.
pub(crate) fn dependents_wait(kind: Kind) {
    let guest = Guest::begin(kind).unwrap();
    guest.story.put("web").unwrap();
    guest.story.put("mail").unwrap();
    let identity = guest.story.azure.machine(|machine| machine.system.clone()).unwrap();
    guest.story.azure.revoke("contoso", &identity).unwrap();
    let dependent = Dependent::make(guest.story.folder(), Path::new(STORE)).unwrap();
    guest.fabric.publish(&dependent.package).unwrap();
    let depends = |sequence| Plugin::enabled(Dependent::NAME, Dependent::VERSION, sequence, json!({})).on_level(1);

    // The role comes some time after the deployment.
    guest.set_goal(&[depends(0), guest.extension(0, &settings(&["web", "mail"]))]);
    let status = guest.folder(&guest.version).join("status/0.status");
    let tried = || fs::read_to_string(&status).ok().filter(|text| text.contains("ForbiddenByRbac"));
    let tried = wait_for(PATIENCE, "refusal", tried).unwrap_or_else(|error| panic!("{error}\n{}", guest.logs()));
    assert!(tried.contains("transitioning"), "{tried}");
    assert_eq!(dependent.found(), None);
    guest.story.azure.grant("contoso", &identity).unwrap();
    let granted = Instant::now();
    let installed = || (link("web").exists() && link("mail").exists()).then(|| granted.elapsed());
    let installed = wait_for(PATIENCE, "certificates", installed).unwrap();
    println!("{kind:?}: from a role given late to installed: {installed:.1?}");
    assert!(installed <= LATE, "{installed:?}");
    let found = wait_for(PATIENCE, "start of the dependent", || dependent.found()).unwrap();
    assert!(["contoso.web", "contoso.mail"].iter().all(|name| found.contains(&(*name).to_owned())), "{found:?}");
    guest.wait_for("success").unwrap();

    // Ours ends in error: the other is not even started.
    dependent.forget().unwrap();
    let handler = guest.apply(&[depends(1), guest.extension(1, &wrong_settings())]).unwrap().unwrap();
    assert_eq!(handler.word(), Some("error"), "{handler:#?}");
    let report = guest.fabric.report().unwrap();
    let skipped = &report.handler(Dependent::NAME).unwrap().handler;
    assert!(!skipped.ready && skipped.message.contains("dependent extension"), "{report:#?}");
    assert_eq!(dependent.found(), None);
}

/// An update that fails leaves the old version disabled; the next goal state tries again.
pub(crate) fn a_failing_update(kind: Kind) {
    let guest = Guest::begin(kind).unwrap();
    guest.story.put("web").unwrap();
    let plugin = guest.extension(0, &settings(&["web"]));
    succeeds(&guest, &plugin);
    guest.commands().unwrap();
    guest.fabric.publish(&package_of_version(OTHER_VERSION, guest.story.folder()).unwrap()).unwrap();

    // Something foreign lies where the handler remembers that an update is under way.
    let foreign = Path::new("/var/lib/akvvm/update");
    fs::create_dir(foreign).unwrap();
    let plugin = plugin.of_version(OTHER_VERSION);
    let handler = guest.apply(std::slice::from_ref(&plugin)).unwrap().unwrap();
    assert!(!handler.handler.ready && handler.handler.message.contains("/var/lib/akvvm/update"), "{handler:#?}");
    ran(&guest, &[Verb::Disable, Verb::Update], "0");
    assert!(guest.folder(&guest.version).exists());
    assert!(link("web").exists());

    fs::remove_dir(foreign).unwrap();
    let (_, version) = guest.story.put("web").unwrap();
    succeeds(&guest, &plugin);
    let commands = ran(&guest, &[Verb::Update, Verb::Uninstall, Verb::Install, Verb::Enable], "0");
    assert_eq!(commands[0].variable("AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"), Some("None"));
    points_to(&guest, "web", &version);
    guest.service().unwrap();
}

/// The extension vanishes from the goal state: no command is run, and its folder is removed under the service.
pub(crate) fn dropped(kind: Kind) {
    let mut guest = Guest::begin(kind).unwrap();
    let (_, version) = guest.story.put("web").unwrap();
    let plugin = guest.extension(0, &settings(&["web"]));
    succeeds(&guest, &plugin);
    guest.commands().unwrap();
    assert!(guest.apply(&[]).unwrap().is_none());
    assert!(!guest.folder(&guest.version).exists());
    ran(&guest, &[], "0");
    guest.wait_for_no_service(PATIENCE).unwrap();
    points_to(&guest, "web", &version);

    // Nothing comes back, until it is deployed again.
    guest.reboot().unwrap();
    assert!(guest.apply(&[]).unwrap().is_none());
    guest.wait_for_no_service(PATIENCE).unwrap();
    succeeds(&guest, &plugin);
    guest.service().unwrap();
}

/// More than one `enable` at a time, as when a person runs it beside the agent.
pub(crate) fn enables_at_once(kind: Kind) {
    let guest = Guest::begin(kind).unwrap();
    guest.story.put("web").unwrap();
    succeeds(&guest, &guest.extension(0, &settings(&["web"])));
    let disabled = guest.apply(&[guest.extension(0, &settings(&["web"])).to_be(State::Disabled)]).unwrap();
    assert!(!disabled.unwrap().handler.ready);
    let handler = guest.folder(&guest.version).join("akvvm_handler");
    let enable = || {
        let mut command = guest.machine.command(guest.story.world(), &handler);
        command.arg("enable").env("ConfigSequenceNumber", "0").stdout(Stdio::null()).spawn().unwrap()
    };
    let mut all = [enable(), enable(), enable()];
    let plugin = guest.extension(0, &settings(&["web"]));
    succeeds(&guest, &plugin);
    for child in &mut all {
        let status = wait_for(PATIENCE, "end of enable", || child.try_wait().unwrap()).unwrap();
        assert_eq!(status.code(), Some(0));
    }
    guest.service().unwrap();
}
