//! The service.
#![allow(dead_code)]

mod certificate;
mod store;

fn main() {}
