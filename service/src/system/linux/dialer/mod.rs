//! A service that holds keys has no network where its unit can do without. A second process, the dialer, knows the places that
//! the settings name, looks up their addresses, connects to them, and passes the connections on, unused. What is said over them
//! is said by the service alone.

mod client;
mod message;
mod server;

pub(crate) use client::Dialer;
pub(crate) use server::dial;
