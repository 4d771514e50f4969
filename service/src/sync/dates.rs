//! Whether a version's dates let it replace the one that applications have.

use crate::error::Error;
use crate::store::Store;
use common::report::Installed;
use common::settings::ObservedCertificate;
use jiff::{SignedDuration, Timestamp};

/// Clocks that differ by more than this are not trusted to tell whether a certificate is valid.
const TRUSTED_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What the dates of the newest version say about the link.
pub(super) enum Dates {
    /// It may move.
    Fine,
    /// It may move, because the clock by which the version is not valid is wrong.
    Distrust(String),
    /// It stays with the version that it leads to.
    Hold(Installed, String),
}

/// A version that is not valid now must not replace one that is, unless it is our clock that is wrong.
///
/// # Errors
/// When the store cannot tell which version is in use.
pub(super) fn judge(
    store: &Store,
    observed: &ObservedCertificate,
    newest: &Installed,
    clock_skew: Option<SignedDuration>,
) -> Result<Dates, Error> {
    let now = Timestamp::now();
    let Some(skew) = clock_skew.filter(|_| !newest.is_valid(now)) else { return Ok(Dates::Fine) };
    if skew.abs() > TRUSTED_SKEW {
        let seconds = skew.abs().as_secs();
        let side = if skew.is_positive() { "behind" } else { "ahead of" };
        return Ok(Dates::Distrust(format!(
            "this machine's clock is {seconds} s {side} the vault's: set it; until then the newest version is used, \
             although it is not valid by this clock"
        )));
    }
    let Some(current) = store.current(observed)? else { return Ok(Dates::Fine) };
    if current.version == newest.version || !current.is_valid(now) {
        return Ok(Dates::Fine);
    }
    let why = if now < newest.not_before {
        format!("is not valid before {}", common::status::seconds(newest.not_before))
    } else {
        format!("expired {}", common::status::seconds(newest.not_after))
    };
    let remark = format!(
        "the vault's newest version {} {why}: applications stay with {}, which is valid",
        newest.version, current.version
    );
    Ok(Dates::Hold(current, remark))
}
