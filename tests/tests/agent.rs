//! The emulated guest agent with a probe for an extension: a shell script that writes down how it was called.
//! What is expected here was observed on WALinuxAgent 2.15.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::agent::{Agent, Goal, Verb};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Writes one line for each call, then does what a file named like the verb says.
const PROBE: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$1 $AZURE_GUEST_AGENT_EXTENSION_VERSION seq=$ConfigSequenceNumber from=$AZURE_GUEST_AGENT_UPDATING_FROM_VERSION to=$VERSION disable=$AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE uninstall=$AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE home=$HOME pwd=$(pwd)" >>"$here/../../calls"
if [ "$1" = enable ]; then
  echo '[{"version":1.0,"timestampUTC":"2026-01-01T00:00:00Z","status":{"operation":"Enable","status":"success","code":0,"formattedMessage":{"lang":"en-US","message":"on"}}}]' >"$here/../status/$ConfigSequenceNumber.status"
fi
[ ! -e "$here/../../fail-$1" ] || { echo "broken on purpose" >&2; exit 5; }
"#;

struct Lab {
    root: TempDir,
    agent: Agent,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let agent = Agent::below(root.path());
        Self { root, agent }
    }

    fn package(&self, version: &str, update_mode: &str, goes_on: bool) -> PathBuf {
        let path = self.root.path().join(format!("Lab.Probe-{version}.zip"));
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        let options = SimpleFileOptions::default();
        let mut manifest = json!([{"name": "Lab.Probe", "version": 1.0, "handlerManifest": {
            "rebootAfterInstall": false, "reportHeartbeat": false, "updateMode": update_mode,
            "continueOnUpdateFailure": goes_on,
        }}]);
        for verb in Verb::ALL {
            let command = json!(format!("bin/probe {}", verb.name()));
            manifest[0]["handlerManifest"][format!("{}Command", verb.name())] = command;
        }
        zip.start_file("HandlerManifest.json", options).unwrap();
        zip.write_all(format!("\u{feff}{manifest}").as_bytes()).unwrap();
        zip.start_file("bin/probe", options.unix_permissions(0o600)).unwrap();
        zip.write_all(PROBE.as_bytes()).unwrap();
        zip.finish().unwrap();
        path
    }

    fn home(&self) -> PathBuf {
        self.root.path().join("waagent")
    }

    /// The first words of each call since the last time this was asked.
    fn calls(&self) -> Vec<String> {
        let path = self.home().join("calls");
        let calls = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        calls.lines().map(str::to_owned).collect()
    }

    fn fail(&self, verb: &str) {
        fs::write(self.home().join(format!("fail-{verb}")), "").unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn installs_then_enables_and_enables_again_at_every_goal_state() {
    let mut lab = Lab::new();
    let package = lab.package("1.0.0", "UpdateWithInstall", false);
    let outcome = lab.agent.apply(&Goal::new(&package, 0, json!({"a": 1}))).unwrap();
    assert!(outcome.ready(), "{outcome:?}");
    assert_eq!(outcome.verbs(), [Verb::Install, Verb::Enable]);
    let folder = lab.agent.folder().unwrap();
    let pwd = folder.display();
    assert_eq!(
        lab.calls(),
        [
            format!("install 1.0.0 seq=0 from= to= disable= uninstall=NOT_RUN home= pwd={pwd}"),
            format!("enable 1.0.0 seq=0 from= to= disable= uninstall=NOT_RUN home= pwd={pwd}"),
        ]
    );
    assert_eq!(mode(&folder.join("bin/probe")), 0o744);
    assert_eq!(mode(&folder.join("config")), 0o700);
    assert_eq!(mode(&folder.join("status")), 0o700);
    let settings = fs::read_to_string(folder.join("config/0.settings")).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&settings).unwrap(),
        json!({"runtimeSettings": [{"handlerSettings": {"publicSettings": {"a": 1},
            "protectedSettings": null, "protectedSettingsCertThumbprint": null}}]})
    );
    let environment = fs::read_to_string(folder.join("HandlerEnvironment.json")).unwrap();
    let environment: Value = serde_json::from_str(&environment).unwrap();
    let status = &environment[0]["handlerEnvironment"]["statusFolder"];
    assert_eq!(*status, json!(folder.join("status")));
    assert_eq!(lab.agent.status().unwrap().message.as_deref(), Some("on"));

    assert_eq!(lab.agent.again().unwrap().verbs(), [Verb::Enable]);
    let goal = Goal::new(&package, 3, json!("{\"as\": \"text\"}"));
    assert_eq!(lab.agent.apply(&goal).unwrap().verbs(), [Verb::Enable]);
    assert!(folder.join("config/3.settings").exists());
    assert!(folder.join("config/0.settings").exists());
}

#[test]
fn writes_an_empty_settings_file_when_there_are_none() {
    let mut lab = Lab::new();
    let package = lab.package("1.0.0", "", false);
    lab.agent.apply(&Goal::without_settings(&package)).unwrap();
    let path = lab.agent.folder().unwrap().join("config/0.settings");
    assert_eq!(fs::metadata(path).unwrap().len(), 0);
}

