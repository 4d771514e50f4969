//! One command of a handler, run as the agent runs it: by the shell, in a session of its own, with the agent's
//! variables, its files for the output and its time limit.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, kill_process_group, setsid, umask};

use super::HandlerStatus;
use super::package::Version;

/// What a handler is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Once for each version, before anything else.
    Install,
    /// At every goal state and every start of the agent.
    Enable,
    /// Before an update, a removal, or when the fabric asks for it.
    Disable,
    /// The new version's, after the old one's disable.
    Update,
    /// Before the folder is removed.
    Uninstall,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Install, Self::Enable, Self::Disable, Self::Update, Self::Uninstall];

    /// The verb as the manifest spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Update => "update",
            Self::Uninstall => "uninstall",
        }
    }

    /// How long the agent waits.
    fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Enable | Self::Uninstall => 300,
            _ => 900,
        })
    }

    /// The agent's code for a failure; an uninstall that fails has only the general one.
    fn error_code(self) -> i32 {
        match self {
            Self::Install => 1007,
            Self::Update => 1008,
            Self::Enable => 1009,
            Self::Disable => 1010,
            Self::Uninstall => 1000,
        }
    }
}

/// What an update tells the commands about the version that it replaces.
#[derive(Default)]
pub(super) struct Old {
    /// `AZURE_GUEST_AGENT_UPDATING_FROM_VERSION`.
    pub(super) from: Option<Version>,
    /// `VERSION`.
    pub(super) to: Option<Version>,
    /// Exit code of the old version's disable; `None` when an earlier attempt had disabled it already.
    pub(super) disable: Option<i32>,
    /// Exit code of the old version's uninstall.
    pub(super) uninstall: Option<i32>,
}

/// A command that was run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it was run for.
    pub verb: Verb,
    /// The version whose command it was.
    pub version: String,
    /// The whole command line.
    pub command: String,
    /// The exit code; `None` when a signal ended it, the agent's after the time limit included.
    pub exit: Option<i32>,
    /// Whether the time limit ended it.
    pub timed_out: bool,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
    /// How long it took.
    pub duration: Duration,
}

impl Run {
    /// The exit code as a number, as Python has it: negative after a signal.
    pub(super) fn code(&self) -> i32 {
        self.exit.unwrap_or(-9)
    }

    /// What the agent reports when the command failed.
    #[must_use]
    pub fn failure(&self) -> Option<HandlerStatus> {
        let (code, what) = match self.exit {
            Some(0) => return None,
            _ if self.timed_out => (1011, format!("Timeout({})", self.verb.limit().as_secs())),
            _ => (self.verb.error_code(), format!("Non-zero exit code: {}", self.code())),
        };
        let start = |text: &str| text.chars().take(3200).collect::<String>();
        Some(HandlerStatus {
            ready: false,
            code,
            message: format!(
                "{what}, {}\n[stdout]\n{}\n\n[stderr]\n{}\n",
                self.command,
                start(&self.stdout),
                start(&self.stderr)
            ),
        })
    }
}

impl HandlerStatus {
    /// The same failure as a part of an update, which has a code of its own.
    pub(super) fn during_update(self) -> Self {
        Self { code: 1008, ..self }
    }
}

/// Where the agent's commands run.
#[derive(Default)]
pub(super) struct Surroundings {
    /// The agent's own environment, which they inherit.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// The words before a command that make it run where the agent is; none where that is here.
    pub(super) entrance: Vec<String>,
}

/// Runs `command`, relative to `base`, and waits for its end or its time limit.
pub(super) fn run(
    command: &str,
    verb: Verb,
    base: &Path,
    version: &Version,
    sequence: u32,
    surroundings: &Surroundings,
    old: &Old,
) -> Result<Run> {
    let line = format!("{}/{}", base.display(), command.trim_start_matches('/'));
    // Regular files in the handler's folder, not pipes: a service that holds them does not hold the agent.
    let mut stdout = tempfile::tempfile_in(base)?;
    let mut stderr = tempfile::tempfile_in(base)?;
    let mut words = surroundings.entrance.iter().map(String::as_str).chain(["/bin/sh", "-c", &line]);
    let mut shell = Command::new(words.next().unwrap_or_default());
    shell.args(words).current_dir(base).env_clear();
    shell.envs(variables(verb, base, version, sequence, old));
    shell
        .env("_AZURE_GUEST_AGENT_DAEMON_VERSION_", "2.15.0.1")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .env("PWD", "/")
        .envs(surroundings.environment.iter().cloned());
    shell.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    // SAFETY: between fork and exec only these two system calls are made; both are async-signal-safe.
    unsafe {
        shell.pre_exec(|| {
            setsid()?;
            umask(Mode::from_raw_mode(0o022));
            Ok(())
        });
    }
    let start = Instant::now();
    let mut child = shell.spawn().with_context(|| format!("{line}: cannot start it"))?;
    let (exit, timed_out) = wait(&mut child, verb.limit())?;
    Ok(Run {
        verb,
        version: version.to_string(),
        command: line,
        exit,
        timed_out,
        stdout: text(&mut stdout)?,
        stderr: text(&mut stderr)?,
        duration: start.elapsed(),
    })
}

/// The variables that the agent adds to its own environment.
fn variables(verb: Verb, base: &Path, version: &Version, sequence: u32, old: &Old) -> Vec<(String, String)> {
    let code = |code: Option<i32>, none: &str| code.map_or(none.to_owned(), |code| code.to_string());
    let mut variables = vec![
        ("ConfigSequenceNumber", sequence.to_string()),
        ("AZURE_GUEST_AGENT_EXTENSION_PATH", base.display().to_string()),
        ("AZURE_GUEST_AGENT_EXTENSION_VERSION", version.to_string()),
        ("AZURE_GUEST_AGENT_WIRE_PROTOCOL_ADDRESS", "168.63.129.16".to_owned()),
        (
            "AZURE_GUEST_AGENT_EXTENSION_SUPPORTED_FEATURES",
            r#"[{"Key":"ExtensionTelemetryPipeline","Value":"1.0"}]"#.to_owned(),
        ),
    ];
    if matches!(verb, Verb::Install | Verb::Enable) {
        let uninstall = code(old.uninstall, "NOT_RUN");
        variables.push(("AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE", uninstall));
    }
    if let (Verb::Update, Some(from), Some(to)) = (verb, &old.from, &old.to) {
        variables.push(("VERSION", to.to_string()));
        variables.push(("AZURE_GUEST_AGENT_UPDATING_FROM_VERSION", from.to_string()));
        let disable = code(old.disable, "None");
        variables.push(("AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE", disable));
    }
    let owned = variables.into_iter();
    owned.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Waits for the shell alone; what it left behind is not waited for. After the limit the whole group is killed.
fn wait(child: &mut Child, limit: Duration) -> Result<(Option<i32>, bool)> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            let signal = status.signal().map(|signal| -signal);
            return Ok((status.code().or(signal), false));
        }
        if Instant::now() > end {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                kill_process_group(group, Signal::KILL)?;
            }
            child.wait()?;
            return Ok((None, true));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
