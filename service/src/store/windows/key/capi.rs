//! Keys in CAPI, the older of the system's two services: each in a container with a name.

use std::ptr::{null, null_mut};

use openssl::bn::BigNumRef;
use openssl::pkey::{PKey, Private};
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_NO_MORE_ITEMS, NTE_BAD_FLAGS};
use windows_sys::Win32::Security::Cryptography::{
    AT_KEYEXCHANGE, CALG_RSA_KEYX, CALG_SHA_256, CRYPT_DELETEKEYSET, CRYPT_EXPORT, CRYPT_EXPORTABLE, CRYPT_FIRST,
    CRYPT_MACHINE_KEYSET, CRYPT_NEWKEYSET, CRYPT_NEXT, CRYPT_SILENT, CRYPT_VERIFYCONTEXT, CryptAcquireContextW,
    CryptCreateHash, CryptDestroyHash, CryptDestroyKey, CryptGetKeyParam, CryptGetProvParam, CryptGetUserKey,
    CryptHashData, CryptImportKey, CryptReleaseContext, CryptSetProvParam, CryptSignHashW, KP_PERMISSIONS,
    PP_ENUMCONTAINERS, PP_KEYSET_SEC_DESCR, PROV_RSA_AES,
};
use windows_sys::Win32::Security::DACL_SECURITY_INFORMATION;
use zeroize::Zeroizing;

use super::{Descriptor, Failure, Form, NOT_SUPPORTED, Place};
use crate::store::windows::failure::wide;

/// It signs with SHA-256, which the older ones do not.
const PROVIDER: &str = "Microsoft Enhanced RSA and AES Cryptographic Provider";
/// `PRIVATEKEYBLOB` and its version.
const PRIVATE_KEY_BLOB: [u8; 2] = [7, 2];
/// Bytes of a container's name.
const LONGEST_NAME: usize = 4096;

/// An open container.
pub(in crate::store::windows) struct Key {
    provider: Provider,
    place: Place,
}

impl Key {
    pub(super) fn open(place: &Place) -> Result<Self, Failure> {
        let flags = (place.flags & CRYPT_MACHINE_KEYSET) | CRYPT_SILENT;
        let provider = Provider::acquire(Some(&place.container), place, flags, "open the key")?;
        Ok(Self { provider, place: place.clone() })
    }

