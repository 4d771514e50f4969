//! What is done when, without anybody who does it.
#![allow(clippy::unwrap_used)]

use super::*;
use common::report::{State, Thumbprint};
use common::settings::Clouds;
use jiff::Timestamp;
use serde_json::json;

const WEB: &str = "https://contoso.vault.azure.net/secrets/web/0123456789abcdef0123456789abcdef";

/// A certificate that was not there before the pass, with these actions.
fn moved(state: &Path, actions: &serde_json::Value) -> Renewals {
    let document = json!({"secretsManagementSettings": {"observedCertificates": [WEB], "afterRenewal": actions}});
    let settings = Settings::parse(document.to_string().as_bytes(), &Clouds::built_in()).unwrap();
    let mut renewals = Renewals::new(&settings, state, Actor::Unit);
    renewals.random = fastrand::Rng::with_seed(1);
    renewals.ledger.begin(&settings.certificates[0].place(), None);
    let day = |second| Timestamp::from_second(second).unwrap();
    let version = *settings.certificates[0].url.version().unwrap();
    let installed = Installed { version, thumbprint: Thumbprint([7; 20]), not_before: day(0), not_after: day(1 << 31) };
    let report = Report { state: State::Current { installed, changed: true }, warnings: [].into() };
    renewals.after_pass(&[report], Instant::now());
    renewals
}

#[test]
fn nothing_is_looked_at_before_its_time_though_later_stages_wait_for_it() {
    let verify = json!({"connect": "127.0.0.1:443", "serverName": "www.contoso.com"});
    let actions = json!({"restart": ["app.service"], "verify": verify, "onFirstInstall": true});
    let state = tempfile::tempdir().unwrap();
    let renewals = moved(state.path(), &actions);
    let now = Instant::now();
    assert!(renewals.due(now).is_empty(), "the look waits for the restart, which is spread");
    let pause = renewals.pause(now).unwrap();
    assert!(pause > GLANCE, "{pause:?}");
    let due = renewals.due(now + pause);
    assert_eq!(due.iter().map(|task| task.action.to_string()).collect::<Vec<_>>(), ["restart app.service"]);
}

#[test]
fn what_is_not_spread_is_due_at_once() {
    let actions = json!({"hooks": ["deploy"], "restart": ["app.service"], "onFirstInstall": true});
    let state = tempfile::tempdir().unwrap();
    let renewals = moved(state.path(), &actions);
    let due = renewals.due(Instant::now());
    assert_eq!(due.iter().map(|task| task.action.to_string()).collect::<Vec<_>>(), ["hook deploy"]);
}
