//! What the stories of the whole extension begin with: the package that `scripts/package` made, a guest agent that
//! deploys it on a machine in the emulated Azure, and a disk for its certificates.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Agent, Goal, Outcome, Reported};
use crate::azure::Addresses;
use crate::story::{Finished, Story, Synced, finish, wait_for};

/// How long a story waits for something that takes a second or two on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of a private machine on which its certificates lie: a real file system, with owners, access control lists
/// and attributes.
pub const DISK: &str = "/srv";

/// The package for Linux that `scripts/package` made last.
pub fn package() -> Result<PathBuf> {
    newest_package("package", "KeyVaultForLinux")
}

/// The package for Linux on ARM64 that `scripts/package --arch arm64` made last.
pub fn package_for_arm64() -> Result<PathBuf> {
    newest_package("package/arm64", "KeyVaultForLinux")
}

/// The package of this type that `scripts/package` made last in this folder of the target's.
pub(crate) fn newest_package(folder: &str, kind: &str) -> Result<PathBuf> {
    let folder = target()?.join(folder);
    let mut newest = None;
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(&format!(".{kind}-")) && name.ends_with(".zip") {
            newest = newest.max(Some((entry.metadata()?.modified()?, entry.path())));
        }
    }
    let (_, path) = newest.with_context(|| {
        format!("{}/<publisher>.{kind}-<version>.zip is missing; make it with scripts/package", folder.display())
    })?;
    Ok(path)
}

/// A program of the package, as it is in there: unpacked once for all stories.
pub fn program(name: &str) -> Result<PathBuf> {
    let package = package()?;
    let made = fs::metadata(&package)?.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
    let folder = target()?.join(format!("tmp/programs-{made}"));
    if !folder.exists() {
        let unfinished = temporary_folder("unfinished-")?;
        unpack(&package, unfinished.path())?;
        // Another story may have been faster.
        if let Err(error) = fs::rename(unfinished.path(), &folder)
            && !folder.exists()
        {
            return Err(error).with_context(|| folder.display().to_string());
        }
    }
    Ok(folder.join(name))
}

/// A package of another version with the same programs, made in `folder` by the program that makes all packages.
pub fn package_of_version(version: &str, folder: &Path) -> Result<PathBuf> {
    let package = package()?;
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let publisher = name.split(".KeyVaultForLinux-").next().unwrap_or_default();
    let binaries = folder.join("binaries");
    fs::create_dir_all(&binaries)?;
    unpack(&package, &binaries)?;
    let mut packager = Command::new(target()?.join("release/packager"));
    packager.arg("--binaries").arg(&binaries).arg("--output").arg(folder);
    packager.args(["--publisher", publisher, "--version", version]).current_dir(repository());
    let made = finish(&mut packager)?;
    ensure!(made.code == Some(0), "{made:?}");
    Ok(folder.join(format!("{publisher}.KeyVaultForLinux-{version}.zip")))
}

/// The folder of the sources.
#[must_use]
pub fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// Where cargo builds: a program runs in `<target>/<profile>`, and a test in `deps` there.
pub fn target() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let profile = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let target = profile.and_then(Path::parent).map(Path::to_owned);
    target.with_context(|| format!("{}: lies in no target folder", own.display()))
}

/// A folder on the disk where cargo builds.
pub fn temporary_folder(prefix: &str) -> Result<TempDir> {
    let folder = target()?.join("tmp");
    fs::create_dir_all(&folder)?;
    Ok(tempfile::Builder::new().prefix(prefix).tempdir_in(folder)?)
}

/// Puts the files of a package into a folder.
pub fn unpack(package: &Path, folder: &Path) -> Result<()> {
    let archive = fs::File::open(package).with_context(|| package.display().to_string())?;
    zip::ZipArchive::new(archive)?.extract(folder).with_context(|| package.display().to_string())
}

/// A machine in the emulated Azure on which the extension is, or is going to be.
pub struct Extension {
    /// The guest agent.
    pub agent: Agent,
    /// The machine and the Azure around it.
    pub story: Story,
    /// The package that is deployed.
    pub package: PathBuf,
    disk: TempDir,
}

impl Extension {
    /// A machine with an empty [`DISK`]. Nothing is deployed yet.
    pub fn begin() -> Result<Self> {
        Self::begin_with(Addresses::real())
    }

