//! Renewals before the eyes of those who use the certificates: readers that never see a gap, and a real web server that is
//! reloaded and serves the new one.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::{Value, json};
use tests::bundle::Bundle;
use tests::handler_story::{Extension, PATIENCE, observed};
use tests::pkcs12::Pfx;
use tests::pki::{Authority, Issued, KeyKind, Request};
use tests::story::{observing, wait_for};

const STORE: &str = "/srv/certs";
const LINK: &str = "/srv/certs/contoso.web";

/// A machine that follows the certificate `web`, which is installed.
fn machine() -> (Extension, String) {
    let mut extension = Extension::begin().unwrap();
    let (_, version) = extension.story.put("web").unwrap();
    extension.deploy_and_wait(&observing(&[observed("web", STORE, &json!({}))])).unwrap();
    assert!(Path::new(LINK).exists(), "{}", extension.log());
    (extension, version)
}

/// Waits until the link leads to this version.
fn points_to(version: &str) {
    let wanted = PathBuf::from(format!("contoso.web.{version}"));
    wait_for(PATIENCE, "new version", || fs::read_link(LINK).ok().filter(|to| *to == wanted)).unwrap();
}

#[test]
fn openssl_verifies_the_chain_in_the_file_and_the_key_fits() {
    let extension = Extension::begin().unwrap();
    let authority = Authority::new("Fabrikam", 2).unwrap();
    let kinds = [("rsa", KeyKind::Rsa2048, true), ("ec", KeyKind::P256, true), ("pem", KeyKind::P384, false)];
    let mut certificates = Vec::new();
    for (name, kind, is_pfx) in kinds {
        let issued = authority.issue(&Request::new(&format!("{name}.fabrikam.com")).key(kind)).unwrap();
        let bundle = if is_pfx { issued.pfx(&Pfx::KEY_VAULT) } else { issued.pem() };
        extension.story.azure.put("contoso", name, bundle.unwrap()).unwrap();
        let root = issued.root.as_ref().unwrap().to_pem().unwrap();
        fs::write(format!("/srv/{name}.root"), root).unwrap();
        certificates.push(observed(name, STORE, &json!({})));
    }
    let synced = extension.sync(&observing(&certificates)).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:#?}");
    for (name, ..) in kinds {
        let (link, root) = (format!("{STORE}/contoso.{name}"), format!("/srv/{name}.root"));
        let verify =
            ["verify", "-x509_strict", "-no-CAfile", "-no-CApath", "-CAfile", &root, "-untrusted", &link, &link];
        let verified = extension.run("openssl", &verify).unwrap();
        assert_eq!(verified.trim(), format!("{link}: OK"));
        let of_leaf = extension.run("openssl", &["x509", "-in", &link, "-noout", "-pubkey"]).unwrap();
        let of_key = extension.run("openssl", &["pkey", "-in", &link, "-pubout"]).unwrap();
        assert_eq!(of_leaf, of_key);
        let text = fs::read_to_string(&link).unwrap();
        assert_eq!(text.matches("-----BEGIN CERTIFICATE-----").count(), 4, "leaf, two intermediates, root");
        assert!(text.ends_with("-----END PRIVATE KEY-----\n"));
    }
}

#[test]
fn a_renewal_swings_the_link_and_the_old_file_stays() {
    let (extension, first) = machine();
    let before = fs::read(LINK).unwrap();
    let (_, second) = extension.story.put("web").unwrap();
    let status = extension.poll().unwrap();
    points_to(&second);
    let old = format!("{STORE}/contoso.web.{first}");
    assert_eq!(fs::read(old).unwrap(), before);
    assert_ne!(fs::read(LINK).unwrap(), before);
    let message = status.part("contoso.web").unwrap().message.clone().unwrap();
    assert!(message.contains(&second), "{message}");
}

/// What a reader finds is one version: its key fits its leaf, and its chain is whole.
fn is_of_one_piece(text: &[u8]) -> Result<String, String> {
    let wrong = |error: openssl::error::ErrorStack| format!("{error}: {} bytes", text.len());
    let certificates = X509::stack_from_pem(text).map_err(wrong)?;
    let key = PKey::private_key_from_pem(text).map_err(wrong)?;
    match &certificates[..] {
        [leaf, _, _] if leaf.public_key().is_ok_and(|of_leaf| of_leaf.public_eq(&key)) => {
            Ok(leaf.serial_number().to_bn().and_then(|number| number.to_hex_str()).map_err(wrong)?.to_string())
        }
        _ => Err(format!("{} certificates, of which the key fits none", certificates.len())),
    }
}

#[test]
fn a_reader_sees_whole_certificates_only_during_two_hundred_renewals() {
    let (extension, _) = machine();
    let stop = AtomicBool::new(false);
    let (seen, reads) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut reads) = (BTreeSet::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let text = fs::read(LINK).map_err(|error| error.to_string())?;
                seen.insert(is_of_one_piece(&text)?);
                reads += 1;
            }
            Ok::<_, String>((seen, reads))
        });
        for _ in 0..200 {
            let issued = extension.story.issue("web").unwrap();
            let version = extension.story.azure.put("contoso", "web", issued.pem().unwrap()).unwrap();
            extension.poll_soon().unwrap();
            points_to(&version);
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap().unwrap()
    });
    assert!(seen.len() > 100 && reads > seen.len(), "{} of 201 versions in {reads} reads", seen.len());
    assert_eq!(fs::read_dir(STORE).unwrap().count(), 202);
}

