//! A machine of its own for each story: private `/var/lib`, `/opt` and `/etc` and no systemd in a mount namespace, and
//! handlers that are unpacked and called as the guest agent does. Needs root.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::instance::{self, Holder};
use common::system::STATE_FOLDER;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Tells `story` on a machine where nothing was ever installed.
pub(crate) fn on_a_fresh_machine(story: fn(&Machine)) {
    let told = thread::spawn(move || {
        isolate().expect("these tests need root: they mount a private /var/lib for each story");
        story(&Machine { folder: tempfile::tempdir().unwrap() });
    });
    if let Err(panic) = told.join() {
        resume_unwind(panic);
    }
}

fn isolate() -> rustix::io::Result<()> {
    // SAFETY: only file system calls depend on this thread's mounts; no descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // Who hides the machine's own systemd hides its units too.
    for folder in ["/var/lib", "/opt", "/run", "/etc/default", "/etc/systemd"].map(Path::new) {
        if !folder.exists() {
            continue;
        }
        mount("tmpfs", folder, "tmpfs", MountFlags::empty(), None)?;
    }
    Ok(())
}

/// Puts the state folder on a disk of its own, of 64 KiB.
pub(crate) fn with_a_small_disk() {
    fs::create_dir(STATE_FOLDER).unwrap();
    mount("tmpfs", STATE_FOLDER, "tmpfs", MountFlags::empty(), Some(c"size=64k")).unwrap();
}

pub(crate) struct Machine {
    folder: TempDir,
}

impl Machine {
    /// Unpacks a handler as the agent does: programs, folders, HandlerEnvironment.json.
    pub(crate) fn unpack(&self, version: &str) -> Handler<'_> {
        let base = self.folder.path().join(format!("Contoso.KeyVaultForLinux-{version}"));
        for folder in ["config", "status"] {
            fs::create_dir_all(base.join(folder)).unwrap();
        }
        fs::create_dir_all(self.log_folder()).unwrap();
        let handler = Path::new(env!("CARGO_BIN_EXE_akvvm_handler"));
        let stand_in = handler.with_file_name("examples").join("stand_in");
        assert!(stand_in.exists(), "{} is missing: cargo build -p handler --examples", stand_in.display());
        copy_program(handler, &base.join("akvvm_handler"));
        copy_program(&stand_in, &base.join("akvvm_service"));
        let environment = json!([{"name": "Contoso.KeyVaultForLinux", "version": 1.0, "handlerEnvironment": {
            "logFolder": self.log_folder(), "configFolder": base.join("config"), "statusFolder": base.join("status"),
            "heartbeatFile": base.join("heartbeat.log")}}]);
        fs::write(base.join("HandlerEnvironment.json"), environment.to_string()).unwrap();
        Handler { machine: self, base, version: version.to_owned() }
    }

    /// The same, enabled with good settings, number 0.
    pub(crate) fn enabled(&self, version: &str) -> Handler<'_> {
        let handler = self.unpack(version);
        handler.write_settings(0, &good(60));
        handler.succeed("enable", "0");
        handler
    }

    pub(crate) fn log_folder(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The service that runs now.
    pub(crate) fn service(&self) -> Option<Holder> {
        instance::running(Path::new(STATE_FOLDER)).unwrap()
    }

    /// The process of the service, which must run.
    pub(crate) fn process(&self) -> u32 {
        self.service().expect("a service runs").pid
    }

    /// What a loss of power does to the service.
    pub(crate) fn reboot(&self) {
        self.signal(Signal::KILL);
        eventually("the service is gone", || self.service().is_none());
    }

    /// The names of the accepted settings.
    pub(crate) fn accepted(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(Path::new(STATE_FOLDER).join("accepted")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn signal(&self, signal: Signal) {
        if let Some(holder) = self.service() {
            let pid = Pid::from_raw(holder.pid.try_into().unwrap()).unwrap();
            // It may have ended on its own by now.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// One version of the handler, unpacked.
pub(crate) struct Handler<'a> {
    machine: &'a Machine,
    pub(crate) base: PathBuf,
    version: String,
}

impl Handler<'_> {
    pub(crate) fn write_settings(&self, number: u64, settings: &str) {
        fs::write(self.base.join(format!("config/{number}.settings")), settings).unwrap();
    }

    /// Makes the stand-in for the service fail in one way.
    pub(crate) fn service_that(&self, behaviour: &str) {
        fs::write(self.base.join("behaviour"), behaviour).unwrap();
    }

    /// Starts a verb as the agent does: no HOME, the number in a variable.
    pub(crate) fn start(&self, verb: &str, number: &str) -> Child {
        self.start_with(verb, &[("ConfigSequenceNumber", number)])
    }

    pub(crate) fn start_with(&self, verb: &str, variables: &[(&str, &str)]) -> Child {
        Command::new(self.base.join("akvvm_handler"))
            .arg(verb)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("AZURE_GUEST_AGENT_EXTENSION_VERSION", &self.version)
            .envs(variables.iter().copied())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub(crate) fn run(&self, verb: &str, number: &str) -> Ended {
        Ended::of(self.start(verb, number))
    }

    /// Runs a verb that must succeed.
    pub(crate) fn succeed(&self, verb: &str, number: &str) -> String {
        let ended = self.run(verb, number);
        assert_eq!(ended.code, 0, "{verb}: {}", ended.said);
        ended.said
    }

    pub(crate) fn status_file(&self, number: u64) -> PathBuf {
        self.base.join(format!("status/{number}.status"))
    }

    /// `transitioning`, `error` or `success`, and the message.
    pub(crate) fn status(&self, number: u64) -> (String, String) {
        let text = fs::read_to_string(self.status_file(number)).unwrap();
        let status = &serde_json::from_str::<Value>(&text).unwrap()[0]["status"];
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        (word(&status["status"]), word(&status["formattedMessage"]["message"]))
    }

    /// Waits until the service that runs now has written its status.
    pub(crate) fn is_reported_by_the_service(&self, number: u64) {
        let wanted = format!("process {}", self.machine.process());
        eventually("the service writes its status", || {
            self.status_file(number).exists() && self.status(number).1.contains(&wanted)
        });
    }
}

/// The program that runs of this version.
pub(crate) fn libexec(version: &str) -> PathBuf {
    Path::new("/opt/akvvm").join(version).join("libexec/akvvm_service")
}

/// Copies a program without ever having it open for writing in this process: another story's child, just forked, would
/// hold that too for an instant, and a file that somebody writes cannot be run.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// How a verb ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// Both outputs.
    pub(crate) said: String,
}

impl Ended {
    pub(crate) fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        Self { code: output.status.code().unwrap(), said: String::from_utf8(said).unwrap() }
    }
}

/// Settings that are good, and differ for each interval.
pub(crate) fn good(interval: u32) -> String {
    wrapped(&json!({"secretsManagementSettings": {
        "pollingIntervalInS": interval,
        "observedCertificates": ["https://contoso.vault.azure.net/secrets/web"]}}))
}

/// Settings with two mistakes.
pub(crate) fn wrong() -> String {
    wrapped(&json!({"secretsManagementSettings": {
        "pollingIntervalInS": "often",
        "observedCertificates": ["https://example.com/secrets/web"]}}))
}

fn wrapped(public: &Value) -> String {
    json!({"runtimeSettings": [{"handlerSettings": {
        "publicSettings": public, "protectedSettings": null, "protectedSettingsCertThumbprint": null}}]})
    .to_string()
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
