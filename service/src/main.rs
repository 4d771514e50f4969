//! The service: `run` is the daemon, `check` and `sync` are for people.

mod after_renewal;
mod agent;
mod certificate;
mod check;
mod daemon;
mod dial;
mod ended;
mod error;
mod fluentd;
mod http;
mod identity;
mod memory;
mod network;
mod prepare;
mod queue;
mod recovery;
mod schedule;
mod single_pass;
mod standing;
mod store;
mod sync;
mod system;
mod telemetry;
mod vault;
mod versions;
mod vigil;
mod wiped;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use common::folders::Folders;

/// Everything was done, or the settings are valid.
const DONE: u8 = 0;
/// Something failed; the message says what.
const FAILED: u8 = 1;
/// The settings (or the arguments) are wrong.
const WRONG: u8 = 2;
/// The handler that started the service is gone: there is nothing left to do on this machine.
const DROPPED: u8 = 4;

/// Keeps the certificates of a Key Vault installed and fresh on this machine.
#[derive(Parser)]
#[command(name = "akvvm_service", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Poll the vaults until a signal ends it (HUP polls now, TERM ends; on Windows, controls of the service)
    Run {
        /// The settings: a .settings file of the guest agent, or bare public settings
        file: PathBuf,
        #[command(flatten)]
        places: Places,
        /// Where akvvm_service.log goes [default: standard error]
        #[arg(long, value_name = "DIR")]
        log_folder: Option<PathBuf>,
        #[command(flatten)]
        origin: Origin,
    },
    /// Validate settings without asking anybody: exit 0 valid, 2 invalid
    Check {
        /// The settings: a .settings file of the guest agent, or bare public settings
        file: PathBuf,
        /// Print the findings and what was understood as JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring all certificates up to date once: exit 0 all installed, 1 some failed, 2 settings wrong
    Sync {
        /// The settings: a .settings file of the guest agent, or bare public settings
        file: PathBuf,
        #[command(flatten)]
        places: Places,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Create the folders of the certificates
    #[command(hide = true)]
    Prepare {
        /// The settings: a .settings file of the guest agent, or bare public settings
        file: PathBuf,
    },
    /// Do what the note of a running service says follows from renewals
    #[command(hide = true)]
    Act {
        /// The settings, which name what may be done
        file: PathBuf,
        /// Where the note is
        #[arg(long, value_name = "DIR", default_value = common::system::STATE_FOLDER)]
        state_folder: PathBuf,
    },
    /// Connect to what the settings name for a service that has no network, by a socket of systemd's
    #[command(hide = true)]
    Dial {
        /// The settings that the service runs with
        file: PathBuf,
    },
    /// Report an end that nobody asked for, by the variables of systemd's ExecStopPost=
    #[command(hide = true)]
    Ended {
        /// The settings that the service ran with
        file: PathBuf,
        #[command(flatten)]
        places: Places,
    },
}

/// What the handler that starts the service says of itself.
#[derive(Args)]
struct Origin {
    /// The handler's folder: when it is gone, the service ends with exit code 4 [default: nothing is looked for]
    #[arg(long, value_name = "DIR")]
    handler_folder: Option<PathBuf>,
    /// The machine's number (/sys/class/dmi/id/product_uuid): on another machine, a copy, nothing is polled
    #[arg(long, value_name = "UUID")]
    machine: Option<String>,
    /// The guest agent's folder for telemetry events, if it takes them [default: no events]
    #[arg(long, value_name = "DIR", requires = "log_folder")]
    events_folder: Option<PathBuf>,
    /// A unit takes the notes of what follows from renewals [default: the service starts a process for them]
    #[arg(long)]
    notes_are_watched: bool,
    /// The socket of a process that connects to what the settings name [default: the service does itself]
    #[arg(long, value_name = "SOCKET")]
    dialer: Option<system::Dialer>,
}

#[derive(Args)]
struct Places {
    /// Where the status file `N.status` goes [default: nowhere]
    #[arg(long, value_name = "DIR")]
    status_folder: Option<PathBuf>,
    /// Where the lock of the running instance is
    #[arg(long, value_name = "DIR", default_value = common::system::STATE_FOLDER)]
    state_folder: PathBuf,
}

impl Places {
    fn with_log(self, log: Option<PathBuf>) -> Folders {
        Folders { state: self.state_folder, status: self.status_folder, log }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    system::harden();
    certificate::initialise_openssl();
    let result = match cli.command {
        Command::Run { file, places, log_folder, origin } => {
            system::supervised(move || daemon::run(&file, &places.with_log(log_folder), origin))
        }
        Command::Check { file, json } => check::run(&file, json),
        Command::Sync { file, places, json } => single_pass::run(&file, &places.with_log(None), json),
        Command::Prepare { file } => prepare::run(&file),
        Command::Act { file, state_folder } => after_renewal::act(&file, &state_folder),
        Command::Dial { file } => dial::run(&file),
        Command::Ended { file, places } => ended::run(&file, &places.with_log(None)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nothing more can be done when standard error is gone.
            let _ = writeln!(std::io::stderr(), "akvvm_service: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}
