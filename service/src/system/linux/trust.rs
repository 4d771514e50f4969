//! The trust store of the distribution: a file, or a folder.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use rustls_native_certs::{CertificateResult, load_certs_from_paths};

/// Where the roots come from; another value means that they must be read again.
#[derive(PartialEq, Eq)]
pub(crate) struct TrustStore {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
}

impl TrustStore {
    /// The trust store as it is now.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn now() -> Result<Self, String> {
        let path = path().ok_or("this system has no trust store: install ca-certificates or set SSL_CERT_FILE")?;
        let metadata = path.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { modified: metadata.modified().ok(), length: metadata.len(), path })
    }

    /// Whether its roots are those of before.
    pub(crate) fn is_unchanged(&self) -> bool {
        Self::now().is_ok_and(|now| now == *self)
    }

    /// Reads its roots.
    pub(crate) fn certificates(&self) -> CertificateResult {
        let path = self.path.as_path();
        if path.is_dir() { load_certs_from_paths(None, Some(path)) } else { load_certs_from_paths(Some(path), None) }
    }
}

impl fmt::Display for TrustStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// The file or folder of trusted roots: `SSL_CERT_FILE`, `SSL_CERT_DIR`, or where the distribution keeps them. The file
/// is preferred: a folder is the same roots in 140 files.
fn path() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
    named("SSL_CERT_FILE").or_else(|| named("SSL_CERT_DIR")).or_else(|| {
        let found = openssl_probe::probe();
        found.cert_file.or_else(|| found.cert_dir.into_iter().next())
    })
}
