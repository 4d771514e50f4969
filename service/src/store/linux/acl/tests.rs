//! Who may read what an access control list and a mode say together.

#![allow(clippy::unwrap_used)]

use super::*;

const ROOT: Owner = Owner { user: 0, group: 0 };

fn user(user: u32, groups: &[u32]) -> Subject {
    Subject { user: Some(user), groups: groups.to_vec() }
}

/// What `setfacl -m u:33:r,g:50:r` makes of a file of mode 0600.
const KNOWN: [u8; 52] = [
    2, 0, 0, 0, //
    1, 0, 6, 0, 255, 255, 255, 255, //
    2, 0, 4, 0, 33, 0, 0, 0, //
    4, 0, 0, 0, 255, 255, 255, 255, //
    8, 0, 4, 0, 50, 0, 0, 0, //
    16, 0, 4, 0, 255, 255, 255, 255, //
    32, 0, 0, 0, 255, 255, 255, 255, //
];

#[test]
fn writes_the_bytes_that_setfacl_writes() {
    let mut list = AccessList::from_mode(0o600);
    list.grant(Holder::Group(50), READ);
    list.grant(Holder::User(33), READ);
    assert_eq!(list.encode(), KNOWN);
    assert_eq!(AccessList::decode(&KNOWN), Some(list));
}

#[test]
fn refuses_bytes_that_are_no_list() {
    for cut in 0..KNOWN.len() {
        assert_eq!(AccessList::decode(&KNOWN[..cut]), None, "{cut}");
    }
    let (before_mask, rest) = KNOWN.split_at(36);
    assert_eq!(AccessList::decode(&[before_mask, &rest[8..]].concat()), None, "no mask beside named users");
    let changed = |at: usize, byte: u8| {
        let mut bytes = KNOWN;
        bytes[at] = byte;
        AccessList::decode(&bytes)
    };
    assert_eq!(changed(0, 3), None, "another version");
    assert_eq!(changed(4, 7), None, "an unknown tag");
    assert_eq!(changed(6, 8), None, "an unknown right");
    assert_eq!(changed(12, 4), None, "the owning group twice");
}

#[test]
fn a_list_without_names_has_no_mask() {
    let list = AccessList::from_mode(0o100_640);
    assert_eq!(AccessList::decode(&list.encode()), Some(list.clone()));
    assert_eq!(list.encode().len(), 4 + 3 * 8);
}

#[test]
fn a_grant_wakes_no_entry_that_the_mask_kept_asleep() {
    let mut list = AccessList::from_mode(0o600);
    list.grant(Holder::User(7), READ);
    list.grant(Holder::User(8), READ);
    list.mask = Some(0); // chmod 600
    list.grant(Holder::User(8), READ);
    assert!(list.grants(Holder::User(8), READ));
    assert!(!list.allows(ROOT, &user(7, &[]), READ));

    let mut inherited = AccessList::from_mode(0o600);
    inherited.grant(Holder::Group(9), READ | TRAVERSE);
    inherited.mask = Some(READ);
    inherited.grant(Holder::User(8), TRAVERSE);
    assert!(inherited.grants(Holder::Group(9), READ));
    assert!(!inherited.grants(Holder::Group(9), TRAVERSE));
}

#[test]
fn a_grant_that_the_mask_lets_through_leaves_the_other_entries_as_they_are() {
    let mut list = AccessList::from_mode(0o600);
    list.grant(Holder::User(7), READ | 2);
    list.mask = Some(READ); // chmod g=r
    list.grant(Holder::User(8), READ);
    assert_eq!((list.named[&Holder::User(7)], list.mask), (READ | 2, Some(READ)));
}

#[test]
fn a_group_that_is_shut_out_is_the_owning_one() {
    let mut list = AccessList::from_mode(0o640);
    list.shut_group_out();
    assert_eq!(list, AccessList::from_mode(0o600));
    let mut named = AccessList::from_mode(0o640);
    named.grant(Holder::User(7), READ);
    named.shut_group_out();
    assert!(!named.allows(ROOT, &Subject { user: None, groups: vec![0] }, READ));
    assert!(named.grants(Holder::User(7), READ));
}

