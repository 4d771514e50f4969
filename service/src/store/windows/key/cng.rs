//! Keys in CNG, the newer of the system's two services: each with a name.
//!
//! None of this may be called while the service manager waits for the service's start.

use std::ptr::{null, null_mut};

use openssl::pkey::{Id, PKey, Private};
use windows_sys::Win32::Security::Cryptography::{
    BCRYPT_PAD_PKCS1, BCRYPT_PKCS1_PADDING_INFO, BCRYPT_SHA256_ALGORITHM, BCryptBuffer, BCryptBufferDesc,
    CRYPT_MACHINE_KEYSET, NCRYPT_ALLOW_EXPORT_FLAG, NCRYPT_DO_NOT_FINALIZE_FLAG, NCRYPT_EXPORT_POLICY_PROPERTY,
    NCRYPT_MACHINE_KEY_FLAG, NCRYPT_PKCS8_PRIVATE_KEY_BLOB, NCRYPT_SECURITY_DESCR_PROPERTY, NCRYPT_SILENT_FLAG,
    NCRYPTBUFFER_PKCS_KEY_NAME, NCRYPTBUFFER_VERSION, NCryptDeleteKey, NCryptEnumKeys, NCryptFinalizeKey,
    NCryptFreeBuffer, NCryptFreeObject, NCryptGetProperty, NCryptImportKey, NCryptKeyName, NCryptOpenKey,
    NCryptOpenStorageProvider, NCryptSetProperty, NCryptSignHash,
};
use windows_sys::Win32::Security::DACL_SECURITY_INFORMATION;
use windows_sys::core::PCWSTR;
use zeroize::Zeroizing;

use super::{Descriptor, Failure, Form, Place};
use crate::store::windows::failure::{narrow, wide};

/// The provider that keeps keys as files.
const PROVIDER: &str = "Microsoft Software Key Storage Provider";
/// `NCRYPT_REQUIRE_VBS_FLAG`: keep the key where not even the kernel gets at it (KeyGuard), or refuse.
const KEY_GUARD: u32 = 0x0002_0000;
/// `NTE_NO_MORE_ITEMS`.
const NO_MORE_ITEMS: i32 = 0x8009_002A_u32 as i32;
/// `NTE_INVALID_PARAMETER`.
const INVALID: i32 = 0x8009_0027_u32 as i32;

/// An open key.
pub(in crate::store::windows) struct Key {
    handle: Handle,
    place: Place,
}

impl Key {
    pub(super) fn open(place: &Place) -> Result<Self, Failure> {
        let provider = provider(&place.provider)?;
        let flags = (place.flags & CRYPT_MACHINE_KEYSET) | NCRYPT_SILENT_FLAG;
        let mut handle = 0;
        let name = wide(&place.container);
        // SAFETY: the provider is open, the name ends with a zero.
        let opened = unsafe { NCryptOpenKey(provider.0, &raw mut handle, name.as_ptr(), place.spec, flags) };
        Failure::of(opened, "open the key")?;
        Ok(Self { handle: Handle(handle), place: place.clone() })
    }

    pub(super) fn import(
        name: &str,
        key: &PKey<Private>,
        form: Form,
        descriptor: &Descriptor,
    ) -> Result<Self, Failure> {
        let pkcs8 = key.private_key_to_pkcs8().map(Zeroizing::new);
        let pkcs8 = pkcs8.map_err(|_| Failure { action: "encode the key", code: INVALID })?;
        let import = |guard| Self::import_as(name, &pkcs8, form, descriptor, guard);
        if form.is_exportable {
            return import(0);
        }
        match import(KEY_GUARD) {
            Ok(key) => Ok(key),
            Err(refused) => {
                log::info!(
                    "the key {name} is kept without KeyGuard, which this machine lacks: error {:#010x}",
                    refused.code
                );
                import(0)
            }
        }
    }

