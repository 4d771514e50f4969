//! What a pass can be in the middle of: a certificate in a folder of its own, what was there before, and what the pass
//! is to make of it. And what must be true of the disk at every moment of that.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::getxattr;
use serde_json::{Value, json};
use tests::handler_story::{DISK, Extension, observed, unfinished};
use tests::story::observing;

/// The disk's folder with the folders of all subjects.
pub(crate) const STORE: &str = "/srv/certs";

/// What a pass has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Nothing is there yet.
    FirstInstall,
    /// A new version is in the vault.
    Renewal,
    /// Another user is to read, and one no more.
    Readers,
    /// Chain and key are wanted in files of their own, too.
    Layout,
    /// A renewal of these.
    SplitRenewal,
    /// All versions but the newest are to go, and so is what a crash left.
    Sweep,
    /// Somebody removed the folder.
    Removed,
}

impl Scenario {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::FirstInstall,
        Self::Renewal,
        Self::Readers,
        Self::Layout,
        Self::SplitRenewal,
        Self::Sweep,
        Self::Removed,
    ];

    /// What the settings add to the certificate before and after.
    fn extras(self) -> [Value; 2] {
        let plain = json!({"acls": [{"user": "app"}]});
        let split = json!({"acls": [{"user": "app"}], "certificateFiles": "both"});
        match self {
            Self::FirstInstall | Self::Renewal | Self::Removed => [plain.clone(), plain],
            Self::Readers => [plain, json!({"acls": [{"user": "other"}]})],
            Self::Layout => [plain, split],
            Self::SplitRenewal => [split.clone(), split],
            Self::Sweep => [plain, json!({"acls": [{"user": "app"}], "keepVersions": 1})],
        }
    }
}

/// The accounts that the settings of the scenarios name.
pub(crate) fn add_accounts(extension: &Extension) -> Result<()> {
    extension.story.world().add_user("app", 61_001)?;
    extension.story.world().add_user("other", 61_002)
}

/// A certificate right before the pass.
pub(crate) struct Subject<'a> {
    extension: &'a Extension,
    scenario: Scenario,
    name: String,
    /// The settings of the pass.
    pub(crate) settings: Value,
    /// In the order in which they came: the version, and what a file with its chain and key holds.
    versions: Vec<(String, String)>,
}

