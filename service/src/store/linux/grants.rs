//! What the permissions of a file shall become: our grants are added and kept, those that others added stay.

use std::collections::BTreeMap;

use super::acl::{AccessList, Holder, READ};

/// Whom we let read a file, and by which name the settings call him.
pub(super) type Grants = BTreeMap<Holder, String>;

/// The permissions of a file and the part of them that is ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Permissions {
    pub(super) list: AccessList,
    /// What we gave and may take away again. What somebody else gave first is not among them.
    pub(super) ours: Grants,
}

/// Adds the wanted grants that are missing, takes away those of ours that are not wanted any more, and
/// everybody else's access that has no name. The result equals what is there when nothing is to be done.
pub(super) fn reconcile(list: &AccessList, recorded: &Grants, wanted: &Grants) -> Permissions {
    let mut list = list.clone();
    let mut ours = Grants::new();
    for (&holder, name) in recorded {
        if wanted.contains_key(&holder) {
            ours.insert(holder, name.clone());
        } else {
            list.revoke(holder, READ);
        }
    }
    for (&holder, name) in wanted {
        if !list.grants(holder, READ) {
            list.grant(holder, READ);
            ours.insert(holder, name.clone());
        }
    }
    list.shut_others_out();
    list.grant_owner(READ);
    Permissions { list, ours }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(of: &[(Holder, &str)]) -> Grants {
        of.iter().map(|&(holder, name)| (holder, name.to_owned())).collect()
    }

    const NGINX: (Holder, &str) = (Holder::User(33), "nginx");
    const OPS: (Holder, &str) = (Holder::Group(50), "ops");

    #[test]
    fn a_second_look_changes_nothing() {
        let wanted = grants(&[NGINX, OPS]);
        let first = reconcile(&AccessList::from_mode(0o600), &Grants::new(), &wanted);
        assert_eq!(first.ours, wanted);
        assert_eq!(reconcile(&first.list, &first.ours, &wanted), first);
    }

    #[test]
    fn only_our_own_grants_are_taken_away() {
        let mut list = AccessList::from_mode(0o600);
        list.grant(Holder::User(7), READ);
        let first = reconcile(&list, &Grants::new(), &grants(&[NGINX, (Holder::User(7), "eve")]));
        assert_eq!(first.ours, grants(&[NGINX]), "eve's was there before");
        let last = reconcile(&first.list, &first.ours, &Grants::new());
        assert!(!last.list.grants(NGINX.0, READ) && last.list.grants(Holder::User(7), READ));
        assert!(last.ours.is_empty());
    }

    #[test]
    fn access_for_everybody_ends_and_a_masked_grant_of_ours_works_again() {
        let first = reconcile(&AccessList::from_mode(0o600), &Grants::new(), &grants(&[NGINX]));
        let mut open = first.list.encode();
        let other = open.len() - 6;
        open[other] = 4;
        let mask = other - 8;
        open[mask] = 0;
        let changed = AccessList::decode(&open).unwrap_or(AccessList::from_mode(0));
        assert_eq!(reconcile(&changed, &first.ours, &grants(&[NGINX])), first);
    }
}
