//! A machine with Windows on which the extension is, or is going to be: what its guest agent does, as far as that is known
//! in public, with the package that `scripts/package --os windows` made.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::agent::{Reported, judge};
use crate::handler_story::{newest_package, unpack};
use crate::story::{Finished, Story, finish};
use crate::wine::Wine;

/// What the handler is called. The publisher is that of the package.
const HANDLER: &str = "Community.Azure.KeyVault.KeyVaultForWindows";
/// Where the agent keeps handlers.
pub const HANDLERS: &str = "Packages/Plugins";

/// The machine.
pub struct Guest<'a> {
    /// Its Windows.
    pub wine: Wine<'a>,
}

/// One version of the handler, unpacked on a machine.
pub struct Handler<'a> {
    wine: &'a Wine<'a>,
    /// Its version.
    pub version: String,
}

/// What the service control manager knows of a service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Service {
    /// What it runs.
    pub command: String,
    /// What lists show.
    pub display: String,
    /// Whose rights it has.
    pub account: String,
    /// 2 by itself, 3 when somebody starts it.
    pub start: u32,
    /// 16 when it has a process of its own.
    #[serde(rename = "type")]
    pub kind: u32,
    /// 1 stopped, 3 about to stop, 4 runs.
    pub state: u32,
    /// Its process, or 0.
    pub process: u32,
    /// The controls that it takes now, as bits.
    pub accepts: u32,
    /// What it ended with.
    pub exit: u32,
}

/// Somebody who has a file open, until it is dropped.
pub struct Reader(Child);

impl<'a> Guest<'a> {
    /// A machine on which nothing is deployed yet.
    pub fn begin(story: &'a Story) -> Result<Self> {
        Ok(Self { wine: Wine::install(story)? })
    }

    /// A path below `C:\`.
    #[must_use]
    pub fn disk(&self, path: &str) -> PathBuf {
        self.wine.prefix().join("drive_c").join(path)
    }

    /// Unpacks the package as this version, as the agent does.
    pub fn unpack(&self, version: &str) -> Result<Handler<'_>> {
        let handler = Handler { wine: &self.wine, version: version.to_owned() };
        let folder = handler.folder();
        fs::create_dir_all(&folder)?;
        unpack(&newest_package("package", "KeyVaultForWindows")?, &folder)?;
        for folder in ["RuntimeSettings", "Status", "Logs"] {
            fs::create_dir_all(handler.folder().join(folder))?;
        }
        let place = place(version);
        let environment = json!([{"version": 1.0, "handlerEnvironment": {
            "logFolder": format!(r"{place}\Logs"),
            "configFolder": format!(r"{place}\RuntimeSettings"),
            "statusFolder": format!(r"{place}\Status"),
            "heartbeatFile": format!(r"{place}\Status\HeartBeat.Json"),
        }}]);
        fs::write(folder.join("HandlerEnvironment.json"), environment.to_string())?;
        Ok(handler)
    }

    /// What the service control manager knows of the service; `None` when there is none.
    pub fn service(&self) -> Result<Option<Service>> {
        let finished = self.services(&["query", "akvvm_service"])?;
        serde_json::from_str(&finished.output).with_context(|| format!("{finished:?}"))
    }

    /// Sends the service a control.
    pub fn control(&self, number: u32) -> Result<()> {
        self.services(&["control", "akvvm_service", &number.to_string()]).map(drop)
    }

    /// Asks something of the service control manager; see `tests/windows/services.c`.
    pub fn services(&self, arguments: &[&str]) -> Result<Finished> {
        self.wine.succeed(&mut self.wine.tool("services", arguments)?)
    }

    /// Opens a file as most programs do, which lets others read it and no more.
    pub fn hold(&self, path: &str) -> Result<Reader> {
        let mut command = self.wine.tool("services", &["hold", path])?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let reader = Reader(child);
        anyhow::ensure!(line.trim() == "held", "{path}: {line}");
        Ok(reader)
    }
}

impl Handler<'_> {
    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.wine.prefix().join("drive_c").join(HANDLERS).join(HANDLER).join(&self.version)
    }

    /// Runs a verb by its command in the manifest, in the handler's folder.
    pub fn run(&self, verb: &str, sequence: u32) -> Result<Finished> {
        let manifest: Value = serde_json::from_slice(&fs::read(self.folder().join("HandlerManifest.json"))?)?;
        let text = manifest[0]["handlerManifest"][format!("{verb}Command")].as_str().context("no such command")?;
        let mut command = self.wine.command("cmd", &["/c", text]);
        command.current_dir(self.folder()).env("ConfigSequenceNumber", sequence.to_string());
        command.env("VERSION", &self.version);
        // Should Wine itself fail, it says why.
        command.env("WINEDEBUG", "-all,err+all");
        finish(&mut command)
    }

    /// Writes settings of this number, and enables them.
    pub fn enable(&self, sequence: u32, settings: &Value) -> Result<Finished> {
        let document = json!({"runtimeSettings": [{"handlerSettings": {"publicSettings": settings}}]});
        let file = self.folder().join(format!("RuntimeSettings/{sequence}.settings"));
        fs::write(file, document.to_string())?;
        self.run("enable", sequence)
    }

    /// What the agent makes of the status of this number.
    #[must_use]
    pub fn reported(&self, sequence: u32) -> Reported {
        judge(HANDLER, &self.folder().join(format!("Status/{sequence}.status")))
    }

    /// A file of its folder, as Windows calls it.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        format!(r"{}\{file}", place(&self.version))
    }

    /// All that the service and the handler logged.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.folder().join("Logs")).into_iter().flatten().flatten() {
            if let Ok(mut file) = fs::File::open(entry.path()) {
                let _ = file.read_to_string(&mut text);
            }
        }
        text
    }
}

/// The folder of a version, as Windows calls it.
fn place(version: &str) -> String {
    format!(r"C:\Packages\Plugins\{HANDLER}\{version}")
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
