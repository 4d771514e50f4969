//! Which glibc a program needs: the versioned symbols that the dynamic linker looks up before the program starts.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, Sym as _};

/// A version of glibc, `2.34`. Symbol versions have a third number in old releases, `GLIBC_2.2.5`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(Vec<u32>);

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        numbers.ok().filter(|numbers| numbers.len() >= 2).map(Self).ok_or("write two numbers, for example 2.34")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        formatter.write_str(&numbers.join("."))
    }
}

/// An error that names each symbol, with its version, for which the ELF program needs a glibc newer than `newest`.
pub(crate) fn check(program: &[u8], newest: &Version) -> Result<()> {
    let mut too_new = Vec::new();
    for (version, symbols) in needs(program).context("cannot read it as a 64-bit ELF program")? {
        if is_newer(&version, newest) {
            too_new.push(if symbols.is_empty() { version } else { format!("{} ({version})", symbols.join(", ")) });
        }
    }
    ensure!(
        too_new.is_empty(),
        "needs a glibc newer than {newest}: {}; build on an older distribution (Debian 12 is right for 2.34), or pass \
         --glibc when every machine that gets the package has a newer one",
        too_new.join(", ")
    );
    Ok(())
}

/// Whether a version name is one of glibc's and newer than `newest`. `GLIBC_ABI_DT_RELR` came with glibc 2.36; other names
/// without numbers (`GLIBC_PRIVATE`) bind a program to one glibc: newer than any number.
fn is_newer(name: &str, newest: &Version) -> bool {
    let version = match name.strip_prefix("GLIBC_") {
        Some("ABI_DT_RELR") => Ok(Version(vec![2, 36])),
        Some(number) => number.parse::<Version>(),
        None => return false,
    };
    version.map_or(true, |version| version > *newest)
}

/// The version names that the dynamic linker demands of libraries before the program starts, each with the symbols that
/// carry it. Not demanded is only what the linker marked as weak: a version of weak symbols alone often is not.
fn needs(program: &[u8]) -> Result<Vec<(String, Vec<String>)>> {
    let header = FileHeader64::<Endianness>::parse(program)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, program)?;
    let symbols = sections.symbols(endian, program, elf::SHT_DYNSYM)?;
    let (Some(versions), Some((mut libraries, _))) =
        (sections.versions(endian, program)?, sections.gnu_verneed(endian, program)?)
    else {
        return Ok(Vec::new());
    };
    let mut needs = Vec::new();
    while let Some((_, mut names)) = libraries.next()? {
        while let Some(name) = names.next()? {
            if name.vna_flags.get(endian).contains(elf::VER_FLG_WEAK) {
                continue;
            }
            let mut carriers = Vec::new();
            for (index, symbol) in symbols.enumerate() {
                if versions.version_index(endian, index).index() == name.vna_other(endian).index() {
                    carriers.push(String::from_utf8_lossy(symbol.name(endian, symbols.strings())?).into_owned());
                }
            }
            let version = String::from_utf8_lossy(name.name(endian, symbols.strings())?).into_owned();
            needs.push((version, carriers));
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn compares_versions_as_numbers() {
        for (name, newer) in [
            ("GLIBC_2.2.5", false),
            ("GLIBC_2.4", false),
            ("GLIBC_2.34", false),
            ("GLIBC_2.35", true),
            ("GLIBC_2.100", true),
            ("GLIBC_3.0", true),
            ("GLIBC_ABI_DT_RELR", true),
            ("GLIBC_ABI_OF_TOMORROW", true),
            ("GLIBC_PRIVATE", true),
            ("GCC_3.0", false),
        ] {
            assert_eq!(is_newer(name, &version("2.34")), newer, "{name}");
        }
        assert!(!is_newer("GLIBC_ABI_DT_RELR", &version("2.36")));
    }

    #[test]
    fn finds_the_symbols_of_a_real_program_and_names_those_that_are_too_new() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&program).unwrap();
        assert!(needs.iter().any(|(_, symbols)| symbols.iter().any(|symbol| symbol == "malloc")), "{needs:?}");
        check(&program, &version("99.0")).unwrap();
        let error = check(&program, &version("2.0")).unwrap_err().to_string();
        assert!(error.contains("malloc") && error.contains("(GLIBC_2."), "{error}");
    }

    #[test]
    fn refuses_what_is_no_program_or_is_cut_off() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for bytes in [b"".as_slice(), b"#!/bin/sh\n", &program[..4096]] {
            let error = check(bytes, &version("2.34")).unwrap_err().to_string();
            assert!(error.contains("ELF"), "{error}");
        }
    }
}
