//! `dial FILE`: connects for a service that has no network of its own, to what its settings name and to nothing else, and looks
//! up who their accounts are.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use common::settings::Settings;
use log::LevelFilter;

use crate::{http, system};

pub(crate) fn run(file: &Path) -> Result<u8> {
    common::logging::start(None, "akvvm_dialer", LevelFilter::Warn);
    let settings = Settings::load(file)?;
    system::dial(places(&settings), &settings)
}

/// What the service connects to with these settings in this environment, each as `HOST:PORT`: the vaults, the metadata service
/// or what stands for it, the collector of logs, the proxy.
fn places(settings: &Settings) -> HashSet<String> {
    let vaults = settings.certificates.iter().map(|observed| format!("{}:443", observed.url.host()));
    let identities = settings.certificates.iter().map(|observed| observed.identity.endpoint.address());
    let collectors = settings.logging.collector.iter().flat_map(|collector| collector.endpoint.addresses());
    let addresses = identities.chain(collectors).map(|address| address.to_string());
    vaults.chain(addresses).chain(http::proxy_place()).collect()
}
