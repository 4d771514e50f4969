//! Values as they are found in vaults, and values that nobody should put there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chains;
mod curves;
mod pem;
mod pfx;
mod validation;
mod values;
mod world;
