//! The trusted roots for vaults: the system's, read again only when their file changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::load_certs_from_paths;

use super::TransportError;
use crate::system;

/// The system's roots, in memory between passes.
pub(crate) struct Roots {
    origin: Origin,
    anchors: Arc<RootCertStore>,
    tls: Arc<ClientConfig>,
}

/// Where the roots came from; another value means that they must be read again.
#[derive(PartialEq, Eq)]
struct Origin {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
}

impl Roots {
    /// Reads the system's roots.
    ///
    /// # Errors
    /// There are none: without a trust store no vault can be told from an impostor.
    pub(crate) fn load() -> Result<Self, TransportError> {
        let origin = Origin::now()?;
        let path = origin.path.as_path();
        let found = if path.is_dir() {
            load_certs_from_paths(None, Some(path))
        } else {
            load_certs_from_paths(Some(path), None)
        };
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let reason = found.errors.first().map_or_else(|| "it holds no certificate".to_owned(), ToString::to_string);
            return Err(TransportError::Roots(format!("{}: {reason}", path.display())));
        }
        let anchors = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TransportError::Tls(error.to_string()))?
            .with_root_certificates(Arc::clone(&anchors))
            .with_no_client_auth();
        // An hour lies between two passes: no ticket lives that long.
        tls.resumption = Resumption::disabled();
        let tls = Arc::new(tls);
        Ok(Self { origin, anchors, tls })
    }

    /// The same roots, or those of now when their file changed.
    pub(crate) fn refreshed(self) -> Result<Self, TransportError> {
        if Origin::now()? == self.origin { Ok(self) } else { Self::load() }
    }

    /// The roots themselves, to judge certificates by.
    pub(crate) fn anchors(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.anchors)
    }

    pub(super) fn tls_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }
}

impl Origin {
    fn now() -> Result<Self, TransportError> {
        let path = system::trust_store().ok_or_else(|| {
            TransportError::Roots(
                "this system has no trust store: install ca-certificates or set SSL_CERT_FILE".to_owned(),
            )
        })?;
        let metadata =
            path.metadata().map_err(|error| TransportError::Roots(format!("{}: {error}", path.display())))?;
        Ok(Self { modified: metadata.modified().ok(), length: metadata.len(), path })
    }
}
