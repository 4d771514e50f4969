//! A clock that somebody sets while the service sleeps.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tests::story::{Service, Story, finish, observing};

const PATIENCE: Duration = Duration::from_secs(60);
const STORE: &str = "/var/lib/waagent/Microsoft.Azure.KeyVault.Store";
const TEN_YEARS: i64 = 10 * 365 * 86_400;

/// A machine whose clock can be set.
struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    fn new(story: &Story) -> Self {
        let (library, file) = (story.folder().join("offset.so"), story.folder().join("offset"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clock/offset.c");
        let mut compiler = Command::new("gcc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        let compiled = finish(&mut compiler).unwrap();
        assert_eq!(compiled.code, Some(0), "{compiled:?}");
        let clock = Self { library, file };
        clock.set(0);
        clock
    }

    /// So many seconds from the true time.
    fn set(&self, seconds: i64) {
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, seconds.to_string()).unwrap();
        fs::rename(fresh, &self.file).unwrap();
    }

    fn run(&self, story: &Story) -> Service {
        let environment =
            [("LD_PRELOAD", self.library.to_str().unwrap()), ("CLOCK_OFFSET_FILE", self.file.to_str().unwrap())];
        story.run_with(&observing(&[json!(story.url("web"))]), &environment).unwrap()
    }
}

fn linked() -> PathBuf {
    fs::read_link(Path::new(STORE).join("contoso.web")).unwrap()
}

#[test]
fn a_clock_that_jumps_is_named_keeps_the_certificate_and_heals() {
    let story = Story::begin().unwrap();
    let clock = Clock::new(&story);
    let (_, mut version) = story.put("web").unwrap();
    let service = clock.run(&story);
    service.wait_for_log(PATIENCE, "1 of 1 certificates installed", 1).unwrap();
    for (seconds, direction) in [(TEN_YEARS, "ahead"), (-TEN_YEARS, "back")] {
        let installed = PathBuf::from(format!("contoso.web.{version}"));
        clock.set(seconds);
        version = story.put("web").unwrap().1;
        let before = story.azure.requests().len();
        service.poll().unwrap();
        let log = service.log().unwrap();
        assert!(log.contains("not valid at this time") && log.contains("clock"), "{direction}: {log}");
        assert_eq!(linked(), installed, "{direction}");
        // What waits for a wall clock would ask without a pause now, or not for ten years.
        assert!(story.azure.requests().len() - before < 5, "{direction}: a busy loop");
        assert!(log.rsplit("next poll in").next().is_some_and(|rest| !rest.contains("year")), "{direction}: {log}");
        clock.set(0);
        service.poll().unwrap();
        assert_eq!(linked(), PathBuf::from(format!("contoso.web.{version}")), "{direction}: healed");
    }
    assert_eq!(service.end().unwrap().0, Some(0));
}
