//! Whom the service can talk to: those whom it has a connection with, and those whom it is given one with (seccomp(2)). It
//! reaches every socket in a folder that it can pass through, also one that came there after the unit was started.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use rustix::io::Errno;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// The argument of sendto(2) that is an address.
const ADDRESS: u8 = 4;

/// From now on this thread, and those that it starts, connect to nobody, and send nothing to an address.
///
/// # Errors
/// The system refuses, with the reason.
pub(super) fn narrow() -> Result<(), String> {
    let filter = filter().map_err(|error| error.to_string())?;
    apply_filter(&filter).map_err(|error| error.to_string())
}

fn filter() -> Result<BpfProgram, BackendError> {
    let has_address = SeccompCondition::new(ADDRESS, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    // Of the others, the filter does not see the addresses.
    let rules = BTreeMap::from([
        (libc::SYS_connect, vec![]),
        (libc::SYS_sendmsg, vec![]),
        (libc::SYS_sendmmsg, vec![]),
        (libc::SYS_sendto, vec![SeccompRule::new(vec![has_address])?]),
    ]);
    let refused = SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refused, ARCH.try_into()?)?.try_into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::thread;

    use super::*;

    #[test]
    fn only_those_whom_a_connection_is_with_are_talked_to() {
        let folder = tempfile::tempdir().unwrap();
        let (door, letters) = (folder.path().join("door"), folder.path().join("letters"));
        let listener = UnixListener::bind(&door).unwrap();
        let receiver = UnixDatagram::bind(&letters).unwrap();
        let (sender, stranger) = (UnixDatagram::unbound().unwrap(), UnixDatagram::unbound().unwrap());
        sender.connect(&letters).unwrap();
        let mut open = UnixStream::connect(&door).unwrap();
        let narrowed = || {
            narrow().unwrap();
            sender.send(b"known").unwrap();
            open.write_all(b"known").unwrap();
            for refused in [
                UnixStream::connect(&door).map(drop),
                stranger.connect(&letters),
                stranger.send_to(b"unknown", &letters).map(drop),
                sender.send_to(b"unknown", &letters).map(drop),
            ] {
                assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
            }
        };
        thread::scope(|scope| scope.spawn(narrowed).join()).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
        assert_eq!(listener.accept().unwrap().0.read(&mut buffer).unwrap(), 5);
    }
}
