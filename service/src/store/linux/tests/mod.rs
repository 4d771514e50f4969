//! The store against real files. What is about other accounts needs root; without it those tests say so and end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod accounts;
mod files;
mod folders;
mod foreign;
mod judged;
mod links;
mod mounts;
mod other_versions;
mod ownership;
mod readers;
mod release_4;
mod retention;
mod silence;
mod split;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::settings::{Acl, Clouds, ObservedCertificate, Settings, Version};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Name};
use tempfile::TempDir;

use super::*;
use crate::certificate::Certificate;

const OLD: &str = "00000000000000000000000000000001";
const NEW: &str = "00000000000000000000000000000002";
/// Ids that have no account.
const ALICE: u32 = 61_001;
const BOB: u32 = 61_002;
const STAFF: u32 = 61_003;

impl Store {
    /// Without remarks.
    fn write(
        &self,
        observed: &ObservedCertificate,
        version: &Version,
        certificate: &Certificate,
    ) -> Result<Placed, StoreError> {
        self.install(observed, version, certificate, Vec::new())
    }
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn user(id: u32) -> Acl {
    Acl::User(id.to_string())
}

fn group(id: u32) -> Acl {
    Acl::Group(id.to_string())
}

fn certificate() -> Certificate {
    valid_from(1_700_000_000)
}

fn valid_from(not_before: i64) -> Certificate {
    let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
    let key = PKey::from_ec_key(key).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "web.example").unwrap();
    let name = name.build();
    let mut leaf = X509::builder().unwrap();
    leaf.set_version(2).unwrap();
    leaf.set_subject_name(&name).unwrap();
    leaf.set_issuer_name(&name).unwrap();
    leaf.set_pubkey(&key).unwrap();
    leaf.set_not_before(&Asn1Time::from_unix(not_before).unwrap()).unwrap();
    leaf.set_not_after(&Asn1Time::from_unix(1_900_000_000).unwrap()).unwrap();
    leaf.sign(&key, MessageDigest::sha256()).unwrap();
    let mut pem = leaf.build().to_pem().unwrap();
    pem.extend(key.private_key_to_pem_pkcs8().unwrap());
    let Ok(certificate) = Certificate::decode(std::str::from_utf8(&pem).unwrap(), None) else {
        panic!("no certificate")
    };
    certificate
}

fn pem(certificate: &Certificate) -> Vec<u8> {
    let Ok(pem) = certificate.to_pem() else { panic!("no PEM") };
    pem.to_vec()
}

/// A folder for one test that everybody may enter, with a store in it that does not exist yet.
struct World {
    temporary: TempDir,
}

impl World {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        fs::set_permissions(temporary.path(), Permissions::from_mode(0o755)).unwrap();
        Self { temporary }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The folder as an administrator made it.
    fn create_store(&self, mode: u32) {
        fs::create_dir(self.store()).unwrap();
        fs::set_permissions(self.store(), Permissions::from_mode(mode)).unwrap();
    }

    /// The certificate `web` of the vault `contoso` in the store, readable for these accounts.
    fn observed(&self, acls: &[Acl]) -> ObservedCertificate {
        observed("web", &self.store(), acls)
    }

    fn observed_in(&self, folder: &Path, acls: &[Acl]) -> ObservedCertificate {
        observed("web", folder, acls)
    }
}

fn observed(name: &str, folder: &Path, acls: &[Acl]) -> ObservedCertificate {
    let settings = serde_json::json!({"secretsManagementSettings": {"observedCertificates": [{
        "url": format!("https://contoso.vault.azure.net/secrets/{name}"),
        "certificateStoreLocation": folder,
    }]}});
    let settings = Settings::parse(settings.to_string().as_bytes(), &Clouds::built_in()).unwrap();
    let mut observed = settings.certificates.into_iter().next().unwrap();
    observed.target.acls = acls.to_vec();
    observed
}

/// The certificate with further members in its settings.
fn parsed(folder: &Path, members: &str) -> ObservedCertificate {
    let folder = folder.display();
    let settings = format!(
        r#"{{"secretsManagementSettings": {{"observedCertificates": [{{
            "url": "https://contoso.vault.azure.net/secrets/web", "certificateStoreLocation": "{folder}"{members}}}]}}}}"#
    );
    let settings = Settings::parse(settings.as_bytes(), &Clouds::built_in()).unwrap();
    settings.certificates.into_iter().next().unwrap()
}

fn file(world: &World, version: &str) -> PathBuf {
    world.store().join(format!("contoso.web.{version}"))
}

fn link(world: &World) -> PathBuf {
    world.store().join("contoso.web")
}

/// A pass that installs a version and points to it.
fn install(observed: &ObservedCertificate, text: &str) -> Placed {
    let store = Store::open(std::slice::from_ref(observed), &Network::Own);
    let placed = store.write(observed, &version(text), &certificate()).unwrap();
    store.point(observed, &version(text)).unwrap();
    placed
}

/// A pass that finds a version.
fn find(observed: &ObservedCertificate, text: &str) -> Result<Option<Placed>, StoreError> {
    Store::open(std::slice::from_ref(observed), &Network::Own).find(observed, &version(text))
}

/// Everything below a folder with what a write of any kind would change.
fn state(folder: &Path) -> BTreeMap<PathBuf, [i64; 8]> {
    let mut state = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let (ino, mode, uid) = (i64::try_from(stat.ino()).unwrap(), stat.mode().into(), stat.uid().into());
        let times = [stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()];
        state.insert(path, [ino, mode, uid, stat.size().cast_signed(), times[0], times[1], times[2], times[3]]);
    }
    state
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// What another account reads from a file, when it may.
fn read_as(uid: u32, gid: u32, path: &Path) -> Option<Vec<u8>> {
    let output = Command::new("cat").arg(path).uid(uid).gid(gid).stderr(Stdio::null()).output().unwrap();
    output.status.success().then_some(output.stdout)
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|cause| panic!("{program}: {cause}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn setfacl(entry: &str, path: &Path) {
    run("setfacl", &["-m", entry, path.to_str().unwrap()]);
}

/// Only root can take on another account or mount something.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("not tried: this needs root");
    }
    is_root
}
