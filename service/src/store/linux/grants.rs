//! What the permissions of a file shall become: our grants are added and kept, those that others added stay.

use std::collections::BTreeMap;

use super::acl::{AccessList, Holder, READ};
use super::ownership::Ownership;

/// Whom we let read a file, and by which name the settings call him.
pub(super) type Grants = BTreeMap<Holder, String>;

/// What we give on a file, or gave, because the settings say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) grants: Grants,
    pub(super) ownership: Option<Ownership>,
}

/// The permissions of a file and the part of them that is ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Permissions {
    pub(super) list: AccessList,
    /// Whom the file shall belong to; `None` when it stays as it is.
    pub(super) ownership: Option<Ownership>,
    /// What we gave and may take away again. What somebody else gave first is not among them.
    pub(super) ours: Rights,
}

/// Adds the wanted grants that are missing, takes away those of ours that are not wanted any more, and
/// everybody else's access that has no name. The result equals what is there when nothing is to be done.
pub(super) fn reconcile(list: &AccessList, recorded: &Rights, wanted: &Rights) -> Permissions {
    let mut list = list.clone();
    let mut ours = Grants::new();
    for (&holder, name) in &recorded.grants {
        if wanted.grants.contains_key(&holder) {
            ours.insert(holder, name.clone());
        } else {
            list.revoke(holder, READ);
        }
    }
    for (&holder, name) in &wanted.grants {
        if !list.grants(holder, READ) {
            list.grant(holder, READ);
            ours.insert(holder, name.clone());
        }
    }
    let given_back = recorded.ownership.map(|_| Ownership::private());
    let ownership = wanted.ownership.or(given_back);
    if let Some(ownership) = ownership {
        list.set_mode(ownership.mode);
    }
    list.shut_others_out();
    list.grant_owner(READ);
    Permissions { list, ownership, ours: Rights { grants: ours, ownership: wanted.ownership } }
}

#[cfg(test)]
mod tests {
    use super::super::acl::{Owner, Subject};
    use super::*;

    fn grants(of: &[(Holder, &str)]) -> Rights {
        let grants = of.iter().map(|&(holder, name)| (holder, name.to_owned())).collect();
        Rights { grants, ownership: None }
    }

    const NGINX: (Holder, &str) = (Holder::User(33), "nginx");
    const OPS: (Holder, &str) = (Holder::Group(50), "ops");

    #[test]
    fn a_second_look_changes_nothing() {
        let wanted = grants(&[NGINX, OPS]);
        let first = reconcile(&AccessList::from_mode(0o600), &Rights::default(), &wanted);
        assert_eq!(first.ours, wanted);
        assert_eq!(reconcile(&first.list, &first.ours, &wanted), first);
    }

    #[test]
    fn only_our_own_grants_are_taken_away() {
        let mut list = AccessList::from_mode(0o600);
        list.grant(Holder::User(7), READ);
        let first = reconcile(&list, &Rights::default(), &grants(&[NGINX, (Holder::User(7), "eve")]));
        assert_eq!(first.ours, grants(&[NGINX]), "eve's was there before");
        let last = reconcile(&first.list, &first.ours, &Rights::default());
        assert!(!last.list.grants(NGINX.0, READ) && last.list.grants(Holder::User(7), READ));
        assert_eq!(last.ours, Rights::default());
    }

    #[test]
    fn access_for_everybody_ends_and_a_masked_grant_of_ours_works_again() {
        let first = reconcile(&AccessList::from_mode(0o600), &Rights::default(), &grants(&[NGINX]));
        let mut open = first.list.encode();
        let other = open.len() - 6;
        open[other] = 4;
        let mask = other - 8;
        open[mask] = 0;
        let changed = AccessList::decode(&open).unwrap_or(AccessList::from_mode(0));
        assert_eq!(reconcile(&changed, &first.ours, &grants(&[NGINX])), first);
    }

    #[test]
    fn the_owner_reads_whatever_the_mode_was() {
        for (mode, expected) in [(0o000, 0o400), (0o200, 0o600), (0o647, 0o640)] {
            let found = reconcile(&AccessList::from_mode(mode), &Rights::default(), &Rights::default());
            assert_eq!(found.list, AccessList::from_mode(expected), "{mode:o}");
        }
    }

    #[test]
    fn an_owner_is_given_with_the_mode_and_taken_back() {
        let ownership = Ownership { user: 26, group: 26, mode: 0o640 };
        let wanted = Rights { ownership: Some(ownership), ..grants(&[NGINX]) };
        let first = reconcile(&AccessList::from_mode(0o600), &Rights::default(), &wanted);
        assert_eq!((first.ownership, &first.ours), (Some(ownership), &wanted));
        let reader = Subject { user: Some(1), groups: vec![26] };
        let owner = Owner { user: 26, group: 26 };
        assert!(first.list.allows(owner, &reader, READ) && first.list.grants(NGINX.0, READ));
        assert_eq!(reconcile(&first.list, &first.ours, &wanted).list, first.list);
        let last = reconcile(&first.list, &first.ours, &Rights::default());
        assert_eq!((last.list, last.ownership), (AccessList::from_mode(0o600), Some(Ownership::private())));
        assert_eq!(last.ours, Rights::default());
    }
}
