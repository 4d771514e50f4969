//! A service on Windows that is killed between any two steps of an installation leaves nothing behind that stays.

#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use tests::pki::{KeyKind, Request};
use tests::story::{Finished, Story, finish, observing};
use tests::wine::{Whose, Wine, windows_path};

/// The store that certificates go into.
const STORE: &str = "MY";
/// Hexadecimal digits of a request that carries a name or a value worth one.
const LONG: usize = 100;
/// The installation is within so many of the last requests of a pass.
const LAST: usize = 96;

/// Settings for a new certificate of the vault. Names of one length keep the requests of all passes alike.
fn observe(story: &Story, name: &str, kind: KeyKind) -> Value {
    let issued = story.authority.issue(&Request::new(&format!("{name}.contoso.com")).key(kind)).unwrap();
    story.put_bundle(name, issued.pem().unwrap()).unwrap();
    observing(&[json!({"url": story.url(name), "accounts": ["NETWORK SERVICE"]})])
}

/// A pass under strace; answers what became of it.
fn traced(wine: &Wine<'_>, settings: &Value, options: &[&str]) -> anyhow::Result<Finished> {
    let story = wine.story();
    let settings = windows_path(&story.write_settings(settings).unwrap());
    let service = wine.unprivileged_service(&["sync", &settings]).unwrap();
    let mut command = story.world().command("strace");
    command.args(["-f", "-qq", "-xx", "-s", "700", "-e", "trace=writev"]).args(options);
    command.arg(service.get_program()).args(service.get_args());
    command.envs(service.get_envs().filter_map(|(name, value)| Some((name, value?))));
    finish(&mut command)
}

/// What a whole pass asks of Wine's server with a name or a value in it, which is one call of `writev` each, by its busiest
/// thread: what kind of request, and the name or value. All changes of the registry are among them, where Wine has keys of
/// CAPI and certificates, and those of files.
fn requests(wine: &Wine<'_>, settings: &Value) -> Vec<(String, String)> {
    let trace = wine.story().folder().join("trace");
    let finished = traced(wine, settings, &["-o", &trace.to_string_lossy()]).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let text = std::fs::read_to_string(&trace).unwrap();
    let mut threads = HashMap::<&str, Vec<(String, String)>>::new();
    for line in text.lines().filter(|line| line.contains("writev(")) {
        let (fixed, carried) = line.split_once("}, {").unwrap_or((line, ""));
        // The kind is the first number, four bytes as `\x00`.
        let kind = fixed.split('"').nth(1).unwrap_or_default().chars().take(16).collect();
        let thread = line.split_whitespace().next().unwrap();
        threads.entry(thread).or_default().push((kind, carried.to_owned()));
    }
    threads.into_values().max_by_key(Vec::len).unwrap()
}

/// The certificates that are there, each whole: its key signs, is closed, and may be read by those who should.
fn whole(wine: &Wine<'_>, when: &str) -> Vec<Value> {
    let store = wine.store(Whose::Machine, STORE).unwrap();
    for held in &store {
        let key = &held["key"];
        let access = key["access"].as_str().unwrap_or_default();
        let is_whole = key["signs"] == json!(true) && key["exports"] == json!(false) && access.contains(";;;NS)");
        assert!(is_whole, "{when}: {store:#?}");
    }
    store
}

/// Takes certificates and keys away, so that the next pass finds what this one found.
fn clear(wine: &Wine<'_>, service: &str) {
    for held in wine.store(Whose::Machine, STORE).unwrap() {
        let [container, thumbprint] = [&held["key"]["container"], &held["thumbprint"]].map(|value| value.as_str());
        wine.inspect(&["delete", "machine", service, container.unwrap()]).unwrap();
        wine.inspect(&["remove", "machine", STORE, thumbprint.unwrap()]).unwrap();
    }
}

/// Kills passes that install certificates with keys of this kind, each before another step: a request that a pass which
/// changes nothing does not make.
fn kill_before_each_step(kind: KeyKind, service: &str) {
    let story = Story::begin().unwrap();
    let wine = Wine::install(&story).unwrap();
    // The first pass of all also tells Windows of the roots outside.
    requests(&wine, &observe(&story, "web-00", kind));
    clear(&wine, service);
    let settings = observe(&story, "web-01", kind);
    let installing = requests(&wine, &settings);
    let unchanged: HashSet<_> = requests(&wine, &settings).into_iter().collect();
    clear(&wine, service);
    let is_step = |at: &usize| installing[*at].1.len() > LONG && !unchanged.contains(&installing[*at]);
    let steps: Vec<_> = (installing.len().saturating_sub(LAST)..installing.len()).filter(is_step).collect();
    assert!(steps.len() >= 5, "{steps:?}");

    let mut killed = 0;
    for (number, step) in steps.iter().enumerate() {
        let when = format!("killed before step {} of {}", number + 1, steps.len());
        let settings = observe(&story, &format!("web-{:02}", number + 2), kind);
        // It counts from one.
        let inject = format!("inject=writev:signal=KILL:when={}", step + 1);
        match traced(&wine, &settings, &["-o", "/dev/null", "-e", &inject]) {
            Ok(finished) => assert_eq!(finished.code, Some(0), "{finished:?}"),
            Err(error) => {
                assert!(format!("{error:#}").contains("ended by signal 9"), "{error:#}");
                killed += 1;
            }
        }
        whole(&wine, &when);
        for changed in [None, Some(false)] {
            let synced = wine.sync(&settings).unwrap();
            assert_eq!(synced.code(), Some(0), "{when}: {synced:?}");
            let was = synced.certificate(0)["changed"].as_bool();
            assert!(changed.is_none() || was == changed, "{when}: {synced:?}");
        }
        let store = whole(&wine, &when);
        let used: Vec<_> = store.iter().map(|held| held["key"]["container"].as_str().unwrap()).collect();
        assert_eq!(
            (used.len(), wine.keys(Whose::Machine).unwrap()),
            (1, used.iter().map(|key| (*key).to_owned()).collect()),
            "{when}"
        );
        clear(&wine, service);
    }
    // A pass may be a few requests shorter than the one before it.
    assert!(killed * 3 > steps.len() * 2, "killed {killed} times at {steps:?}");
}

#[test]
fn leaves_nothing_of_a_key_in_capi_behind_wherever_it_is_killed() {
    kill_before_each_step(KeyKind::Rsa2048, "capi");
}

#[test]
fn leaves_nothing_of_a_key_in_cng_behind_wherever_it_is_killed() {
    kill_before_each_step(KeyKind::P256, "cng");
}
