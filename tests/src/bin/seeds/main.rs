//! Writes into a folder what the tests have of a kind of input, for a fuzzer to begin with.

mod answers;
mod forms;
mod values;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use tests::settings::{cases, samples};

/// Writes seeds for a fuzzer
#[derive(Parser)]
struct Arguments {
    /// What it makes up
    kind: Input,
    /// Where it looks for what it begins with
    folder: PathBuf,
    /// Where others keep what they learned of the values of secrets
    learned: Vec<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Input {
    Settings,
    Pfx,
    Pem,
    Secret,
    Identity,
    Log,
}

/// What a fuzzer reads at most, in bytes.
const LONGEST: usize = 65_536;
/// What other programs wrote.
const PKCS12: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../service/tests/data/pkcs12");

fn main() -> Result<()> {
    let Arguments { kind, folder, learned } = Arguments::parse();
    let learned: Vec<_> = learned.iter().map(|folder| contents(folder)).collect::<Result<_>>()?;
    let learned = learned.concat();
    let seeds = match kind {
        Input::Settings => settings()?,
        Input::Pfx => values::pfx()?.into_iter().chain(contents(Path::new(PKCS12))?).collect(),
        Input::Pem => values::pem(&learned)?,
        Input::Secret => answers::of_vaults(&[values::all()?, learned].concat()),
        Input::Identity => answers::of_metadata_services(),
        Input::Log => vec!["first\r\n2026-01-01 \x1b[31m\u{202e}x".into()],
    };
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (number, seed) in seeds.into_iter().filter(|seed| seed.len() <= LONGEST).enumerate() {
        let file = folder.join(format!("seed-{number}"));
        fs::write(&file, seed).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// What the files in a folder hold, if there is one.
fn contents(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let Ok(files) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    files.map(|file| Ok(fs::read(file?.path())?)).collect()
}

fn settings() -> Result<Vec<Vec<u8>>> {
    let samples = samples()?.into_iter().map(|sample| sample.settings);
    Ok(samples.chain(cases().into_iter().map(|case| case.settings)).map(|one| one.to_string().into_bytes()).collect())
}