#[test]
fn a_revoked_right_is_gone_and_the_others_stay() {
    let mut list = AccessList::from_mode(0o640);
    list.grant(Holder::User(7), READ);
    list.grant(Holder::User(8), READ | 2);
    list.revoke(Holder::User(7), READ);
    list.revoke(Holder::User(8), READ);
    list.revoke(Holder::User(9), READ);
    assert!(!list.named.contains_key(&Holder::User(7)));
    assert!(list.grants(Holder::User(8), 2) && !list.grants(Holder::User(8), READ));
    assert!(list.allows(ROOT, &Subject { user: None, groups: vec![0] }, READ), "the owning group's");
    list.revoke(Holder::User(8), 2);
    assert_eq!(list, AccessList::from_mode(0o640));
}

#[test]
fn a_revoked_right_wakes_no_entry_that_the_mask_kept_asleep() {
    let mut list = AccessList::from_mode(0o600);
    list.grant(Holder::User(7), READ);
    list.grant(Holder::User(8), READ | 2);
    list.mask = Some(READ); // chmod g=r
    list.revoke(Holder::User(7), READ);
    assert!(list.grants(Holder::User(8), READ) && !list.grants(Holder::User(8), 2));
}

#[test]
fn the_check_follows_owner_named_user_groups_other_in_this_order() {
    let owner = Owner { user: 5, group: 50 };
    let mut list = AccessList::from_mode(0o005);
    assert!(!list.allows(owner, &user(5, &[50]), READ), "the owner's entry decides alone");
    assert!(!list.allows(owner, &user(6, &[50]), READ), "so does the group's");
    assert!(list.allows(owner, &user(6, &[60]), READ | TRAVERSE));
    list.grant(Holder::User(6), 0);
    list.grant(Holder::Group(60), READ);
    assert!(!list.allows(owner, &user(6, &[60]), READ), "a named user's entry decides alone");
    assert!(list.allows(owner, &user(7, &[50, 60]), READ), "one group is enough");
    assert!(!list.allows(owner, &user(7, &[50, 60]), READ | TRAVERSE), "but no two together");
    assert!(list.allows(owner, &Subject { user: None, groups: vec![60] }, READ));
    assert!(list.allows(owner, &Subject { user: None, groups: vec![70] }, READ));
}

#[test]
fn a_mode_is_for_owner_and_group_and_wakes_no_entry_that_the_mask_kept_asleep() {
    let mut list = AccessList::from_mode(0o600);
    list.set_mode(0o440);
    assert_eq!(list, AccessList::from_mode(0o440));
    list.grant(Holder::User(7), READ);
    list.grant(Holder::User(8), READ);
    list.mask = Some(0); // chmod 600
    list.set_mode(0o640);
    assert!(list.allows(ROOT, &Subject { user: None, groups: vec![0] }, READ));
    assert!(!list.grants(Holder::User(7), READ));
    list.grant(Holder::User(7), READ);
    let before = list.clone();
    list.set_mode(0o640);
    assert_eq!(list, before, "a second time changes nothing");
    list.set_mode(0o600);
    assert!(!list.allows(ROOT, &Subject { user: None, groups: vec![0] }, READ));
    assert!(list.grants(Holder::User(7), READ));
}

#[test]
fn an_owning_group_is_named_when_the_file_changes_hands() {
    let mut list = AccessList::from_mode(0o640);
    list.name_owning_group(50);
    assert_eq!(list.owning_group, 0);
    assert!(list.grants(Holder::Group(50), READ));
    let mut closed = AccessList::from_mode(0o600);
    closed.name_owning_group(50);
    assert_eq!(closed, AccessList::from_mode(0o600));
}
