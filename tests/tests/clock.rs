//! A clock that somebody sets while the service sleeps.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::clock::Clock;
use tests::story::Story;

const PATIENCE: Duration = Duration::from_secs(60);
const STORE: &str = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store";
const TEN_YEARS: i64 = 10 * 365 * 86_400;

fn linked() -> PathBuf {
    fs::read_link(Path::new(STORE).join("contoso.web")).unwrap()
}

#[test]
fn a_clock_that_jumps_is_named_keeps_the_certificate_and_heals() {
    let story = Story::begin().unwrap();
    let clock = Clock::new(&story).unwrap();
    let (_, mut version) = story.put("web").unwrap();
    let service = story.run_with(&story.observing(&["web"]), &clock.environment()).unwrap();
    service.wait_for_log(PATIENCE, "1 of 1 certificates installed", 1).unwrap();
    for (seconds, direction) in [(TEN_YEARS, "ahead"), (-TEN_YEARS, "back")] {
        let installed = PathBuf::from(format!("contoso.web.{version}"));
        clock.set(seconds).unwrap();
        version = story.put("web").unwrap().1;
        let before = story.azure.requests().len();
        service.poll().unwrap();
        let log = service.log().unwrap();
        assert!(log.contains("not valid at this time") && log.contains("clock"), "{direction}: {log}");
        assert_eq!(linked(), installed, "{direction}");
        // What waits for a wall clock would ask without a pause now, or not for ten years.
        assert!(story.azure.requests().len() - before < 5, "{direction}: a busy loop");
        assert!(log.rsplit("next poll in").next().is_some_and(|rest| !rest.contains("year")), "{direction}: {log}");
        clock.set(0).unwrap();
        service.poll().unwrap();
        assert_eq!(linked(), PathBuf::from(format!("contoso.web.{version}")), "{direction}: healed");
    }
    assert_eq!(service.end().unwrap().0, Some(0));
}
