//! The calls into OpenSSL that the `openssl` crate has no face for, and OpenSSL's start. All unsafe code of
//! certificates is in this file; what the algorithms may be and cost is decided before, in `pbe`.

use std::ffi::{c_char, c_int, c_long, c_uchar};
use std::ptr;
use std::sync::OnceLock;

use openssl::error::ErrorStack;
use openssl::provider::Provider;
use openssl_sys::{OPENSSL_INIT_NO_ATEXIT, PKCS12, X509_ALGOR};
use zeroize::{Zeroize, Zeroizing};

/// `OPENSSL_INIT_NO_LOAD_CONFIG` of `openssl/crypto.h`.
const OPENSSL_INIT_NO_LOAD_CONFIG: u64 = 0x80;

// From openssl/crypto.h, openssl/x509.h and openssl/pkcs12.h of OpenSSL 3.
unsafe extern "C" {
    fn OPENSSL_init_crypto(options: u64, settings: *const openssl_sys::OPENSSL_INIT_SETTINGS) -> c_int;
    fn d2i_X509_ALGOR(into: *mut *mut X509_ALGOR, der: *mut *const c_uchar, length: c_long) -> *mut X509_ALGOR;
    fn PKCS12_verify_mac(pkcs12: *mut PKCS12, password: *const c_char, length: c_int) -> c_int;
    fn PKCS12_pbe_crypt(
        algorithm: *const X509_ALGOR,
        password: *const c_char,
        password_length: c_int,
        input: *const c_uchar,
        input_length: c_int,
        output: *mut *mut c_uchar,
        output_length: *mut c_int,
        encrypt: c_int,
    ) -> *mut c_uchar;
}

/// Starts OpenSSL, once per process, before anything else uses it: no configuration file is read (neither the system's
/// nor the one that `OPENSSL_CONF` names), so a PFX is read alike on every machine, and the legacy provider stands
/// beside the default one, because RC2 is there.
///
/// Without the legacy provider everything but RC2 still works: a failure shows where it matters, as an error of the
/// PKCS #12 that needs it.
pub(crate) fn initialise_openssl() {
    static LEGACY: OnceLock<Result<Provider, ErrorStack>> = OnceLock::new();
    let _ = LEGACY.get_or_init(|| {
        // SAFETY: takes two flags and, for the settings, null. No handler at exit: other threads may still be inside
        // OpenSSL when the main thread returns (the `openssl` crate asks for the same).
        unsafe { OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, ptr::null()) };
        Provider::try_load(None, "legacy", true)
    });
}

/// The two things that "no password" means to the key derivation of PKCS #12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Password {
    /// The empty string as a BMPString: its two bytes of termination. What Windows, Java and Key Vault do.
    Empty,
    /// No bytes at all.
    Absent,
}

impl Password {
    fn as_ptr(self) -> *const c_char {
        match self {
            Self::Empty => c"".as_ptr(),
            Self::Absent => ptr::null(),
        }
    }
}

/// Whether the MAC of a whole PKCS #12, which has one, fits this password.
pub(super) fn mac_fits(pfx: &[u8], password: Password) -> bool {
    let Ok(length) = c_long::try_from(pfx.len()) else {
        return false;
    };
    let mut input = pfx.as_ptr();
    // SAFETY: `input` points to `length` readable bytes; what is returned is null or ours to free. PKCS12_verify_mac
    // only reads it, and takes a null or terminated password of length zero.
    let fits = unsafe {
        let pkcs12 = openssl_sys::d2i_PKCS12(ptr::null_mut(), &raw mut input, length);
        let fits = !pkcs12.is_null() && PKCS12_verify_mac(pkcs12, password.as_ptr(), 0) == 1;
        openssl_sys::PKCS12_free(pkcs12);
        fits
    };
    // A refusal leaves its reasons on the thread's queue, where the next caller would take them for its own.
    let _ = ErrorStack::get();
    fits
}

/// Decrypts with a password-based scheme, given as an encoded AlgorithmIdentifier.
///
/// `None` when the padding does not come out right: another password, or damaged.
pub(super) fn decrypt(algorithm: &[u8], password: Password, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let algorithm_length = c_long::try_from(algorithm.len()).ok()?;
    let ciphertext_length = c_int::try_from(ciphertext.len()).ok()?;
    let mut input = algorithm.as_ptr();
    let mut output = ptr::null_mut();
    let mut length = 0;
    // SAFETY: both inputs point to as many readable bytes as said. `output` is set, to `length` bytes that are ours to
    // free, exactly when the call does not return null.
    let plaintext = unsafe {
        let algorithm = d2i_X509_ALGOR(ptr::null_mut(), &raw mut input, algorithm_length);
        let done = !algorithm.is_null()
            && !PKCS12_pbe_crypt(
                algorithm,
                password.as_ptr(),
                0,
                ciphertext.as_ptr(),
                ciphertext_length,
                &raw mut output,
                &raw mut length,
                0,
            )
            .is_null();
        openssl_sys::X509_ALGOR_free(algorithm);
        done.then(|| {
            let bytes = std::slice::from_raw_parts_mut(output, usize::try_from(length).unwrap_or(0));
            let copy = Zeroizing::new(bytes.to_vec());
            bytes.zeroize();
            openssl_sys::OPENSSL_free(output.cast());
            copy
        })
    };
    let _ = ErrorStack::get();
    plaintext
}

/// Whether a certificate, given as DER, is meant for TLS servers by its extended key usage (RFC 5280, section 4.2.1.12): it
/// says so, or has none.
pub(super) fn is_for_tls_servers(certificate: &[u8]) -> bool {
    let Ok(length) = c_long::try_from(certificate.len()) else {
        return false;
    };
    let mut input = certificate.as_ptr();
    // SAFETY: `input` points to `length` readable bytes; what is returned is null or ours to free. The usage is only read,
    // and has all bits where there is no such extension.
    let usage = unsafe {
        let certificate = openssl_sys::d2i_X509(ptr::null_mut(), &raw mut input, length);
        let usage = if certificate.is_null() { 0 } else { openssl_sys::X509_get_extended_key_usage(certificate) };
        openssl_sys::X509_free(certificate);
        usage
    };
    let _ = ErrorStack::get();
    usage & openssl_sys::XKU_SSL_SERVER != 0
}
