//! The package for Linux on ARM64, with its programs run by an emulator of such a processor.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use serde_json::json;
use tests::handler_story::{Extension, observed, package_for_arm64, unpack};
use tests::story::{Finished, observing};

/// Where Debian has the C library for ARM64.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu/lib";

#[test]
fn the_package_for_arm64_brings_a_certificate_to_the_disk() {
    let extension = Extension::begin().unwrap();
    let folder = extension.story.folder().join("arm64");
    unpack(&package_for_arm64().unwrap(), &folder).unwrap();
    let run = |program: &str, words: &[&str]| -> Finished {
        let (loader, program) = (format!("{LIBRARIES}/ld-linux-aarch64.so.1"), folder.join(program));
        let program = program.display().to_string();
        // By its loader: with a folder in which the emulator looks for libraries, `/` would be that folder.
        let loaded = [loader.as_str(), "--library-path", LIBRARIES, &program];
        extension.attempt("qemu-aarch64-static", &[&loaded, words].concat()).unwrap()
    };
    let (issued, version) = extension.story.put("web").unwrap();
    let settings = observing(&[observed("web", "/srv/certs", &json!({"acls": [{"user": "nobody"}]}))]);
    let file = extension.story.write_settings(&settings).unwrap().display().to_string();
    let checked = run("akvvm_service", &["check", &file]);
    assert_eq!(checked.code, Some(0), "{checked:?}");

    let synced = run("akvvm_service", &["sync", &file]);
    assert_eq!(synced.code, Some(0), "{synced:?}");
    let installed = fs::read_to_string("/srv/certs/contoso.web").unwrap();
    let leaf = String::from_utf8(issued.leaf.to_pem().unwrap()).unwrap();
    assert!(installed.starts_with(&leaf) && installed.ends_with("-----END PRIVATE KEY-----\n"));
    assert!(fs::read_link("/srv/certs/contoso.web").unwrap().to_string_lossy().ends_with(version.as_str()));

    let usage = run("akvvm_handler", &["--help"]);
    assert_eq!(usage.code, Some(0), "{usage:?}");
}
