//! The verbs that the Azure guest agent runs: `akvvm_handler install|enable|disable|update|uninstall`.
//!
//! One line about what was done goes to standard output, what went wrong to standard error; the agent shows both in the
//! portal. Exit codes: 0 done, or nothing to do; 1 failed for a reason of this machine; 2 wrong usage; 3 the settings
//! are wrong. The agent treats all but 0 alike.

mod closed;
mod command;
mod commands;
mod deployment;
mod enable;
mod failure;
mod libexec;
mod program;
mod state;
mod supervisor;
mod system;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use common::text::bounded;

/// The agent shows 3200 bytes of what a verb prints.
const LONGEST: usize = 2500;

/// Installs, starts and stops the Key Vault extension's service for the Azure guest agent.
#[derive(Parser)]
#[command(name = "akvvm_handler", version)]
struct Cli {
    /// What to do
    verb: commands::Verb,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    system::harden();
    // Nothing more can be done when the agent does not listen.
    match commands::run(cli.verb) {
        Ok(done) => {
            let _ = writeln!(std::io::stdout(), "{}", bounded(&done, LONGEST));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "akvvm_handler: {}", bounded(&failure.to_string(), LONGEST));
            ExitCode::from(failure.exit_code())
        }
    }
}
