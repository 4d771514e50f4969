//! The copy of the service's program that runs: `libexec/akvvm_service` in the folder of its version.
//!
//! The agent's folder is no place to run it from: the agent deletes that under a running service, and SELinux keeps units
//! from programs below `/var/lib/waagent`. In a folder of this name it takes any program for one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use common::files;
use common::system::create_private_folder;

use crate::system::{self, VERSIONS};

/// The program of `version`, under the name that the system gives to a process that runs it.
pub(crate) fn program(version: &str) -> PathBuf {
    system::resolve(folder(version).join("libexec").join(system::PROGRAM))
}

/// Makes the program of `version` a copy of `original`. One that has the same content stays, so that it is told from
/// one that was replaced.
///
/// # Errors
/// It cannot be read or written; a copy that was there still is.
pub(crate) fn place(original: &Path, version: &str) -> Result<PathBuf> {
    let wanted = fs::read(original).with_context(|| format!("{}: the package is incomplete", original.display()))?;
    let copy = program(version);
    if fs::read(&copy).is_ok_and(|found| found == wanted) {
        return Ok(copy);
    }
    let folder = copy.parent().unwrap_or(Path::new(VERSIONS));
    create_private_folder(folder).with_context(|| folder.display().to_string())?;
    files::replace(&copy, &wanted, 0o700)?;
    system::restore_labels(&[Path::new(VERSIONS)]);
    Ok(program(version))
}

/// Removes the programs of all versions but this one. What stays does no harm.
pub(crate) fn keep_only(version: &str) {
    for entry in fs::read_dir(VERSIONS).into_iter().flatten().flatten() {
        if entry.file_name() != version
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            log::warn!("{}: {error}", entry.path().display());
        }
    }
}

/// Removes the program of `version`, which does not run.
///
/// # Errors
/// As the system says.
pub(crate) fn remove(version: &str) -> Result<()> {
    let folder = folder(version);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| folder.display().to_string());
        }
        _ => {}
    }
    // Other versions may be there.
    let _ = fs::remove_dir(VERSIONS);
    Ok(())
}

fn folder(version: &str) -> PathBuf {
    Path::new(VERSIONS).join(version)
}