    pub(super) fn import(
        name: &str,
        key: &PKey<Private>,
        form: Form,
        descriptor: &Descriptor,
    ) -> Result<Self, Failure> {
        let blob = private_key_blob(key).ok_or(Failure { action: "keep the key in CAPI", code: NOT_SUPPORTED })?;
        let place = Place {
            container: name.to_owned(),
            provider: PROVIDER.to_owned(),
            provider_type: PROV_RSA_AES,
            flags: if form.is_machine { CRYPT_MACHINE_KEYSET } else { 0 },
            spec: AT_KEYEXCHANGE,
        };
        let flags = place.flags | CRYPT_SILENT | CRYPT_NEWKEYSET;
        let provider = Provider::acquire(Some(name), &place, flags, "create a container for the key")?;
        let created = Self { provider, place };
        // Only the container is there yet.
        let imported = created.set_descriptor(descriptor).and_then(|()| {
            let flags = if form.is_exportable { CRYPT_EXPORTABLE } else { 0 };
            let mut handle = 0;
            // SAFETY: the provider is open, the blob as long as said.
            let done = unsafe {
                CryptImportKey(created.provider.0, blob.as_ptr(), blob.len() as u32, 0, flags, &raw mut handle)
            };
            Failure::unless(done, "import the key")?;
            // SAFETY: the call above gave this handle, and nothing else uses it.
            unsafe { CryptDestroyKey(handle) };
            Ok(())
        });
        if let Err(failure) = imported {
            let _ = created.delete();
            return Err(failure);
        }
        // What is read back is what the system kept.
        let place = created.place.clone();
        drop(created);
        Self::open(&place)
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn is_exportable(&self) -> Result<bool, Failure> {
        let mut handle = 0;
        // SAFETY: the provider is open.
        let got = unsafe { CryptGetUserKey(self.provider.0, self.place.spec, &raw mut handle) };
        Failure::unless(got, "find the key in its container")?;
        let (mut permissions, mut length) = (0_u32, 4);
        // SAFETY: the key is open; the answer is a number of four bytes.
        let read =
            unsafe { CryptGetKeyParam(handle, KP_PERMISSIONS, (&raw mut permissions).cast(), &raw mut length, 0) };
        let read = Failure::unless(read, "read what may be done with the key");
        // SAFETY: the call above gave this handle, and nothing else uses it.
        unsafe { CryptDestroyKey(handle) };
        read.map(|()| permissions & CRYPT_EXPORT != 0)
    }

    pub(super) fn descriptor(&self) -> Result<Descriptor, Failure> {
        let action = "read the key's access control list";
        let parameter = |buffer: *mut u8, length: &mut u32| {
            // SAFETY: the provider is open; the buffer is null or as long as said.
            unsafe {
                CryptGetProvParam(self.provider.0, PP_KEYSET_SEC_DESCR, buffer, length, DACL_SECURITY_INFORMATION)
            }
        };
        let mut length = 0;
        Failure::unless(parameter(null_mut(), &mut length), action)?;
        let mut bytes = vec![0; length as usize];
        Failure::unless(parameter(bytes.as_mut_ptr(), &mut length), action)?;
        bytes.truncate(length as usize);
        Ok(Descriptor::from_bytes(bytes))
    }

    pub(super) fn set_descriptor(&self, descriptor: &Descriptor) -> Result<(), Failure> {
        let bytes = descriptor.as_bytes().as_ptr();
        // SAFETY: the provider is open; the bytes are a whole descriptor.
        let set = unsafe { CryptSetProvParam(self.provider.0, PP_KEYSET_SEC_DESCR, bytes, DACL_SECURITY_INFORMATION) };
        Failure::unless(set, "set the key's access control list")
    }

    /// PKCS #1 with SHA-256, the first byte first.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut hash = 0;
        // SAFETY: the provider is open.
        let created = unsafe { CryptCreateHash(self.provider.0, CALG_SHA_256, 0, 0, &raw mut hash) };
        Failure::unless(created, "sign with the key")?;
        let hash = Hash(hash);
        // SAFETY: the hash is open; the message is as long as said.
        let hashed = unsafe { CryptHashData(hash.0, message.as_ptr(), message.len() as u32, 0) };
        Failure::unless(hashed, "sign with the key")?;
        let sign = |buffer: *mut u8, length: &mut u32| {
            // SAFETY: the hash is open; the buffer is null or as long as said.
            unsafe { CryptSignHashW(hash.0, self.place.spec, null(), 0, buffer, length) }
        };
        let mut length = 0;
        Failure::unless(sign(null_mut(), &mut length), "sign with the key")?;
        let mut signature = vec![0; length as usize];
        Failure::unless(sign(signature.as_mut_ptr(), &mut length), "sign with the key")?;
        signature.truncate(length as usize);
        signature.reverse();
        Ok(signature)
    }

    pub(super) fn delete(self) -> Result<(), Failure> {
        let Self { provider, place } = self;
        drop(provider);
        let flags = place.flags | CRYPT_SILENT | CRYPT_DELETEKEYSET;
        // What this call gives is nothing that could be released.
        Provider::acquire(Some(&place.container), &place, flags, "delete the key").map(std::mem::forget)
    }
}

