//! The demonstration of README's first command, from start to end and broken off. The package and the emulator are built
//! already when tests run, so what it takes is what it takes the second time.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// The demonstration makes the package: one at a time.
static PACKAGE: Mutex<()> = Mutex::new(());

/// The demonstration, with five minutes to end and a folder for its temporary files.
fn demonstration(temporary: &Path) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new("timeout");
    command.args(["--foreground", "--kill-after", "10", "300"]).arg(root.join("scripts/demo"));
    command.env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

/// The processes below this one: number and command line. Looked for a few times, because a child may be listed before its
/// parent; not until there is no new one, because the demonstration starts some all the time.
fn descendants(ancestor: u32) -> Vec<(u32, String)> {
    let mut family = HashSet::from([ancestor]);
    let mut found = Vec::new();
    for _ in 0..3 {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // A name in brackets, which may hold anything, then the state and the parent's number.
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
            if parent.is_some_and(|parent| family.contains(&parent)) && family.insert(id) {
                let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push((id, String::from_utf8_lossy(&words).replace('\0', " ")));
            }
        }
    }
    found
}

/// Whether this process lives; a dead one that nobody waited for has no program any more.
fn lives(id: u32) -> bool {
    fs::read_link(format!("/proc/{id}/exe")).is_ok()
}

#[test]
fn shows_a_renewal_and_a_certificate_that_breaks() {
    let _alone = PACKAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    let store = Path::new("/etc/nginx/tls");
    let before = store.exists();
    let output = demonstration(temporary.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = &*told;
    for words in [
        "\n== A metadata service, and a vault",
        "Required metadata header not specified",
        "AKV10000",
        "\"customSymbolicLinkName\": \"mail.pem\"",
        "enable 1.0.0: exit 0",
        "  transitioning: ",
        "  success: 3 of 3 certificates installed\n",
        "contoso.web -> contoso.web.",
        "subject=CN",
        "user:www-data:r--",
        "\nbefore: serial=",
        "\nnow:    serial=",
        "failing: contoso.api",
        "contoso.api: error: version",
        "ForbiddenByRbac",
        "$ kill -HUP",
        "contoso.api: success",
        "uninstalled; certificates stay",
        "nothing outside this private world was changed",
    ] {
        let found = rest.split_once(words);
        assert!(found.is_some(), "{words:?} is missing, or not in its place, in:\n{told}");
        rest = found.unwrap().1;
    }
    let (_, story) = told.split_once("\n== A metadata service").unwrap();
    let long = story.lines().find(|line| line.chars().count() > 100);
    assert_eq!(long, None, "too long for a terminal");
    assert_eq!(store.exists(), before, "the private world leaked");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "temporary files are left");
}

#[test]
fn ends_everything_when_it_is_interrupted() {
    let _alone = PACKAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    // As on a terminal, where Ctrl-C goes to all processes of the group.
    let mut command = demonstration(temporary.path());
    let mut child = command.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("  transitioning: ")), "it ended before");
    let processes = descendants(child.id());
    assert!(processes.iter().any(|(_, words)| words.contains("akvvm_service run")), "{processes:?}");

    let group = Pid::from_child(&child);
    kill_process_group(group, Signal::INT).unwrap();
    // With the last process that could write, the output ends.
    let interrupted = Instant::now();
    let told: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(!told.iter().any(|line| line.contains("success:")), "it went on: {told:#?}");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{status}");
    while processes.iter().any(|(id, _)| lives(*id)) && interrupted.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(50));
    }
    let left: Vec<_> = processes.iter().filter(|(id, _)| lives(*id)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "temporary files are left");
}
