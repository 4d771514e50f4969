//! What `tests/sdk/setup` installs; without it the tests that need it fail and say so.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Where `tests/sdk/setup` puts what it installs.
pub(crate) fn installed(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("sdk").join(path);
    assert!(path.exists(), "{}: run tests/sdk/setup first", path.display());
    path
}

/// A script in `tests/sdk`.
pub(crate) fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(path)
}
