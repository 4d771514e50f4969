//! A process that is named by a descriptor: a signal can never reach another one that was given the same number.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::instance::Holder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process, running or ended.
#[derive(Debug)]
pub(crate) struct Process {
    descriptor: OwnedFd,
    number: u32,
}

impl Process {
    /// The process of `holder`; `None` when it has ended.
    ///
    /// # Errors
    /// The process of that number runs another program: the description of the holder is out of date.
    pub(crate) fn of(holder: &Holder) -> Result<Option<Self>> {
        let number = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
        let pid = number.with_context(|| format!("{} is no process", holder.pid))?;
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("process {}", holder.pid)),
        };
        let program = match fs::read_link(format!("/proc/{}/exe", holder.pid)) {
            Ok(program) => program,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("process {}", holder.pid)),
        };
        // The kernel marks a program whose file is gone, as when the agent has removed the folder of an old version.
        let program = program.to_string_lossy();
        if Path::new(program.trim_end_matches(" (deleted)")) != holder.program {
            bail!("process {} is not {} but {program}", holder.pid, holder.program.display());
        }
        Ok(Some(Self { descriptor, number: holder.pid }))
    }

    /// Whether it runs the file that `program` names now, and not one that had this name before.
    pub(crate) fn runs(&self, program: &Path) -> bool {
        let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        let running = identity(Path::new(&format!("/proc/{}/exe", self.number)));
        running.is_some() && running == identity(program)
    }

    /// Sends `signal`, unless it has ended.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn send(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).context("the service cannot be signalled"),
        }
    }

    /// Whether it ends within `time`.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn ends_within(&self, time: Duration) -> Result<bool> {
        let time = Timespec::try_from(time)?;
        let mut ended = [PollFd::new(&self.descriptor, PollFlags::IN)];
        loop {
            match poll(&mut ended, Some(&time)) {
                Err(Errno::INTR) => {}
                result => return Ok(result? > 0),
            }
        }
    }
}
