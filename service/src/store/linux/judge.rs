//! What was remarked on the chain of a certificate when it was installed, brought up to date when the machine trusts
//! others since. The public certificates in its file are enough for that, and nothing is written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;

use super::file::Kept;
use crate::certificate::distrust;
use crate::certificate::validation::DISTRUSTED;
use crate::system::Trust;

/// The remarks on the version in these files as they would be if it was installed now. What was found out after the machine's
/// trust had changed for the last time is still so; where nothing is remembered, it is found out at each look.
pub(super) fn review(trust: &Trust, mut remarks: Vec<String>, files: &[Kept]) -> Vec<String> {
    let is_known =
        |kept: &Kept| kept.is_recorded() && time(kept.written()).is_some_and(|written| written > trust.changed());
    let Some(chain) = files.first().filter(|kept| !is_known(kept)).and_then(Kept::chain) else { return remarks };
    remarks.retain(|remark| !remark.starts_with(DISTRUSTED));
    remarks.extend(distrust(&chain, trust, UnixTime::now()));
    remarks
}

fn time((seconds, nanoseconds): (i64, i64)) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
    UNIX_EPOCH.checked_add(since)
}
