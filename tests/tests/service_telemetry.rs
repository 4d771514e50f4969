//! What leaves the machine by way of the guest agent: nothing unless it is asked for, and never a name.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::story::{Service, Story, wait_for};

const LONG: Duration = Duration::from_secs(30);

/// Settings that observe `web` and `late`, and allow events.
fn settings(story: &Story) -> Value {
    let mut settings = story.observing(&["web", "late"]);
    settings["loggingSettings"] = json!({"telemetryEvents": true});
    settings
}

/// Starts the service with the agent's folders for logs and events.
fn start(story: &Story, settings: &Value) -> (Service, PathBuf, PathBuf) {
    let (log, events) = (story.folder().join("log"), story.folder().join("log/events"));
    fs::create_dir_all(&events).unwrap();
    let arguments = ["--log-folder", log.to_str().unwrap(), "--events-folder", events.to_str().unwrap()];
    let service = story.run_as(settings, &arguments, &[]).unwrap();
    (service, log, events)
}

/// Collects what is in the folder as the agent does: every value must be a string, and every file goes.
fn collect(folder: &Path) -> Vec<Value> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let take = |path: &PathBuf| {
        let digits = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")).unwrap();
        assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{}", path.display());
        let event: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for key in ["Version", "Timestamp", "TaskName", "EventLevel", "Message", "EventPid", "EventTid", "OperationId"]
        {
            assert!(event[key].is_string(), "{key}: {event}");
        }
        fs::remove_file(path).unwrap();
        event
    };
    files.iter().map(take).collect()
}

fn wait_for_polls(log: &Path, times: usize) -> String {
    let read = || fs::read_to_string(log.join("akvvm_service.log")).unwrap_or_default();
    let polled = || Some(read()).filter(|text| text.matches("next poll in").count() >= times);
    wait_for(LONG, "poll", polled).unwrap_or_else(|error| panic!("{error}: {}", read()))
}

#[test]
fn events_tell_the_start_what_changed_and_the_first_complete_sync_and_no_name() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let (service, log, events) = start(&story, &settings(&story));
    wait_for_polls(&log, 1);
    let told = collect(&events);
    let messages: Vec<_> = told.iter().map(|event| event["Message"].as_str().unwrap()).collect();
    let failed = "1 of 2 certificates installed, 1 failed, codes 32";
    assert_eq!(messages, ["started, 2 certificates observed", failed]);
    assert!(told.iter().all(|event| event["OperationId"] == told[0]["OperationId"]));

    story.put("late").unwrap();
    for polls in 2..=3 {
        service.signal(Signal::HUP).unwrap();
        wait_for_polls(&log, polls);
    }
    let all = [told, collect(&events)].concat();
    let tasks: Vec<_> = all.iter().map(|event| event["TaskName"].as_str().unwrap()).collect();
    assert_eq!(tasks, ["Start", "Pass", "FirstCompleteSync", "Pass"]);
    let text = json!(all).to_string();
    for name in ["web", "late", "contoso", "vault", "/"] {
        assert!(!text.contains(name), "{name}: {text}");
    }
}

#[test]
fn nothing_is_told_unless_the_settings_ask_for_it_and_the_agent_takes_it() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    for logging in [json!({}), json!({"telemetryEvents": false}), json!({"telemetryEvents": "maybe"})] {
        let mut settings = settings(&story);
        settings["loggingSettings"] = logging;
        let (service, log, events) = start(&story, &settings);
        let text = wait_for_polls(&log, 1);
        assert!(!text.contains("telemetry") || text.contains("no events are sent"), "{text}");
        assert_eq!(collect(&events), [] as [Value; 0]);
        drop(service);
        fs::remove_file(log.join("akvvm_service.log")).unwrap();
    }
    let service = story.run(&settings(&story)).unwrap();
    service.wait_for_log(LONG, "loggingSettings.telemetryEvents has no effect", 1).unwrap();
}

#[test]
fn an_events_folder_that_cannot_be_written_is_said_once_and_stops_nothing() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    // Another file system: nothing can be renamed into it.
    story.world().tmpfs(&story.folder().join("log/events"), "size=1m").unwrap();
    let (service, log, events) = start(&story, &settings(&story));
    wait_for_polls(&log, 1);
    story.put("late").unwrap();
    service.signal(Signal::HUP).unwrap();
    let text = wait_for_polls(&log, 2);
    assert_eq!(text.matches("no telemetry event can be written").count(), 1, "{text}");
    assert!(text.contains("2 of 2 certificates installed"), "{text}");
    assert_eq!(collect(&events), [] as [Value; 0]);
    assert_eq!(fs::read_dir(&log).unwrap().count(), 2, "nothing is left beside the log and the folder");
}
