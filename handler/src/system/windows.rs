//! Windows: names of programs; who may use them is inherited from their folders.

use std::path::{Path, PathBuf};
use std::{fs, io};

use common::system::load_libraries_of_the_system_only;

/// The service's file name.
pub(crate) const PROGRAM: &str = "akvvm_service.exe";
/// The extension's type, in the names of handlers' folders and in manifests.
pub(crate) const TYPE: &str = "KeyVaultForWindows";
/// Whose folders are those of the service's versions. Only administrators create anything beside it.
pub(crate) const VERSIONS: &str = r"C:\Program Files\akvvm\versions";
/// The folder that is the extension's alone, and goes with it: programs and state are in it.
pub(crate) const HOME: &str = r"C:\Program Files\akvvm";
/// Where the agent puts settings, in the handler's folder.
pub(crate) const CONFIG: &str = "RuntimeSettings";
/// Where it reads the status, in the handler's folder.
pub(crate) const STATUS: &str = "Status";
/// What the programs need of a machine.
pub(crate) const NEEDS: &str = "Windows Server 2019 or later on x86-64";

/// No library is loaded but the system's. Files take their permissions from the folders that they are created in.
pub(crate) fn harden() {
    load_libraries_of_the_system_only();
}

/// The path as it is: it would get a prefix that the names of running programs do not have.
pub(crate) fn resolve(path: PathBuf) -> PathBuf {
    path
}

/// The folders in which the agent keeps handlers, where that of one of them is `base`: one for each type, with a folder
/// for each version.
pub(crate) fn shelves(base: &Path) -> Vec<PathBuf> {
    let types = base.parent().and_then(Path::parent).map(fs::read_dir);
    types.into_iter().flatten().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Any file can be run.
///
/// # Errors
/// There is no such file.
pub(crate) fn make_executable(path: &Path) -> io::Result<()> {
    fs::metadata(path).map(drop)
}

/// There are no labels.
pub(crate) fn restore_labels(_paths: &[&Path]) {}
