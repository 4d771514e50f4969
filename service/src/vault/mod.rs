//! A secret's URL → what the vault holds under it.
//!
//! Wire contract: `GET /secrets/NAME[/VERSION]?api-version=7.4`. The token is sent with the first request: the audience
//! comes from the built-in table of clouds, so no challenge is needed, and a challenge that names another one is refused.

pub(crate) mod list;
mod refusal;

pub(crate) use list::{VersionList, versions};
pub(crate) use refusal::VaultError;

use common::settings::{SecretUrl, Version};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use ureq::Agent;
use zeroize::Zeroizing;

use crate::http::{self, Answer};
use crate::identity::Token;
use crate::wiped::Wiped;

/// Understood by every cloud's vaults, the slower ones included.
const API_VERSION: &str = "7.4";

/// A secret as the vault gave it. Its value is taken out only when it is needed, and wiped after.
pub(crate) struct SecretBundle {
    body: Wiped,
    version: Version,
    clock_skew: Option<SignedDuration>,
}

/// What a certificate is decoded from.
pub(crate) struct Content {
    pub(crate) value: Zeroizing<String>,
    pub(crate) content_type: Option<String>,
}

#[derive(Deserialize)]
struct Head {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    value: Option<String>,
    content_type: Option<String>,
}

/// Fetches a secret: the pinned version, or the newest.
///
/// # Errors
/// The vault was not reached, refused, or answered with something else.
pub(crate) fn secret(agent: &Agent, url: &SecretUrl, token: &Token) -> Result<SecretBundle, VaultError> {
    let address = format!("{url}?api-version={API_VERSION}");
    let answer = http::get(agent, &address, &[("Authorization", token.bearer())])
        .map_err(|source| VaultError::Transport { host: url.host().to_owned(), source })?;
    SecretBundle::read(answer, url)
}

impl SecretBundle {
    /// What an answer to a request for this secret holds.
    ///
    /// # Errors
    /// It is a refusal, or something else than this secret.
    pub(crate) fn read(answer: Answer, url: &SecretUrl) -> Result<Self, VaultError> {
        if answer.status != 200 {
            return Err(refusal::of(&answer, url));
        }
        let malformed = |reason: &str| VaultError::Malformed { url: url.to_string(), reason: reason.to_owned() };
        let head: Head = serde_json::from_slice(&answer.body)
            .map_err(|_| malformed("it is not the JSON of a secret; does a proxy answer?"))?;
        let version = version_of(&head.id, url).ok_or_else(|| VaultError::WrongSecret { url: url.to_string() })?;
        Ok(Self { version, clock_skew: clock_skew(&answer), body: answer.body })
    }

    /// The version that the vault gave.
    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// How far the vault's clock is ahead of this machine's, when the vault said what time it is.
    pub(crate) fn clock_skew(&self) -> Option<SignedDuration> {
        self.clock_skew
    }

    /// The value and its type.
    ///
    /// # Errors
    /// The answer holds none.
    pub(crate) fn content(&self, url: &SecretUrl) -> Result<Content, VaultError> {
        let malformed = || VaultError::Malformed { url: url.to_string(), reason: "it holds no value".to_owned() };
        let body: Body = serde_json::from_slice(&self.body).map_err(|_| malformed())?;
        let value = Zeroizing::new(body.value.ok_or_else(malformed)?);
        Ok(Content { value, content_type: body.content_type })
    }
}

/// The version in an `id`, if that is an id of the secret that was asked for. It becomes a file name, so nothing else may
/// pass; the vault may spell host and name in another case, and writes its port sometimes.
fn version_of(id: &str, url: &SecretUrl) -> Option<Version> {
    let rest = id.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://")).map(|_| &id[8..])?;
    let (authority, path) = rest.split_once('/')?;
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let [kind, name, version] = path.split('/').collect::<Vec<_>>()[..] else { return None };
    let version = Version::parse(version)?;
    let same = host.eq_ignore_ascii_case(url.host())
        && kind.eq_ignore_ascii_case("secrets")
        && name.eq_ignore_ascii_case(url.name())
        && url.version().is_none_or(|pinned| *pinned == version);
    same.then_some(version)
}

fn clock_skew(answer: &Answer) -> Option<SignedDuration> {
    let date = jiff::fmt::rfc2822::parse(answer.header("date")?).ok()?;
    Some(date.timestamp().duration_since(Timestamp::now()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use common::settings::Clouds;

    fn url(text: &str) -> SecretUrl {
        SecretUrl::parse(text, &Clouds::built_in()).unwrap()
    }

    #[test]
    fn takes_the_version_from_an_id_in_any_spelling() {
        let web = url("https://contoso.vault.azure.net/secrets/web");
        for id in [
            "https://contoso.vault.azure.net/secrets/web/ca256f81a079427485e0e5d11c666b7f",
            "https://Contoso.vault.azure.net:443/secrets/Web/CA256F81A079427485E0E5D11C666B7F",
        ] {
            assert_eq!(version_of(id, &web).unwrap().as_str(), "ca256f81a079427485e0e5d11c666b7f", "{id}");
        }
    }

    #[test]
    fn refuses_the_id_of_anything_else() {
        let web = url("https://contoso.vault.azure.net/secrets/web");
        for id in [
            "https://fabrikam.vault.azure.net/secrets/web/ca256f81a079427485e0e5d11c666b7f",
            "https://contoso.vault.azure.net/secrets/api/ca256f81a079427485e0e5d11c666b7f",
            "https://contoso.vault.azure.net/keys/web/ca256f81a079427485e0e5d11c666b7f",
            "https://contoso.vault.azure.net/secrets/web/../../../etc/cron.d/x",
            "https://contoso.vault.azure.net/secrets/web/..",
            "https://contoso.vault.azure.net/secrets/web/",
            "https://contoso.vault.azure.net/secrets/web",
            "http://contoso.vault.azure.net/secrets/web/ca256f81a079427485e0e5d11c666b7f",
            "",
        ] {
            assert_eq!(version_of(id, &web), None, "{id}");
        }
    }

    #[test]
    fn refuses_another_version_than_the_pinned_one() {
        let pinned = url("https://contoso.vault.azure.net/secrets/web/00000000000000000000000000000000");
        let id = "https://contoso.vault.azure.net/secrets/web/ca256f81a079427485e0e5d11c666b7f";
        assert_eq!(version_of(id, &pinned), None);
    }
}
