//! Microsoft's closed extension of the same type, which runs a service of the same name: the two would take turns at the
//! same links. It is told by what is in its folder, as a package of ours may carry the same publisher.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::supervisor;
use crate::system::{self, PROGRAM, TYPE};

/// What the agent runs of a handler of ours, of any version.
const OURS: &str = "akvvm_handler";
/// What both call their service.
const SERVICE: &str = "akvvm_service";
/// How deep the service's program may lie in a handler's folder.
const DEPTH: usize = 3;

/// Lets nothing be done while the closed extension is on this machine. `base` is our own handler's folder, beside which the
/// agent keeps all others.
///
/// # Errors
/// It is: with the command that removes it.
pub(crate) fn refuse(base: &Path) -> Result<()> {
    if let Some(found) = find(base).or_else(supervisor::foreign) {
        bail!(
            "{}: Microsoft's Key Vault extension is on this machine, and its service would be in the way of this one; \
             remove it first (its certificates stay, and are taken over): az vm extension delete --resource-group GROUP \
             --vm-name MACHINE --name {TYPE} (for a scale set: az vmss extension delete, then az vmss update-instances)",
            found.display()
        );
    }
    Ok(())
}

/// The folder of the closed extension.
fn find(base: &Path) -> Option<PathBuf> {
    let entries = system::shelves(base).into_iter().flat_map(fs::read_dir).flatten().flatten();
    let mut folders = entries.map(|entry| entry.path()).filter(|folder| folder.is_dir());
    folders.find(|folder| *folder != base && is_closed(folder))
}

/// Whether a folder holds a handler for the same certificates that is none of ours.
fn is_closed(folder: &Path) -> bool {
    let Ok(text) = fs::read_to_string(folder.join("HandlerManifest.json")) else { return false };
    // On Linux the folder's own name has the type in it, on Windows that of the folder around it.
    let place = folder.to_string_lossy();
    !runs_ours(&text) && (place.contains(TYPE) || text.contains(TYPE) || text.contains(SERVICE) || holds(folder, DEPTH))
}

/// Whether the agent's commands are ours.
fn runs_ours(manifest: &str) -> bool {
    let Ok(manifest) = serde_json::from_str::<Value>(manifest.trim_start_matches('\u{feff}')) else { return false };
    let command = manifest[0]["handlerManifest"]["enableCommand"].as_str().unwrap_or_default();
    Path::new(command.split_whitespace().next().unwrap_or_default()).file_stem() == Some(OURS.as_ref())
}

/// Whether a file of the service's name lies in a folder, at most so deep.
fn holds(folder: &Path, depth: usize) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder { depth > 1 && holds(&entry.path(), depth - 1) } else { entry.file_name() == PROGRAM }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A folder of handlers with one of ours, and another one of this name, manifest command and file.
    fn found_beside_ours(name: &str, command: &str, file: &str) -> bool {
        let home = tempfile::tempdir().unwrap();
        let base = home.path().join("Microsoft.Azure.KeyVault.KeyVaultForLinux-1.0.0");
        for (folder, command, file) in
            [(base.clone(), "akvvm_handler enable", "akvvm_service"), (home.path().join(name), command, file)]
        {
            fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            fs::write(folder.join(file), "").unwrap();
            let manifest = format!(r#"[{{"version": 1.0, "handlerManifest": {{"enableCommand": "{command}"}}}}]"#);
            fs::write(folder.join("HandlerManifest.json"), manifest).unwrap();
        }
        refuse(&base).is_err()
    }

    #[test]
    fn is_told_by_what_it_holds() {
        for (name, command, file, is_closed) in [
            ("Microsoft.Azure.KeyVault.KeyVaultForLinux-2.0.1548.49", "bin/kvvm.sh enable", "bin/akvvm_service", true),
            ("Microsoft.Azure.KeyVault.KeyVaultForLinux-3.5.3041.185", "akvvm_service.sh enable", "README", true),
            ("Contoso.Renamed-3.0", "run enable", "lib/x/akvvm_service", true),
            ("Microsoft.Azure.KeyVault.KeyVaultForLinux-0.9.0", "akvvm_handler enable", "akvvm_service", false),
            ("Contoso.KeyVaultForLinux-1.0.1", "./bin/akvvm_handler enable", "akvvm_service", false),
            ("Microsoft.Azure.Extensions.CustomScript-2.1.3", "bin/custom-script-shim enable", "bin/shim", false),
        ] {
            assert_eq!(found_beside_ours(name, command, file), is_closed, "{name}");
        }
    }

    #[test]
    fn a_folder_without_a_manifest_is_no_handler() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("Microsoft.Azure.KeyVault.Store")).unwrap();
        fs::create_dir(home.path().join("Microsoft.Azure.KeyVault.KeyVaultForLinux-3.0")).unwrap();
        refuse(&home.path().join("Contoso.KeyVaultForLinux-1.0.0")).unwrap();
    }
}
