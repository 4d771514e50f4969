//! A service for the tests of the handler: it takes the lock, writes a status, polls at SIGHUP and ends at SIGTERM, but
//! asks no vault. A file `behaviour` in the handler's folder makes it fail in one way.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use common::instance::{Holder, InstanceLock};
use common::sequence::Sequence;
use common::status::{Overview, Phase, StatusFile};
use jiff::Timestamp;
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;

#[derive(Parser)]
#[command(name = "akvvm_service", disable_version_flag = true)]
struct Cli {
    #[arg(long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Run {
        file: PathBuf,
        #[arg(long)]
        status_folder: Option<PathBuf>,
        #[arg(long)]
        log_folder: Option<PathBuf>,
        #[arg(long)]
        state_folder: PathBuf,
        #[arg(long)]
        handler_folder: PathBuf,
        #[arg(long)]
        events_folder: Option<PathBuf>,
        #[arg(long)]
        machine: Option<String>,
    },
}

fn main() -> ExitCode {
    let program = std::env::current_exe().unwrap();
    let behaviour_in = |folder: &Path| fs::read_to_string(folder.join("behaviour")).unwrap_or_default();
    let cli = Cli::parse();
    if cli.version {
        let behaviour = behaviour_in(program.parent().unwrap());
        if behaviour == "cannot run" {
            eprintln!("akvvm_service: /lib/libc.so.6: version `GLIBC_2.99' not found");
            return ExitCode::FAILURE;
        }
        let version = if behaviour == "is of another version" { "9.9.9" } else { env!("CARGO_PKG_VERSION") };
        println!("akvvm_service {version}");
        return ExitCode::SUCCESS;
    }
    let Some(Command::Run { file, status_folder, log_folder, state_folder, handler_folder, .. }) = cli.command else {
        return ExitCode::FAILURE;
    };
    let behaviour = behaviour_in(&handler_folder);
    assert!(log_folder.is_some());
    if behaviour == "dies" {
        eprintln!("akvvm_service: the disk has turned to stone");
        return ExitCode::from(7);
    }
    let mut signals = Signals::new([SIGHUP, SIGTERM]).unwrap();
    let holder = Holder {
        pid: std::process::id(),
        program,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: file.clone(),
        status_folder: status_folder.clone(),
    };
    let wait = Duration::from_secs(10);
    let _lock = (behaviour != "is never ready").then(|| InstanceLock::acquire(&state_folder, &holder, wait).unwrap());
    let status_file = status_folder
        .filter(|_| behaviour != "does not report")
        .map(|folder| Sequence::of_settings(&file).unwrap().status_file(&folder));
    report(status_file.as_ref());
    for signal in &mut signals {
        if signal == SIGHUP {
            report(status_file.as_ref());
        } else if behaviour != "is deaf" {
            return ExitCode::SUCCESS;
        }
    }
    ExitCode::SUCCESS
}

fn report(status_file: Option<&PathBuf>) {
    let identity = format!("process {}", std::process::id());
    let overview =
        Overview { phase: Phase::Polling, identity: Some(&identity), certificates: &[], reports: &[], next_poll: None };
    if let Some(path) = status_file {
        StatusFile::overview(&overview, Timestamp::now()).save(path).unwrap();
    }
}
