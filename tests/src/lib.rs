//! An emulated Azure, for end-to-end tests and demonstrations of programs that must not know the difference.
//!
//! Key Vault and the instance metadata service answer as the real ones do, in their words, and go wrong on demand.
//! Nothing here knows the programs under test: it shares no type with them.
//!
//! ```no_run
//! use tests::azure::{Addresses, Azure};
//! use tests::pki::{Authority, Request};
//! use tests::pkcs12::Pfx;
//! use tests::world::World;
//!
//! # fn main() -> anyhow::Result<()> {
//! let world = World::enter()?;
//! let azure = Azure::start(Addresses::real())?;
//! azure.create_vault("contoso");
//! let issued = Authority::new("Contoso", 1)?.issue(&Request::new("www.contoso.com"))?;
//! azure.put("contoso", "web", issued.pfx(&Pfx::KEY_VAULT)?)?;
//! world.connect(&azure)?;
//! let output = world.command("curl").arg(azure.url("contoso", "web")).output()?;
//! # Ok(())
//! # }
//! ```

mod addresses;
pub mod agent;
pub mod arc;
pub mod azure;
pub mod bundle;
pub mod catalogue;
pub mod clock;
pub mod console;
mod der;
pub mod dns;
pub mod fabric;
pub mod fault;
pub mod guest;
pub mod handler_story;
pub mod hostile;
pub mod http;
pub mod identity;
pub mod imds;
mod key_vault;
mod keys;
mod listener;
mod network;
pub mod notify_socket;
pub mod operator;
pub mod order;
mod pbe;
pub mod pkcs12;
pub mod pki;
mod proxy;
pub mod reader;
pub mod refusal;
pub mod settings;
mod state;
pub mod story;
pub mod systemd;
pub mod thief;
pub mod tls;
mod tls_proxy;
pub mod vault;
pub mod windows_guest;
pub mod wine;
pub mod wire;
pub mod world;
mod x509;
