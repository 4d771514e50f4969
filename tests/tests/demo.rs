//! The demonstration of README's first command, from start to end. The package and the emulator are built already when
//! tests run, so what it takes is what it takes the second time.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_demonstration_shows_a_renewal_and_a_certificate_that_breaks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let store = Path::new("/etc/nginx/tls");
    let before = store.exists();
    // The time limit is for a machine that has to build first.
    let output =
        Command::new("timeout").arg("600").arg(root.join("scripts/demo")).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "success: 3 of 3 certificates installed; identity",
        "\nbefore: serial=",
        "\nnow:    serial=",
        "contoso.api: error: version",
        "ForbiddenByRbac: give the identity the role Key Vault Secrets User",
        "uninstalled; certificates stay",
        "nothing outside this private world was changed",
    ] {
        assert!(told.contains(line), "{line:?} is missing in:\n{told}");
    }
    assert_eq!(store.exists(), before, "the private world leaked");
}
