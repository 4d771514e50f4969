//! Windows: a file directly in the agent's own folder, which only administrators may write.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use common::text::excerpt;
use zeroize::Zeroizing;

use crate::identity::IdentityError;
use crate::network::Network;

/// Where the agent keeps its keys, below `%ProgramData%`.
const FOLDER: &str = r"AzureConnectedMachineAgent\Tokens";
const SUFFIX: &str = ".key";
/// The most that a key may have, in bytes.
const LARGEST: u64 = 4096;

/// Reads the key file that a challenge named.
///
/// # Errors
/// It is not a key file of the agent, or cannot be read.
pub(crate) fn read(path: &str, _network: &Network) -> Result<Zeroizing<String>, IdentityError> {
    let data = std::env::var_os("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into());
    read_in(&Path::new(&data).join(FOLDER), path)
        .map_err(|reason| IdentityError::KeyFile { path: excerpt(path), reason })
}

fn read_in(folder: &Path, path: &str) -> Result<Zeroizing<String>, String> {
    let outside = || format!("is not in {}", folder.display());
    let (parent, name) = path.rsplit_once('\\').ok_or_else(outside)?;
    if !parent.eq_ignore_ascii_case(&folder.display().to_string()) {
        return Err(outside());
    }
    let plain = |stem: &str| !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !name.strip_suffix(SUFFIX).is_some_and(plain) {
        return Err(format!("is not called NAME{SUFFIX}"));
    }
    let can = |action: &str, error: std::io::Error| format!("cannot be {action} ({error})");
    let path = folder.join(name);
    let kind = path.symlink_metadata().map_err(|error| can("looked at", error))?;
    if !kind.is_file() || !(1..=LARGEST).contains(&kind.len()) {
        return Err(format!("is no file with 1 to {LARGEST} bytes"));
    }
    let mut content = Zeroizing::new(String::with_capacity(LARGEST as usize));
    let file = File::open(&path).map_err(|error| can("opened", error))?;
    file.take(LARGEST).read_to_string(&mut content).map_err(|error| can("read", error))?;
    match !content.is_empty() && content.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(content),
        false => Err("does not hold a key".to_owned()),
    }
}
