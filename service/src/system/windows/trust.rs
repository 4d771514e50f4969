//! Windows judges chains itself: it knows roots that it fetches only when a chain needs them, as on a fresh Server Core, and
//! what an administrator or an update distrusts.

use std::fmt;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use windows_sys::Win32::Foundation::{CERT_E_CN_NO_MATCH, FILETIME};
use windows_sys::Win32::Security::Cryptography::{
    AUTHTYPE_SERVER, CERT_CHAIN_CONTEXT, CERT_CHAIN_PARA, CERT_CHAIN_POLICY_PARA, CERT_CHAIN_POLICY_SSL,
    CERT_CHAIN_POLICY_STATUS, CERT_CONTEXT, CERT_STORE_ADD_ALWAYS, CERT_STORE_PROV_MEMORY,
    CERT_TRUST_IS_NOT_TIME_VALID, CERT_TRUST_IS_NOT_VALID_FOR_USAGE, CERT_TRUST_IS_PARTIAL_CHAIN,
    CERT_TRUST_IS_UNTRUSTED_ROOT, CERT_USAGE_MATCH, CTL_USAGE, CertAddEncodedCertificateToStore, CertCloseStore,
    CertFreeCertificateChain, CertFreeCertificateContext, CertGetCertificateChain, CertOpenStore,
    CertVerifyCertificateChainPolicy, HCERTSTORE, HTTPSPolicyCallbackData, HTTPSPolicyCallbackData_0,
    USAGE_MATCH_TYPE_AND, X509_ASN_ENCODING, szOID_PKIX_KP_SERVER_AUTH,
};

/// What fetching a root or an intermediate may take, in milliseconds: a request has 30 seconds for all.
const FETCHING: u32 = 10_000;
/// From the beginning of 1601, which the system counts from, to that of 1970, in seconds.
const EPOCH: u64 = 11_644_473_600;
/// A FILETIME counts in tenths of a microsecond.
const PER_SECOND: u64 = 10_000_000;

/// What this machine trusts, as the system judges it at the moment when it is asked.
#[derive(Clone)]
pub(crate) struct Trust {
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// Nothing has to be read.
    ///
    /// # Errors
    /// None.
    pub(crate) fn load(provider: Arc<CryptoProvider>) -> Result<Self, String> {
        Ok(Self { provider })
    }

    /// It is always that of the system.
    ///
    /// # Errors
    /// None.
    pub(crate) fn renewed(&self) -> Result<Option<Self>, String> {
        Ok(None)
    }

    /// Judges the servers that this machine connects to.
    ///
    /// # Errors
    /// None.
    pub(crate) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, String> {
        Ok(Arc::new(self.clone()))
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
        Chain::build(leaf, issuers, now)?.judge(None)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Chain::build(leaf, issuers, now)?.judge(Some(&name.to_str()))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A store in memory, with what the other side sent.
struct Sent(HCERTSTORE);

impl Sent {
    fn new() -> Result<Self, Error> {
        // SAFETY: a store in memory takes no further arguments.
        let store = unsafe { CertOpenStore(CERT_STORE_PROV_MEMORY, 0, 0, 0, null()) };
        if store.is_null() { Err(failed("a store in memory")) } else { Ok(Self(store)) }
    }

    fn add(&self, der: &[u8]) -> Result<Context, Error> {
        let mut context: *mut CERT_CONTEXT = null_mut();
        let (encoding, how) = (X509_ASN_ENCODING, CERT_STORE_ADD_ALWAYS);
        // SAFETY: the store is open, the bytes are as many as said.
        let added = unsafe {
            CertAddEncodedCertificateToStore(self.0, encoding, der.as_ptr(), der.len() as u32, how, &raw mut context)
        };
        if added == 0 { Err(CertificateError::BadEncoding.into()) } else { Ok(Context(context)) }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        // SAFETY: the store is this owner's; what contexts still need of it stays until they are freed.
        unsafe { CertCloseStore(self.0, 0) };
    }
}

/// A certificate in such a store.
struct Context(*const CERT_CONTEXT);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is this owner's, and used by nobody after it.
        unsafe { CertFreeCertificateContext(self.0) };
    }
}

/// The best chain from a leaf that the system found.
struct Chain(*mut CERT_CHAIN_CONTEXT);

