//! Follows a pass from one system call to the next, in each of its threads, and kills it at one of them. (strace can kill,
//! too, but knows one thread from another by nothing that is the same in the next pass.)

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;

use anyhow::{Context, Result, bail, ensure};
use libc::{c_long, c_ulong, ptrace_syscall_info};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use serde_json::Value;
use tests::handler_story::{Extension, program};

/// Calls on memory, threads, accounts, signals, time and random numbers, but on no file, folder or socket. How often a
/// thread waits for another, or needs more memory, is chance.
const OTHERS: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];
/// As many seconds as a pass may take.
const PATIENCE: u32 = 60;
/// What a thread stops with at a call, which no signal has.
const CALL: i32 = libc::SIGTRAP | 0x80;
/// What a thread tells when it made a thread or a process.
const BIRTHS: [i32; 3] = [libc::PTRACE_EVENT_CLONE, libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK];

/// A call of this number, for the `count`th time in one thread. (`strace --syscall-number` shows the numbers, too.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    /// Whose it is.
    pub(crate) thread: Thread,
    number: c_long,
    count: usize,
}

/// A thread by its descent, which is the same in each pass: `[]` is the first one, `[2]` the second that it made, and
/// `[2, 1]` the first that this made.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thread(Vec<usize>);

impl Thread {
    /// Whether the program began with it.
    pub(crate) fn is_first(&self) -> bool {
        self.0.is_empty()
    }
}

/// The calls on files, folders and sockets of a pass with these settings, which is made.
pub(crate) fn calls(extension: &Extension, settings: &Value) -> Result<BTreeSet<Call>> {
    let mut calls = BTreeSet::new();
    let ended = follow(extension, settings, |call| {
        if !OTHERS.contains(&call.number) {
            calls.insert(call);
        }
        false
    })?;
    ensure!(ended.success(), "{ended}: {}", said(extension)?);
    Ok(calls)
}

/// Begins a pass, and kills it when it is about to make this call. Whether it came to it.
pub(crate) fn kill_at(extension: &Extension, settings: &Value, wanted: &Call) -> Result<bool> {
    let ended = follow(extension, settings, |call| call == *wanted)?;
    match (ended.code(), ended.signal()) {
        (Some(0), _) => Ok(false),
        (_, Some(libc::SIGKILL)) => Ok(true),
        _ => bail!("{wanted:?}: {ended}: {}", said(extension)?),
    }
}

/// All that the last pass printed.
fn said(extension: &Extension) -> Result<String> {
    Ok(fs::read_to_string(extension.story.folder().join("said"))?)
}

/// A pass that is killed at the call of which `is_last` says so. How it ended.
fn follow(extension: &Extension, settings: &Value, mut is_last: impl FnMut(Call) -> bool) -> Result<ExitStatus> {
    let first = begin(extension, settings)?;
    let mut threads = HashMap::from([(first, Followed::default())]);
    // These stopped for the first time before the one that made them told of it.
    let mut early = HashSet::new();
    go_on(first, 0)?;
    loop {
        let (id, status) = wait(None)?;
        if id == first && !status.stopped() {
            return Ok(ExitStatus::from_raw(status.as_raw()));
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
                    go_on(id, 0)?;
                }
            }
        } else if stop == CALL {
            if entered(id)?.is_some_and(|number| is_last(thread.call(number))) {
                kill_process(first, Signal::KILL)?;
            }
        } else if event == 0 && stop != libc::SIGSTOP {
            // Anything else is how a thread or a program begins.
            signal = stop;
        }
        go_on(id, signal)?;
    }
}

/// A pass that stopped before it did anything.
fn begin(extension: &Extension, settings: &Value) -> Result<Pid> {
    let settings = extension.story.write_settings(settings)?;
    let said = File::create(extension.story.folder().join("said"))?;
    let mut command = extension.story.world().command(program("akvvm_service")?);
    command.args(["sync", "--json"]).arg(settings).stdout(said.try_clone()?).stderr(said);
    // SAFETY: these are mere system calls, as is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::alarm(PATIENCE);
            match libc::ptrace(libc::PTRACE_TRACEME, 0, 0_usize, 0_usize) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
    let first = Pid::from_child(&command.spawn().context("cannot start the service")?);
    wait(Some(first))?;
    let births = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK;
    // With TRACEEXEC and TRACESYSGOOD nothing but a signal looks like one.
    let options = births | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    // SAFETY: it touches no memory of this process.
    told(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, first.as_raw_pid(), 0_usize, c_long::from(options)) })?;
    Ok(first)
}

/// What is known of a thread.
#[derive(Default)]
struct Followed {
    thread: Thread,
    children: usize,
    calls: HashMap<c_long, usize>,
}

impl Followed {
    /// It makes another one.
    fn child(&mut self) -> Self {
        self.children += 1;
        let thread = Thread([&self.thread.0[..], &[self.children]].concat());
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

/// Lets a thread go on to the begin or the end of a call, with this signal or none.
fn go_on(id: Pid, signal: i32) -> Result<()> {
    // SAFETY: it touches no memory of this process.
    told(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, id.as_raw_pid(), 0_usize, c_long::from(signal)) })?;
    Ok(())
}

/// The number of the call that a thread is about to make; none at the end of one.
fn entered(id: Pid) -> Result<Option<c_long>> {
    let mut info = MaybeUninit::<ptrace_syscall_info>::zeroed();
    let (size, to) = (size_of_val(&info), info.as_mut_ptr());
    // SAFETY: the kernel writes `size` bytes at most.
    let told = told(unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, id.as_raw_pid(), size, to) })?;
    // SAFETY: all of its bytes are set, and any are valid.
    let info = unsafe { info.assume_init() };
    let is_begin = told.is_some() && info.op == libc::PTRACE_SYSCALL_INFO_ENTRY;
    // SAFETY: it is this that the kernel tells at the begin of a call.
    Ok(is_begin.then(|| unsafe { info.u.entry.nr }.cast_signed()))
}

/// The thread, or the process, that this one has just made.
fn newborn(id: Pid) -> Result<Option<Pid>> {
    let mut newborn: c_ulong = 0;
    // SAFETY: the kernel writes a number of this type.
    told(unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, id.as_raw_pid(), 0_usize, &raw mut newborn) })?;
    Ok(Pid::from_raw(i32::try_from(newborn)?))
}

/// What ptrace answered; nothing when the thread was killed meanwhile.
fn told(answer: c_long) -> Result<Option<c_long>> {
    match (answer, io::Error::last_os_error()) {
        (0.., _) => Ok(Some(answer)),
        (_, error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        (_, error) => Err(error).context("ptrace"),
    }
}
