//! Which hosts are Key Vaults, and which audience a token for each of them must have.
//!
//! A token is sent to nothing else, so this table is what protects it. It grows only through a file that root on the
//! machine wrote, never through settings and never through what a server says.

use std::path::PathBuf;

use serde::Deserialize;

use crate::files::read_trusted;
use crate::system;
use crate::text::excerpt;

/// One Azure cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// What follows the vault's name in its host name, such as `vault.azure.net`.
    suffix: String,
    /// The `resource` that a token is asked for, such as `https://vault.azure.net`, without a trailing slash.
    audience: String,
}

/// The clouds that this machine knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clouds(Vec<Cloud>);

/// The public and sovereign clouds; the audience of each is `https://` and the suffix.
const BUILT_IN: [&str; 7] = [
    "vault.azure.net",
    "vault.azure.cn",
    "vault.usgovcloudapi.net",
    "vault.microsoftazure.de",
    "vault.sovcloud-api.fr",
    "vault.sovcloud-api.de",
    "vault.sovcloud-api.sg",
];

/// Why the local list of further clouds was refused.
#[derive(Debug, thiserror::Error)]
pub enum CloudsError {
    /// Not readable, or somebody else than root could have written it.
    #[error("{path}: {cause}")]
    Untrusted {
        /// The local list.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Not the documented JSON.
    #[error(
        "{path}: {message}; write {{\"clouds\": [{{\"suffix\": \"vault.example.net\", \"audience\": \"https://vault.example.net\"}}]}}"
    )]
    Content {
        /// The local list.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalList {
    clouds: Vec<LocalCloud>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalCloud {
    suffix: String,
    audience: String,
}

impl Cloud {
    /// The `resource` that a token for this cloud's vaults is asked for.
    pub fn audience(&self) -> &str {
        &self.audience
    }
}

impl Clouds {
    /// Only the clouds that every installation knows.
    pub fn built_in() -> Self {
        let cloud = |suffix: &str| Cloud { suffix: suffix.to_owned(), audience: format!("https://{suffix}") };
        Self(BUILT_IN.into_iter().map(cloud).collect())
    }

    /// The built-in clouds and those of the local list ([`system::CLOUDS_FILE`]), when there is one.
    ///
    /// # Errors
    /// The list exists but is unreadable, not root's alone to write, or malformed.
    pub fn of_this_machine() -> Result<Self, CloudsError> {
        let path = PathBuf::from(system::CLOUDS_FILE);
        let text = match read_trusted(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Self::built_in()),
            Err(cause) => return Err(CloudsError::Untrusted { path: path.display().to_string(), cause }),
        };
        Self::built_in()
            .extended(&text)
            .map_err(|message| CloudsError::Content { path: path.display().to_string(), message })
    }

    fn extended(mut self, json: &str) -> Result<Self, String> {
        let list: LocalList = serde_json::from_str(json).map_err(|error| error.to_string())?;
        for (index, LocalCloud { suffix, audience }) in list.clouds.into_iter().enumerate() {
            if !is_host_name(&suffix) {
                return Err(format!("clouds[{index}].suffix: \"{}\" is not a host name", excerpt(&suffix)));
            }
            if !audience.strip_prefix("https://").is_some_and(is_host_name) {
                return Err(format!(
                    "clouds[{index}].audience: \"{}\" is not https:// and a host name",
                    excerpt(&audience)
                ));
            }
            self.0.push(Cloud { suffix, audience });
        }
        Ok(self)
    }

    /// The vault's name and its cloud, when `host` (lower case) is one label in front of a known suffix.
    pub(super) fn vault<'a>(&self, host: &'a str) -> Option<(&'a str, &Cloud)> {
        let (vault, suffix) = host.split_once('.')?;
        self.0.iter().find(|cloud| cloud.suffix == suffix).map(|cloud| (vault, cloud))
    }
}

/// Two labels or more of lower-case letters, digits and hyphens (RFC 1123).
fn is_host_name(name: &str) -> bool {
    name.contains('.')
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_audience_of_every_built_in_cloud() {
        for suffix in BUILT_IN {
            let clouds = Clouds::built_in();
            let host = format!("contoso.{suffix}");
            let (vault, cloud) = clouds.vault(&host).unwrap();
            assert_eq!((vault, cloud.audience()), ("contoso", format!("https://{suffix}").as_str()));
        }
    }

    #[test]
    fn does_not_take_a_deeper_or_a_longer_host_for_a_vault() {
        let clouds = Clouds::built_in();
        for host in
            ["vault.azure.net", "a.b.vault.azure.net", "contoso.vault.azure.net.evil.example", "contosovault.azure.net"]
        {
            assert!(clouds.vault(host).is_none(), "{host}");
        }
    }

    #[test]
    fn learns_further_clouds_from_the_local_list() {
        let json = r#"{"clouds": [{"suffix": "vault.local-1.azurestack.external", "audience": "https://vault.adfs.azurestack.local"}]}"#;
        let clouds = Clouds::built_in().extended(json).unwrap();
        let (_, cloud) = clouds.vault("contoso.vault.local-1.azurestack.external").unwrap();
        assert_eq!(cloud.audience(), "https://vault.adfs.azurestack.local");
    }

    #[test]
    fn refuses_a_local_list_that_would_match_anything() {
        for (suffix, audience) in [
            ("", "https://a.b"),
            ("net", "https://a.b"),
            ("a..b", "https://a.b"),
            ("a.b", "http://a.b"),
            ("a.b", "https://a.b/c"),
        ] {
            let json = format!(r#"{{"clouds": [{{"suffix": "{suffix}", "audience": "{audience}"}}]}}"#);
            assert!(Clouds::built_in().extended(&json).is_err(), "{suffix} {audience}");
        }
        assert!(Clouds::built_in().extended("[]").is_err());
    }
}
