//! The trusted roots for vaults: the system's, read again only when their file changed.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

use super::TransportError;
use crate::system::TrustStore;

/// The system's roots, in memory between passes.
pub(crate) struct Roots {
    origin: TrustStore,
    anchors: Arc<RootCertStore>,
    tls: Arc<ClientConfig>,
}

impl Roots {
    /// Reads the system's roots.
    ///
    /// # Errors
    /// There are none: without a trust store no vault can be told from an impostor.
    pub(crate) fn load() -> Result<Self, TransportError> {
        let origin = TrustStore::now().map_err(TransportError::Roots)?;
        let found = origin.certificates();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let reason = found.errors.first().map_or_else(|| "it holds no certificate".to_owned(), ToString::to_string);
            return Err(TransportError::Roots(format!("{origin}: {reason}")));
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
        if self.origin.is_unchanged() { Ok(self) } else { Self::load() }
    }

    /// The roots themselves, to judge certificates by.
    pub(crate) fn anchors(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.anchors)
    }

    pub(super) fn tls_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }
}
