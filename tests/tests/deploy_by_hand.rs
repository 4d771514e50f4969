//! The deployment without publishing rights, as README.md gives it: its text is run from start to end.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

use tests::agent::judge;
use tests::handler_story::{Extension, PATIENCE, package_of_version, repository, temporary_folder};
use tests::pkcs12::Pfx;
use tests::story::{finish, wait_for};

/// The shell block behind the mark in README.md.
fn instructions() -> String {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("<!-- deploy-by-hand").unwrap_or_else(|| panic!("README.md: no such mark"));
    let (_, block) = rest.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_readmes_deployment_by_hand_installs_a_certificate() {
    let extension = Extension::begin().unwrap();
    let azure = &extension.story.azure;
    azure.create_vault("myvault");
    extension.story.world().connect(azure).unwrap();
    let issued = extension.story.issue("web").unwrap();
    let version = azure.put("myvault", "web", issued.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();

    // The person has downloaded a package of the name that is in the text.
    let text = instructions();
    let name = text.split_whitespace().find(|word| word.ends_with(".zip")).unwrap();
    let downloads = temporary_folder("downloads-").unwrap();
    let package = package_of_version("1.0.0", extension.story.folder()).unwrap();
    fs::copy(package, downloads.path().join(name)).unwrap();
    let mut shell = extension.story.world().command("sh");
    let done = finish(shell.args(["-eu", "-c", &text]).current_dir(downloads.path())).unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.output.contains("valid, 1 certificate") && done.output.contains("enabled"), "{done:?}");

    let handler = Path::new("/var/lib/waagent").join(name.trim_end_matches(".zip"));
    let status = handler.join("status/0.status");
    let success = || Some(judge("by hand", &status)).filter(|status| status.status.as_deref() == Some("success"));
    let status = wait_for(PATIENCE, "success", success).unwrap();
    assert!(status.message.unwrap().starts_with("1 of 1 certificates installed"));
    let link = Path::new("/var/lib/waagent/Microsoft.Azure.KeyVault.Store/myvault.web");
    assert_eq!(fs::read_link(link).unwrap(), Path::new(&format!("myvault.web.{version}")));

    // "New settings go into `1.settings`, followed by `enable`": here with another certificate.
    azure.put("myvault", "mail", issued.pem().unwrap()).unwrap();
    let settings = fs::read_to_string(handler.join("config/0.settings")).unwrap();
    fs::write(handler.join("config/1.settings"), settings.replace("/secrets/web", "/secrets/mail")).unwrap();
    let program = handler.join("akvvm_handler").to_string_lossy().into_owned();
    extension.run("env", &["ConfigSequenceNumber=1", &program, "enable"]).unwrap();
    let mail = link.with_file_name("myvault.mail");
    wait_for(PATIENCE, "certificate", || mail.exists().then_some(())).unwrap();
}