#[test]
fn updates_in_the_order_of_the_agent() {
    let mut lab = Lab::new();
    let old = lab.package("1.0.0", "UpdateWithInstall", false);
    let new = lab.package("1.0.10", "UpdateWithInstall", false);
    lab.agent.apply(&Goal::new(&old, 1, json!({}))).unwrap();
    lab.calls();
    let outcome = lab.agent.apply(&Goal::new(&new, 1, json!({}))).unwrap();
    assert!(outcome.ready(), "{outcome:?}");
    let calls = lab.calls();
    let calls: Vec<&str> = calls.iter().map(|call| call.split(" home=").next().unwrap()).collect();
    assert_eq!(
        calls,
        [
            "disable 1.0.0 seq=1 from= to= disable= uninstall=",
            "update 1.0.10 seq=1 from=1.0.0 to=1.0.10 disable=0 uninstall=",
            "uninstall 1.0.0 seq=1 from= to= disable= uninstall=",
            "install 1.0.10 seq=1 from= to= disable= uninstall=0",
            "enable 1.0.10 seq=1 from= to= disable= uninstall=0",
        ]
    );
    assert!(!lab.home().join("Lab.Probe-1.0.0").exists());
    assert!(lab.agent.folder().unwrap().join("status/1.status").exists());
}

#[test]
fn goes_back_by_the_update_command_of_the_higher_version() {
    let mut lab = Lab::new();
    let low = lab.package("1.0.0", "UpdateWithoutInstall", false);
    let high = lab.package("2.0.0", "UpdateWithoutInstall", false);
    lab.agent.apply(&Goal::new(&high, 1, json!({}))).unwrap();
    lab.calls();
    lab.agent.apply(&Goal::new(&low, 2, json!({}))).unwrap();
    let calls = lab.calls();
    let calls: Vec<&str> = calls.iter().map(|call| call.split(" disable=").next().unwrap()).collect();
    assert_eq!(
        calls,
        [
            "disable 2.0.0 seq=2 from= to=",
            "update 2.0.0 seq=2 from=1.0.0 to=1.0.0",
            "uninstall 2.0.0 seq=2 from= to=",
            "enable 1.0.0 seq=2 from= to=",
        ]
    );
}

#[test]
fn repeats_a_failed_update_without_disabling_the_old_version_again() {
    let mut lab = Lab::new();
    let old = lab.package("1.0.0", "UpdateWithInstall", false);
    let new = lab.package("1.1.0", "UpdateWithInstall", false);
    lab.agent.apply(&Goal::new(&old, 1, json!({}))).unwrap();
    lab.fail("update");
    let outcome = lab.agent.apply(&Goal::new(&new, 1, json!({}))).unwrap();
    assert_eq!(outcome.verbs(), [Verb::Disable, Verb::Update]);
    let handler = outcome.handler.unwrap();
    assert_eq!(handler.code, 1008);
    assert!(handler.message.contains("broken on purpose"), "{handler:?}");
    fs::remove_file(lab.home().join("fail-update")).unwrap();
    lab.calls();
    let outcome = lab.agent.again().unwrap();
    assert!(outcome.ready(), "{outcome:?}");
    let verbs = [Verb::Update, Verb::Uninstall, Verb::Install, Verb::Enable];
    assert_eq!(outcome.verbs(), verbs);
    assert!(lab.calls()[0].contains("disable=None"));
}

#[test]
fn a_failing_disable_stops_an_update_and_a_removal_unless_the_manifest_goes_on() {
    let mut lab = Lab::new();
    let old = lab.package("1.0.0", "UpdateWithInstall", false);
    let strict = lab.package("1.1.0", "UpdateWithInstall", false);
    let lenient = lab.package("1.2.0", "UpdateWithInstall", true);
    lab.agent.apply(&Goal::new(&old, 1, json!({}))).unwrap();
    lab.fail("disable");
    let outcome = lab.agent.apply(&Goal::new(&strict, 2, json!({}))).unwrap();
    assert_eq!(outcome.verbs(), [Verb::Disable]);
    assert_eq!(outcome.handler.unwrap().code, 1008);
    let outcome = lab.agent.uninstall().unwrap();
    assert_eq!(outcome.verbs(), [Verb::Disable]);
    assert_eq!(outcome.handler.unwrap().code, 1010);
    lab.calls();
    let outcome = lab.agent.apply(&Goal::new(&lenient, 3, json!({}))).unwrap();
    assert!(outcome.ready(), "{outcome:?}");
    assert!(lab.calls()[1].contains("to=1.2.0 disable=5"));
}

#[test]
fn removes_the_extension_and_what_looks_like_an_old_one() {
    let mut lab = Lab::new();
    let package = lab.package("1.0.0", "UpdateWithInstall", false);
    fs::create_dir_all(lab.home().join("Lab.State-1.0")).unwrap();
    fs::create_dir_all(lab.home().join("Microsoft.Azure.KeyVault.Store")).unwrap();
    lab.agent.apply(&Goal::new(&package, 1, json!({}))).unwrap();
    assert!(!lab.home().join("Lab.State-1.0").exists());
    assert_eq!(lab.agent.disable().unwrap().verbs(), [Verb::Disable]);
    assert_eq!(lab.agent.again().unwrap().verbs(), [Verb::Enable]);
    let outcome = lab.agent.uninstall().unwrap();
    assert_eq!(outcome.verbs(), [Verb::Disable, Verb::Uninstall]);
    assert_eq!(outcome.handler, None);
    assert!(!lab.home().join("Lab.Probe-1.0.0").exists());
    assert!(lab.home().join("Microsoft.Azure.KeyVault.Store").exists());

    lab.agent.apply(&Goal::new(&package, 1, json!({}))).unwrap();
    assert_eq!(lab.agent.drop_from_goal_state().unwrap().verbs(), []);
    assert!(!lab.home().join("Lab.Probe-1.0.0").exists());
}
