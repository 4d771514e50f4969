//! Windows: nothing is run there after a renewal; applications follow the renewal links of the certificate store.

use common::settings::{HookName, UnitName};

use crate::after_renewal::note::{Failure, Move};

/// Hooks are for Linux.
pub(in crate::after_renewal) fn run_hook(_name: &HookName, _moves: &[Move]) -> Result<(), Failure> {
    Err(unsupported())
}

/// Units are for Linux.
pub(in crate::after_renewal) fn reload(_unit: &UnitName) -> Result<(), Failure> {
    Err(unsupported())
}

/// Units are for Linux.
pub(in crate::after_renewal) fn restart(_unit: &UnitName) -> Result<(), Failure> {
    Err(unsupported())
}

fn unsupported() -> Failure {
    let reason = "cannot be done on Windows: use linkOnRenewal, and remove it from afterRenewal".to_owned();
    Failure { reason, output: String::new() }
}
