//! The system's certificate stores, and the certificates in them with their properties.

use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use common::report::Thumbprint;
use openssl::x509::X509;
use windows_sys::Win32::Foundation::{CRYPT_E_EXISTS, TRUE};
use windows_sys::Win32::Security::Cryptography::{
    CERT_CONTEXT, CERT_DESCRIPTION_PROP_ID, CERT_FRIENDLY_NAME_PROP_ID, CERT_KEY_PROV_INFO_PROP_ID,
    CERT_RENEWAL_PROP_ID, CERT_STORE_ADD_NEW, CERT_STORE_ADD_REPLACE_EXISTING, CERT_STORE_CTRL_COMMIT,
    CERT_STORE_CTRL_COMMIT_FORCE_FLAG, CERT_STORE_MAXIMUM_ALLOWED_FLAG, CERT_STORE_PROV_SYSTEM_W,
    CERT_SYSTEM_STORE_CURRENT_USER, CERT_SYSTEM_STORE_INFO, CERT_SYSTEM_STORE_LOCAL_MACHINE, CRYPT_INTEGER_BLOB,
    CRYPT_KEY_PROV_INFO, CertAddCertificateContextToStore, CertCloseStore, CertControlStore,
    CertCreateCertificateContext, CertDeleteCertificateFromStore, CertDuplicateCertificateContext,
    CertEnumCertificatesInStore, CertEnumSystemStore, CertFreeCertificateContext, CertGetCertificateContextProperty,
    CertOpenStore, CertSetCertificateContextProperty, HCERTSTORE, PKCS_7_ASN_ENCODING, X509_ASN_ENCODING,
};
use windows_sys::core::BOOL;

use super::failure::{Failure, narrow, wide};
use super::key::Place;

const ENCODING: u32 = X509_ASN_ENCODING | PKCS_7_ASN_ENCODING;

/// An open store.
pub(super) struct CertificateStore {
    handle: HCERTSTORE,
    /// As PowerShell writes it: `Cert:\LocalMachine\MY`.
    pub(super) path: PathBuf,
}

// SAFETY: the system's stores may be used by many threads; so says the documentation of CertOpenStore.
unsafe impl Send for CertificateStore {}
// SAFETY: as above.
unsafe impl Sync for CertificateStore {}

