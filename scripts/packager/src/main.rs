//! Makes `<publisher>.KeyVaultForLinux-<version>.zip`, or `KeyVaultForWindows`, of the release binaries and the manifests,
//! and refuses a package that would not work in the field. It builds nothing: `scripts/package` does that first.

mod archive;
mod glibc;
mod imports;
mod manifest;
mod release;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::archive::{Entry, Moment};
use crate::release::{OperatingSystem, Publisher, Release, Version};

/// What the guest agent runs, and what runs from then on; on Windows `.exe` follows.
const BINARIES: [&str; 2] = ["akvvm_handler", "akvvm_service"];
/// What the binaries are made of, beside them; the program `sbom` writes it.
const BILL_OF_MATERIALS: &str = "sbom.cdx.json";

/// Make the extension's package of the release binaries and the manifests.
#[derive(Parser)]
#[command(name = "packager", disable_version_flag = true)]
struct Arguments {
    /// Folder of the release binaries and of sbom.cdx.json.
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    binaries: PathBuf,

    /// Folder of HandlerManifest.json and manifest.xml.
    #[arg(long, value_name = "DIR", default_value = ".")]
    manifests: PathBuf,

    /// Folder for the package.
    #[arg(long, value_name = "DIR", default_value = "target/package")]
    output: PathBuf,

    /// Name space under which the extension is published.
    #[arg(long, default_value = "Community.Azure.KeyVault")]
    publisher: Publisher,

    /// Version of the package, three or four numbers.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    version: Version,

    /// System for which the package is.
    #[arg(long, default_value = "linux")]
    os: OperatingSystem,

    /// Newest glibc that the binaries for Linux may need. 2.34 is that of RHEL 9; Ubuntu 22.04 has 2.35.
    /// The last one counts.
    #[arg(long, value_name = "VERSION", default_value = "2.34", overrides_with = "glibc")]
    glibc: glibc::Version,
}

fn main() -> ExitCode {
    match make_package(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when this fails, too.
            let _ = writeln!(io::stderr(), "packager: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn make_package(arguments: Arguments) -> Result<()> {
    let release = Release { publisher: arguments.publisher, version: arguments.version, os: arguments.os };
    let mut entries = Vec::new();
    let programs = BINARIES.map(|name| format!("{name}{}", release.os.program_suffix()));
    for name in &programs {
        let path = arguments.binaries.join(name);
        let binary = fs::read(&path)
            .with_context(|| format!("{}: cannot read it; scripts/package builds it", path.display()))?;
        let checked = match release.os {
            OperatingSystem::Linux => glibc::check(&binary, &arguments.glibc),
            OperatingSystem::Windows => imports::check(&binary),
        };
        checked.with_context(|| path.display().to_string())?;
        entries.push(Entry::program(name.clone(), binary));
    }
    let path = arguments.binaries.join(BILL_OF_MATERIALS);
    entries.push(Entry::document(BILL_OF_MATERIALS, read(&path)?));
    let path = arguments.manifests.join("HandlerManifest.json");
    let manifest = manifest::handler(&read(&path)?, &release, &BINARIES).with_context(|| path.display().to_string())?;
    entries.push(Entry::document("HandlerManifest.json", manifest));
    let path = arguments.manifests.join("manifest.xml");
    let manifest = manifest::image(&read(&path)?, &release).with_context(|| path.display().to_string())?;
    entries.push(Entry::document("manifest.xml", manifest));

    let package = archive::pack(entries, Moment::of_build()?)?;
    let path = arguments.output.join(format!("{}.zip", release.full_name()));
    let written = archive::write(&package, &path)?;
    writeln!(io::stdout(), "{}: {written}", path.display())?;
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}: cannot read it", path.display()))
}
