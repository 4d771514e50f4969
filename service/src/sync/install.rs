//! From what a vault gave to what applications use: decode it, judge it, write it, and let the link lead to it.

use common::logging;
use common::settings::{ChainValidation, ObservedCertificate, Version};
use jiff::SignedDuration;
use log::warn;
use openssl::x509::X509;
use rustls::pki_types::UnixTime;

use super::Pass;
use super::dates::{self, Dates};
use super::outcome::Done;
use crate::certificate::{Certificate, CertificateError, distrust, lost_names};
use crate::error::Error;
use crate::schedule::Retry;
use crate::store::Placed;
use crate::vault::SecretBundle;

/// A version that is to be put in use.
pub(super) struct Ready {
    pub(super) index: usize,
    pub(super) files: Found,
    pub(super) clock_skew: Option<SignedDuration>,
    pub(super) warnings: Vec<String>,
}

/// The files of a version.
pub(super) enum Found {
    /// In place before this pass.
    Placed(Placed),
    /// Not in place yet: what they are made of.
    Fetched(SecretBundle),
}

impl Pass<'_> {
    /// Brings a version to its place and lets the link lead to it, unless its dates speak against it.
    pub(super) fn put_in_use(&self, ready: Ready) -> Result<Done, Error> {
        let Ready { index, files, clock_skew, mut warnings } = ready;
        let observed = &self.settings.certificates[index];
        let _subject = logging::about(&observed.url);
        let (placed, written) = match files {
            Found::Placed(placed) => (placed, false),
            Found::Fetched(bundle) => (self.write(observed, &bundle, self.store.leaf_in_use(observed))?, true),
        };
        warnings.extend(placed.warnings);
        let dates = dates::judge(&self.store, observed, &placed.installed, clock_skew)?;
        let done = match dates {
            Dates::Hold(current, remark) => {
                let kept = self.store.keep(observed)?.map(|kept| kept.warnings).unwrap_or_default();
                let further: Vec<_> = kept.into_iter().filter(|warning| !warnings.contains(warning)).collect();
                warnings.extend(further);
                warnings.push(remark);
                Done { installed: current, changed: false, warnings }
            }
            Dates::Fine | Dates::Distrust(_) => {
                let moved = self.store.point(observed, &placed.installed.version)?;
                if let Dates::Distrust(remark) = dates {
                    warnings.push(remark);
                }
                Done { installed: placed.installed, changed: written || moved, warnings }
            }
        };
        match placed.unreadable {
            Some(error) => Err(error.into()),
            None => Ok(done),
        }
    }

    /// Installs a version. `before` is the leaf that it is to take the place of.
    fn write(
        &self,
        observed: &ObservedCertificate,
        bundle: &SecretBundle,
        before: Option<X509>,
    ) -> Result<Placed, Error> {
        let certificate = {
            let _turn = self.decoding.take();
            let content = bundle.content(&observed.url)?;
            Certificate::decode(&content.value, content.content_type.as_deref())?
        };
        let distrusted = self.trust.as_ref().and_then(|trust| distrust(&certificate.chain, trust, UnixTime::now()));
        if let (ChainValidation::Require, Some(reason)) = (self.settings.chain_validation, &distrusted) {
            return Err(CertificateError::Distrusted(reason.clone()).into());
        }
        let lost = before.and_then(|before| lost_names(&before, &certificate));
        let remarks = certificate.warnings().iter().cloned().chain(distrusted).chain(lost).collect();
        Ok(self.store.install(observed, bundle.version(), &certificate, remarks)?)
    }

    /// Installs the version before the newest one, so that it is there for who still needs it; false when it has to be
    /// tried again. Nothing depends on it, so its faults are only said in the log.
    pub(super) fn see_to_second(&self, observed: &ObservedCertificate, version: &Version) -> bool {
        let install = || -> Result<(), Error> {
            match self.store.find(observed, version)? {
                Some(_) => Ok(()),
                None => {
                    let bundle = self.fetch(observed, &observed.url.pinned(version))?;
                    // What is in use is newer, and its names are no loss of this one's.
                    self.write(observed, &bundle, None)?;
                    Ok(())
                }
            }
        };
        let Err(error) = install() else { return true };
        warn!("{}: the version before the newest, {version}, is not installed: {error}", observed.url);
        !matches!(error.retry(), Retry::Soon | Retry::Throttled(_))
    }
}
