//! What a network file system says when the server has forgotten a file, and a kernel that has no memory left, at each kind of
//! call by which a certificate is installed. The error campaign makes all others.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tests::handler_story::{DISK, Extension, observed, unfinished};
use tests::story::observing;

const STORE: &str = "/srv/certs";
const LINK: &str = "/srv/certs/contoso.web";

#[test]
fn a_stale_file_handle_and_a_kernel_without_memory_are_named_with_the_path_and_lose_nothing() {
    let extension = Extension::begin().unwrap();
    let settings = observing(&[observed("web", STORE, &json!({}))]);
    extension.story.put("web").unwrap();
    assert_eq!(extension.sync(&settings).unwrap().code(), Some(0));
    let trace = extension.story.folder().join("trace").to_string_lossy().into_owned();
    // What is asked for once more goes on.
    let mut reported = vec![];
    for (error, words) in [("ESTALE", "Stale file handle"), ("ENOMEM", "Cannot allocate memory")] {
        for call in ["openat", "fstat", "write", "fsync", "symlinkat", "renameat,renameat2"] {
            let moment = format!("{error} at {call}");
            let (before, kept) = (fs::read_link(LINK).unwrap(), fs::read(LINK).unwrap());
            let (_, version) = extension.story.put("web").unwrap();
            // The first write is that of the lock.
            let count = if call == "write" { 2 } else { 1 };
            let (filter, inject) = (format!("trace={call}"), format!("inject={call}:error={error}:when={count}"));
            let mut strace = vec!["strace", "-f", "-qq", "-y", "-o", &trace, "-e", &filter, "-e", &inject];
            // The loader and the library open and look at files, too; these are the store's.
            if ["openat", "fstat"].contains(&call) {
                strace.extend(["-P", DISK, "-P", STORE]);
            }
            let synced = extension.sync_under(&strace, &settings).unwrap();
            let met = fs::read_to_string(&trace).unwrap();
            assert!(met.lines().any(|line| line.contains("(INJECTED)") && line.contains(DISK)), "{moment}: {met}");
            let newest = format!("contoso.web.{version}");
            match synced.error(0) {
                Ok((_, message)) => {
                    assert!(message.contains(words) && message.contains(DISK), "{moment}: {message}");
                    assert_eq!((fs::read_link(LINK).unwrap(), fs::read(LINK).unwrap()), (before, kept), "{moment}");
                    reported.push(call);
                }
                Err(_) => assert_eq!(fs::read_link(LINK).unwrap(), Path::new(&newest), "{moment}: it went on"),
            }

            assert_eq!(extension.sync(&settings).unwrap().code(), Some(0), "{moment}");
            assert_eq!(fs::read_link(LINK).unwrap(), Path::new(&newest), "{moment}");
            assert_eq!(unfinished(&[DISK]), Vec::<PathBuf>::new(), "{moment}");
        }
    }
    for call in ["write", "fsync", "symlinkat", "renameat,renameat2"] {
        assert_eq!(reported.iter().filter(|other| **other == call).count(), 2, "{call}: {reported:?}");
    }
}
