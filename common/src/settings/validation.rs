//! What becomes of a certificate for TLS servers whose chain leads to no root that this machine trusts.

use super::keys::{Root, Section};
use super::reader::Findings;
use crate::text::excerpt;

/// `chainValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChainValidation {
    /// It is installed, with a warning.
    #[default]
    Warn,
    /// It is refused; what is installed stays in use.
    Require,
}

impl ChainValidation {
    /// As the settings write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Require => "require",
        }
    }

    pub(super) fn parse(root: &Root<'_>, findings: &mut Findings) -> Self {
        let node = root.get(Section::SecretsManagement, "chainValidation", findings);
        node.and_then(|node| node.parsed(findings, validation)).unwrap_or_default()
    }
}

fn validation(text: &str) -> Result<ChainValidation, String> {
    match text {
        _ if text.eq_ignore_ascii_case("warn") => Ok(ChainValidation::Warn),
        _ if text.eq_ignore_ascii_case("require") => Ok(ChainValidation::Require),
        _ => Err(format!("\"{}\" is no way to validate a chain: write \"warn\" or \"require\"", excerpt(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_ways_to_validate_in_any_case() {
        for (text, way) in [("warn", ChainValidation::Warn), ("Require", ChainValidation::Require)] {
            assert_eq!(validation(text), Ok(way));
        }
        assert!(validation("off").is_err_and(|error| error.starts_with("\"off\" is no way to validate a chain")));
    }
}
