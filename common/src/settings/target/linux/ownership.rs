//! Whom the file of a certificate belongs to, and what owner and group may do with it.

use crate::settings::reader::{Findings, Node};
use crate::text::excerpt;

/// Owner, group and mode that the settings give to a file, for programs that check them. At least one is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// A user's name; without one, root.
    pub owner: Option<String>,
    /// A group's name; without one, root's.
    pub group: Option<String>,
    /// Without one: the group may read when it is named, and nobody else.
    pub mode: FileMode,
}

/// A mode in which the owner may read and that gives no more than `0640`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(u32);

/// The most that a private key's file may be open to.
const WIDEST: u32 = 0o640;
const OWNER_READS: u32 = 0o400;
const GROUP_READS: u32 = 0o040;

impl Ownership {
    /// Reads `owner`, `group` and `mode` of an item: `Some(None)` when it has none of them, `None` when one is wrong.
    pub(super) fn parse(item: &Node<'_>, findings: &mut Findings) -> Option<Option<Self>> {
        let mut name = |key: &str| match item.child(key) {
            Some(node) => node.parsed(findings, super::acl::account).map(Some),
            None => Some(None),
        };
        let (owner, group) = (name("owner"), name("group"));
        let mode = match item.child("mode") {
            Some(node) => node.parsed(findings, FileMode::parse).map(Some),
            None => Some(None),
        };
        let (owner, group, mode) = (owner?, group?, mode?);
        if owner.is_none() && group.is_none() && mode.is_none() {
            return Some(None);
        }
        let usual = if group.is_some() { FileMode(WIDEST) } else { FileMode(0o600) };
        Some(Some(Self { owner, group, mode: mode.unwrap_or(usual) }))
    }
}

impl FileMode {
    /// The bits, as `chmod(2)` takes them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether the file's group may read it.
    pub const fn lets_group_read(self) -> bool {
        self.0 & GROUP_READS != 0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        match u32::from_str_radix(text, 8).ok().filter(|_| is_octal) {
            Some(mode) if mode & !WIDEST == 0 && mode & OWNER_READS != 0 => Ok(Self(mode)),
            Some(_) => {
                Err(format!("\"{text}\" is no mode for a private key: write \"0400\", \"0440\", \"0600\" or \"0640\""))
            }
            None => Err(format!("\"{}\" is no octal mode: write one such as \"0640\"", excerpt(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_gives_the_group_reading_at_most_and_others_nothing() {
        for (text, mode) in [("0600", 0o600), ("600", 0o600), ("0400", 0o400), ("0440", 0o440), ("0640", 0o640)] {
            assert_eq!(FileMode::parse(text), Ok(FileMode(mode)), "{text}");
        }
        for text in [
            "", "0", "0644", "0660", "0700", "0604", "0040", "0200", "4640", "1600", "00600", "+640", "0o640", "rw",
            "0680",
        ] {
            assert!(FileMode::parse(text).is_err(), "{text:?}");
        }
    }
}
