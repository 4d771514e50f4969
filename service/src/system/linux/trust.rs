//! The trust store of the distribution: a file, or a folder.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{Error, RootCertStore};
use rustls_native_certs::{CertificateResult, ErrorKind, load_certs_from_paths};

/// The roots that this machine trusts, in memory.
pub(crate) struct Trust {
    origin: Origin,
    changed: SystemTime,
    anchors: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

/// Where the roots come from; another value means that they must be read again.
#[derive(PartialEq, Eq)]
struct Origin {
    path: PathBuf,
    changed: SystemTime,
    length: u64,
}

impl Trust {
    /// Reads the trusted roots.
    ///
    /// # Errors
    /// There are none, or their file cannot be read to its end. One of many files that cannot be read is passed over.
    pub(crate) fn load(provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let origin = Origin::now()?;
        let found = origin.certificates();
        // A root may be in the rest, and who is told that nobody trusts the vault looks in the wrong place.
        if let Some(error) = found.errors.iter().find(|error| matches!(error.kind, ErrorKind::Io { .. }))
            && !origin.path.is_dir()
        {
            return Err(error.to_string());
        }
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let reason = found.errors.first().map_or_else(|| "it holds no certificate".to_owned(), ToString::to_string);
            return Err(format!("{}: {reason}", origin.path.display()));
        }
        Ok(Self { changed: origin.changed, origin, anchors: Arc::new(roots), provider })
    }

    /// The roots of now, when they are not those of the system any more.
    ///
    /// # Errors
    /// As for [`Trust::load`].
    pub(crate) fn renewed(&self) -> Result<Option<Self>, String> {
        if Origin::now().is_ok_and(|now| now == self.origin) {
            return Ok(None);
        }
        // Until this moment certificates may have been judged by the roots that are gone.
        let changed = SystemTime::now();
        Ok(Some(Self { changed, ..Self::load(Arc::clone(&self.provider))? }))
    }

    /// What was judged after this time was judged by these roots.
    pub(crate) fn changed(&self) -> SystemTime {
        self.changed
    }

    /// Judges the servers that this machine connects to.
    ///
    /// # Errors
    /// There is no root to judge by.
    pub(crate) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.anchors), Arc::clone(&self.provider));
        Ok(builder.build().map_err(|error| error.to_string())?)
    }

    /// Fails unless the leaf is good for a TLS server, of whatever name, and leads to a root.
    ///
    /// # Errors
    /// Why it is not, and does not.
    pub(crate) fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let leaf = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.anchors, issuers, now, algorithms)
    }
}

impl Origin {
    fn now() -> Result<Self, String> {
        let path = path().ok_or("this system has no trust store: install ca-certificates or set SSL_CERT_FILE")?;
        let metadata = path.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
        // Not when it was written: a file that takes another one's place is news, whatever its age.
        let changed = Duration::new(metadata.ctime().max(0).unsigned_abs(), metadata.ctime_nsec().max(0) as u32);
        Ok(Self { changed: UNIX_EPOCH + changed, length: metadata.len(), path })
    }

    fn certificates(&self) -> CertificateResult {
        let path = self.path.as_path();
        if path.is_dir() { load_certs_from_paths(None, Some(path)) } else { load_certs_from_paths(Some(path), None) }
    }
}

/// What is read of the disk for the roots: their file, or their folder and the files that it leads to.
pub(super) fn places() -> Vec<PathBuf> {
    let Some(path) = path() else { return Vec::new() };
    let entries = fs::read_dir(&path).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.path().canonicalize().ok());
    let outside: BTreeSet<PathBuf> = files.filter(|file| !file.starts_with(&path)).collect();
    [path].into_iter().chain(outside).collect()
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
