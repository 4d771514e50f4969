//! The service's program file: where it is, and whether this machine can run it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::text::bounded;

use crate::command::output_within;
use crate::system;

/// A program that only says its version is done within this time, on a machine under load too.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of what a program said is quoted, in characters.
const QUOTED: usize = 500;

/// The service's program in `base`, under the name that the system gives to a process that runs it.
pub(crate) fn beside(base: &Path) -> PathBuf {
    system::resolve(base.join(system::PROGRAM))
}

/// Makes `program` executable, runs it and compares its version with the handler's. A processor of another kind, a C
/// library that is too old and a volume mounted with `noexec` show here, with the system's own words.
///
/// # Errors
/// This machine cannot run it, or it is of another version: each `enable` would take it for outdated and restart it.
pub(crate) fn check(program: &Path) -> Result<()> {
    let name = program.display();
    system::make_executable(program).with_context(|| format!("{name}: the package is incomplete"))?;
    let output = output_within(Command::new(program).arg("--version"), PATIENCE)
        .with_context(|| format!("{name} cannot be run on this machine ({} is needed)", system::NEEDS))?;
    let Some(output) = output else { bail!("{name} --version did not end within {} s", PATIENCE.as_secs()) };
    if !output.status.success() {
        let said = bounded(String::from_utf8_lossy(&output.stderr).trim(), QUOTED);
        bail!("{name} cannot be run on this machine ({}): {said}", output.status);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().last().unwrap_or_default();
    if version != env!("CARGO_PKG_VERSION") {
        let ours = env!("CARGO_PKG_VERSION");
        bail!("{name} is of version {}, the handler of {ours}: the package is mixed", bounded(version, QUOTED));
    }
    Ok(())
}
