//! Why the store could not do something, in words for the person who has to mend it.

use std::io;
use std::path::PathBuf;

/// A failure of one certificate's place. Each message names the path, the cause and the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Something that is not ours stands where our file, link or folder belongs. It was left untouched.
    #[error("{}: {found}; nothing shows that this service put it there, so it stays untouched: move it away or choose another folder or link name", path.display())]
    Foreign {
        /// Where it stands.
        path: PathBuf,
        /// What it is, such as "is a directory".
        found: String,
    },
    /// A file or device stands where the folder of certificates, or one above it, should be.
    #[error("{}: is no directory, so it cannot hold certificates: name a folder in certificateStoreLocation, or move it away", path.display())]
    NotDirectory {
        /// The part of the way that is no directory.
        path: PathBuf,
    },
    /// The way to the folder can be redirected by somebody who is not root.
    #[error("{}: {reason}: name the real folder in certificateStoreLocation, or let root own the link and its directory", path.display())]
    Unsafe {
        /// The part of the way that is not safe.
        path: PathBuf,
        /// Who could redirect it.
        reason: String,
    },
    /// The folder cannot keep a key from other users at all, so nothing was written.
    #[error("{}: {found}, so the key would not be root's alone: choose a folder on a file system such as ext4 or xfs", path.display())]
    NotPrivate {
        /// The file that was not written.
        path: PathBuf,
        /// What became of a new file, such as "a new file has mode 755 here".
        found: String,
    },
    /// The file is installed and whole, but only root can read it: the accounts in `acls` cannot be let in here.
    #[error("{}: this file system keeps no access control lists, so only root can read the file: choose a folder on a file system such as ext4 or xfs, or leave out acls", path.display())]
    AclUnsupported {
        /// The file.
        path: PathBuf,
    },
    /// The certificate could not be turned into text, for want of memory.
    #[error("{}: cannot write the certificate as PEM: {reason}; the next poll tries again", path.display())]
    Encode {
        /// The file that was not written.
        path: PathBuf,
        /// What the cryptographic library said.
        reason: String,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {}: {}", path.display(), io::Error::from_raw_os_error(*code), advice(*code))]
    System {
        /// What was tried, such as "write the file".
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's error number.
        code: i32,
    },
}

/// What to do about an error of the operating system.
fn advice(code: i32) -> &'static str {
    match io::Error::from_raw_os_error(code).kind() {
        io::ErrorKind::StorageFull => "free some space there; the next poll tries again",
        io::ErrorKind::QuotaExceeded => "raise the quota or free some space there; the next poll tries again",
        io::ErrorKind::ReadOnlyFilesystem => {
            "make the file system writable; if it is, restart the service, which may not have been given this folder yet"
        }
        io::ErrorKind::PermissionDenied => {
            "run the service as root, and look for an immutable flag (lsattr) or a security policy that forbids it"
        }
        io::ErrorKind::NotFound => "it was removed meanwhile; the next poll creates it again",
        io::ErrorKind::StaleNetworkFileHandle => "mount the file system again; the next poll tries again",
        _ => "look into the system's log for its cause; the next poll tries again",
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_the_system_refuses_comes_with_the_next_step() {
        for (cause, next) in [
            (Errno::NOSPC, "No space left on device (os error 28): free some space there; the next poll tries again"),
            (Errno::DQUOT, "raise the quota"),
            (Errno::ROFS, "make the file system writable"),
            (Errno::ACCESS, "run the service as root"),
            (Errno::PERM, "immutable flag (lsattr)"),
            (Errno::NOENT, "it was removed meanwhile; the next poll creates it again"),
            (Errno::STALE, "mount the file system again"),
            (Errno::IO, "look into the system's log for its cause"),
        ] {
            let path = PathBuf::from("/srv/certs/file");
            let error = StoreError::System { action: "write the file", path, code: cause.raw_os_error() }.to_string();
            assert!(error.starts_with("/srv/certs/file: cannot write the file: ") && error.contains(next), "{error}");
        }
    }
}