/// Debian's nginx with a configuration of its own; ended when it is dropped.
struct Nginx<'a> {
    extension: &'a Extension,
    configuration: String,
    master: Child,
}

impl<'a> Nginx<'a> {
    fn start(extension: &'a Extension) -> Self {
        let folder = "/srv/nginx";
        fs::create_dir(folder).unwrap();
        let configuration = format!("{folder}/nginx.conf");
        let text = format!(
            "pid {folder}/pid; error_log {folder}/error.log; daemon off; user root; worker_processes 1;
             events {{}}
             http {{
               access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
               uwsgi_temp_path {folder}; scgi_temp_path {folder};
               server {{ listen 127.0.0.1:8443 ssl; ssl_certificate {LINK}; ssl_certificate_key {LINK};
                         location / {{ return 200 'served'; }} }}
             }}"
        );
        fs::write(&configuration, text).unwrap();
        let mut command = extension.story.world().command("nginx");
        let master = command.args(["-c", &configuration]).stderr(Stdio::null()).spawn().unwrap();
        Self { extension, configuration, master }
    }

    fn reload(&self) {
        self.extension.run("nginx", &["-c", &self.configuration, "-s", "reload"]).unwrap();
    }
}

impl Drop for Nginx<'_> {
    fn drop(&mut self) {
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}

/// The serial number of the certificate that a TLS client is shown, once the whole chain verified; `None` while nobody
/// listens.
fn served(extension: &Extension) -> Option<String> {
    let client = "openssl s_client -connect 127.0.0.1:8443 -servername web.contoso.com -verify_hostname web.contoso.com \
                  -verify_return_error -CAfile /srv/root.pem </dev/null 2>/dev/null | openssl x509 -noout -serial";
    let finished = extension.attempt("bash", &["-o", "pipefail", "-c", client]).unwrap();
    (finished.code == Some(0)).then(|| finished.output.trim().trim_start_matches("serial=").to_owned())
}

fn serial(issued: &Issued) -> String {
    issued.leaf.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
}

#[test]
fn nginx_serves_the_new_certificate_after_a_renewal_and_a_reload() {
    let (extension, _) = machine();
    let (first, version) = extension.story.put("web").unwrap();
    fs::write("/srv/root.pem", first.root.as_ref().unwrap().to_pem().unwrap()).unwrap();
    extension.poll_soon().unwrap();
    points_to(&version);
    let nginx = Nginx::start(&extension);
    let serves = |issued: &Issued| {
        let wanted = serial(issued);
        let shown = wait_for(PATIENCE, "such certificate", || served(&extension).filter(|shown| *shown == wanted));
        shown.unwrap_or_else(|error| panic!("{error}: {:?}", fs::read_to_string("/srv/nginx/error.log")));
    };
    serves(&first);
    let (second, version) = extension.story.put("web").unwrap();
    extension.poll_soon().unwrap();
    points_to(&version);
    assert_eq!(served(&extension), Some(serial(&first)), "it keeps what it has read");
    nginx.reload();
    serves(&second);
}

#[test]
fn certificates_of_the_same_name_in_two_vaults_are_two() {
    let extension = Extension::begin().unwrap();
    extension.story.azure.create_vault("fabrikam");
    extension.story.world().connect(&extension.story.azure).unwrap();
    let (ours, _) = extension.story.put("web").unwrap();
    let theirs = extension.story.issue("theirs").unwrap();
    extension.story.azure.put("fabrikam", "web", theirs.pfx(&Pfx::KEY_VAULT).unwrap()).unwrap();
    let mut other = observed("web", STORE, &json!({}));
    other["url"] = json!("https://fabrikam.vault.azure.net/secrets/web");
    let synced = extension.sync(&observing(&[observed("web", STORE, &json!({})), other])).unwrap();
    assert_eq!(synced.code(), Some(0), "{synced:#?}");
    for (vault, issued) in [("contoso", ours), ("fabrikam", theirs)] {
        let text = fs::read(format!("{STORE}/{vault}.web")).unwrap();
        assert_eq!(is_of_one_piece(&text).unwrap(), serial(&issued));
    }
}

#[test]
fn three_hundred_certificates_are_installed_at_once_and_told_in_one_status() {
    let mut extension = Extension::begin().unwrap();
    let names: Vec<String> = (0..300).map(|number| format!("c{number:03}")).collect();
    let mut issued = Vec::new();
    for name in &names {
        let one = extension.story.issue(name).unwrap();
        let bundle: Bundle = one.pfx(&Pfx::MODERN).unwrap();
        extension.story.azure.put("contoso", name, bundle).unwrap();
        issued.push(one);
    }
    let certificates: Vec<Value> = names.iter().map(|name| observed(name, STORE, &json!({}))).collect();
    let mut settings = observing(&certificates);
    settings["secretsManagementSettings"]["requireInitialSync"] = json!(true);
    assert!(extension.deploy(0, &settings).unwrap().ready());
    let status = extension.agent.wait_for("success", PATIENCE).unwrap();
    assert!(status.valid() && !status.too_large);
    assert!(status.message.unwrap().starts_with("300 of 300 certificates installed"));
    for (name, issued) in names.iter().zip(&issued) {
        let text = fs::read(format!("{STORE}/contoso.{name}")).unwrap();
        assert_eq!(is_of_one_piece(&text).unwrap(), serial(issued), "{name}");
        assert_eq!(extension.story.azure.requests_for("contoso", name).len(), 1, "{name}");
    }
    assert_eq!(extension.story.azure.tokens_issued(), 1);
}
