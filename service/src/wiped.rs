//! Bytes that are wiped when they are dropped, all at once.
//!
//! `zeroize` writes one byte after the other. For the answers and files of a pass, 12 kB for each certificate, that was a
//! twentieth of the time that an unchanged pass takes in user mode.

use std::ffi::c_void;
use std::ops::{Deref, DerefMut};

// From openssl/crypto.h.
unsafe extern "C" {
    fn OPENSSL_cleanse(start: *mut c_void, length: usize);
}

/// For many bytes, at least some of which are secret. What it held before it grew is not wiped.
pub(crate) struct Wiped(Vec<u8>);

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // SAFETY: a vector's memory is as long as its capacity, and may be written to.
        unsafe { OPENSSL_cleanse(self.0.as_mut_ptr().cast(), self.0.capacity()) };
    }
}
