//! The campaigns: what is tried by the thousand. `scripts/campaign` runs this; each campaign is a file of its own.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people prints")]

mod call;
mod crash;
mod error;
mod escape;
mod figures;
mod fleet;
mod points;
mod ptrace;
mod readers;
mod scenario;
// The real one: it is pure, so it runs on a simulated clock.
#[allow(dead_code, reason = "the fleet wakes nobody")]
#[path = "../../../../service/src/schedule.rs"]
mod schedule;
mod soak;
mod token_theft;
mod tracer;

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use figures::{Figures, Size};

/// A campaign: measures at this size, and says when it could not.
type Run = fn(Size, &mut Figures) -> Result<()>;

/// All of them: name, what it shows, and where it is.
const CAMPAIGNS: &[(&str, &str, Run)] = &[
    (
        "crash",
        "kill -9 at every file and socket call of each thread of a pass, and at random times of the service: nothing lost, nothing leaked",
        crash::run,
    ),
    (
        "error",
        "an error of each kind at every call on a file of each thread of a pass, a full disk, a read-only one: nothing lost, the cause named",
        error::run,
    ),
    (
        "readers",
        "renewals before readers that spin: who may read never misses it, nobody else ever opens it, one change of the link each",
        readers::run,
    ),
    (
        "escape",
        "a program of an attacker in place of the service, in its unit's sandbox: what it can write, read, start, connect to",
        escape::run,
    ),
    ("soak", "polls without a pause, with faults: descriptors, threads, memory and logs do not grow", soak::run),
    (
        "fleet",
        "ten thousand schedules before one vault, on a simulated clock: every machine gets its certificates",
        fleet::run,
    ),
    (
        "token-theft",
        "hostile addresses, redirects, challenges, and names that all lead to a thief: no byte of a token reaches him",
        token_theft::run,
    ),
];

/// What is tried by the thousand
#[derive(Parser)]
#[command(name = "campaign")]
struct Arguments {
    /// Which one; `list` names them
    name: String,
    /// How much of it
    #[arg(long, value_enum, default_value = "bounded")]
    size: Size,
}

fn main() -> ExitCode {
    let Arguments { name, size } = Arguments::parse();
    if name == "list" {
        for (name, shows, _) in CAMPAIGNS {
            println!("{name:14} {shows}");
        }
        return ExitCode::SUCCESS;
    }
    let Some((_, _, run)) = CAMPAIGNS.iter().find(|(known, _, _)| *known == name) else {
        eprintln!("campaign: there is no {name:?}; `list` names them");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    // A private world belongs to a thread, and the main thread's would be the whole process's.
    let ended = thread::spawn(move || {
        let mut figures = Figures::default();
        let result = run(size, &mut figures);
        (figures, result)
    });
    let Ok((figures, result)) = ended.join() else {
        return ExitCode::FAILURE;
    };
    println!("\n{}", figures.table(&name, size, start.elapsed()));
    if let Err(error) = &result {
        eprintln!("campaign {name}: it did not come to its end: {error:#}");
    }
    for missed in figures.missed() {
        eprintln!("campaign {name}: {missed}");
    }
    match result.is_ok() && figures.missed().is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
