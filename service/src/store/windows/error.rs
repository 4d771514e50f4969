//! Why the store could not do something, in words for the person who has to mend it.

use std::io;
use std::path::PathBuf;

/// A failure of one certificate's place. Each message names the place, the cause and the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {}: {}", path.display(), io::Error::from_raw_os_error(*code), advice(*code))]
    System {
        /// What was tried, such as "open the store".
        action: &'static str,
        /// With what, as PowerShell writes it.
        path: PathBuf,
        /// The system's error number, or the `HRESULT` of the cryptographic services.
        code: i32,
    },
    /// OpenSSL could not write what it had read, for want of memory.
    #[error("{}: cannot encode the certificate; the next poll tries again", path.display())]
    Encode {
        /// Where it was to go.
        path: PathBuf,
    },
    /// The certificate is no longer where it was put.
    #[error("{}: was removed meanwhile; the next poll installs it again", path.display())]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
}

/// `NTE_NOT_SUPPORTED`.
const NOT_SUPPORTED: i32 = 0x8009_0029_u32 as i32;
/// `NTE_PERM`.
const NOT_PERMITTED: i32 = 0x8009_0010_u32 as i32;

/// What to do about an error of the operating system.
fn advice(code: i32) -> &'static str {
    match (code, io::Error::from_raw_os_error(code).kind()) {
        (NOT_PERMITTED, _) | (_, io::ErrorKind::PermissionDenied) => {
            "run the service as LocalSystem or an administrator"
        }
        (NOT_SUPPORTED, _) => "this system cannot keep such a key: use another kind of key, or another keyStorage",
        (_, io::ErrorKind::StorageFull) => "free some space; the next poll tries again",
        _ => "look into the system's event log for its cause; the next poll tries again",
    }
}
