//! What the service writes down: everything in its log file, changes and errors in the journal, nothing twice, and never at
//! the cost of its work.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::fault::{Fault, Scope, Times};
use tests::http::Response;
use tests::story::{Service, Story, wait_for};
use tests::wire::Wire;

const LONG: Duration = Duration::from_secs(30);

/// A service with a log folder; what it says on standard error is the journal's.
struct Logged {
    service: Service,
    file: PathBuf,
}

impl Logged {
    fn start(story: &Story, folder: &Path, document: &Value) -> Self {
        let journal = File::create(story.folder().join("service.log")).unwrap().metadata().unwrap();
        let stream = format!("{}:{}", journal.dev(), journal.ino());
        let arguments = ["--log-folder", folder.to_str().unwrap()];
        let service = story.run_as(document, &arguments, &[("JOURNAL_STREAM", &stream)]).unwrap();
        Self { service, file: folder.join("akvvm_service.log") }
    }

    fn file(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn wait_for(&self, words: &str, times: usize) {
        let found = wait_for(LONG, words, || (self.file().matches(words).count() >= times).then_some(()));
        found.unwrap_or_else(|error| panic!("{error}: {}", self.file()));
    }

    fn journal(&self) -> Vec<String> {
        self.service.log().unwrap().lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_journal_gets_changes_and_errors_without_time_stamps_and_the_file_everything() {
    let story = Story::begin().unwrap();
    let (_, version) = story.put("web").unwrap();
    let folder = story.folder().join("log");
    let mut document = story.observing(&["web"]);
    document["secretsManagementSettings"]["certificateStoreLocation"] = json!(story.folder().join("store"));
    let logged = Logged::start(&story, &folder, &document);
    logged.wait_for("next poll in", 1);
    let body = json!({"error": {"code": "Forbidden", "message": "oid=11112222 may not"}});
    story.azure.fault(Scope::secret("contoso", "web"), Fault::Answer(Response::json(403, &body)), Times::Always);
    logged.service.signal(Signal::HUP).unwrap();
    logged.wait_for("next poll in", 2);

    let place = story.folder().join("store/contoso.web");
    let installed = format!("certificate file name: {}.{version}: installed", place.display());
    let (file, journal) = (logged.file(), logged.journal());
    for line in file.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && rest.len() > 6, "{line}");
    }
    assert!(file.contains(&format!("INFO  {installed}")), "{file}");
    assert!(journal.contains(&format!("<6>{installed}")), "{journal:?}");
    assert!(journal.iter().any(|line| line.starts_with("<4>") && line.contains("contoso.vault.azure.net")), "{file}");
    assert!(file.contains("oid=11112222") && !journal.concat().contains("oid=11112222"), "{journal:?}");
    assert!(journal.iter().all(|line| ["<3>", "<4>", "<6>"].contains(&&line[..3])), "{journal:?}");
    assert_eq!(journal.iter().filter(|line| line.contains("next poll in")).count(), 1, "{journal:?}");
}

#[test]
fn an_error_that_all_certificates_share_is_written_once_and_counted() {
    let story = Story::begin().unwrap();
    let names: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    story.put("c0").unwrap();
    story.azure.fault(Scope::vault("contoso"), Wire::Reset, Times::Always);
    let service = story.run(&story.observing(&names)).unwrap();
    service.wait_for_log(LONG, "0 of 40 certificates installed", 1).unwrap();
    let log = service.log().unwrap();
    let problem = log.lines().find(|line| line.contains("WARN")).unwrap().split_once("WARN  ").unwrap().1.to_owned();
    assert_eq!(log.matches(problem.as_str()).count(), 2, "{log}");
    assert!(log.contains(&format!("same warning 39 times: {problem}")), "{log}");
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing_and_comes_back() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let folder = story.folder().join("log");
    story.world().tmpfs(&folder, "size=64k").unwrap();
    let filler = folder.join("filler");
    // Fills the disk: the write that fails is the one that shows that it is full.
    fs::write(&filler, vec![0; 128 * 1024]).unwrap_err();
    let logged = Logged::start(&story, &folder, &story.observing(&["web"]));
    let installed = |thumbprint: &str| {
        let has = |message: Option<String>| message.is_some_and(|message| message.contains(thumbprint));
        logged
            .service
            .wait_until(LONG, |reported| reported.substatus.iter().any(|substatus| has(substatus.message.clone())))
    };
    installed("thumbprint").unwrap();
    assert_eq!(logged.file(), "");

    fs::remove_file(&filler).unwrap();
    let (_, version) = story.put("web").unwrap();
    logged.service.signal(Signal::HUP).unwrap();
    installed(&version).unwrap();
    logged.wait_for("next poll in", 1);

    fs::remove_file(&logged.file).unwrap();
    logged.service.signal(Signal::HUP).unwrap();
    logged.wait_for("next poll in", 1);
}