impl Chain {
    fn build(leaf: &CertificateDer<'_>, issuers: &[CertificateDer<'_>], now: UnixTime) -> Result<Self, Error> {
        let sent = Sent::new()?;
        let leaf = sent.add(leaf)?;
        for issuer in issuers {
            // What cannot be read helps nobody, and may not be needed.
            let _ = sent.add(issuer);
        }
        let mut usage = [szOID_PKIX_KP_SERVER_AUTH.cast_mut()];
        let usage = CTL_USAGE { cUsageIdentifier: usage.len() as u32, rgpszUsageIdentifier: usage.as_mut_ptr() };
        let wanted = CERT_CHAIN_PARA {
            cbSize: size_of::<CERT_CHAIN_PARA>() as u32,
            RequestedUsage: CERT_USAGE_MATCH { dwType: USAGE_MATCH_TYPE_AND, Usage: usage },
            dwUrlRetrievalTimeout: FETCHING,
            ..CERT_CHAIN_PARA::default()
        };
        let ticks = now.as_secs().saturating_add(EPOCH).saturating_mul(PER_SECOND);
        let at = FILETIME { dwLowDateTime: ticks as u32, dwHighDateTime: (ticks >> 32) as u32 };
        let mut chain = null_mut();
        // SAFETY: leaf and store are open; what is wanted, and when, outlives the call.
        let built = unsafe {
            CertGetCertificateChain(
                null_mut(),
                leaf.0,
                &raw const at,
                sent.0,
                &raw const wanted,
                0,
                null(),
                &raw mut chain,
            )
        };
        if built == 0 { Err(failed("CertGetCertificateChain")) } else { Ok(Self(chain)) }
    }

    /// Fails unless it is good for a TLS server, of this name where one is given.
    fn judge(&self, name: Option<&str>) -> Result<(), Error> {
        // SAFETY: the chain is whole as long as its owner.
        let errors = unsafe { (*self.0).TrustStatus.dwErrorStatus };
        if errors & CERT_TRUST_IS_NOT_VALID_FOR_USAGE != 0 {
            return Err(CertificateError::InvalidPurpose.into());
        }
        if errors & (CERT_TRUST_IS_PARTIAL_CHAIN | CERT_TRUST_IS_UNTRUSTED_ROOT) != 0 {
            return Err(CertificateError::UnknownIssuer.into());
        }
        if errors & CERT_TRUST_IS_NOT_TIME_VALID != 0 {
            return Err(CertificateError::Expired.into());
        }
        if errors != 0 {
            return Err(refused(format!("Windows does not trust its chain: CERT_TRUST_STATUS {errors:#010x}")));
        }
        let mut name: Option<Vec<u16>> = name.map(|name| name.encode_utf16().chain([0]).collect());
        let mut server = HTTPSPolicyCallbackData {
            Anonymous: HTTPSPolicyCallbackData_0 { cbSize: size_of::<HTTPSPolicyCallbackData>() as u32 },
            dwAuthType: AUTHTYPE_SERVER,
            fdwChecks: 0,
            pwszServerName: name.as_mut().map_or(null_mut(), Vec::as_mut_ptr),
        };
        let asked = CERT_CHAIN_POLICY_PARA {
            cbSize: size_of::<CERT_CHAIN_POLICY_PARA>() as u32,
            dwFlags: 0,
            pvExtraPolicyPara: (&raw mut server).cast(),
        };
        let mut said = CERT_CHAIN_POLICY_STATUS {
            cbSize: size_of::<CERT_CHAIN_POLICY_STATUS>() as u32,
            ..CERT_CHAIN_POLICY_STATUS::default()
        };
        // SAFETY: the chain is whole; what is asked, the name too, outlives the call.
        let answered =
            unsafe { CertVerifyCertificateChainPolicy(CERT_CHAIN_POLICY_SSL, self.0, &raw const asked, &raw mut said) };
        match said.dwError.cast_signed() {
            _ if answered == 0 => Err(failed("CertVerifyCertificateChainPolicy")),
            0 => Ok(()),
            CERT_E_CN_NO_MATCH => Err(CertificateError::NotValidForName.into()),
            other => Err(refused(std::io::Error::from_raw_os_error(other).to_string())),
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: the chain is this owner's, and used by nobody after it.
        unsafe { CertFreeCertificateChain(self.0) };
    }
}

/// What the system says of a call that failed just now.
fn failed(call: &str) -> Error {
    Error::General(format!("{call}: {}", std::io::Error::last_os_error()))
}

fn refused(reason: String) -> Error {
    CertificateError::Other(OtherError(Arc::new(std::io::Error::other(reason)))).into()
}
