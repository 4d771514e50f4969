//! Which libraries a program for Windows loads before it starts: those of the system only, as the package has no others.

use anyhow::{Context as _, Result, ensure};
use object::LittleEndian;
use object::read::pe::PeFile64;

/// What every Windows Server since 2016 has in its system folder, Server Core too.
const SYSTEM: [&str; 16] = [
    "advapi32.dll",
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "combase.dll",
    "crypt32.dll",
    "kernel32.dll",
    "msvcrt.dll",
    "ncrypt.dll",
    "netapi32.dll",
    "ntdll.dll",
    "ole32.dll",
    "oleaut32.dll",
    "secur32.dll",
    "user32.dll",
    "userenv.dll",
    "ws2_32.dll",
];
/// The system's own name for sets of its functions.
const SETS: &str = "api-ms-win-";

/// An error that names each library beside the system's that the program imports.
pub(crate) fn check(program: &[u8]) -> Result<()> {
    let foreign: Vec<String> = imports(program)
        .context("cannot read it as a 64-bit program for Windows")?
        .into_iter()
        .filter(|library| !SYSTEM.contains(&library.as_str()) && !library.starts_with(SETS))
        .collect();
    ensure!(
        foreign.is_empty(),
        "needs libraries that are not a part of every Windows: {}; link them statically",
        foreign.join(", ")
    );
    Ok(())
}

/// The libraries that a program imports, in lower case.
fn imports(program: &[u8]) -> Result<Vec<String>> {
    let file = PeFile64::parse(program)?;
    let mut libraries = Vec::new();
    if let Some(table) = file.import_table()? {
        let mut descriptors = table.descriptors()?;
        while let Some(descriptor) = descriptors.next()? {
            let name = table.name(descriptor.name.get(LittleEndian))?;
            libraries.push(String::from_utf8_lossy(name).to_ascii_lowercase());
        }
    }
    ensure!(!libraries.is_empty(), "it imports nothing, not even the system");
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn refuses_what_is_no_program_for_windows() {
        let linux = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for bytes in [b"".as_slice(), b"MZ", &linux] {
            let error = check(bytes).unwrap_err().to_string();
            assert!(error.contains("program for Windows"), "{error}");
        }
    }
}
