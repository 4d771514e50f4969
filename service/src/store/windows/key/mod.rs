//! The private keys of certificates, kept by the system: in CAPI, which Service Fabric and SQL Server need, or in CNG.
//!
//! A key is complete, with its export policy and its access control list, before anything points to it. Its name is new
//! each time, so that no key is ever overwritten.

mod capi;
mod cng;

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::sha::sha256;

use super::account::Sid;
use super::descriptor::Descriptor;
use super::failure::Failure;

/// What the names of our keys begin with.
const PREFIX: &str = "akvvm-";
/// `NTE_NOT_SUPPORTED`.
const NOT_SUPPORTED: i32 = 0x8009_0029_u32 as i32;
/// `NTE_BAD_SIGNATURE`.
const BAD_SIGNATURE: i32 = 0x8009_0006_u32 as i32;
/// `ERROR_INVALID_SECURITY_DESCR`.
const INVALID_DESCRIPTOR: i32 = 1338;

/// Where a key is: what a certificate says of it (`CERT_KEY_PROV_INFO_PROP_ID`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The key's name.
    pub(super) container: String,
    /// The provider's name.
    pub(super) provider: String,
    /// 0 stands for CNG.
    pub(super) provider_type: u32,
    /// `CRYPT_MACHINE_KEYSET` or 0.
    pub(super) flags: u32,
    /// `AT_KEYEXCHANGE` and the like; 0 in CNG.
    pub(super) spec: u32,
}

/// Which of the system's two services keeps a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// The older one, for RSA only.
    Capi,
    /// The newer one.
    Cng,
}

/// How a key shall be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) service: Service,
    /// The machine's keys, or else the user's.
    pub(super) is_machine: bool,
    /// Whether it can be taken out again.
    pub(super) is_exportable: bool,
}

/// A key that the system keeps, open.
pub(super) enum Key {
    Capi(capi::Key),
    Cng(cng::Key),
}

impl Key {
    /// Opens what a certificate points to.
    pub(super) fn open(place: &Place) -> Result<Self, Failure> {
        Ok(if place.provider_type == 0 {
            Self::Cng(cng::Key::open(place)?)
        } else {
            Self::Capi(capi::Key::open(place)?)
        })
    }

    /// Gives a key to the system's keeping, for the system, administrators and `readers`. What the system kept is read back;
    /// if it is not what was asked for, nothing stays.
    pub(super) fn import(key: &PKey<Private>, form: Form, readers: &[Sid]) -> Result<Self, Failure> {
        let name = format!("{PREFIX}{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let descriptor = Descriptor::new(readers)?;
        let imported = match form.service {
            Service::Capi if key.id() == Id::RSA => Self::Capi(capi::Key::import(&name, key, form, &descriptor)?),
            _ => Self::Cng(cng::Key::import(&name, key, form, &descriptor)?),
        };
        let checked = imported.is_kept(form, readers);
        match checked {
            Ok(true) => Ok(imported),
            Ok(false) => {
                let _ = imported.delete();
                Err(Failure { action: "keep the key from others", code: INVALID_DESCRIPTOR })
            }
            Err(failure) => {
                let _ = imported.delete();
                Err(failure)
            }
        }
    }

    fn is_kept(&self, form: Form, readers: &[Sid]) -> Result<bool, Failure> {
        Ok(self.descriptor()?.is_exactly(readers)? && self.is_exportable()? == form.is_exportable)
    }

    pub(super) fn place(&self) -> &Place {
        match self {
            Self::Capi(key) => key.place(),
            Self::Cng(key) => key.place(),
        }
    }

    /// Whether it is kept in this way.
    pub(super) fn has(&self, form: Form, kind: Id) -> Result<bool, Failure> {
        let service = if kind == Id::RSA { form.service } else { Service::Cng };
        let fits = match self {
            Self::Capi(_) => service == Service::Capi,
            Self::Cng(_) => service == Service::Cng,
        };
        Ok(fits && self.is_exportable()? == form.is_exportable)
    }

    fn is_exportable(&self) -> Result<bool, Failure> {
        match self {
            Self::Capi(key) => key.is_exportable(),
            Self::Cng(key) => key.is_exportable(),
        }
    }

    fn descriptor(&self) -> Result<Descriptor, Failure> {
        match self {
            Self::Capi(key) => key.descriptor(),
            Self::Cng(key) => key.descriptor(),
        }
    }

    /// Lets in who is missing of the system, administrators and `readers`; true when somebody was.
    pub(super) fn restore_access(&self, readers: &[Sid]) -> Result<bool, Failure> {
        let Some(restored) = self.descriptor()?.restored(readers)? else { return Ok(false) };
        match self {
            Self::Capi(key) => key.set_descriptor(&restored)?,
            Self::Cng(key) => key.set_descriptor(&restored)?,
        }
        Ok(true)
    }

    /// Signs something, and checks the signature by the certificate's key. After sysprep or a restore a certificate may be
    /// there without its key.
    pub(super) fn prove(&self, public: &PKey<Public>) -> Result<(), Failure> {
        let message = b"akvvm: a signature that shows whether the key is there";
        let digest = sha256(message);
        let signature = match self {
            Self::Capi(key) => key.sign(message)?,
            Self::Cng(key) => key.sign(&digest, public.id())?,
        };
        let is_right = match public.id() {
            Id::EC => is_right_ecdsa(&signature, &digest, public),
            _ => is_right_rsa(&signature, message, public),
        };
        match is_right {
            Ok(true) => Ok(()),
            _ => Err(Failure { action: "sign with the key", code: BAD_SIGNATURE }),
        }
    }

    /// Destroys the key.
    pub(super) fn delete(self) -> Result<(), Failure> {
        match self {
            Self::Capi(key) => key.delete(),
            Self::Cng(key) => key.delete(),
        }
    }
}

fn is_right_rsa(signature: &[u8], message: &[u8], public: &PKey<Public>) -> Result<bool, openssl::error::ErrorStack> {
    openssl::sign::Verifier::new(MessageDigest::sha256(), public)?.verify_oneshot(signature, message)
}

/// CNG writes the two numbers of a signature one after the other.
fn is_right_ecdsa(signature: &[u8], digest: &[u8], public: &PKey<Public>) -> Result<bool, openssl::error::ErrorStack> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let signature = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
    signature.verify(digest, &*public.ec_key()?)
}

/// The keys with our names, of the machine or of the user.
pub(super) fn ours(is_machine: bool) -> Result<Vec<Place>, Failure> {
    let mut places = capi::all(is_machine)?;
    // Where CNG is not to be had, none of our keys is there.
    places.extend(cng::all(is_machine).unwrap_or_default());
    places.retain(|place| place.container.starts_with(PREFIX));
    Ok(places)
}
