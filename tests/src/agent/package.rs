//! An extension's package: its name and version, its unpacking, and its manifest.

use std::cmp::Ordering;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use zip::ZipArchive;

use super::command::Verb;
use super::folders::Folders;

/// A version: numbers with dots between them, compared number by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(Vec<u64>);

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Result<Vec<u64>, _> = text.split('.').map(str::parse).collect();
        match numbers {
            Ok(numbers) => Ok(Self(numbers)),
            Err(_) => bail!("{text}: not a version; it must be numbers with dots between them"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u64::to_string).collect();
        formatter.write_str(&numbers.join("."))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.0.cmp(&other.0))
    }
}

/// Handler name and version from the file name of a package, `<name>-<version>.zip`.
pub(crate) fn name_and_version(package: &Path) -> Result<(String, Version)> {
    let stem = package.file_stem().and_then(|stem| stem.to_str());
    let parts = stem.and_then(|stem| stem.rsplit_once('-'));
    let parts = parts.and_then(|(name, version)| Some((name, version.parse().ok()?)));
    let (name, version) =
        parts.with_context(|| format!("{}: a package is named <name>-<version>.zip", package.display()))?;
    Ok((name.to_owned(), version))
}

/// What HandlerManifest.json says.
#[derive(Clone, Debug)]
pub struct Manifest {
    commands: Vec<(Verb, String)>,
    /// Whether an update installs the new version, too.
    pub update_with_install: bool,
    /// Whether an update goes on when a command of the old version fails.
    pub continue_on_update_failure: bool,
    /// Whether the handler writes a heartbeat.
    pub report_heartbeat: bool,
}

impl Manifest {
    /// The command for a verb, relative to the handler's folder.
    #[must_use]
    pub fn command(&self, verb: Verb) -> &str {
        let mut commands = self.commands.iter();
        commands.find(|(known, _)| *known == verb).map_or("", |(_, command)| command)
    }

    fn parse(text: &str) -> Result<Self> {
        let document: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))?;
        let manifest = &document.get(0).context("the manifest must be an array with one element")?["handlerManifest"];
        let command = |verb: Verb| {
            let key = format!("{}Command", verb.name());
            let command = manifest[&key].as_str();
            Ok((verb, command.with_context(|| format!("{key} is missing"))?.to_owned()))
        };
        let flag = |key: &str| match &manifest[key] {
            Value::Bool(flag) => *flag,
            Value::String(text) => text.eq_ignore_ascii_case("true"),
            _ => false,
        };
        let mode = manifest["updateMode"].as_str();
        Ok(Self {
            commands: Verb::ALL.into_iter().map(command).collect::<Result<_>>()?,
            update_with_install: mode.is_none_or(|mode| mode.eq_ignore_ascii_case("UpdateWithInstall")),
            continue_on_update_failure: flag("continueOnUpdateFailure"),
            report_heartbeat: flag("reportHeartbeat"),
        })
    }
}

/// Unpacks a package into the handler's folder, makes the agent's own folders and reads the manifest.
pub(super) fn unpack(package: &Path, folders: &Folders) -> Result<Manifest> {
    let context = || format!("{}: cannot unpack it", package.display());
    let archive = File::open(package).with_context(context)?;
    let mut archive = ZipArchive::new(archive).with_context(context)?;
    fs::create_dir_all(&folders.base).with_context(context)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).with_context(context)?;
        let name = entry.name().to_owned();
        let path = folders.base.join(harmless(&name));
        let folder = if name.ends_with('/') { Some(path.as_path()) } else { path.parent() };
        if let Some(folder) = folder {
            create_folders(&folders.base, folder).with_context(context)?;
        }
        if name.ends_with('/') {
            continue;
        }
        // Modes and links of the archive are lost in Python's zipfile; then the agent adds u+x to every file.
        write(&mut entry, &path).with_context(context)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o744)).with_context(context)?;
    }
    let found = search(&folders.base, "HandlerManifest.json")?;
    let found = found.with_context(|| format!("{}: no HandlerManifest.json in it", package.display()))?;
    let manifest = folders.base.join("HandlerManifest.json");
    if found != manifest {
        fs::copy(&found, &manifest).with_context(context)?;
    }
    folders.create()?;
    let text = fs::read_to_string(&manifest)?;
    Manifest::parse(&text).with_context(|| format!("{}", manifest.display()))
}

/// Writes a file through another process. A child that another thread starts meanwhile has our open files until it runs its
/// own program, and a program that somebody has open for writing cannot be run ("Text file busy").
fn write(entry: &mut impl io::Read, path: &Path) -> io::Result<()> {
    let draft = path.with_extension("draft");
    io::copy(entry, &mut File::create(&draft)?)?;
    let status = Command::new("cp").arg(&draft).arg(path).status()?;
    fs::remove_file(&draft)?;
    if status.success() { Ok(()) } else { Err(io::Error::other("cp failed")) }
}

/// The name without what could lead out of the folder, as Python's zipfile cleans it.
fn harmless(name: &str) -> PathBuf {
    let parts = name.split('/');
    parts.filter(|part| !matches!(*part, "" | "." | "..")).collect()
}

/// Creates `folder` below `base`, each level with the mode that umask 022 leaves.
fn create_folders(base: &Path, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for level in folder.ancestors().take_while(|level| level.starts_with(base)) {
        fs::set_permissions(level, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The first file of this name, in the folder itself or anywhere below.
fn search(folder: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let here = folder.join(name);
    if here.is_file() {
        return Ok(Some(here));
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir()
            && let Some(found) = search(&path, name)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
