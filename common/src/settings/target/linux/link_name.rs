//! The name of the link that applications use.

use crate::text::{excerpt, is_deceptive};

/// Of a name in a folder, in bytes.
pub(super) const LONGEST_NAME: usize = 255;

/// A file name that is nothing but a name, and none that the store uses itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkName(String);

impl LinkName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refused =
            |reason: &str| Err(format!("\"{}\" {reason}: write a file name such as app1Cert1", excerpt(text)));
        if text.is_empty() || text == "." || text == ".." {
            refused("is not a name")
        } else if text.contains(['/', '\\']) {
            refused("is a path: the link lies in certificateStoreLocation")
        } else if text.chars().any(is_deceptive) {
            refused("holds control characters")
        } else if text.len() > LONGEST_NAME {
            refused("is longer than 255 bytes")
        } else if text.starts_with(".akv-") {
            refused("begins with .akv-, as temporary files of the store do")
        } else if is_version_file(text) {
            refused("ends as the files of versions do")
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// `….<32 hexadecimal digits>`, what a version's file is called, also with `.pem.<time>` or `.keyid.<time>` behind.
fn is_version_file(name: &str) -> bool {
    let mut ends = name.rsplit('.');
    let is_version = |end: Option<&str>| end.is_some_and(|end| crate::settings::Version::parse(end).is_some());
    let is_part = |time: Option<&str>, part: Option<&str>| {
        time.is_some_and(|time| !time.is_empty() && time.bytes().all(|digit| digit.is_ascii_digit()))
            && matches!(part, Some("pem" | "keyid"))
    };
    is_version(ends.clone().next()) || (is_part(ends.next(), ends.next()) && is_version(ends.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_link_names_that_are_paths_or_the_stores_own() {
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "/etc/passwd",
            "..\\x",
            "a\nb",
            "a\u{202e}nimda",
            "a\u{200b}",
            ".akv-1.tmp",
            "contoso.web.ca256f81a079427485e0e5d11c666b7f",
            "contoso.web.ca256f81a079427485e0e5d11c666b7f.keyid.1700000000",
        ] {
            assert!(LinkName::parse(text).is_err(), "{text:?}");
        }
        assert!(LinkName::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn accepts_link_names_that_are_nearly_those_of_versions() {
        for text in [
            "app1Cert1.pem",
            "contoso.web.pem.1700000000",
            "contoso.web.ca256f81a079427485e0e5d11c666b7f.txt.1700000000",
            "contoso.web.ca256f81a079427485e0e5d11c666b7f.pem.bak",
            "contoso.web.ca256f81a079427485e0e5d11c666b7f.pem.",
        ] {
            assert!(LinkName::parse(text).is_ok(), "{text:?}");
        }
        assert!(LinkName::parse(&"a".repeat(255)).is_ok());
    }
}
