//! What runs a machine with the guest agent: nothing but the agent, as in a container, or a real systemd that has the agent
//! as a unit.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, agent};
use crate::story::wait_for;
use crate::systemd::Systemd;
use crate::world::World;

const AGENT: &str = "/usr/sbin/waagent";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The agent without systemd.
    Bare,
    /// Systemd as process 1.
    Systemd,
}

/// A machine that runs, or is about to.
pub enum Machine {
    /// The agent's daemon is a process among others.
    Bare(Option<Child>),
    /// The agent is `walinuxagent.service`.
    Systemd(Option<Systemd>),
}

impl Machine {
    pub(super) fn start(kind: Kind, world: &World) -> Result<Self> {
        match kind {
            Kind::Bare => {
                // Without this the agent would find this machine's own systemd, and its process ids.
                world.tmpfs(Path::new("/run"), "mode=0755")?;
                Ok(Self::Bare(Some(daemon(world)?)))
            }
            Kind::Systemd => {
                agent::install_unit()?;
                Ok(Self::Systemd(Some(Systemd::boot(world)?)))
            }
        }
    }

    /// Which of the two it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Bare(_) => Kind::Bare,
            Self::Systemd(_) => Kind::Systemd,
        }
    }

    /// The systemd that runs it.
    pub fn systemd(&self) -> Result<&Systemd> {
        match self {
            Self::Systemd(Some(systemd)) => Ok(systemd),
            _ => bail!("no systemd runs here"),
        }
    }

    /// A command on this machine with a small, clean environment.
    #[must_use]
    pub fn command(&self, world: &World, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Systemd(Some(systemd)) => systemd.command(program),
            _ => world.command(program),
        }
    }

    pub(super) fn restart_agent(&mut self, world: &World) -> Result<()> {
        match self {
            Self::Bare(agent) => {
                if let Some(mut agent) = agent.take() {
                    end_daemon(&mut agent)?;
                }
                *agent = Some(daemon(world)?);
                Ok(())
            }
            Self::Systemd(_) => self.systemd()?.run("systemctl", &["restart", "walinuxagent"]).map(|_| ()),
        }
    }

    pub(super) fn reboot(&mut self, world: &World) -> Result<()> {
        match self {
            Self::Bare(agent) => {
                end_all(world)?;
                if let Some(mut agent) = agent.take() {
                    agent.wait()?;
                }
                unmount("/run", UnmountFlags::DETACH).context("/run")?;
                world.tmpfs(Path::new("/run"), "mode=0755")?;
                *agent = Some(daemon(world)?);
            }
            Self::Systemd(systemd) => {
                systemd.take().context("no systemd runs here")?.power_off()?;
                *systemd = Some(Systemd::boot(world)?);
            }
        }
        Ok(())
    }

    /// Ends the agent, and with it what cannot outlive it.
    pub(super) fn end(&mut self) {
        match self {
            Self::Bare(agent) => {
                if let Some(mut agent) = agent.take() {
                    let _ = end_daemon(&mut agent);
                }
            }
            Self::Systemd(systemd) => *systemd = None,
        }
    }
}

fn daemon(world: &World) -> Result<Child> {
    let mut command = world.command(AGENT);
    command.arg("-daemon").stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("{AGENT}: cannot start it; scripts/setup test installs it"))
}

/// Ends the daemon, which takes its own child along.
fn end_daemon(daemon: &mut Child) -> Result<()> {
    if let Some(id) = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw) {
        kill_process(id, Signal::TERM)?;
    }
    let ended = wait_for(PATIENCE, "end of the agent", || daemon.try_wait().ok().flatten());
    if ended.is_err() {
        let _ = daemon.kill();
        let _ = daemon.wait();
    }
    ended.map(|_| ())
}

/// Ends every process at once, as a power cut does.
fn end_all(world: &World) -> Result<()> {
    let killed = || {
        let processes = world.processes().ok()?;
        for (id, _) in &processes {
            if let Some(id) = Pid::from_raw(*id) {
                // It may have ended meanwhile.
                let _ = kill_process(id, Signal::KILL);
            }
        }
        // What nobody waited for yet has ended all the same, and holds no file.
        processes.iter().all(|(id, _)| !Path::new(&format!("/proc/{id}/exe")).exists()).then_some(())
    };
    wait_for(PATIENCE, "end of all processes", killed)
}