impl<'a> Subject<'a> {
    /// Brings about what the scenario begins with.
    pub(crate) fn new(extension: &'a Extension, scenario: Scenario, name: String) -> Result<Self> {
        let folder = format!("{STORE}/{name}");
        let [before, after] = scenario.extras().map(|extra| observing(&[observed(&name, &folder, &extra)]));
        let mut subject = Self { extension, scenario, name, settings: before, versions: Vec::new() };
        subject.renew()?;
        if scenario != Scenario::FirstInstall {
            subject.pass()?;
        }
        match scenario {
            Scenario::FirstInstall | Scenario::Readers | Scenario::Layout => {}
            Scenario::Renewal | Scenario::SplitRenewal => subject.renew()?,
            Scenario::Sweep => {
                subject.renew()?;
                subject.pass()?;
                subject.renew()?;
                subject.pass()?;
                let leftover = Path::new(&folder).join(".akv-0123456789abcdef.tmp");
                fs::write(leftover, "-----BEGIN")?;
            }
            Scenario::Removed => fs::remove_dir_all(&folder)?,
        }
        subject.settings = after;
        Ok(subject)
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> PathBuf {
        Path::new(STORE).join(&self.name)
    }

    /// What the settings of the pass say of it.
    pub(crate) fn observed(&self) -> Value {
        self.settings["secretsManagementSettings"]["observedCertificates"][0].clone()
    }

    /// Whether the link leads to the newest version.
    pub(crate) fn is_current(&self) -> bool {
        let target = fs::read_link(self.folder().join(format!("contoso.{}", self.name))).unwrap_or_default();
        self.versions.last().is_some_and(|(version, _)| target.to_string_lossy().ends_with(version))
    }

    /// Puts a new version into the vault.
    pub(crate) fn renew(&mut self) -> Result<()> {
        let (issued, version) = self.extension.story.put(&self.name)?;
        let mut text = String::new();
        for one in [&issued.leaf].into_iter().chain(&issued.intermediates).chain(&issued.root) {
            text += &String::from_utf8(one.to_pem()?)?;
        }
        text += &String::from_utf8(issued.key.private_key_to_pem_pkcs8()?)?;
        self.versions.push((version, text));
        Ok(())
    }

    /// A pass that nothing disturbs, after which everything is in place.
    pub(crate) fn pass(&self) -> Result<()> {
        let synced = self.extension.sync(&self.settings)?;
        ensure!(synced.code() == Some(0), "a pass that nothing disturbs fails: {synced:#?}");
        Ok(())
    }

    /// Whatever has a name is whole, whatever was in use still is, and no key can be read by others.
    pub(crate) fn check(&self) -> Result<()> {
        let had_link = !matches!(self.scenario, Scenario::FirstInstall | Scenario::Removed);
        let link = self.folder().join(format!("contoso.{}", self.name));
        ensure!(!had_link || link.is_symlink(), "{}: the link is gone", link.display());
        for path in below(Path::new(STORE))? {
            self.check_one(&path).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    fn check_one(&self, path: &Path) -> Result<()> {
        let stat = fs::symlink_metadata(path)?;
        if stat.is_dir() {
            return Ok(());
        }
        // Through a link, which so is known to lead somewhere.
        let text = fs::read_to_string(path)?;
        let name = match stat.is_symlink() {
            true => fs::read_link(path)?,
            false => path.file_name().map(PathBuf::from).unwrap_or_default(),
        };
        let name = name.to_str().context("no text")?;
        // Beside an access control list 0640 is its mask.
        let is_private = fs::metadata(path).map(|stat| stat.uid() == 0 && stat.mode() & 0o137 == 0)?;
        ensure!(is_private || !text.contains("PRIVATE KEY"), "others can read the key");
        // What is another subject's is whole when that is asked.
        if name.ends_with(".tmp") || !path.starts_with(self.folder()) {
            return Ok(());
        }
        if name.ends_with(".luma") {
            let metadata: Value = serde_json::from_str(&text)?;
            return match metadata["privateKey"].as_str().is_some_and(|key| self.folder().join(key).is_file()) {
                true => Ok(()),
                false => bail!("it names a file that is not there: {text}"),
            };
        }
        let rest = name.strip_prefix(&format!("contoso.{}.", self.name)).context("a name that nobody gave")?;
        let (version, part) = rest.split_once('.').unwrap_or((rest, ""));
        let known = self.versions.iter().find(|(known, _)| known == version);
        let (_, whole) = known.context("a version that the vault never had")?;
        let (chain, key) = whole.split_at(whole.find("-----BEGIN PRIVATE KEY").context("no key")?);
        let wanted = match part.split('.').next() {
            Some("pem") => chain,
            Some("keyid") => key,
            _ => whole,
        };
        ensure!(text == wanted, "it holds {} bytes and should hold {}", text.len(), wanted.len());
        Ok(())
    }

    /// All that the folder holds, but for the names of versions and the times of their files: what it is called, whose it
    /// is, who may read it, and where a link leads; and what is unfinished anywhere on the disk.
    pub(crate) fn state(&self) -> Result<BTreeMap<String, String>> {
        let mut state = BTreeMap::new();
        for path in below(&self.folder())? {
            let stat = fs::symlink_metadata(&path)?;
            let mut list = [0; 256];
            let length = getxattr(&path, "system.posix_acl_access", &mut list).unwrap_or_default();
            let target = fs::read_link(&path).unwrap_or_default();
            let shown = format!("{} {:o} {:?} {}", stat.uid(), stat.mode(), &list[..length], target.display());
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            state.insert(self.neutral(&name), self.neutral(&shown));
        }
        state.extend(unfinished(&[DISK]).iter().map(|path| (path.display().to_string(), "unfinished".to_owned())));
        Ok(state)
    }

    fn neutral(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (number, (version, _)) in self.versions.iter().enumerate() {
            text = text.replace(version, &format!("V{number}"));
        }
        text = text.replace(&self.name, "NAME");
        // The time in `….pem.1700000000`.
        match text.rsplit_once('.') {
            Some((rest, time)) if time.len() > 8 && time.bytes().all(|byte| byte.is_ascii_digit()) => rest.to_owned(),
            _ => text,
        }
    }

    /// Takes away all that there is of it.
    pub(crate) fn remove(self) -> Result<()> {
        self.extension.story.azure.vault("contoso", |vault| vault.secrets.remove(&self.name))?;
        match fs::remove_dir_all(STORE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context(STORE),
            _ => Ok(()),
        }
    }
}

/// Everything below a folder, which need not be there.
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop().filter(|folder| folder.exists()) {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if fs::symlink_metadata(&path)?.is_dir() {
                pending.push(path.clone());
            }
            found.push(path);
        }
    }
    Ok(found)
}
