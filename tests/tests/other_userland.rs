//! The package on another distribution than the one it was built on: Ubuntu 22.04, with its own, older C library, its own
//! name service and its own trust store. That nothing newer than glibc 2.34 is needed is checked when the package is made.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::handler_story::{Extension, observed, program, repository, target};
use tests::story::{Finished, observing};

/// Where the other userland is on the machine of the story.
const ROOT: &str = "/srv/jammy";
/// How the setup says that the archive cannot be asked from this network.
const OUT_OF_REACH: i32 = 75;

/// Puts Ubuntu's files over the disk of the story, which takes what is written.
fn ubuntu() -> Option<Extension> {
    // Before the story begins, which has no network but its own.
    let setup = repository().join("tests/userland/setup");
    let status = Command::new(&setup).env("CARGO_TARGET_DIR", target().unwrap()).status().unwrap();
    if status.code() == Some(OUT_OF_REACH) {
        eprintln!("skipped: the Ubuntu archive is out of reach from here");
        return None;
    }
    assert!(status.success(), "{}: failed", setup.display());
    let lower = target().unwrap().join("userland/jammy");

    let extension = Extension::begin().unwrap();
    for folder in ["/srv/upper", ROOT] {
        fs::create_dir(folder).unwrap();
    }
    extension.story.world().tmpfs(Path::new("/srv/upper"), "mode=0755").unwrap();
    for folder in ["/srv/upper/files", "/srv/upper/work"] {
        fs::create_dir(folder).unwrap();
    }
    let options = format!("lowerdir={},upperdir=/srv/upper/files,workdir=/srv/upper/work", lower.display());
    extension.run("mount", &["-t", "overlay", "-o", &options, "overlay", ROOT]).unwrap();
    extension.run("mount", &["-t", "proc", "proc", &format!("{ROOT}/proc")]).unwrap();
    fs::copy("/etc/hosts", format!("{ROOT}/etc/hosts")).unwrap();
    append("etc/ssl/certs/ca-certificates.crt", extension.story.azure.root_pem());
    append("etc/passwd", "app:x:61001:61001::/nonexistent:/usr/sbin/nologin\n");
    append("etc/group", "app:x:61001:\n");
    for name in ["akvvm_service", "akvvm_handler"] {
        fs::copy(program(name).unwrap(), format!("{ROOT}/opt/{name}")).unwrap();
    }
    Some(extension)
}

fn append(path: &str, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(Path::new(ROOT).join(path)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Runs a command in there.
fn inside(extension: &Extension, command: &[&str]) -> Finished {
    extension.attempt("chroot", &[&[ROOT], command].concat()).unwrap()
}

fn write_settings(settings: &Value) {
    fs::write(format!("{ROOT}/opt/0.settings"), settings.to_string()).unwrap();
}

#[test]
fn the_package_works_on_ubuntu_22_04() {
    let Some(extension) = ubuntu() else { return };
    let release = inside(&extension, &["ldd", "--version"]).output;
    assert!(release.contains("2.35"), "{release}");
    let (_, version) = extension.story.put("web").unwrap();
    let checked = |expected: Option<i32>| {
        let checked = inside(&extension, &["/opt/akvvm_service", "check", "/opt/0.settings"]);
        assert_eq!(checked.code, expected, "{checked:?}");
    };
    write_settings(&json!({"secretsManagementSettings": {"observedCertificates": ["http://contoso/"]}}));
    checked(Some(2));
    write_settings(&observing(&[observed("web", "/etc/certs", &json!({"acls": [{"user": "app"}]}))]));
    checked(Some(0));

    let synced = inside(&extension, &["/opt/akvvm_service", "sync", "/opt/0.settings"]);
    assert_eq!(synced.code, Some(0), "{synced:?}");
    let file = format!("/etc/certs/contoso.web.{version}");
    let as_app = ["setpriv", "--reuid", "app", "--regid", "app", "--init-groups", "cat", "/etc/certs/contoso.web"];
    let read = inside(&extension, &as_app);
    assert_eq!(read.output, fs::read_to_string(format!("{ROOT}{file}")).unwrap());
    assert!(read.output.ends_with("-----END PRIVATE KEY-----\n"), "{read:?}");

    let installed = inside(&extension, &["/opt/akvvm_handler", "install"]);
    assert_eq!(installed.code, Some(0), "{installed:?}");
}
