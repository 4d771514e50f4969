//! A machine that systemd runs, with the extension on it or about to be.

use serde_json::{Value, json};
use tests::agent::Outcome;
use tests::handler_story::{Extension, PATIENCE, observed};
use tests::story::observing;
use tests::systemd::Systemd;

pub(crate) const UNIT: &str = "akvvm_service";
pub(crate) const STORE: &str = "/srv/certs";

/// A machine that systemd runs, with a certificate `web` in its vault, on which nothing is deployed yet.
pub(crate) struct Machine {
    // Ends first: the extension's world is beneath it.
    pub(crate) systemd: Systemd,
    pub(crate) extension: Extension,
}

impl Machine {
    pub(crate) fn begin() -> Self {
        let mut extension = Extension::begin().unwrap();
        extension.story.put("web").unwrap();
        let systemd = Systemd::boot(extension.story.world()).unwrap();
        extension.agent.enter(&systemd);
        Self { systemd, extension }
    }

    /// The same with the extension on it, and its first pass done.
    pub(crate) fn deployed() -> Self {
        let mut machine = Self::begin();
        well(&machine.extension.deploy(0, &settings(&[STORE])).unwrap());
        machine.succeeds();
        machine
    }

    pub(crate) fn succeeds(&self) {
        self.extension
            .agent
            .wait_for("success", PATIENCE)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.journal()));
    }

    pub(crate) fn property(&self, name: &str) -> String {
        self.systemd.property(UNIT, name).unwrap()
    }

    pub(crate) fn journal(&self) -> String {
        self.systemd.run("journalctl", &["--no-pager", "--unit", "akvvm_*"]).unwrap()
    }
}

/// Settings with the certificate `web` in each of these folders.
pub(crate) fn settings(stores: &[&str]) -> Value {
    let certificates: Vec<Value> = stores.iter().map(|store| observed("web", store, &json!({}))).collect();
    let mut settings = observing(&certificates);
    settings["secretsManagementSettings"]["requireInitialSync"] = json!(true);
    settings
}

pub(crate) fn well(outcome: &Outcome) {
    assert!(outcome.ready() && outcome.runs.iter().all(|run| run.exit == Some(0)), "{outcome:#?}");
}
