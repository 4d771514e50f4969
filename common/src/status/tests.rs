//! What the agent reads, and what it is spared.

use super::*;
use crate::report::{Installed, Problem, Thumbprint};
use crate::settings::{Clouds, Settings, Version};
use serde_json::Value;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn certificates(count: usize) -> Vec<ObservedCertificate> {
    let urls: Vec<String> = (0..count).map(|n| format!("\"https://contoso.vault.azure.net/secrets/c{n}\"")).collect();
    let json = format!(r#"{{"secretsManagementSettings": {{"observedCertificates": [{}]}}}}"#, urls.join(","));
    Settings::parse(json.as_bytes(), &Clouds::built_in()).unwrap().certificates
}

fn current() -> Report {
    let version = Version::parse("0123456789abcdef0123456789abcdef").unwrap();
    let at = |days: i64| Timestamp::from_second(days * 86_400).unwrap();
    let installed = Installed { version, thumbprint: Thumbprint([0xab; 20]), not_before: at(-10), not_after: at(80) };
    Report { state: State::Current { installed, changed: true }, warnings: [].into() }
}

fn missing(message: &str) -> Report {
    let problem = Box::new(Problem { code: 31, message: message.to_owned(), next_try: Some(NOW) });
    Report { state: State::Missing { problem }, warnings: [].into() }
}

fn overview(phase: Phase, reports: &[Report]) -> Value {
    let certificates = certificates(reports.len());
    let overview = Overview {
        phase,
        identity: Some("the system-assigned identity"),
        certificates: &certificates,
        reports,
        next_poll: Some(NOW),
    };
    let file = StatusFile::overview(&overview, NOW);
    assert!(file.length() < 128 * 1024);
    serde_json::from_str(&file.text()).unwrap()
}

#[test]
fn has_the_shape_that_the_agent_demands() {
    let file = overview(Phase::Polling, &[current(), missing("no role")]);
    let status = &file[0]["status"];
    assert_eq!(file[0]["version"], 1.0);
    assert_eq!(file[0]["timestampUTC"], "1970-01-01T00:00:00Z");
    assert_eq!((&status["status"], &status["code"]), (&"success".into(), &0.into()));
    assert_eq!(
        status["formattedMessage"]["message"],
        "1 of 2 certificates installed; failing: contoso.c1: no role; identity: the system-assigned identity; \
         next poll 1970-01-01T00:00:00Z"
    );
    assert_eq!(
        status["substatus"][0]["formattedMessage"]["message"],
        format!(
            "version 0123456789abcdef0123456789abcdef, thumbprint {}, expires 1970-03-22T00:00:00Z; \
             /var/lib/waagent/Microsoft.Azure.KeyVault.Store/contoso.c0",
            "AB".repeat(20)
        )
    );
    assert_eq!((&status["substatus"][1]["status"], &status["substatus"][1]["code"]), (&"error".into(), &31.into()));
}

#[test]
fn tells_two_links_to_one_secret_apart() {
    let url = "https://contoso.vault.azure.net/secrets/web";
    let json = format!(
        r#"{{"secretsManagementSettings": {{"observedCertificates": ["{url}",
            {{"url": "{url}", "customSymbolicLinkName": "web.pem"}}]}}}}"#
    );
    let certificates = Settings::parse(json.as_bytes(), &Clouds::built_in()).unwrap().certificates;
    let reports = [current(), missing("no role")];
    let overview = Overview {
        phase: Phase::Polling,
        identity: None,
        certificates: &certificates,
        reports: &reports,
        next_poll: None,
    };
    let file: Value = serde_json::from_str(&StatusFile::overview(&overview, NOW).text()).unwrap();
    let status = &file[0]["status"];
    assert_eq!(
        (&status["substatus"][0]["name"], &status["substatus"][1]["name"]),
        (&"contoso.web".into(), &"web.pem".into())
    );
    let message = status["formattedMessage"]["message"].as_str().unwrap();
    assert!(message.contains("failing: web.pem: no role"), "{message}");
}

#[test]
fn only_success_and_error_end_a_deployment() {
    for (phase, word, code) in [
        (Phase::InitialSync, "transitioning", 0),
        (Phase::InitialSyncFailed, "error", CODE_INITIAL_SYNC),
        (Phase::Polling, "success", 0),
    ] {
        let file = overview(phase, &[missing("no role")]);
        assert_eq!((&file[0]["status"]["status"], &file[0]["status"]["code"]), (&word.into(), &code.into()));
    }
}

#[test]
fn an_error_of_the_service_comes_before_all_else_and_leaves_the_certificates_alone() {
    let certificates = certificates(1);
    let overview = Overview {
        phase: Phase::Polling,
        identity: None,
        certificates: &certificates,
        reports: &[current()],
        next_poll: None,
    };
    let file: Value =
        serde_json::from_str(&StatusFile::overview(&overview, NOW).although("it crashes").text()).unwrap();
    let status = &file[0]["status"];
    assert_eq!((&status["status"], &status["code"]), (&"error".into(), &CODE_SERVICE.into()));
    assert_eq!(status["formattedMessage"]["message"], "it crashes; 1 of 1 certificates installed");
    assert_eq!(status["substatus"][0]["status"], "success");
}

#[test]
fn lists_the_failures_only_when_there_are_too_many_certificates() {
    let mut reports = vec![current(); 2000];
    reports[1234] = missing("no role");
    let file = overview(Phase::Polling, &reports);
    let substatus = file[0]["status"]["substatus"].as_array().unwrap();
    assert_eq!(substatus.len(), 1);
    assert_eq!(substatus[0]["name"], "contoso.c1234");
}

#[test]
fn stays_below_the_agents_limit_whatever_fails_with_whatever_words() {
    let file = overview(Phase::Polling, &vec![missing(&"\u{1b}".repeat(100_000)); 1000]);
    assert!(!file[0]["status"]["substatus"].as_array().unwrap().is_empty());
}

#[test]
fn points_out_what_has_expired_or_expires_soon() {
    let mut report = current();
    let State::Current { installed, .. } = &mut report.state else { unreachable!() };
    installed.not_after = Timestamp::from_second(86_400).unwrap();
    let file = overview(Phase::Polling, &[report]);
    let message = file[0]["status"]["formattedMessage"]["message"].as_str().unwrap();
    assert!(message.contains("1 expired or expiring soon"), "{message}");
    let message = file[0]["status"]["substatus"][0]["formattedMessage"]["message"].as_str().unwrap();
    assert!(message.contains("expires soon and the vault has nothing newer"), "{message}");
}
