//! Who may read a certificate's file beside its owner.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::settings::keys::Place;
use crate::settings::reader::{Findings, Node};
use crate::text::{excerpt, is_deceptive};

/// A user or a group, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Acl {
    /// A user's name.
    User(String),
    /// A group's name.
    Group(String),
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// `{"user": …}`, `{"group": …}` or both in one entry.
pub(super) fn readers(entry: &Node<'_>, findings: &mut Findings) -> Option<Vec<Acl>> {
    let form = "write {\"user\": \"NAME\"}, {\"group\": \"NAME\"} or both";
    if !entry.is_object() {
        findings.error(entry.path(), format!("must be an object, not {}: {form}", entry.kind()));
        return None;
    }
    entry.warn_about_all_but(Place::Reader, findings);
    let mut readers = Vec::new();
    if let Some(node) = entry.child("user") {
        readers.push(Acl::User(node.parsed(findings, account)?));
    }
    if let Some(node) = entry.child("group") {
        readers.push(Acl::Group(node.parsed(findings, account)?));
    }
    if readers.is_empty() {
        findings.error(entry.path(), format!("names nobody: {form}"));
        return None;
    }
    Some(readers)
}

/// Accounts are looked up by the system's name service; here only what could never be a name is refused.
pub(super) fn account(text: &str) -> Result<String, String> {
    if text.trim().is_empty()
        || text.len() > 256
        || text.chars().any(|c| is_deceptive(c) || matches!(c, ':' | ',' | '/'))
    {
        return Err(format!("\"{}\" is not the name of an account: write one name an entry", excerpt(text)));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_accounts_that_would_be_more_than_one_entry() {
        for text in ["", " ", "a:rwx", "u:b,g:c", "a\nb", "a\u{200b}", "a/b"] {
            assert!(account(text).is_err(), "{text:?}");
        }
        for text in ["app1", "DOMAIN\\app1", "app1@example.com", "svc$", "1001"] {
            assert!(account(text).is_ok(), "{text:?}");
        }
        assert!(account(&"a".repeat(256)).is_ok() && account(&"a".repeat(257)).is_err());
    }
}