/// All containers of the machine or of the user.
pub(super) fn all(is_machine: bool) -> Result<Vec<Place>, Failure> {
    let flags = if is_machine { CRYPT_MACHINE_KEYSET } else { 0 };
    let place = Place {
        container: String::new(),
        provider: PROVIDER.to_owned(),
        provider_type: PROV_RSA_AES,
        flags,
        spec: AT_KEYEXCHANGE,
    };
    let action = "list the keys";
    let provider = Provider::acquire(None, &place, flags | CRYPT_VERIFYCONTEXT | CRYPT_SILENT, action)?;
    let mut places = Vec::new();
    let mut first = CRYPT_FIRST;
    // Whose keys are listed is said by the provider; Wine wants it said again, which Windows may refuse.
    let mut whose = flags;
    loop {
        let mut name = vec![0_u8; LONGEST_NAME];
        let mut length = LONGEST_NAME as u32;
        let wanted = first | whose;
        // SAFETY: the provider is open; the buffer is as long as said.
        let got =
            unsafe { CryptGetProvParam(provider.0, PP_ENUMCONTAINERS, name.as_mut_ptr(), &raw mut length, wanted) };
        match Failure::unless(got, action) {
            Ok(()) => {}
            Err(failure) if failure.code == NTE_BAD_FLAGS && whose != 0 => {
                whose = 0;
                continue;
            }
            Err(failure) if failure.code == ERROR_NO_MORE_ITEMS as i32 => return Ok(places),
            Err(failure) if failure.code == ERROR_MORE_DATA as i32 => continue,
            Err(failure) => return Err(failure),
        }
        first = CRYPT_NEXT;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        places.push(Place { container: String::from_utf8_lossy(name).into_owned(), ..place.clone() });
    }
}

/// A handle of a provider.
struct Provider(usize);

impl Provider {
    fn acquire(name: Option<&str>, place: &Place, flags: u32, action: &'static str) -> Result<Self, Failure> {
        let name = name.map(wide);
        let mut handle = 0;
        // SAFETY: both texts end with a zero.
        let acquired = unsafe {
            CryptAcquireContextW(
                &raw mut handle,
                name.as_ref().map_or(null(), |name| name.as_ptr()),
                wide(&place.provider).as_ptr(),
                place.provider_type,
                flags,
            )
        };
        Failure::unless(acquired, action)?;
        Ok(Self(handle))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // SAFETY: the handle is this owner's, and used by nobody after it.
        unsafe { CryptReleaseContext(self.0, 0) };
    }
}

struct Hash(usize);

impl Drop for Hash {
    fn drop(&mut self) {
        // SAFETY: the handle is this owner's, and used by nobody after it.
        unsafe { CryptDestroyHash(self.0) };
    }
}

/// `PUBLICKEYSTRUC`, `RSAPUBKEY` and the key's numbers, each with its last byte first. `None` for a key that has no such
/// form: with two primes of different lengths, or a public exponent of more than four bytes.
fn private_key_blob(key: &PKey<Private>) -> Option<Zeroizing<Vec<u8>>> {
    let key = key.rsa().ok()?;
    let bytes = key.size() as usize;
    let bits =
        u32::try_from(key.n().num_bits()).ok().filter(|bits| *bits as usize == bytes * 8 && bytes.is_multiple_of(2))?;
    let exponent: [u8; 4] = key.e().to_vec_padded(4).ok()?.try_into().ok()?;
    let half = bytes / 2;
    let numbers: [(&BigNumRef, usize); 7] = [
        (key.n(), bytes),
        (key.p()?, half),
        (key.q()?, half),
        (key.dmp1()?, half),
        (key.dmq1()?, half),
        (key.iqmp()?, half),
        (key.d(), bytes),
    ];
    // The exact size: the buffer is not moved once the key is in it, so that no copy stays behind.
    let mut blob = Zeroizing::new(Vec::with_capacity(20 + 2 * bytes + 5 * half));
    blob.extend(PRIVATE_KEY_BLOB);
    blob.extend([0, 0]);
    blob.extend(CALG_RSA_KEYX.to_le_bytes());
    blob.extend(b"RSA2");
    blob.extend(bits.to_le_bytes());
    blob.extend(u32::from_be_bytes(exponent).to_le_bytes());
    for (number, length) in numbers {
        let number = Zeroizing::new(number.to_vec_padded(i32::try_from(length).ok()?).ok()?);
        blob.extend(number.iter().rev());
    }
    Some(blob)
}
