//! Keys of ours that no certificate points to: what a crash between key and certificate left, or a key that was replaced.

use std::collections::HashSet;

use super::certificate_store::{self, CertificateStore};
use super::failure::Failure;
use super::key::{self, Key};

/// Destroys them. Nothing is touched unless every store of the machine, or of the user, could be read: a certificate may
/// have been moved to any of them.
pub(super) fn orphans(is_machine: bool) {
    if let Err(failure) = try_orphans(is_machine) {
        log::debug!(
            "keys without a certificate were not looked for: {} failed: {:#010x}",
            failure.action,
            failure.code
        );
    }
}

fn try_orphans(is_machine: bool) -> Result<(), Failure> {
    let ours = key::ours(is_machine)?;
    if ours.is_empty() {
        return Ok(());
    }
    let mut used = HashSet::new();
    for name in certificate_store::names(is_machine)? {
        let store = CertificateStore::open(is_machine, &name)?;
        used.extend(store.certificates().iter().filter_map(|context| context.key()).map(|place| place.container));
    }
    for orphan in ours.into_iter().filter(|place| !used.contains(&place.container)) {
        match Key::open(&orphan).and_then(Key::delete) {
            Ok(()) => log::info!("the key {}, which no certificate points to, was removed", orphan.container),
            Err(failure) => log::debug!("{}: {} failed: {:#010x}", orphan.container, failure.action, failure.code),
        }
    }
    Ok(())
}
