//! What a value holds before anything is decided about it: certificates and keys in their encodings, found in whatever
//! form the value has.

use openssl::x509::X509;
use zeroize::Zeroizing;

use super::ber::{Reader, SEQUENCE};
use super::error::CertificateError;
use super::{base64, curve, display, pem, pkcs12};

/// Bytes of a value. Key Vault's own limit is 25 kB.
const MAX_VALUE: usize = 1 << 20;
/// Certificates in one value, duplicates included.
const MAX_CERTIFICATES: usize = 100;
/// Keys in one value, duplicates included.
const MAX_KEYS: usize = 20;

/// The two forms of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Pkcs12,
    Pem,
}

impl Form {
    /// The content type that Key Vault gives this form.
    fn content_type(self) -> &'static str {
        match self {
            Self::Pkcs12 => "application/x-pkcs12",
            Self::Pem => "application/x-pem-file",
        }
    }

    /// What to say when the vault calls the value something else.
    pub(super) fn warning(self, said: Option<&str>) -> Option<String> {
        let said = said?.split(';').next()?.trim();
        let right = self.content_type();
        (!said.is_empty() && !said.eq_ignore_ascii_case(right)).then(|| {
            format!("the content type says {}, but the value is {right}; it was read as that", display::text(said))
        })
    }
}

/// Certificates and keys in their encodings, in the order of the value.
#[derive(Clone, Default)]
pub(super) struct Bundle {
    /// DER.
    certificates: Vec<Vec<u8>>,
    /// DER of PKCS #8, PKCS #1 or SEC 1.
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl Bundle {
    /// Finds out the form of a value and reads it.
    pub(super) fn read(value: &str) -> Result<(Form, Self), CertificateError> {
        if value.len() > MAX_VALUE {
            return Err(CertificateError::Limit { what: "bytes", limit: MAX_VALUE });
        }
        if pem::looks_like(value) {
            return Ok((Form::Pem, pem::read(value)?));
        }
        let bytes = base64::decode(value).ok_or(CertificateError::NotACertificate)?;
        if pkcs12::looks_like(&bytes) {
            return Ok((Form::Pkcs12, pkcs12::read(&bytes)?));
        }
        // A lone certificate: so that the error can say that the key is missing.
        let mut bundle = Self::default();
        parse(&bytes).map_err(|error| match error {
            CertificateError::Damaged(_) => CertificateError::NotACertificate,
            other => other,
        })?;
        bundle.add_certificate(bytes.to_vec())?;
        Ok((Form::Pkcs12, bundle))
    }

    pub(super) fn add_certificate(&mut self, der: Vec<u8>) -> Result<(), CertificateError> {
        if self.certificates.len() == MAX_CERTIFICATES {
            return Err(CertificateError::Limit { what: "certificates", limit: MAX_CERTIFICATES });
        }
        self.certificates.push(der);
        Ok(())
    }

    pub(super) fn add_key(&mut self, der: Zeroizing<Vec<u8>>) -> Result<(), CertificateError> {
        if self.keys.len() == MAX_KEYS {
            return Err(CertificateError::Limit { what: "private keys", limit: MAX_KEYS });
        }
        self.keys.push(der);
        Ok(())
    }

    /// The encodings of the keys; there may be none only if there are certificates.
    pub(super) fn keys(&self) -> Result<&[Zeroizing<Vec<u8>>], CertificateError> {
        match (self.keys.is_empty(), self.certificates.is_empty()) {
            (false, _) => Ok(&self.keys),
            (true, false) => Err(CertificateError::NoPrivateKey),
            (true, true) => Err(CertificateError::NotACertificate),
        }
    }

    /// The certificates, each once.
    pub(super) fn certificates(&self) -> Result<Vec<X509>, CertificateError> {
        if self.certificates.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        let new = |at: &usize| !self.certificates[..*at].contains(&self.certificates[*at]);
        (0..self.certificates.len()).filter(new).map(|at| parse(&self.certificates[at])).collect()
    }
}

fn parse(der: &[u8]) -> Result<X509, CertificateError> {
    const DAMAGED: CertificateError = CertificateError::Damaged("certificate");
    let mut file = Reader::new(der);
    let certificate = file.expect(SEQUENCE).map_err(|_| DAMAGED)?;
    file.end().map_err(|_| DAMAGED)?;
    if !curve::certificate_names_it(&certificate).map_err(|_| DAMAGED)? {
        return Err(CertificateError::UnnamedCurve);
    }
    X509::from_der(certificate.encoded).map_err(|_| DAMAGED)
}
