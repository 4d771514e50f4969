//! Why a certificate could not be brought up to date, and the two questions that are asked of every cause: which code,
//! and when to try again.

use crate::certificate::CertificateError;
use crate::identity::IdentityError;
use crate::schedule::Retry;
use crate::store::StoreError;
use crate::vault::VaultError;

/// A failure on the way from the identity to the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the secret cannot be used: {0}")]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not a fault of the machine or the vault but of this program; the other certificates go on.
    #[error("an internal error stopped this certificate; the log holds the details")]
    Internal,
}

impl Error {
    /// The code in the status file: 2x identity, 3x vault, 4x certificate, 5x store, 60 internal.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Identity(error) => match error {
                IdentityError::Transport { .. } => 20,
                IdentityError::NotFound { .. } => 21,
                IdentityError::Several => 22,
                IdentityError::Unavailable { .. } => 23,
                IdentityError::Refused { .. } => 24,
                IdentityError::Malformed { .. } => 25,
                IdentityError::WrongIdentity { .. } | IdentityError::Unconfirmed { .. } => 26,
                IdentityError::KeyFile { .. } => 27,
            },
            Self::Vault(error) => error.code(),
            Self::Certificate(_) => 40,
            Self::Store(_) => 50,
            Self::Internal => 60,
        }
    }

    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Identity(error) => error.retry(),
            Self::Vault(error) => error.retry(),
            Self::Certificate(_) | Self::Internal => Retry::NextPoll,
            // A full disk or a read-only mount may pass at any time.
            Self::Store(_) => Retry::Soon,
        }
    }
}
