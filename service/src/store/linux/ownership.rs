//! Whom a file belongs to and what its owner and its group may do, where the settings say so.

use rustix::process::{getegid, geteuid};

/// Owner, group and mode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ownership {
    pub(super) user: u32,
    pub(super) group: u32,
    /// Of the owner and the group; nobody else may do anything.
    pub(super) mode: u32,
}

/// What the group may do.
const GROUP: u32 = 0o070;

impl Ownership {
    /// What a file has of which the settings say nothing.
    pub(super) fn private() -> Self {
        Self { user: geteuid().as_raw(), group: getegid().as_raw(), mode: 0o600 }
    }

    /// What is left of it for an older file when this is wanted for the one in use: who lost access loses it there, too,
    /// and nobody gains any.
    pub(super) fn limited_to(self, wanted: Option<Self>) -> Option<Self> {
        let private = Self::private();
        let wanted = wanted.unwrap_or(private);
        let user = if self.user == wanted.user { self.user } else { private.user };
        let (group, shut_out) = if self.group == wanted.group { (self.group, 0) } else { (private.group, GROUP) };
        let left = Self { user, group, mode: self.mode & wanted.mode & !shut_out };
        ((user, group) != (private.user, private.group) || left.mode & GROUP != 0).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_loses_what_the_one_in_use_lost_and_gains_nothing() {
        let Ownership { user: root, group: roots, .. } = Ownership::private();
        let of = |user, group, mode| Some(Ownership { user, group, mode });
        for (recorded, wanted, left) in [
            ((26, 26, 0o640), of(26, 26, 0o640), of(26, 26, 0o640)),
            ((26, 26, 0o640), of(26, 26, 0o600), of(26, 26, 0o600)),
            ((26, 26, 0o600), of(26, 26, 0o640), of(26, 26, 0o600)),
            ((26, 26, 0o640), of(26, 27, 0o640), of(26, roots, 0o600)),
            ((26, 26, 0o640), of(28, 26, 0o640), of(root, 26, 0o640)),
            ((26, 26, 0o640), of(28, 27, 0o640), None),
            ((26, 26, 0o640), None, None),
        ] {
            let (user, group, mode) = recorded;
            assert_eq!(Ownership { user, group, mode }.limited_to(wanted), left, "{recorded:?} {wanted:?}");
        }
    }
}
