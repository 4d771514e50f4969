//! Follows a pass from one system call to the next, in each of its threads, and kills it at one of them, or lets the kernel
//! answer with an error. (strace can do so, too, but knows one thread from another by nothing that is the same in the next
//! pass.)

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::{Context, Result};
use libc::c_long;
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use serde_json::Value;
use tests::handler_story::{Extension, program};

use crate::call::{Call, Entered, Thread};
use crate::ptrace::{Stop, answer, follow_all, follow_me, go_on, newborn, skip, stopped_at};

/// As many seconds as a pass may take.
const PATIENCE: u32 = 60;
/// What a thread stops with at a call, which no signal has.
const CALL: i32 = libc::SIGTRAP | 0x80;
/// What a thread tells when it made a thread or a process.
const BIRTHS: [i32; 3] = [libc::PTRACE_EVENT_CLONE, libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK];

/// What becomes of a call.
pub(crate) enum Deed {
    /// The kernel does it.
    Nothing,
    /// The pass ends before it.
    Kill,
    /// The kernel does nothing, and answers with this error.
    Fail(i32),
    /// The kernel does it and all later ones, and nobody follows the pass any more.
    Leave,
}

/// A pass that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it printed.
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// A pass with these settings, to each call of which is done what `decide` says.
pub(crate) fn follow(
    extension: &Extension,
    settings: &Value,
    mut decide: impl FnMut(&Entered) -> Result<Deed>,
) -> Result<Ended> {
    let (output, errors) = (extension.story.folder().join("output"), extension.story.folder().join("errors"));
    let first = begin(extension, settings, [&output, &errors])?;
    let mut threads = HashMap::from([(first, Followed::default())]);
    // These stopped for the first time before the one that made them told of it.
    let mut early = HashSet::new();
    let mut until = libc::PTRACE_SYSCALL;
    go_on(first, until, 0)?;
    loop {
        let (id, status) = wait(None)?;
        if id == first && !status.stopped() {
            let status = ExitStatus::from_raw(status.as_raw());
            return Ok(Ended { status, output: fs::read_to_string(output)?, errors: fs::read_to_string(errors)? });
        }
        let Some(stop) = status.stopping_signal() else { continue };
        let Some(thread) = threads.get_mut(&id) else {
            early.insert(id);
            continue;
        };
        let event = status.as_raw() >> 16;
        let mut signal = 0;
        if BIRTHS.contains(&event) {
            let child = thread.child();
            if let Some(id) = newborn(id)? {
                threads.insert(id, child);
                if early.remove(&id) {
                    go_on(id, until, 0)?;
                }
            }
        } else if stop == CALL {
            match stopped_at(id)? {
                Some(Stop::Begin(number, arguments)) => {
                    let call = thread.call(number);
                    match decide(&Entered { call, id, arguments })? {
                        Deed::Nothing => {}
                        Deed::Kill => kill_process(first, Signal::KILL)?,
                        Deed::Fail(error) => {
                            thread.failing = Some(error);
                            skip(id)?;
                        }
                        Deed::Leave => until = libc::PTRACE_CONT,
                    }
                }
                Some(Stop::End) => {
                    if let Some(error) = thread.failing.take() {
                        answer(id, -i64::from(error))?;
                    }
                }
                None => {}
            }
        } else if event == 0 && stop != libc::SIGSTOP {
            // Anything else is how a thread or a program begins.
            signal = stop;
        }
        go_on(id, until, signal)?;
    }
}

/// A pass that stopped before it did anything.
fn begin(extension: &Extension, settings: &Value, [output, errors]: [&PathBuf; 2]) -> Result<Pid> {
    let settings = extension.story.write_settings(settings)?;
    let mut command = extension.story.world().command(program("akvvm_service")?);
    command.args(["sync", "--json"]).arg(settings).stdout(File::create(output)?).stderr(File::create(errors)?);
    // SAFETY: these are mere system calls, as is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::alarm(PATIENCE);
            follow_me()
        });
    }
    let first = Pid::from_child(&command.spawn().context("cannot start the service")?);
    wait(Some(first))?;
    follow_all(first)?;
    Ok(first)
}

/// What is known of a thread.
#[derive(Default)]
struct Followed {
    thread: Thread,
    children: usize,
    calls: HashMap<c_long, usize>,
    /// The error with which its call is going to end.
    failing: Option<i32>,
}

impl Followed {
    /// It makes another one.
    fn child(&mut self) -> Self {
        let thread = self.thread.child(self.children);
        self.children += 1;
        Self { thread, ..Self::default() }
    }

    /// It makes a call of this number.
    fn call(&mut self, number: c_long) -> Call {
        let count = self.calls.entry(number).or_default();
        *count += 1;
        Call { thread: self.thread.clone(), number, count: *count }
    }
}

/// Waits until this thread stops or ends, or any that the calling one follows.
fn wait(id: Option<Pid>) -> Result<(Pid, WaitStatus)> {
    let options = WaitOptions::from_bits_retain((libc::__WALL | libc::__WNOTHREAD).cast_unsigned());
    retry_on_intr(|| waitpid(id, options))?.context("nothing to wait for")
}