impl CertificateStore {
    /// Opens a store of the machine, or else of the user, and creates it when it is missing.
    pub(super) fn open(is_machine: bool, name: &str) -> Result<Self, Failure> {
        let flags = location(is_machine) | CERT_STORE_MAXIMUM_ALLOWED_FLAG;
        // SAFETY: the name ends with a zero.
        let handle = unsafe { CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0, flags, wide(name).as_ptr().cast()) };
        if handle.is_null() {
            return Err(Failure::last("open the store"));
        }
        Ok(Self { handle, path: path(is_machine, name) })
    }

    /// All certificates that are there now.
    pub(super) fn certificates(&self) -> Vec<Context> {
        let mut all = Vec::new();
        let mut last: *const CERT_CONTEXT = null();
        loop {
            // SAFETY: the store is open; the call takes the last context, of which each owner has a copy.
            last = unsafe { CertEnumCertificatesInStore(self.handle, last) };
            if last.is_null() {
                return all;
            }
            // SAFETY: the context is one that the call above gave.
            all.push(Context(unsafe { CertDuplicateCertificateContext(last) }));
        }
    }

    /// Puts a certificate there with all its properties, in the place of the same one.
    pub(super) fn put(&self, certificate: &Context) -> Result<(), Failure> {
        self.add(certificate, CERT_STORE_ADD_REPLACE_EXISTING)?;
        self.commit()
    }

    /// Puts a certificate there unless it is there already; true when it was not.
    pub(super) fn put_new(&self, certificate: &Context) -> Result<bool, Failure> {
        match self.add(certificate, CERT_STORE_ADD_NEW) {
            Ok(()) => self.commit().map(|()| true),
            Err(failure) if failure.code == CRYPT_E_EXISTS => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Takes a certificate of this store out of it.
    pub(super) fn remove(&self, certificate: &Context) -> Result<(), Failure> {
        // SAFETY: the context is open; the call takes the copy.
        let removed = unsafe { CertDeleteCertificateFromStore(CertDuplicateCertificateContext(certificate.0)) };
        Failure::unless(removed, "remove the certificate")
    }

    fn add(&self, certificate: &Context, disposition: u32) -> Result<(), Failure> {
        // SAFETY: store and context are open.
        let added = unsafe { CertAddCertificateContextToStore(self.handle, certificate.0, disposition, null_mut()) };
        Failure::unless(added, "add the certificate")
    }

    /// Writes what was changed: Windows did so already, Wine waits for this.
    pub(super) fn commit(&self) -> Result<(), Failure> {
        // SAFETY: the store is open.
        let committed =
            unsafe { CertControlStore(self.handle, CERT_STORE_CTRL_COMMIT_FORCE_FLAG, CERT_STORE_CTRL_COMMIT, null()) };
        Failure::unless(committed, "write the store")
    }
}

impl Drop for CertificateStore {
    fn drop(&mut self) {
        // SAFETY: the handle is this owner's, and used by nobody after it.
        unsafe { CertCloseStore(self.handle, 0) };
    }
}

/// The name of a store for a person.
pub(super) fn path(is_machine: bool, name: &str) -> PathBuf {
    Path::new(if is_machine { r"Cert:\LocalMachine" } else { r"Cert:\CurrentUser" }).join(name)
}

/// The names of all stores of the machine or of the user.
pub(super) fn names(is_machine: bool) -> Result<Vec<String>, Failure> {
    unsafe extern "system" fn note(
        store: *const core::ffi::c_void,
        _: u32,
        _: *const CERT_SYSTEM_STORE_INFO,
        _: *const core::ffi::c_void,
        names: *mut core::ffi::c_void,
    ) -> BOOL {
        // SAFETY: the name of a store ends with a zero; `names` is the list below.
        unsafe { (*names.cast::<Vec<String>>()).push(narrow(store.cast::<u16>())) };
        TRUE
    }
    let mut names: Vec<String> = Vec::new();
    // SAFETY: the list outlives the call, which calls back in this thread only.
    let listed = unsafe { CertEnumSystemStore(location(is_machine), null(), (&raw mut names).cast(), Some(note)) };
    Failure::unless(listed, "list the stores")?;
    Ok(names)
}

fn location(is_machine: bool) -> u32 {
    if is_machine { CERT_SYSTEM_STORE_LOCAL_MACHINE } else { CERT_SYSTEM_STORE_CURRENT_USER }
}

/// A certificate with its properties, in a store or on its way there.
pub(super) struct Context(*const CERT_CONTEXT);

// SAFETY: a context is counted by the system and may be used by many threads.
unsafe impl Send for Context {}
// SAFETY: as above; its properties are changed under the system's own lock.
unsafe impl Sync for Context {}

impl Context {
    /// A certificate that is in no store yet.
    pub(super) fn new(der: &[u8]) -> Result<Self, Failure> {
        // SAFETY: the bytes are as many as said.
        let context = unsafe { CertCreateCertificateContext(ENCODING, der.as_ptr(), der.len() as u32) };
        if context.is_null() { Err(Failure::last("read the certificate")) } else { Ok(Self(context)) }
    }

    pub(super) fn der(&self) -> &[u8] {
        // SAFETY: the context is open, and its bytes stay as long as it.
        unsafe { std::slice::from_raw_parts((*self.0).pbCertEncoded, (*self.0).cbCertEncoded as usize) }
    }

    /// As OpenSSL understands it; `None` when it does not.
    pub(super) fn x509(&self) -> Option<X509> {
        X509::from_der(self.der()).ok()
    }

    pub(super) fn thumbprint(&self) -> Thumbprint {
        Thumbprint(openssl::sha::sha1(self.der()))
    }

    pub(super) fn set_friendly_name(&self, text: &str) -> Result<(), Failure> {
        self.set_text(CERT_FRIENDLY_NAME_PROP_ID, text, "name the certificate")
    }

    pub(super) fn description(&self) -> Option<String> {
        self.text(CERT_DESCRIPTION_PROP_ID)
    }

    pub(super) fn set_description(&self, text: &str) -> Result<(), Failure> {
        self.set_text(CERT_DESCRIPTION_PROP_ID, text, "describe the certificate")
    }

    /// Where S-channel is led from here.
    pub(super) fn renewal(&self) -> Option<Thumbprint> {
        self.blob(CERT_RENEWAL_PROP_ID)?.try_into().ok().map(Thumbprint)
    }

    pub(super) fn set_renewal(&self, renewal: Option<Thumbprint>) -> Result<(), Failure> {
        let action = "link the certificate";
        match renewal {
            Some(mut to) => self.set_blob(CERT_RENEWAL_PROP_ID, &mut to.0, action),
            None => self.set(CERT_RENEWAL_PROP_ID, null(), action),
        }
    }

    /// Where its private key is, if it has one.
    pub(super) fn key(&self) -> Option<Place> {
        let bytes = self.property(CERT_KEY_PROV_INFO_PROP_ID)?;
        if bytes.len() * 8 < size_of::<CRYPT_KEY_PROV_INFO>() {
            return None;
        }
        // SAFETY: the property begins with this structure, and its texts are behind it in the same bytes.
        let place = unsafe {
            let info = &*bytes.as_ptr().cast::<CRYPT_KEY_PROV_INFO>();
            Place {
                container: narrow(info.pwszContainerName),
                provider: narrow(info.pwszProvName),
                provider_type: info.dwProvType,
                flags: info.dwFlags,
                spec: info.dwKeySpec,
            }
        };
        Some(place)
    }

    pub(super) fn set_key(&self, place: &Place) -> Result<(), Failure> {
        let (mut container, mut provider) = (wide(&place.container), wide(&place.provider));
        let info = CRYPT_KEY_PROV_INFO {
            pwszContainerName: container.as_mut_ptr(),
            pwszProvName: provider.as_mut_ptr(),
            dwProvType: place.provider_type,
            dwFlags: place.flags,
            cProvParam: 0,
            rgProvParam: null_mut(),
            dwKeySpec: place.spec,
        };
        self.set(CERT_KEY_PROV_INFO_PROP_ID, (&raw const info).cast(), "join certificate and key")
    }

    fn text(&self, id: u32) -> Option<String> {
        let units: Vec<u16> = self.blob(id)?.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect();
        let text = String::from_utf16_lossy(&units);
        Some(text.trim_end_matches('\0').to_owned())
    }

    fn set_text(&self, id: u32, text: &str, action: &'static str) -> Result<(), Failure> {
        let mut bytes: Vec<u8> = wide(text).iter().flat_map(|unit: &u16| unit.to_le_bytes()).collect();
        self.set_blob(id, &mut bytes, action)
    }

    fn blob(&self, id: u32) -> Option<Vec<u8>> {
        let mut length = 0;
        // SAFETY: the context is open; only the length is asked for.
        let has = unsafe { CertGetCertificateContextProperty(self.0, id, null_mut(), &raw mut length) };
        Failure::unless(has, "").ok()?;
        let mut bytes = vec![0_u8; length as usize];
        // SAFETY: the buffer is as long as said.
        let got = unsafe { CertGetCertificateContextProperty(self.0, id, bytes.as_mut_ptr().cast(), &raw mut length) };
        Failure::unless(got, "").ok()?;
        bytes.truncate(length as usize);
        Some(bytes)
    }

    /// The same, placed in memory as a structure has to be.
    fn property(&self, id: u32) -> Option<Vec<u64>> {
        let mut length = 0;
        // SAFETY: the context is open; only the length is asked for.
        let has = unsafe { CertGetCertificateContextProperty(self.0, id, null_mut(), &raw mut length) };
        Failure::unless(has, "").ok()?;
        let mut words = vec![0_u64; (length as usize).div_ceil(8)];
        // SAFETY: the buffer is as long as said, or a little longer.
        let got = unsafe { CertGetCertificateContextProperty(self.0, id, words.as_mut_ptr().cast(), &raw mut length) };
        Failure::unless(got, "").ok()?;
        Some(words)
    }

    fn set_blob(&self, id: u32, bytes: &mut [u8], action: &'static str) -> Result<(), Failure> {
        let blob = CRYPT_INTEGER_BLOB { cbData: bytes.len() as u32, pbData: bytes.as_mut_ptr() };
        self.set(id, (&raw const blob).cast(), action)
    }

    fn set(&self, id: u32, value: *const core::ffi::c_void, action: &'static str) -> Result<(), Failure> {
        // SAFETY: the context is open; the value is null or of the type that this property has.
        Failure::unless(unsafe { CertSetCertificateContextProperty(self.0, id, 0, value) }, action)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is this owner's, and used by nobody after it.
        unsafe { CertFreeCertificateContext(self.0) };
    }
}
