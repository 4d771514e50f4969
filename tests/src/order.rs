//! Orders to an emulator that runs as a program, and the way to send one. Carrying them out is [`crate::console`]'s.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::catalogue::{Breakage, Kind};

/// Something that a running emulator is told to do.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
pub enum Order {
    /// Create a secret, or a new version of it
    Put {
        /// The secret's name
        name: String,
        /// What it holds
        #[arg(long, value_enum, default_value = "rsa-pfx")]
        kind: Kind,
        /// The certificate's DNS name [default: NAME.example.com]
        #[arg(long)]
        dns: Option<String>,
    },
    /// Renew a certificate: a new version with a new key, of the same kind
    Renew {
        /// The secret's name
        name: String,
    },
    /// Make something go wrong
    Break {
        /// The secret's name; the whole vault without it
        name: Option<String>,
        /// What goes wrong
        #[arg(long, value_enum, default_value = "forbidden")]
        how: Breakage,
        /// How many requests it strikes; all without it
        #[arg(long)]
        times: Option<u32>,
    },
    /// End what `break` began
    Repair {
        /// The secret's name; without it the whole vault, and the metadata service
        name: Option<String>,
    },
    /// Disable the newest version
    Disable {
        /// The secret's name
        name: String,
    },
    /// Enable the newest version again
    Enable {
        /// The secret's name
        name: String,
    },
    /// Delete a secret
    Delete {
        /// The secret's name
        name: String,
    },
    /// Show the secrets of all vaults
    List,
    /// Show the requests so far
    Requests,
    /// Have the guest agent process a goal state: install, enable or update an extension
    Goal {
        /// The extension's package, `<name>-<version>.zip`
        package: PathBuf,
        /// A file with the public settings
        settings: Option<PathBuf>,
        /// The sequence number of the settings
        #[arg(long, default_value_t = 0)]
        sequence: u32,
    },
    /// Show the extension's status as the guest agent would report it
    Status,
    /// Have the guest agent remove the extension
    Remove,
}

impl Order {
    /// The same with paths that mean the same in another process.
    pub fn with_absolute_paths(mut self) -> Result<Self> {
        if let Self::Goal { package, settings, .. } = &mut self {
            *package = std::path::absolute(&package)?;
            if let Some(settings) = settings {
                *settings = std::path::absolute(&settings)?;
            }
        }
        Ok(self)
    }
}

/// An order with the vault that it is about, as it goes over the socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Letter {
    /// The vault's name or host.
    pub vault: String,
    /// What to do.
    pub order: Order,
}

/// Sends an order to the emulator in this folder; answers the text to print.
pub fn send(folder: &Path, letter: &Letter) -> Result<String> {
    let path = folder.join("control");
    let mut stream = UnixStream::connect(&path)
        .with_context(|| format!("{}: no emulator answers; start one with `azure-emulator run`", path.display()))?;
    stream.write_all(format!("{}\n", json!(letter)).as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let answer: Value = serde_json::from_str(&answer).context("the emulator ended")?;
    match answer["error"].as_str() {
        Some(error) => bail!("{error}"),
        None => Ok(answer["text"].as_str().unwrap_or_default().to_owned()),
    }
}
