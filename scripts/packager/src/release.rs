//! What a package is called: publisher, type and version, in the forms that Azure accepts.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

/// The system for which a package is; it decides the extension's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OperatingSystem {
    Linux,
    Windows,
}

impl OperatingSystem {
    /// The extension's type, the last part of its name.
    pub(crate) const fn extension_type(self) -> &'static str {
        match self {
            Self::Linux => "KeyVaultForLinux",
            Self::Windows => "KeyVaultForWindows",
        }
    }

    /// The word for `SupportedOS` in manifest.xml.
    pub(crate) const fn supported(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Windows => "Windows",
        }
    }

    /// What the file names of its programs end with.
    pub(crate) const fn program_suffix(self) -> &'static str {
        match self {
            Self::Linux => "",
            Self::Windows => ".exe",
        }
    }
}

/// The name space of a publisher: names of letters and digits with dots between, `Community.Azure.KeyVault`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publisher(String);

impl FromStr for Publisher {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphabetic())
                && part.chars().all(|character| character.is_ascii_alphanumeric())
        };
        if text.split('.').all(is_name) {
            Ok(Self(text.to_owned()))
        } else {
            Err("write names of letters and digits with dots between, for example Community.Azure.KeyVault")
        }
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The version of a package: three or four numbers. Azure compares them as numbers and knows no suffix; the guest agent
/// makes a folder name of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version(String);

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = |part: &str| part.parse::<u32>().is_ok_and(|number| number.to_string() == part);
        if matches!(text.split('.').count(), 3..=4) && text.split('.').all(is_number) {
            Ok(Self(text.to_owned()))
        } else {
            Err("write three or four numbers without leading zeros, for example 1.2.0")
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One release: everything that decides its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) publisher: Publisher,
    pub(crate) version: Version,
    pub(crate) os: OperatingSystem,
}

impl Release {
    /// The handler's name: publisher and type.
    pub(crate) fn handler_name(&self) -> String {
        format!("{}.{}", self.publisher, self.os.extension_type())
    }

    /// Handler name and version, as the guest agent's folder is called.
    pub(crate) fn full_name(&self) -> String {
        format!("{}-{}", self.handler_name(), self.version)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn accepts_versions_of_three_and_four_numbers_only() {
        for good in ["1.0.0", "10.20.30.40", "0.0.1"] {
            assert_eq!(good.parse::<Version>().unwrap().to_string(), good);
        }
        for bad in
            ["", "1", "1.0", "1.0.0.0.0", "1.0.0-rc1", "01.0.0", "1..0", "+1.0.0", "1.0.-1", "1.0.0/..", "v1.0.0"]
        {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn accepts_publishers_that_are_names_with_dots_between() {
        for good in ["Contoso", "Community.Azure.KeyVault", "Contoso2.Web"] {
            assert_eq!(good.parse::<Publisher>().unwrap().to_string(), good);
        }
        for bad in ["", ".", "Contoso.", "Contoso..Web", "Con toso", "Contoso/x", "Contoso-1", "2Contoso", "<a>", "Ä"]
        {
            assert!(bad.parse::<Publisher>().is_err(), "{bad}");
        }
    }
}
