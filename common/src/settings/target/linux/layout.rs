//! How a certificate is laid out in files.

/// Which files hold a certificate, and which links lead to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One file with chain and key, behind one link.
    Combined,
    /// Chain and key in files and behind links of their own, as release 4.x has them.
    Split,
    /// All of these.
    Both,
}

impl Layout {
    /// Whether there is a file with chain and key.
    pub const fn is_combined(self) -> bool {
        matches!(self, Self::Combined | Self::Both)
    }

    /// Whether there are files for chain and key.
    pub const fn is_split(self) -> bool {
        matches!(self, Self::Split | Self::Both)
    }

    /// As it is called in the settings.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Combined => "combined",
            Self::Split => "split",
            Self::Both => "both",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let named = |layout: &Self| text.eq_ignore_ascii_case(layout.name());
        let found = [Self::Combined, Self::Split, Self::Both].into_iter().find(named);
        let excerpt = crate::text::excerpt(text);
        found.ok_or_else(|| format!("\"{excerpt}\" is no layout: write \"combined\", \"split\" or \"both\""))
    }
}

/// The names that a layout takes in the folder, for the link's name without an ending.
pub(super) fn names(link: &str, layout: Layout) -> Vec<String> {
    let combined = layout.is_combined().then(|| link.to_owned());
    let split = layout.is_split().then(|| SPLIT_ENDINGS.map(|ending| format!("{link}.{ending}")));
    combined.into_iter().chain(split.into_iter().flatten()).collect()
}

/// What the links to chain and key, and the metadata beside them, end with.
const SPLIT_ENDINGS: [&str; 3] = ["pem", "keyid", "luma"];
/// How long the longest of these makes a name.
pub(super) const LONGEST_ENDING: usize = ".keyid".len();
