//! A service that holds keys has no network. A second process, the dialer, knows the places that the settings name, looks up their
//! addresses, connects to them, and passes the connections on, unused. What is said over them is said by the service alone. The
//! dialer also looks up who the accounts of the settings are.

mod client;
mod message;
mod server;

pub(crate) use client::Dialer;
pub(crate) use server::dial;
