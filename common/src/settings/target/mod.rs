//! Where an observed certificate goes on this system.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "windows")]
mod windows;

use std::num::NonZeroUsize;

use super::reader::{Findings, Node};

#[cfg(target_os = "linux")]
pub(super) use linux::Defaults;
#[cfg(target_os = "linux")]
pub use linux::{Acl, FileMode, Layout, LinkName, Ownership, Target};
#[cfg(target_os = "windows")]
pub(super) use windows::Defaults;
#[cfg(target_os = "windows")]
pub use windows::{KeyStorage, LinkOnRenewal, Location, Target};

/// How many versions stay (`keepVersions`), one at least.
fn versions(node: &Node<'_>, findings: &mut Findings) -> Option<NonZeroUsize> {
    node.count(findings).and_then(|count| NonZeroUsize::new(usize::try_from(count).ok()?))
}