    fn import_as(name: &str, pkcs8: &[u8], form: Form, descriptor: &Descriptor, guard: u32) -> Result<Self, Failure> {
        let provider = provider(PROVIDER)?;
        let machine = if form.is_machine { NCRYPT_MACHINE_KEY_FLAG } else { 0 };
        let mut wide_name = wide(name);
        let mut buffer = BCryptBuffer {
            cbBuffer: (wide_name.len() * 2) as u32,
            BufferType: NCRYPTBUFFER_PKCS_KEY_NAME,
            pvBuffer: wide_name.as_mut_ptr().cast(),
        };
        let parameters = BCryptBufferDesc { ulVersion: NCRYPTBUFFER_VERSION, cBuffers: 1, pBuffers: &raw mut buffer };
        let mut handle = 0;
        // SAFETY: the provider is open; the parameters and the key are as long as said, and outlive the call.
        let imported = unsafe {
            NCryptImportKey(
                provider.0,
                0,
                NCRYPT_PKCS8_PRIVATE_KEY_BLOB,
                &raw const parameters,
                &raw mut handle,
                pkcs8.as_ptr(),
                pkcs8.len() as u32,
                machine | guard | NCRYPT_DO_NOT_FINALIZE_FLAG | NCRYPT_SILENT_FLAG,
            )
        };
        Failure::of(imported, "import the key")?;
        let key = Self {
            handle: Handle(handle),
            place: Place {
                container: name.to_owned(),
                provider: PROVIDER.to_owned(),
                provider_type: 0,
                flags: machine,
                spec: 0,
            },
        };
        let policy = if form.is_exportable { NCRYPT_ALLOW_EXPORT_FLAG } else { 0 };
        key.set(NCRYPT_EXPORT_POLICY_PROPERTY, &policy.to_le_bytes(), 0, "forbid that the key is exported")?;
        key.set_descriptor(descriptor)?;
        // SAFETY: the key is open.
        Failure::of(unsafe { NCryptFinalizeKey(key.handle.0, NCRYPT_SILENT_FLAG) }, "keep the key")?;
        // What is read back is what the system kept.
        let place = key.place.clone();
        drop(key);
        Self::open(&place)
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn is_exportable(&self) -> Result<bool, Failure> {
        let policy = self.get(NCRYPT_EXPORT_POLICY_PROPERTY, 0, "read what may be done with the key")?;
        let policy = policy.first_chunk().copied().map_or(u32::MAX, u32::from_le_bytes);
        // Every bit of it lets the key out in one form or another.
        Ok(policy & 0x0F != 0)
    }

    pub(super) fn descriptor(&self) -> Result<Descriptor, Failure> {
        let action = "read the key's access control list";
        Ok(Descriptor::from_bytes(self.get(NCRYPT_SECURITY_DESCR_PROPERTY, DACL_SECURITY_INFORMATION, action)?))
    }

    pub(super) fn set_descriptor(&self, descriptor: &Descriptor) -> Result<(), Failure> {
        let action = "set the key's access control list";
        self.set(NCRYPT_SECURITY_DESCR_PROPERTY, descriptor.as_bytes(), DACL_SECURITY_INFORMATION, action)
    }

    /// PKCS #1 for RSA; the two numbers of ECDSA one after the other.
    pub(super) fn sign(&self, digest: &[u8], kind: Id) -> Result<Vec<u8>, Failure> {
        let padding = BCRYPT_PKCS1_PADDING_INFO { pszAlgId: BCRYPT_SHA256_ALGORITHM };
        let (padding, flags) = match kind {
            Id::RSA => ((&raw const padding).cast(), BCRYPT_PAD_PKCS1),
            _ => (null(), 0),
        };
        let sign = |buffer: *mut u8, length: u32, written: &mut u32| {
            // SAFETY: the key is open; digest and buffer are as long as said.
            unsafe {
                NCryptSignHash(
                    self.handle.0,
                    padding,
                    digest.as_ptr(),
                    digest.len() as u32,
                    buffer,
                    length,
                    written,
                    flags | NCRYPT_SILENT_FLAG,
                )
            }
        };
        let mut length = 0;
        Failure::of(sign(null_mut(), 0, &mut length), "sign with the key")?;
        let mut signature = vec![0; length as usize];
        Failure::of(sign(signature.as_mut_ptr(), length, &mut length), "sign with the key")?;
        signature.truncate(length as usize);
        Ok(signature)
    }

    pub(super) fn delete(self) -> Result<(), Failure> {
        // SAFETY: the key is open.
        Failure::of(unsafe { NCryptDeleteKey(self.handle.0, NCRYPT_SILENT_FLAG) }, "delete the key")?;
        // The call above took the handle with it.
        std::mem::forget(self.handle);
        Ok(())
    }

    fn set(&self, property: PCWSTR, value: &[u8], flags: u32, action: &'static str) -> Result<(), Failure> {
        let flags = flags | NCRYPT_SILENT_FLAG;
        // SAFETY: the key is open; the value is as long as said.
        let set = unsafe { NCryptSetProperty(self.handle.0, property, value.as_ptr(), value.len() as u32, flags) };
        Failure::of(set, action)
    }

    fn get(&self, property: PCWSTR, flags: u32, action: &'static str) -> Result<Vec<u8>, Failure> {
        let flags = flags | NCRYPT_SILENT_FLAG;
        let get = |buffer: *mut u8, length: u32, written: &mut u32| {
            // SAFETY: the key is open; the buffer is null or as long as said.
            unsafe { NCryptGetProperty(self.handle.0, property, buffer, length, written, flags) }
        };
        let mut length = 0;
        Failure::of(get(null_mut(), 0, &mut length), action)?;
        let mut value = vec![0; length as usize];
        Failure::of(get(value.as_mut_ptr(), length, &mut length), action)?;
        value.truncate(length as usize);
        Ok(value)
    }
}

/// All keys of the machine or of the user.
pub(super) fn all(is_machine: bool) -> Result<Vec<Place>, Failure> {
    let machine = if is_machine { NCRYPT_MACHINE_KEY_FLAG } else { 0 };
    let provider = provider(PROVIDER)?;
    let mut state = null_mut();
    let mut places = Vec::new();
    let end = loop {
        let mut found: *mut NCryptKeyName = null_mut();
        let flags = machine | NCRYPT_SILENT_FLAG;
        // SAFETY: the provider is open; what the call gives is freed below.
        let got = unsafe { NCryptEnumKeys(provider.0, null(), &raw mut found, &raw mut state, flags) };
        if got != 0 {
            break got;
        }
        // SAFETY: the call gave a whole name.
        let container = unsafe { narrow((*found).pszName) };
        // SAFETY: it came from the call above, and nothing points to it any more.
        unsafe { NCryptFreeBuffer(found.cast()) };
        places.push(Place { container, provider: PROVIDER.to_owned(), provider_type: 0, flags: machine, spec: 0 });
    };
    if !state.is_null() {
        // SAFETY: the calls above made it, and the last of them has been.
        unsafe { NCryptFreeBuffer(state) };
    }
    if end == NO_MORE_ITEMS { Ok(places) } else { Err(Failure { action: "list the keys", code: end }) }
}

fn provider(name: &str) -> Result<Handle, Failure> {
    let mut handle = 0;
    let name = wide(name);
    // SAFETY: the name ends with a zero.
    let opened = unsafe { NCryptOpenStorageProvider(&raw mut handle, name.as_ptr(), 0) };
    Failure::of(opened, "open the provider of keys")?;
    Ok(Handle(handle))
}

/// A handle of a provider or a key.
struct Handle(usize);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is this owner's, and used by nobody after it.
        unsafe { NCryptFreeObject(self.0) };
    }
}
