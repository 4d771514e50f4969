//! A system call that a thread is about to make: how it is known again in the next pass, and which files it is about.

use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use libc::c_long;
use rustix::process::Pid;

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
/// Others that are on no file or folder: those that only sockets have, where what fails is the network, and some that
/// cannot fail.
const NO_FILES: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getegid,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_umask,
];
/// What the kernel takes of a path.
const PATH_MAX: usize = 4096;

/// A call of this number, for the `count`th time in one thread. (`strace --syscall-number` shows the numbers, too.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    /// Whose it is.
    pub(crate) thread: Thread,
    pub(crate) number: c_long,
    pub(crate) count: usize,
}

impl Call {
    /// Whether it is on a file, a folder or a socket.
    pub(crate) fn is_outside(&self) -> bool {
        !OTHERS.contains(&self.number)
    }

    /// Whether it is on a file or a folder, or one that sockets share with these, such as `poll` and `close`.
    pub(crate) fn is_on_file(&self) -> bool {
        self.is_outside() && !NO_FILES.contains(&self.number)
    }

    /// Whether it gives a file its name.
    pub(crate) fn is_rename(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self.number == libc::SYS_rename {
            return true;
        }
        [libc::SYS_renameat, libc::SYS_renameat2].contains(&self.number)
    }

    /// Whether it waits for one of several descriptors.
    pub(crate) fn is_poll(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self.number == libc::SYS_poll {
            return true;
        }
        self.number == libc::SYS_ppoll
    }

    /// Whether it is this one, or a later one of the same number in the same thread.
    pub(crate) fn is_from(&self, first: &Self) -> bool {
        (&self.thread, self.number) == (&first.thread, first.number) && self.count >= first.count
    }
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

    /// The thread that it makes after as many others.
    pub(crate) fn child(&self, others: usize) -> Self {
        Self([&self.0[..], &[others + 1]].concat())
    }
}

/// A call right before the kernel does it.
pub(crate) struct Entered {
    pub(crate) call: Call,
    /// The thread that waits for it.
    pub(crate) id: Pid,
    pub(crate) arguments: [u64; 6],
}

impl Entered {
    /// The files that it is about.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let named = named(self.call.number).iter();
        named
            .filter_map(|file| match *file {
                Named::Open(descriptor) => self.open(self.arguments[descriptor]),
                Named::Path(path) => self.path(libc::AT_FDCWD as u64, self.arguments[path]),
                Named::Below(folder, path) => self.path(self.arguments[folder], self.arguments[path]),
            })
            .collect()
    }

    /// Whether the program prints by it.
    pub(crate) fn is_output(&self) -> bool {
        self.call.number == libc::SYS_write && (1..=2).contains(&self.arguments[0])
    }

    /// The file behind a descriptor; none when there is none, or it is no descriptor.
    fn open(&self, descriptor: u64) -> Option<PathBuf> {
        fs::read_link(self.proc().join(format!("fd/{}", descriptor as i32))).ok()
    }

    /// The path at this address, which may begin at this folder.
    fn path(&self, folder: u64, address: u64) -> Option<PathBuf> {
        let mut text = vec![0; PATH_MAX];
        let length = File::open(self.proc().join("mem")).ok()?.read_at(&mut text, address).ok()?;
        text.truncate(text[..length].iter().position(|byte| *byte == 0)?);
        let path = PathBuf::from(std::ffi::OsString::from_vec(text));
        let folder = match folder as i32 {
            _ if path.is_absolute() => return Some(path),
            libc::AT_FDCWD => fs::read_link(self.proc().join("cwd")).ok(),
            _ => self.open(folder),
        };
        folder.map(|folder| folder.join(path))
    }

    /// What the kernel tells of the thread.
    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.id.to_string())
    }
}

/// Which arguments of a call name a file.
enum Named {
    /// A descriptor.
    Open(usize),
    /// A path.
    Path(usize),
    /// The descriptor of a folder, and a path from there.
    Below(usize, usize),
}

/// Which arguments of the call with this number name files.
fn named(number: c_long) -> &'static [Named] {
    use Named::{Below, Open, Path};
    match number {
        libc::SYS_faccessat
        | libc::SYS_faccessat2
        | libc::SYS_fchmodat
        | libc::SYS_fchownat
        | libc::SYS_mkdirat
        | libc::SYS_newfstatat
        | libc::SYS_openat
        | libc::SYS_openat2
        | libc::SYS_readlinkat
        | libc::SYS_statx
        | libc::SYS_unlinkat
        | libc::SYS_utimensat => &[Below(0, 1)],
        libc::SYS_linkat | libc::SYS_renameat | libc::SYS_renameat2 => &[Below(0, 1), Below(2, 3)],
        // What a link leads to need not be there.
        libc::SYS_symlinkat => &[Below(1, 2)],
        libc::SYS_chdir
        | libc::SYS_execve
        | libc::SYS_getxattr
        | libc::SYS_lgetxattr
        | libc::SYS_listxattr
        | libc::SYS_llistxattr
        | libc::SYS_lremovexattr
        | libc::SYS_lsetxattr
        | libc::SYS_removexattr
        | libc::SYS_setxattr
        | libc::SYS_statfs
        | libc::SYS_truncate => &[Path(0)],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_access
        | libc::SYS_chmod
        | libc::SYS_chown
        | libc::SYS_lchown
        | libc::SYS_lstat
        | libc::SYS_mkdir
        | libc::SYS_open
        | libc::SYS_readlink
        | libc::SYS_rmdir
        | libc::SYS_stat
        | libc::SYS_unlink => &[Path(0)],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_link | libc::SYS_rename => &[Path(0), Path(1)],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_symlink => &[Path(1)],
        libc::SYS_mmap => &[Open(4)],
        // The others begin with a descriptor, or name none.
        _ => &[Open(0)],
    }
}
