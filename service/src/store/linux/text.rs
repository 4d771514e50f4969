//! A certificate as the PEM that is installed.

use zeroize::Zeroizing;

use crate::certificate::{Certificate, CertificateError};

impl Certificate {
    /// The leaf and what certifies it, made anew from DER.
    pub(crate) fn chain_to_pem(&self) -> Result<Vec<u8>, CertificateError> {
        let mut pem = vec![];
        for certificate in &self.chain {
            pem.extend(certificate.to_pem()?);
        }
        Ok(pem)
    }

    /// The key in PKCS #8.
    pub(crate) fn key_to_pem(&self) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
        Ok(Zeroizing::new(self.key.private_key_to_pem_pkcs8()?))
    }

    /// The chain, then the key.
    pub(crate) fn to_pem(&self) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
        let key = self.key_to_pem()?;
        let mut pem = self.chain_to_pem()?;
        // The exact size: the buffer is not moved once the key is in it, so that no copy stays behind.
        pem.reserve_exact(key.len());
        pem.extend_from_slice(&key);
        Ok(Zeroizing::new(pem))
    }
}
