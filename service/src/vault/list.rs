//! The list of a secret's versions: no values, so nothing secret.
//!
//! Wire contract: `GET /secrets/NAME/versions?api-version=7.4&maxresults=25`, in pages that name the next one.

use common::settings::SecretUrl;
use jiff::SignedDuration;
use serde::Deserialize;
use ureq::Agent;

use super::{API_VERSION, VaultError, clock_skew, refusal, version_of};
use crate::http::{self, Answer};
use crate::identity::Token;
use crate::versions::Listed;

/// As many as the vault gives at a time.
const PAGE: usize = 25;

/// A list, as far as it was read.
pub(crate) struct VersionList {
    pub(crate) versions: Vec<Listed>,
    pub(crate) pages: usize,
    /// Whether there was no page left.
    pub(crate) is_whole: bool,
    /// How far the vault's clock is ahead of this machine's, when the vault said what time it is.
    pub(crate) clock_skew: Option<SignedDuration>,
}

/// One page of a list.
pub(crate) struct Page {
    pub(crate) versions: Vec<Listed>,
    /// The query of the next one, if there is one.
    pub(crate) next: Option<String>,
    clock_skew: Option<SignedDuration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    value: Vec<Item>,
    next_link: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Attributes {
    enabled: bool,
    created: i64,
}

impl Page {
    /// What an answer to a request for a page of this secret's versions holds.
    ///
    /// # Errors
    /// It is a refusal, or something else than versions of this secret.
    pub(crate) fn read(answer: &Answer, url: &SecretUrl) -> Result<Self, VaultError> {
        if answer.status != 200 {
            return Err(refusal::of(answer, url));
        }
        let address = address(url);
        let malformed = |reason: &str| VaultError::Malformed { url: address.clone(), reason: reason.to_owned() };
        let body: Body = serde_json::from_slice(&answer.body)
            .map_err(|_| malformed("it is not the JSON of a list of versions; does a proxy answer?"))?;
        let listed = body.value.into_iter().map(|Item { id, attributes }| {
            let version = version_of(&id, url).ok_or_else(|| VaultError::WrongSecret { url: address.clone() })?;
            Ok(Listed { version, is_enabled: attributes.enabled, created: attributes.created })
        });
        let versions = listed.collect::<Result<_, _>>()?;
        let next = body.next_link.filter(|next| !next.is_empty());
        let next = next.map(|next| next_query(&next, url).ok_or_else(|| malformed("its next page is elsewhere")));
        Ok(Self { versions, next: next.transpose()?, clock_skew: clock_skew(answer) })
    }
}

/// Where the vault lists the versions of a secret.
fn address(url: &SecretUrl) -> String {
    format!("https://{}/secrets/{}/versions", url.host(), url.name())
}

/// Lists the versions of a secret, on `pages` pages at most.
///
/// # Errors
/// The vault was not reached, refused, or answered with something else.
pub(crate) fn versions(agent: &Agent, url: &SecretUrl, token: &Token, pages: usize) -> Result<VersionList, VaultError> {
    let mut list = VersionList { versions: Vec::new(), pages: 0, is_whole: false, clock_skew: None };
    let mut query = format!("api-version={API_VERSION}&maxresults={PAGE}");
    while list.pages < pages {
        let answer = http::get(agent, &format!("{}?{query}", address(url)), &[("Authorization", token.bearer())])
            .map_err(|source| VaultError::Transport { host: url.host().to_owned(), source })?;
        let page = Page::read(&answer, url)?;
        list.versions.extend(page.versions);
        list.pages += 1;
        list.clock_skew = page.clock_skew;
        let Some(next) = page.next else {
            list.is_whole = true;
            break;
        };
        query = next;
    }
    Ok(list)
}

/// The query of the next page, when that is one of the same list: the token goes nowhere else, whatever the link says.
fn next_query(next: &str, url: &SecretUrl) -> Option<String> {
    let rest = next.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://")).map(|_| &next[8..])?;
    let (authority, rest) = rest.split_once('/')?;
    let (path, query) = rest.split_once('?')?;
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let same =
        host.eq_ignore_ascii_case(url.host()) && path.eq_ignore_ascii_case(&format!("secrets/{}/versions", url.name()));
    let is_plain = query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    (same && is_plain).then(|| query.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use common::settings::Clouds;

    #[test]
    fn follows_the_next_page_of_the_same_list_only() {
        let web = SecretUrl::parse("https://contoso.vault.azure.net/secrets/web", &Clouds::built_in()).unwrap();
        let query = "api-version=7.4&$skiptoken=eyJOZXh0TWFya2VyIjoi&maxresults=25";
        for place in ["https://contoso.vault.azure.net:443/secrets/web", "https://Contoso.vault.azure.net/secrets/Web"]
        {
            assert_eq!(next_query(&format!("{place}/versions?{query}"), &web).as_deref(), Some(query), "{place}");
        }
        for next in [
            "https://fabrikam.vault.azure.net/secrets/web/versions?a=b",
            "https://contoso.vault.azure.net:8443/secrets/web/versions?a=b",
            "https://contoso.vault.azure.net@evil.example/secrets/web/versions?a=b",
            "http://contoso.vault.azure.net/secrets/web/versions?a=b",
            "https://contoso.vault.azure.net/secrets/api/versions?a=b",
            "https://contoso.vault.azure.net/secrets?a=b",
            "https://contoso.vault.azure.net/secrets/web/versions",
            "https://contoso.vault.azure.net/secrets/web/versions?a=b c",
            "https://contoso.vault.azure.net/secrets/web/versions?a=b#c",
            "/secrets/web/versions?a=b",
        ] {
            assert_eq!(next_query(next, &web), None, "{next}");
        }
    }
}
