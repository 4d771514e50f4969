//! What became of a certificate in a pass: what is reported, and what is said in the log.

use crate::error::Error;
use crate::schedule::Retry;
use crate::store::Placed;
use common::logging;
use common::report::{Installed, Problem, Report, State};
use common::settings::SecretUrl;
use log::{debug, error, info, warn};

/// What is in place after a certificate was brought up to date.
pub(super) struct Done {
    pub(super) installed: Installed,
    pub(super) changed: bool,
    pub(super) warnings: Vec<String>,
}

/// The report that follows `before`, and when to try again if this pass failed. `remaining` is what an application still
/// finds then.
pub(super) fn report(
    url: &SecretUrl,
    before: &Report,
    result: Result<Done, Error>,
    remaining: Option<Placed>,
) -> (Report, Option<Retry>) {
    match result {
        Ok(Done { installed, changed, warnings }) => {
            for warning in warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
                warn!("{url}: {warning}");
            }
            if before.problem().is_some() {
                info!("{url}: is up to date again, version {}", installed.version);
            }
            (Report { state: State::Current { installed, changed }, warnings: warnings.into() }, None)
        }
        Err(error) => {
            let problem = Box::new(Problem { code: error.code(), message: error.to_string(), next_try: None });
            log_once(before.problem(), &problem, &error);
            let mut warnings = before.warnings.to_vec();
            let state = match remaining {
                Some(Placed { installed, warnings: found, .. }) => {
                    for warning in found.into_iter().filter(|warning| !before.warnings.contains(warning)) {
                        warn!("{url}: {warning}");
                        warnings.push(warning);
                    }
                    State::Stale { installed, since: before.stale_since(), problem }
                }
                None => State::Missing { problem },
            };
            (Report { state, warnings: warnings.into() }, Some(error.retry()))
        }
    }
}

/// The same problem as at the last pass was said already.
fn log_once(before: Option<&Problem>, now: &Problem, error: &Error) {
    if before.is_some_and(|before| before.message == now.message) {
        debug!("{}", now.message);
        return;
    }
    match error.retry() {
        Retry::Hopeless => error!("{}", now.message),
        _ => warn!("{}", now.message),
    }
    if let Error::Vault(refusal) = error
        && let Some(detail) = refusal.detail()
    {
        warn!(target: logging::FILE, "the vault says: {detail}");
    }
}
