//! The folders of one version of a handler, and the files that the agent keeps in them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Settings;
use super::package::Version;

/// Where one version of a handler lives.
#[derive(Clone)]
pub(super) struct Folders {
    pub(super) name: String,
    pub(super) base: PathBuf,
    pub(super) logs: PathBuf,
}

impl Folders {
    pub(super) fn new(home: &Path, logs: &Path, name: &str, version: &Version) -> Self {
        Self { name: name.to_owned(), base: home.join(format!("{name}-{version}")), logs: logs.join(name) }
    }

    fn config(&self) -> PathBuf {
        self.base.join("config")
    }

    fn status(&self) -> PathBuf {
        self.base.join("status")
    }

    pub(super) fn status_file(&self, sequence: u32) -> PathBuf {
        self.status().join(format!("{sequence}.status"))
    }

    /// Creates the folders and writes HandlerEnvironment.json.
    pub(super) fn create(&self) -> Result<()> {
        let events = self.logs.join("events");
        for (folder, mode) in [
            (&self.base, 0o755),
            (&self.config(), 0o700),
            (&self.status(), 0o700),
            (&self.logs, 0o755),
            (&events, 0o700),
        ] {
            let created = fs::create_dir_all(folder);
            created
                .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(mode)))
                .with_context(|| folder.display().to_string())?;
        }
        let environment = json!([{
            "name": self.name,
            "version": 1.0,
            "handlerEnvironment": {
                "logFolder": self.logs,
                "configFolder": self.config(),
                "statusFolder": self.status(),
                "heartbeatFile": self.base.join("heartbeat.log"),
                "eventsFolder": events,
                "eventsFolder_preview": events,
            },
        }]);
        write(&self.base.join("HandlerEnvironment.json"), &environment.to_string())
    }

    /// Writes `<sequence>.settings` in the agent's shape: null stands where nothing was given.
    pub(super) fn write_settings(&self, sequence: u32, settings: &Settings) -> Result<()> {
        let (sequence, text) = match settings {
            Settings::Absent => (0, String::new()),
            Settings::Public(public) => {
                let document = json!({"runtimeSettings": [{"handlerSettings": {
                    "publicSettings": public,
                    "protectedSettings": Value::Null,
                    "protectedSettingsCertThumbprint": Value::Null,
                }}]});
                (sequence, document.to_string())
            }
        };
        write(&self.config().join(format!("{sequence}.settings")), &text)
    }

    /// Writes the agent's own note of how far the handler has come.
    pub(super) fn write_state(&self, state: &str) -> Result<()> {
        match self.config().exists() {
            true => write(&self.config().join("HandlerState"), state),
            false => Ok(()),
        }
    }

    /// Copies the status files, and the sequence number that some handlers keep, to another version.
    pub(super) fn copy_status_to(&self, other: &Self) -> Result<()> {
        for entry in fs::read_dir(self.status())? {
            let path = entry?.path();
            if let Some(name) = path.file_name()
                && path.is_file()
            {
                fs::copy(&path, other.status().join(name))?;
            }
        }
        let number = self.base.join("mrseq");
        if number.exists() {
            fs::copy(&number, other.base.join("mrseq"))?;
        }
        Ok(())
    }
}

/// Whether the agent takes this folder for a handler's: a name without a dash, a dash, a version.
pub(super) fn names_a_handler(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let parts = name.and_then(|name| name.split_once('-'));
    parts.is_some_and(|(name, version)| !name.is_empty() && version.parse::<Version>().is_ok())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let written = fs::write(path, text);
    written
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .with_context(|| path.display().to_string())
}