    /// The same in an Azure that answers at these addresses.
    pub fn begin_with(addresses: Addresses) -> Result<Self> {
        let package = package()?;
        let disk = temporary_folder("disk-")?;
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o755))?;
        let story = Story::begin_with(addresses)?;
        let extension = Self { agent: Agent::new(), story, package, disk };
        let disk = extension.disk.path().to_string_lossy();
        extension.run("mount", &["--bind", &disk, DISK])?;
        Ok(extension)
    }

    /// Runs a program of the machine; an error with all that it said unless it succeeds.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let finished = self.attempt(program, arguments)?;
        match finished.code {
            Some(0) => Ok(finished.output),
            _ => bail!("{program} {arguments:?}: {finished:?}"),
        }
    }

    /// Runs a program of the machine.
    pub fn attempt(&self, program: &str, arguments: &[&str]) -> Result<Finished> {
        finish(self.story.world().command(program).args(arguments)).with_context(|| program.to_owned())
    }

    /// Runs a program as another account, with all its groups.
    pub fn attempt_as(&self, account: &str, command: &[&str]) -> Result<Finished> {
        let identity = ["--reuid", account, "--regid", account, "--init-groups"];
        self.attempt("setpriv", &[&identity, command].concat())
    }

    /// Whether an account can read a file.
    pub fn can_read(&self, account: &str, path: &Path) -> Result<bool> {
        let finished = self.attempt_as(account, &["cat", &path.to_string_lossy()])?;
        match finished.code {
            Some(0) => Ok(true),
            Some(1) if finished.errors.contains("Permission denied") => Ok(false),
            _ => bail!("{finished:?}"),
        }
    }

    /// Deploys these settings with this number, or changes to them.
    pub fn deploy(&mut self, sequence: u32, settings: &Value) -> Result<Outcome> {
        self.agent.apply(&Goal::new(&self.package, sequence, settings.clone()))
    }

    /// Deploys these settings, as number 0, and waits until the first pass is over.
    pub fn deploy_and_wait(&mut self, settings: &Value) -> Result<Reported> {
        let outcome = self.deploy(0, settings)?;
        ensure!(outcome.ready(), "{outcome:#?}");
        self.first_pass()
    }

    /// Waits until a service that was just started has told of every certificate.
    pub fn first_pass(&self) -> Result<Reported> {
        let told = |status: &Reported| {
            let mut words = status.substatus.iter().map(|part| part.status.as_str());
            words.len() > 0 && words.all(|word| word != "transitioning")
        };
        self.agent.wait_until(PATIENCE, told).with_context(|| self.log())
    }

    /// One pass with these settings by `akvvm_service sync --json`, without an agent.
    pub fn sync(&self, settings: &Value) -> Result<Synced> {
        self.sync_under(&[], settings)
    }

    /// The same under another program, such as `strace` with its options.
    pub fn sync_under(&self, tool: &[&str], settings: &Value) -> Result<Synced> {
        let file = self.story.write_settings(settings)?.to_string_lossy().into_owned();
        let service = program("akvvm_service")?.to_string_lossy().into_owned();
        let words = [tool, &[&service, "sync", "--json", &file]].concat();
        let finished = self.attempt(words[0], &words[1..])?;
        let result = serde_json::from_str(&finished.output).with_context(|| format!("{finished:?}"))?;
        Ok(Synced { result, finished })
    }

    /// The one process of the service.
    pub fn service(&self) -> Result<i32> {
        self.story.only_service().with_context(|| self.log())
    }

    /// The service's log; empty when there is none.
    #[must_use]
    pub fn log(&self) -> String {
        let folder = self.agent.log_folder().ok();
        folder.and_then(|folder| fs::read_to_string(folder.join("akvvm_service.log")).ok()).unwrap_or_default()
    }

    /// Asks the service for a poll, and waits until a pass is over and its status is there.
    pub fn poll(&self) -> Result<Reported> {
        let status_file = self.agent.status_file()?;
        let look =
            || (self.log().matches("next poll in").count(), fs::metadata(&status_file).map_or(0, |file| file.ino()));
        let (passes, file) = look();
        self.poll_soon()?;
        let over = || Some(look()).filter(|now| now.0 > passes && now.1 != file);
        wait_for(PATIENCE, "such pass", over).with_context(|| self.log())?;
        self.agent.status()
    }

    /// Asks the service for a poll.
    pub fn poll_soon(&self) -> Result<()> {
        let id = Pid::from_raw(self.service()?).context("no process id")?;
        Ok(kill_process(id, Signal::HUP)?)
    }

    /// Ends every process at once, as a power cut does; the agent is not asked to start anything again.
    pub fn lose_power(&self) -> Result<()> {
        let processes = self.story.world().processes()?;
        for (id, _) in &processes {
            if let Some(id) = Pid::from_raw(*id) {
                // It may have ended meanwhile.
                let _ = kill_process(id, Signal::KILL);
            }
        }
        let ended = || processes.iter().all(|(id, _)| has_ended(*id)).then_some(());
        wait_for(PATIENCE, "end of all processes", ended)
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        // What a story mounted on the disk would keep its folder from being removed.
        let _ = self.run("umount", &["--recursive", "--lazy", DISK]);
    }
}

/// Whether a process has released everything, its locks included: it is gone, or nobody has asked for its exit code yet.
fn has_ended(id: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X')))
}

/// Everything below these folders that looks unfinished.
#[must_use]
pub fn unfinished(folders: &[&str]) -> Vec<PathBuf> {
    let mut pending: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    let mut found = Vec::new();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                pending.push(path.clone());
            }
            if path.to_string_lossy().ends_with(".tmp") {
                found.push(path);
            }
        }
    }
    found
}

/// An observed certificate of the vault `contoso` in a folder of its own, `extra` added to it.
#[must_use]
pub fn observed(name: &str, folder: &str, extra: &Value) -> Value {
    let mut certificate = json!({
        "url": format!("https://contoso.vault.azure.net/secrets/{name}"),
        "certificateStoreLocation": folder,
    });
    if let (Some(certificate), Some(extra)) = (certificate.as_object_mut(), extra.as_object()) {
        certificate.extend(extra.clone());
    }
    certificate
}
