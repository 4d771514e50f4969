//! Windows: nothing is run there after a renewal; applications follow the renewal links of the certificate store.

use common::settings::{HookName, UnitName};

use super::note::{Failure, Move};

/// Hooks are for Linux.
pub(super) fn run_hook(_name: &HookName, _moves: &[Move]) -> Result<(), Failure> {
    Err(unsupported())
}

/// Units are for Linux.
pub(super) fn reload(_unit: &UnitName) -> Result<(), Failure> {
    Err(unsupported())
}

/// Units are for Linux.
pub(super) fn restart(_unit: &UnitName) -> Result<(), Failure> {
    Err(unsupported())
}

fn unsupported() -> Failure {
    let reason = "cannot be done on Windows: use linkOnRenewal, and remove it from afterRenewal".to_owned();
    Failure { reason, output: String::new() }
}
