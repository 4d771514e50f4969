//! What a vault is asked about one certificate: its versions where one of them is in place, or else its newest one.
//!
//! A list holds no key and tells of a rollback, so it comes first where it can tell something. One request is enough on a
//! day without a change, and for a certificate that is not installed yet.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use common::settings::{ObservedCertificate, SecretUrl, Version};
use jiff::SignedDuration;
use log::warn;

use super::Pass;
use crate::error::Error;
use crate::identity::Token;
use crate::memory::Past;
use crate::vault::{self, SecretBundle, VaultError, VersionList};
use crate::versions::{Choice, choose};

/// Pages that are read of a list, 25 versions each: thirty years of monthly renewals.
const PAGES: usize = 15;

/// The version that shall be in use, by what the vault says.
pub(super) struct Newest {
    pub(super) version: Version,
    /// What it holds, where it was fetched to know.
    pub(super) bundle: Option<SecretBundle>,
    /// The version before it, when that has to be seen to.
    pub(super) second: Option<Version>,
    /// How far the vault's clock is ahead of this machine's, when the vault said what time it is.
    pub(super) clock_skew: Option<SignedDuration>,
    /// What a person should know of it.
    pub(super) remark: Option<String>,
}

impl Newest {
    fn fetched(bundle: SecretBundle) -> Self {
        let (version, clock_skew) = (*bundle.version(), bundle.clock_skew());
        Self { version, bundle: Some(bundle), second: None, clock_skew, remark: None }
    }

    fn listed(choice: Choice, clock_skew: Option<SignedDuration>, past: Past) -> Self {
        let Choice { newest, second, disabled } = choice;
        let remark = disabled.map(|disabled| {
            format!(
                "the vault's newest version {disabled} is disabled: applications use {newest}, the newest enabled one"
            )
        });
        let second = second.filter(|_| !past.is_settled);
        Self { version: newest, bundle: None, second, clock_skew, remark }
    }
}

impl Pass<'_> {
    /// Asks which version shall be in use. Whether one is installed is asked only where it makes a difference.
    pub(super) fn ask(
        &self,
        observed: &ObservedCertificate,
        is_installed: impl FnOnce() -> bool,
        past: &mut Past,
    ) -> Result<Newest, Error> {
        if observed.url.version().is_some() {
            return Ok(Newest::fetched(self.fetch(observed, &observed.url)?));
        }
        let may_be_listed = !past.is_long || !past.is_settled;
        let is_installed = may_be_listed && is_installed();
        past.is_fresh |= may_be_listed && !is_installed;
        let looks_for_second = past.is_fresh && !past.is_settled;
        let may_list = self.memory.may_list(observed, Instant::now());
        let mut refused = None;
        if is_installed && may_list && (looks_for_second || !past.is_long) {
            match self.list(observed, if looks_for_second { PAGES } else { 1 }) {
                Ok(list) => {
                    past.is_long = list.pages > 1 || !list.is_whole;
                    if let Some(choice) = choose(&list.versions).filter(|_| list.is_whole) {
                        return Ok(Newest::listed(choice, list.clock_skew, *past));
                    }
                    past.is_settled |= looks_for_second;
                }
                Err(Error::Vault(error)) if !error.concerns_every_request() => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        let fetched = self.fetch(observed, &observed.url);
        let is_disabled = matches!(&fetched, Err(Error::Vault(error)) if error.is_disabled());
        if let Some(error) = refused
            && (fetched.is_ok() || is_disabled)
        {
            self.remember_refused_list(observed, &error);
        } else if is_disabled && may_list {
            // What a list cannot say either is said by the refusal.
            let list = self.list(observed, PAGES).ok().filter(|list| list.is_whole);
            if let Some((choice, list)) = list.and_then(|list| Some((choose(&list.versions)?, list))) {
                return Ok(Newest::listed(choice, list.clock_skew, *past));
            }
        }
        Ok(Newest::fetched(fetched?))
    }

    fn remember_refused_list(&self, observed: &ObservedCertificate, error: &VaultError) {
        if !error.is_passing() && self.memory.refuse_lists(observed, Instant::now()) {
            warn!(
                "{}: the versions of its certificates cannot be listed, so the newest alone is installed, and fetched at each \
                 poll: {error}; a list is asked for again in a day",
                observed.url.host()
            );
        }
    }

    fn list(&self, observed: &ObservedCertificate, pages: usize) -> Result<VersionList, Error> {
        let list = self.with_token(observed, |agent, token| vault::versions(agent, &observed.url, token, pages))?;
        self.memory.allow_lists(observed);
        Ok(list)
    }

    /// Fetches a secret: the newest, or the version that `url` names.
    pub(super) fn fetch(&self, observed: &ObservedCertificate, url: &SecretUrl) -> Result<SecretBundle, Error> {
        self.with_token(observed, |agent, token| vault::secret(agent, url, token))
    }

    /// Asks the vault; a token that it does not accept is replaced once.
    fn with_token<T>(
        &self,
        observed: &ObservedCertificate,
        ask: impl Fn(&ureq::Agent, &Token) -> Result<T, VaultError>,
    ) -> Result<T, Error> {
        let client = self
            .client
            .as_ref()
            .map_err(|source| VaultError::Transport { host: observed.url.host().to_owned(), source: source.clone() })?;
        let token = self.token(observed, None)?;
        match ask(client.agent(), &token) {
            Err(error) if error.is_stale_token() => {
                let fresh = self.token(observed, Some(&token))?;
                if Arc::ptr_eq(&fresh, &token) {
                    return Err(error.into());
                }
                Ok(ask(client.agent(), &fresh)?)
            }
            result => Ok(result?),
        }
    }

    fn token(&self, observed: &ObservedCertificate, refused: Option<&Arc<Token>>) -> Result<Arc<Token>, Error> {
        let token = self.tokens.get(&observed.identity, observed.url.audience(), refused)?;
        let name = match token.client_id() {
            Some(client_id) => format!("{} (client id {client_id})", token.selector()),
            None => token.selector().to_string(),
        };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.contains(&name) {
            used.push(name);
        }
        Ok(token)
    }
}
