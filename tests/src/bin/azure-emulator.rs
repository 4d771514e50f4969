//! The emulated Azure as a program: `run` starts it, `world` runs a command in a private world with it, and every
//! other command is an order to the one that runs.
#![allow(clippy::print_stdout, reason = "a program for people prints")]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tests::agent::Agent;
use tests::azure::{Addresses, Azure};
use tests::catalogue;
use tests::console::Console;
use tests::guest::{Guest, Kind};
use tests::operator::Operator;
use tests::order::{Letter, Order, send};
use tests::world::World;

/// An emulated Azure: Key Vault, the instance metadata service and a guest agent
#[derive(Parser)]
#[command(name = "azure-emulator", version)]
struct Arguments {
    /// The emulator's folder: its CA, its log folder and the socket on which it takes orders
    #[arg(long, global = true, default_value = "azure-emulator")]
    folder: PathBuf,
    /// The vault that an order is about
    #[arg(long, global = true, default_value = "contoso")]
    vault: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the emulator and serve until the process is ended
    Run {
        /// Listen on 169.254.169.254:80 and 127.0.0.1:443, which must belong to this network
        #[arg(long)]
        real_addresses: bool,
    },
    /// Run a command in a private world, in which the emulator has the real addresses and names; needs root
    World {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Run a command on a private machine with the real guest agent, which has no extension to deploy yet; needs root, and
    /// the packages waagent and systemd
    Guest {
        /// Let systemd run the machine
        #[arg(long)]
        systemd: bool,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    #[command(flatten)]
    Order(Order),
}

fn main() -> ExitCode {
    let Arguments { folder, vault, command } = Arguments::parse();
    let result = match command {
        Command::Run { real_addresses } => run(&folder, &vault, real_addresses),
        Command::World { command } => world(&folder, &vault, &command),
        Command::Guest { systemd, command } => guest(&folder, &vault, systemd, &command),
        Command::Order(order) => tell(&folder, vault, order),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to be done when standard error is closed, too.
            let _ = writeln!(std::io::stderr(), "azure-emulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the emulator in the network of its caller and serves until it is told to end.
fn run(folder: &Path, vault: &str, real_addresses: bool) -> Result<ExitCode> {
    let azure = Azure::start(match real_addresses {
        true => Addresses::real(),
        false => Addresses::loopback(),
    })?;
    let control = Control::open(folder)?;
    let ca = azure.write_root(&control.folder)?;
    let mut agent = match real_addresses {
        true => Agent::new(),
        false => Agent::below(&control.folder),
    };
    let mut environment = vec![("SSL_CERT_FILE", ca.display().to_string())];
    if let Some(proxy) = azure.proxy_url() {
        environment.push(("HTTPS_PROXY", proxy));
    }
    for (name, value) in &environment {
        agent = agent.with(name, value);
    }
    let mut console = furnish(&azure, vault, Operator::Emulated(Box::new(agent)))?;
    println!("# The emulated Azure runs. A program meets it with this environment:");
    for (name, value) in &environment {
        println!("export {name}={value}");
    }
    println!("# and, in its settings, with this msiEndpoint: {}", azure.msi_endpoint());
    print!("{}", console.carry_out(vault, Order::List)?);
    std::io::stdout().flush()?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::scope(|scope| {
        scope.spawn(|| {
            signals.forever().next();
            control.end()
        });
        console.serve(&control.listener);
    });
    Ok(ExitCode::SUCCESS)
}

/// Runs a command in a private world and ends with its exit code.
fn world(folder: &Path, vault: &str, words: &[OsString]) -> Result<ExitCode> {
    let (program, rest) = words.split_first().context("no command")?;
    let here = std::env::current_dir()?;
    let world = World::enter()?;
    let azure = Azure::start(Addresses::real())?;
    let control = Control::open(folder)?;
    azure.write_root(&control.folder)?;
    let mut console = furnish(&azure, vault, Operator::Emulated(Box::new(Agent::new())))?;
    world.connect(&azure)?;
    world.trust(&console.root_pem()?)?;
    let mut command = world.command(program);
    command.args(rest).current_dir(&here);
    attend(&mut console, &control, command)
}

/// Runs a command on a machine with the real guest agent and ends with its exit code.
fn guest(folder: &Path, vault: &str, systemd: bool, words: &[OsString]) -> Result<ExitCode> {
    let (program, rest) = words.split_first().context("no command")?;
    let guest = Guest::begin(if systemd { Kind::Systemd } else { Kind::Bare })?;
    let control = Control::open(folder)?;
    let mut console = furnish(&guest.story.azure, vault, Operator::Real(&guest))?;
    guest.story.world().connect(&guest.story.azure)?;
    guest.story.world().trust(&console.root_pem()?)?;
    let mut command = guest.machine.command(guest.story.world(), program);
    command.args(rest).envs(std::env::var_os("TERM").map(|terminal| ("TERM", terminal)));
    attend(&mut console, &control, command)
}

/// Runs a command to its end and carries out orders meanwhile.
fn attend(console: &mut Console<'_>, control: &Control, mut command: process::Command) -> Result<ExitCode> {
    let child = command.stdin(Stdio::inherit()).spawn();
    let mut child = child.with_context(|| format!("{}: cannot run it", command.get_program().display()))?;
    let status = thread::scope(|scope| {
        let ended = scope.spawn(move || {
            let status = child.wait();
            control.end().and(status.context("cannot wait for the command"))
        });
        // A machine belongs to the thread that made it: this one.
        console.serve(&control.listener);
        ended.join().unwrap_or_else(|_| bail!("the wait for the command panicked"))
    })?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(u8::try_from(code.unwrap_or(1)).unwrap_or(1)))
}

/// Sends an order to the emulator that runs, and prints what it answers.
fn tell(folder: &Path, vault: String, order: Order) -> Result<ExitCode> {
    let order = order.with_absolute_paths()?;
    print!("{}", send(folder, &Letter { vault, order })?);
    Ok(ExitCode::SUCCESS)
}

/// Puts a few certificates into the vault.
fn furnish<'a>(azure: &'a Azure, vault: &str, operator: Operator<'a>) -> Result<Console<'a>> {
    azure.create_vault(vault);
    let mut console = Console::new(azure, operator)?;
    for (name, kind) in
        [("web", catalogue::Kind::RsaPfx), ("mail", catalogue::Kind::EcPfx), ("api", catalogue::Kind::RsaPem)]
    {
        let (name, dns) = (name.to_owned(), None);
        console.carry_out(vault, Order::Put { name, kind, dns })?;
    }
    Ok(console)
}

/// The emulator's folder with the socket for its orders, which is removed at the end.
struct Control {
    folder: PathBuf,
    listener: UnixListener,
}

impl Control {
    fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let folder = fs::canonicalize(folder)?;
        let path = folder.join("control");
        if UnixStream::connect(&path).is_ok() {
            bail!("{}: an emulator runs in this folder already", folder.display());
        }
        if path.exists() {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
        Ok(Self { folder, listener })
    }

    /// Ends the serving of orders.
    fn end(&self) -> Result<()> {
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both)
            .context("cannot shut the control socket down")
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.folder.join("control"));
    }
}
