//! Where an observed certificate goes on this system.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "windows")]
mod windows;

use std::num::NonZeroUsize;

use super::reader::{Findings, Node};
use crate::system;

#[cfg(target_os = "linux")]
pub(super) use linux::Defaults;
#[cfg(target_os = "linux")]
pub use linux::{Acl, FileMode, Layout, LinkName, Ownership, Target};
#[cfg(target_os = "windows")]
pub(super) use windows::Defaults;
#[cfg(target_os = "windows")]
pub use windows::{KeyStorage, Location, Target};

/// Says that settings of another system do nothing on this one. That is never a reason to refuse them, whatever their value.
fn without_effect<'a>(settings: impl IntoIterator<Item = Node<'a>>, findings: &mut Findings) {
    for setting in settings {
        findings.warning(setting.path(), format!("has no effect on {}", system::NAME));
    }
}

/// How many versions stay (`keepVersions`), one at least.
fn versions(node: &Node<'_>, findings: &mut Findings) -> Option<NonZeroUsize> {
    node.count(findings).and_then(|count| NonZeroUsize::new(usize::try_from(count).ok()?))
}

/// Which older certificates are linked to a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkOnRenewal {
    /// None.
    No,
    /// Older versions of the same certificate.
    SameCertificate,
    /// All of the store whose names the new one has, too.
    Yes,
}

fn link_on_renewal(node: &Node<'_>, findings: &mut Findings) -> LinkOnRenewal {
    const WORD: &str = "sameCertificate";
    if node.text().is_some_and(|text| text.eq_ignore_ascii_case(WORD)) {
        return LinkOnRenewal::SameCertificate;
    }
    let mut mistakes = Findings::default();
    let links = node.boolean(&mut mistakes) == Some(true);
    for mistake in mistakes.errors {
        let choice = format!("true, false or \"{WORD}\"");
        findings.error(&mistake.path, mistake.message.replacen("true or false", &choice, 1));
    }
    if links { LinkOnRenewal::Yes } else { LinkOnRenewal::No }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::json::Value;
    use crate::settings::reader::Finding;

    #[test]
    fn reads_which_certificates_are_linked() {
        for (value, links, is_wrong) in [
            (Value::Bool(true), LinkOnRenewal::Yes, false),
            (Value::String("False".into()), LinkOnRenewal::No, false),
            (Value::String("SameCertificate".into()), LinkOnRenewal::SameCertificate, false),
            (Value::String("yes".into()), LinkOnRenewal::No, true),
        ] {
            let mut findings = Findings::default();
            let node = Node::new("linkOnRenewal", &value);
            assert_eq!(node.map(|node| link_on_renewal(&node, &mut findings)), Some(links), "{value:?}");
            let form = |error: &Finding| error.message.starts_with("must be true, false or \"sameCertificate\", not");
            assert_eq!(findings.errors.iter().any(form), is_wrong, "{value:?}: {findings:?}");
        }
    }
}
