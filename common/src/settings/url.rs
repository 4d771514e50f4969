//! The URL of a secret: `https://VAULT.SUFFIX/secrets/NAME[/VERSION]`, and nothing else.
//!
//! A bearer token is sent to this host and files are called after these names, so the text is matched against what is
//! allowed rather than searched for what is not.

use std::fmt;
use std::sync::Arc;

use super::cloud::{Cloud, Clouds};
use crate::text::excerpt;

/// A secret of a recognised Key Vault, the newest version or one that is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretUrl {
    vault: Arc<Vault>,
    name: String,
    version: Option<Version>,
}

/// Shared by the secrets of one vault: a list may name thousands.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Vault {
    name: String,
    host: String,
    audience: String,
}

/// A version of a secret: 32 hexadecimal digits, lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version([u8; 32]);

/// Why a text is not the URL of a secret, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" {reason}")]
pub struct UrlError {
    text: String,
    reason: String,
}

const FORM: &str = "https://VAULT.vault.azure.net/secrets/NAME";

impl SecretUrl {
    /// Reads a URL; `clouds` says which hosts are vaults.
    ///
    /// # Errors
    /// Anything but a secret of a vault, with what to write instead.
    pub fn parse(text: &str, clouds: &Clouds) -> Result<Self, UrlError> {
        parse(text.trim(), clouds).map_err(|reason| UrlError { text: excerpt(text), reason })
    }

    /// The same URL, sharing what it has in common with `other`.
    pub(super) fn sharing(mut self, other: &Self) -> Self {
        if self.vault == other.vault {
            self.vault = Arc::clone(&other.vault);
        }
        self
    }

    /// Takes over how `other` spells the name, which the vault compares without regard to case. Says whether that changed it.
    pub(super) fn spell_like(&mut self, other: &Self) -> bool {
        let other_case =
            self.vault == other.vault && self.name != other.name && self.name.eq_ignore_ascii_case(&other.name);
        if other_case {
            self.name.clone_from(&other.name);
        }
        other_case
    }

    /// The vault's name, lower case: the first label of its host.
    pub fn vault(&self) -> &str {
        &self.vault.name
    }

    /// The vault's host name, lower case.
    pub fn host(&self) -> &str {
        &self.vault.host
    }

    /// The `resource` that a token for this vault is asked for.
    pub fn audience(&self) -> &str {
        &self.vault.audience
    }

    /// The secret's name as the settings spell it; the vault compares names without regard to case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of this version of the secret.
    pub fn pinned(&self, version: &Version) -> Self {
        Self { version: Some(*version), ..self.clone() }
    }

    /// The version that the settings pin, if they do.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}/secrets/{}", self.host(), self.name)?;
        match &self.version {
            Some(version) => write!(f, "/{version}"),
            None => Ok(()),
        }
    }
}

impl Version {
    /// Reads 32 hexadecimal digits in either case; anything else is no version and must never become a file name.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits: [u8; 32] = text.as_bytes().try_into().ok()?;
        digits.make_ascii_lowercase();
        digits.iter().all(u8::is_ascii_hexdigit).then_some(Self(digits))
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        // Digits are ASCII, as parsed.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn parse(text: &str, clouds: &Clouds) -> Result<SecretUrl, String> {
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!("holds the character U+{:04X}: write {FORM}", u32::from(bad)));
    }
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
        Some(_) => return Err(format!("must begin with https://: write {FORM}")),
        None => return Err(format!("is not a URL: write {FORM}")),
    };
    if let Some(bad) = rest.chars().find(|c| matches!(c, '@' | '?' | '#' | '\\' | '%')) {
        return Err(format!(
            "holds {bad:?}: user names, queries, fragments and escapes have no place here; write {FORM}"
        ));
    }
    let (authority, path) = rest.split_once('/').ok_or_else(|| format!("has no path: write {FORM}"))?;
    let (vault, host, cloud) = vault(authority, clouds)?;
    let (name, version) = secret(path, &host)?;
    let vault = Arc::new(Vault { name: vault, host, audience: cloud.audience().to_owned() });
    Ok(SecretUrl { vault, name, version })
}

fn vault<'a>(authority: &str, clouds: &'a Clouds) -> Result<(String, String, &'a Cloud), String> {
    // The colons of an IPv6 address lead to no port.
    let host = match authority.split_once(':').filter(|_| !authority.starts_with('[')) {
        None => authority,
        Some((host, "443")) => host,
        Some((_, port)) => {
            return Err(format!("names port \"{}\": a vault answers on 443 only; leave the port out", excerpt(port)));
        }
    }
    .to_ascii_lowercase();
    let Some((vault, cloud)) = clouds.vault(&host) else {
        return Err(if host.ends_with(".managedhsm.azure.net") {
            "is a managed HSM, which holds keys only: certificates live in a vault (NAME.vault.azure.net)".to_owned()
        } else if host.ends_with(".vaultcore.azure.net") {
            "is the address of a private endpoint: write the vault's own name, NAME.vault.azure.net, which resolves to it"
                .to_owned()
        } else {
            format!("is not on a recognised Key Vault host (VAULT.vault.azure.net or another cloud's): write {FORM}")
        });
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(3..=24).contains(&vault.len()) || !vault.bytes().all(plain) {
        return Err(format!(
            "has \"{}\" as the vault's name: 3 to 24 letters, digits and hyphens are allowed",
            excerpt(vault)
        ));
    }
    Ok((vault.to_owned(), host.clone(), cloud))
}

fn secret(path: &str, host: &str) -> Result<(String, Option<Version>), String> {
    let segments: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    let (kind, name, version) = match segments[..] {
        [kind, name] => (kind, name, None),
        [kind, name, version] => (kind, name, Some(version)),
        _ => return Err(format!("must have the path /secrets/NAME: write https://{host}/secrets/NAME")),
    };
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') || !(1..=127).contains(&name.len()) {
        return Err(format!(
            "has \"{}\" as the secret's name: 1 to 127 letters, digits and hyphens are allowed",
            excerpt(name)
        ));
    }
    if !kind.eq_ignore_ascii_case("secrets") {
        let why = match kind.to_ascii_lowercase().as_str() {
            "certificates" => "does not give the private key",
            "keys" => "gives a key only",
            _ => "is not the path of a secret",
        };
        return Err(format!("{why}: write https://{host}/secrets/{name}"));
    }
    let version = match version {
        None => None,
        Some(version) => Some(Version::parse(version).ok_or_else(|| {
            format!("has \"{}\" as the version: 32 hexadecimal digits, or none to follow the newest", excerpt(version))
        })?),
    };
    Ok((name.to_owned(), version))
}

#[cfg(test)]
mod tests;
