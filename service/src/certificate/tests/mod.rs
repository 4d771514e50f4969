//! Values as they are found in vaults, and values that nobody should put there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chains;
mod pem;
mod pfx;
mod values;
mod world;
