//! `prepare FILE`: creates the folders of the certificates. A service in a sandbox is given folders that exist, so this is
//! done before each start, outside of it.

use std::path::Path;

use anyhow::{Result, bail};
use common::settings::Settings;

use crate::DONE;
use crate::store::Store;

pub(crate) fn run(file: &Path) -> Result<u8> {
    let settings = Settings::load(file)?;
    let failures: Vec<String> =
        Store::prepare(&settings.certificates).iter().map(std::string::ToString::to_string).collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(DONE)
}
