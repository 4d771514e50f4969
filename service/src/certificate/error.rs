//! Why a secret's value gave no certificate. No message holds anything of the value, apart from numbers and the
//! names of algorithms.

use openssl::error::ErrorStack;
use thiserror::Error;

use super::ber::Malformed;

/// Why a secret's value gave no certificate, one variant per cause that somebody would act on. The messages expect
/// the secret's URL before them.
#[derive(Debug, Error)]
pub(crate) enum CertificateError {
    /// A password, a connection string: any secret that does not belong to a certificate.
    #[error(
        "the value is no certificate (neither PKCS #12 in base64 nor PEM): observe the secret of a Key Vault certificate, https://VAULT/secrets/CERTIFICATE"
    )]
    NotACertificate,
    /// PEM markers, or the beginning of a PKCS #12, and then something else.
    #[error("the {0} is damaged: import the certificate into the vault again")]
    Damaged(&'static str),
    /// Bytes after the end of a complete PKCS #12.
    #[error("bytes follow the end of the PKCS #12: import the certificate into the vault again")]
    TrailingBytes,
    /// Neither form of the empty password fits.
    #[error(
        "the PKCS #12 has a password, or is damaged: import it as a Key Vault certificate, which removes the password, or store it with an empty one"
    )]
    Password,
    /// A PEM key that asks for a password.
    #[error("the private key in the PEM is encrypted: store it without a password (openssl pkey)")]
    EncryptedKey,
    /// More than this service is ready to work through.
    #[error("the value has more than {limit} {what}: a certificate of the usual form has far fewer")]
    Limit {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// An iteration count that would keep the machine busy, or one below 1.
    #[error("the PKCS #12 asks for {0} rounds of key derivation: from 1 to {limit} in all are accepted, export it again with fewer", limit = super::pbe::MAX_ITERATIONS)]
    Iterations(i64),
    /// An encryption, key derivation or MAC that is not supported, by name.
    #[error(
        "the PKCS #12 uses {0}, which is not supported: export it again with AES-256 and SHA-256, or with 3DES and SHA-1"
    )]
    Algorithm(String),
    /// Certificates, but no private key.
    #[error(
        "the value has no private key: the key is not exportable by the certificate's policy, or is in an HSM; issue the certificate again with an exportable software key"
    )]
    NoPrivateKey,
    /// A private key, but no certificate.
    #[error("the value has a private key but no certificate: store key and certificate together")]
    NoCertificate,
    /// Which of two keys should be installed?
    #[error("the value has two different private keys: store one key with its certificates")]
    TwoKeys,
    /// No certificate has the key's public half.
    #[error("no certificate in the value belongs to its private key: store the key with its own certificate")]
    NoMatch,
    /// A key of a kind that is not supported, by name.
    #[error(
        "the private key is {0}, which is not supported: use RSA (2048 to 8192 bits), EC (P-256, P-384, P-521, P-256K) or Ed25519"
    )]
    KeyType(String),
    /// A certificate whose public key is on a curve that is written out instead of named.
    #[error(
        "the value has a certificate with an EC key on a curve without a name: issue it again with a key on a named curve, or leave it out"
    )]
    UnnamedCurve,
    /// TLS clients would refuse it, and the settings want none of that.
    #[error("{0}; chainValidation requires that they accept it: trust its root on this machine, or set it to \"warn\"")]
    Distrusted(String),
    /// OpenSSL failed where no input can make it fail: memory, or a broken build.
    #[error("OpenSSL failed")]
    OpenSsl(#[from] ErrorStack),
}

impl From<Malformed> for CertificateError {
    fn from(_: Malformed) -> Self {
        Self::Damaged("PKCS #12")
    }
}
