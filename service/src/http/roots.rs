//! The trust in vaults: the system's, read again only when it changed.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;

use super::TransportError;
use crate::system::Trust;

/// What the system trusts, in memory between passes.
pub(crate) struct Roots {
    trust: Arc<Trust>,
    tls: Arc<ClientConfig>,
}

impl Roots {
    /// Reads the system's roots.
    ///
    /// # Errors
    /// There are none: without a trust store no vault can be told from an impostor.
    pub(crate) fn load() -> Result<Self, TransportError> {
        Self::of(Trust::load(Arc::new(default_provider())).map_err(TransportError::Roots)?)
    }

    /// The same roots, or those of now when they changed.
    pub(crate) fn refreshed(self) -> Result<Self, TransportError> {
        self.trust.renewed().map_err(TransportError::Roots)?.map_or(Ok(self), Self::of)
    }

    fn of(trust: Trust) -> Result<Self, TransportError> {
        let verifier = trust.verifier().map_err(TransportError::Roots)?;
        let mut tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TransportError::Tls(error.to_string()))?
            // So rustls calls every verifier that it did not choose itself.
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // An hour lies between two passes: no ticket lives that long.
        tls.resumption = Resumption::disabled();
        Ok(Self { trust: Arc::new(trust), tls: Arc::new(tls) })
    }

    /// The trust itself, to judge certificates by.
    pub(crate) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust)
    }

    pub(super) fn tls_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }
}
