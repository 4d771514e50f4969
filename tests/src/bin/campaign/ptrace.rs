//! What the kernel is asked for about a thread that it stopped. A thread may have been killed meanwhile, which is no error.

use std::io;
use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use libc::{c_long, c_uint, c_ulong, ptrace_syscall_info};
use rustix::process::Pid;

/// Lets the parent follow this process. To be called between fork and exec.
pub(crate) fn follow_me() -> io::Result<()> {
    // SAFETY: it touches no memory of this process.
    match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0_usize, 0_usize) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Stops a process also where it makes threads, processes, or becomes another program; it ends with this one.
pub(crate) fn follow_all(id: Pid) -> Result<()> {
    let births = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK;
    // With TRACEEXEC and TRACESYSGOOD nothing but a signal looks like one.
    let options = births | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    // SAFETY: it touches no memory of this process.
    told(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, id.as_raw_pid(), 0_usize, c_long::from(options)) })?;
    Ok(())
}

/// Lets a thread go on to the begin or the end of a call, or until something else happens, with this signal or none.
pub(crate) fn go_on(id: Pid, until: c_uint, signal: i32) -> Result<()> {
    // SAFETY: it touches no memory of this process.
    told(unsafe { libc::ptrace(until, id.as_raw_pid(), 0_usize, c_long::from(signal)) })?;
    Ok(())
}

/// Where a thread stopped.
pub(crate) enum Stop {
    /// Before a call: its number and its arguments.
    Begin(c_long, [u64; 6]),
    /// After one.
    End,
}

/// Where a thread stopped; nothing when it was killed meanwhile.
pub(crate) fn stopped_at(id: Pid) -> Result<Option<Stop>> {
    let mut info = MaybeUninit::<ptrace_syscall_info>::zeroed();
    let (size, to) = (size_of_val(&info), info.as_mut_ptr());
    // SAFETY: the kernel writes `size` bytes at most.
    let told = told(unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, id.as_raw_pid(), size, to) })?;
    // SAFETY: all of its bytes are set, and any are valid.
    let info = unsafe { info.assume_init() };
    Ok(told.map(|_| match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: it is this that the kernel tells at the begin of a call.
            let entry = unsafe { info.u.entry };
            Stop::Begin(entry.nr.cast_signed(), entry.args)
        }
        _ => Stop::End,
    }))
}

/// The thread, or the process, that this one has just made.
pub(crate) fn newborn(id: Pid) -> Result<Option<Pid>> {
    let mut newborn: c_ulong = 0;
    // SAFETY: the kernel writes a number of this type.
    told(unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, id.as_raw_pid(), 0_usize, &raw mut newborn) })?;
    Ok(Pid::from_raw(i32::try_from(newborn)?))
}

/// Lets the kernel do nothing for the call that a thread is about to make.
pub(crate) fn skip(id: Pid) -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    return write(id, libc::ORIG_RAX, -1);
    #[cfg(target_arch = "aarch64")]
    return set::write(id, set::CALL, &mut -1_i32);
}

/// Lets the kernel answer a call that has just ended with this.
pub(crate) fn answer(id: Pid, answer: i64) -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    return write(id, libc::RAX, answer);
    #[cfg(target_arch = "aarch64")]
    {
        let mut registers = set::read(id)?;
        registers.regs[0] = answer.cast_unsigned();
        set::write(id, set::GENERAL, &mut registers)
    }
}

/// Sets one register.
#[cfg(target_arch = "x86_64")]
fn write(id: Pid, register: i32, value: i64) -> Result<()> {
    // SAFETY: it touches no memory of this process.
    told(unsafe { libc::ptrace(libc::PTRACE_POKEUSER, id.as_raw_pid(), i64::from(register) * 8, value) })?;
    Ok(())
}

/// Sets of registers, which are read and written at once.
#[cfg(target_arch = "aarch64")]
mod set {
    use std::mem::MaybeUninit;

    use anyhow::Result;
    use libc::{c_int, iovec, user_regs_struct};
    use rustix::process::Pid;

    use super::told;

    pub(super) const GENERAL: c_int = libc::NT_PRSTATUS;
    /// The number of a call alone. (libc does not name it.)
    pub(super) const CALL: c_int = 0x404;

    pub(super) fn read(id: Pid) -> Result<user_regs_struct> {
        let mut registers = MaybeUninit::<user_regs_struct>::zeroed();
        let mut to = iovec { iov_base: registers.as_mut_ptr().cast(), iov_len: size_of_val(&registers) };
        // SAFETY: the kernel writes there, and as much at most.
        told(unsafe { libc::ptrace(libc::PTRACE_GETREGSET, id.as_raw_pid(), GENERAL, &raw mut to) })?;
        // SAFETY: all of its bytes are set, and any are valid.
        Ok(unsafe { registers.assume_init() })
    }

    pub(super) fn write<T>(id: Pid, set: c_int, registers: &mut T) -> Result<()> {
        let (iov_base, iov_len) = ((&raw mut *registers).cast(), size_of::<T>());
        let from = iovec { iov_base, iov_len };
        // SAFETY: the kernel reads from there, and as much at most.
        told(unsafe { libc::ptrace(libc::PTRACE_SETREGSET, id.as_raw_pid(), set, &raw const from) })?;
        Ok(())
    }
}

/// What ptrace answered; nothing when the thread was killed meanwhile.
fn told(answer: c_long) -> Result<Option<c_long>> {
    match (answer, io::Error::last_os_error()) {
        (0.., _) => Ok(Some(answer)),
        (_, error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        (_, error) => Err(error).context("ptrace"),
    }
}
