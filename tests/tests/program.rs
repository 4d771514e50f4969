//! The emulator as a program: started, told what to do, and ended, as somebody at a terminal would.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;
use tests::world::World;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn emulator(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_azure-emulator"));
    command.arg("--folder").arg(folder).stdin(Stdio::null());
    command
}

/// What an order printed; it must succeed.
fn tell(folder: &Path, words: &[&str]) -> String {
    let output = emulator(folder).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", complaint(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Ends the emulator when a test fails, too.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `run` and reads what it prints up to the list of its secrets.
fn run(folder: &Path) -> (Running, Vec<String>) {
    let mut child = emulator(folder).arg("run").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    for line in lines {
        printed.push(line.unwrap());
        if printed.last().is_some_and(|line| line.contains("/secrets/web")) {
            break;
        }
    }
    (Running(child), printed)
}

#[test]
fn runs_takes_orders_and_ends_without_a_trace() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("emulator");
    let (mut running, printed) = run(&folder);
    let exported = |name: &str| {
        let prefix = format!("export {name}=");
        printed.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
    };
    let curl = |path: &str| {
        let mut command = Command::new("curl");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.args(["-sS", "--max-time", "3", "--proxy", &exported("HTTPS_PROXY")]);
        command.args(["--cacert", &exported("SSL_CERT_FILE")]);
        let output = command.arg(format!("https://contoso.vault.azure.net{path}")).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert!(curl("/secrets/web?api-version=7.4").contains("AKV10000"));

    let first = tell(&folder, &["put", "shop", "--kind", "reversed-pem", "--dns", "shop.test"]);
    let second = tell(&folder, &["renew", "shop"]);
    assert!(first.starts_with("https://contoso.vault.azure.net/secrets/shop/"));
    assert_ne!(first, second);
    tell(&folder, &["disable", "shop"]);
    let list = tell(&folder, &["list"]);
    let shop = list.lines().find(|line| line.contains("/shop")).unwrap();
    assert!(shop.contains("of 2 versions  disabled"), "{shop}");
    tell(&folder, &["break", "shop", "--how", "firewall"]);
    tell(&folder, &["repair", "shop"]);
    assert!(tell(&folder, &["requests"]).contains("Vault  401  GET contoso.vault.azure.net/secrets/web"));

    for (words, complaints) in [
        (["renew", "nothing"], "put it first"),
        (["delete", "nothing"], "no secret nothing"),
        (["goal", "package.zip"], "<name>-<version>.zip"),
    ] {
        let output = emulator(&folder).args(words).output().unwrap();
        assert!(!output.status.success());
        assert!(complaint(&output).contains(complaints), "{}", complaint(&output));
    }
    let twice = emulator(&folder).arg("run").output().unwrap();
    assert!(complaint(&twice).contains("runs in this folder already"));

    let id = running.0.id().to_string();
    assert!(Command::new("kill").arg(&id).status().unwrap().success());
    assert!(running.0.wait().unwrap().success());
    assert!(!folder.join("control").exists());
    let output = emulator(&folder).arg("list").output().unwrap();
    assert!(complaint(&output).contains("no emulator answers"));
}

#[test]
fn runs_a_command_in_a_world_with_real_names() {
    // A world within a world, so that nothing that goes wrong here can touch the machine.
    let outer = World::enter().unwrap();
    let root = tempfile::tempdir().unwrap();
    let package = root.path().join("Lab.Probe-1.0.0.zip");
    let mut zip = ZipWriter::new(File::create(&package).unwrap());
    let commands: Vec<_> = ["install", "enable", "disable", "update", "uninstall"]
        .into_iter()
        .map(|verb| (format!("{verb}Command"), json!(format!("probe {verb}"))))
        .collect();
    let manifest = json!([{"handlerManifest": serde_json::Map::from_iter(commands)}]);
    zip.start_file("HandlerManifest.json", SimpleFileOptions::default()).unwrap();
    zip.write_all(manifest.to_string().as_bytes()).unwrap();
    zip.start_file("probe", SimpleFileOptions::default()).unwrap();
    zip.write_all(b"#!/bin/sh\necho \"this is $1\"\n").unwrap();
    zip.finish().unwrap();

    let script = r#"
        set -e
        curl -sS https://contoso.vault.azure.net/secrets/web?api-version=7.4; echo
        azure="$0 --folder $1"
        $azure put late --kind password
        $azure goal "$2" && $azure status && $azure remove
        sleep 600 &
        exit 7"#;
    let program = env!("CARGO_BIN_EXE_azure-emulator");
    let mut command = outer.command(program);
    command.arg("--folder").arg(root.path()).args(["world", "sh", "-c", script, program]);
    let output = command.arg(root.path()).arg(&package).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{text} {}", complaint(&output));
    for words in
        ["AKV10000", "/secrets/late/", "  this is install", "  this is enable", "transitioning: ", "\nremoved\n"]
    {
        assert!(text.contains(words), "{words} not in {text}");
    }
    assert!(!root.path().join("control").exists());
    assert!(outer.processes().unwrap().is_empty());
}

#[test]
fn says_what_a_world_takes_to_who_is_not_root() {
    let root = tempfile::tempdir().unwrap();
    // The program must be within reach of that user, too.
    let program = root.path().join("azure-emulator");
    std::fs::copy(env!("CARGO_BIN_EXE_azure-emulator"), &program).unwrap();
    let reachable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.path(), reachable).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
    let output = command.args(["world", "true"]).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("these need root: run this with sudo"), "{}", complaint(&output));
}
