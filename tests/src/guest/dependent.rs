//! A second extension, which depends on ours: a shell script that notes, when it is enabled, what it finds on the disk.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const SCRIPT: &str = r#"#!/bin/sh
set -e
if [ "$1" = enable ]; then
  ls FOLDER >NOTE.tmp
  mv NOTE.tmp NOTE
  echo '[{"version": 1.0, "timestampUTC": "2026-01-01T00:00:00Z", "status": {"operation": "enable", "status": "success",
    "code": 0, "formattedMessage": {"lang": "en-US", "message": "noted"}}}]' >"status/$ConfigSequenceNumber.status"
fi
"#;

/// The package of the extension, and where it notes what it finds.
pub struct Dependent {
    /// The package.
    pub package: PathBuf,
    note: PathBuf,
}

impl Dependent {
    /// Its name.
    pub const NAME: &str = "Story.Dependent";
    /// Its version.
    pub const VERSION: &str = "1.0.0";

    /// Makes the package in `home`; it looks into `folder`, and notes beside it what it finds.
    pub fn make(home: &Path, folder: &Path) -> Result<Self> {
        let package = home.join(format!("{}-{}.zip", Self::NAME, Self::VERSION));
        let note = folder.with_extension("found");
        let command = |verb: &str| format!("handler.sh {verb}");
        let manifest = json!([{"name": Self::NAME, "version": 1.0, "handlerManifest": {
            "installCommand": command("install"), "uninstallCommand": command("uninstall"),
            "updateCommand": command("update"), "enableCommand": command("enable"),
            "disableCommand": command("disable"), "rebootAfterInstall": false, "reportHeartbeat": false,
        }}]);
        let script = SCRIPT.replace("FOLDER", &folder.to_string_lossy()).replace("NOTE", &note.to_string_lossy());
        let mut archive = ZipWriter::new(File::create(&package).with_context(|| package.display().to_string())?);
        for (name, content) in [("HandlerManifest.json", manifest.to_string()), ("handler.sh", script)] {
            archive.start_file(name, SimpleFileOptions::default())?;
            archive.write_all(content.as_bytes())?;
        }
        archive.finish()?;
        Ok(Self { package, note })
    }

    /// Forgets that it was enabled.
    pub fn forget(&self) -> Result<()> {
        fs::remove_file(&self.note).with_context(|| self.note.display().to_string())
    }

    /// What lay in the folder when it was enabled, in order; `None` as long as it was not.
    #[must_use]
    pub fn found(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(&self.note).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }
}
