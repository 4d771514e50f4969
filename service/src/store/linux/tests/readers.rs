//! Whom a file is for while the name service says nothing: what was given before holds on, and no more.

use std::collections::HashSet;

use common::settings::Target;

use super::super::acl::Holder;
use super::super::grants::Rights;
use super::super::ownership::Ownership;
use super::super::readers::Readers;
use super::*;

/// Finds the accounts of these members of the settings, where this was given before. Nobody's name is looked up.
fn in_silence(members: &str, remembered: &Rights) -> Readers {
    let world = World::new();
    let Target { acls, ownership, .. } = parsed(&world.store(), members).target;
    let files = Files { acls, ownership, ..Files::default() };
    let folder = Folder::open(&world.store()).unwrap();
    Readers::find(&files, &Names::look_up(HashSet::new(), &Network::Own), &folder, || remembered.clone())
}

#[test]
fn entries_stay_for_the_accounts_of_the_settings() {
    let remembered = [(Holder::User(33), "web"), (Holder::Group(33), "web"), (Holder::User(7), "old")];
    let grants = remembered.map(|(holder, name)| (holder, name.to_owned())).into();
    let remembered = Rights { grants, ownership: None };
    for (account, holder) in [("user", Holder::User(33)), ("group", Holder::Group(33))] {
        let found = in_silence(&format!(r#", "acls": [{{"{account}": "web"}}]"#), &remembered);
        assert_eq!(found.rights.grants, [(holder, "web".to_owned())].into(), "{account}");
        let [warning] = &found.warnings[..] else { panic!("{:?}", found.warnings) };
        assert!(warning.starts_with(&format!("{account} web could not be looked up")), "{warning}");
    }
}

#[test]
fn owner_and_group_stay_and_the_group_gains_nothing() {
    let root = Ownership::private();
    for (wanted, held, expected) in [
        ("0640", Some((26, 27, 0o640)), (26, 27, 0o640)),
        ("0640", Some((26, 27, 0o600)), (26, 27, 0o600)),
        ("0640", Some((26, 27, 0o440)), (26, 27, 0o640)),
        ("0600", Some((26, 27, 0o640)), (26, 27, 0o600)),
        ("0640", None, (root.user, root.group, 0o600)),
    ] {
        let ownership = held.map(|(user, group, mode)| Ownership { user, group, mode });
        let members = format!(r#", "owner": "db", "group": "dbs", "mode": "{wanted}""#);
        let found = in_silence(&members, &Rights { ownership, ..Rights::default() });
        let (user, group, mode) = expected;
        assert_eq!(found.rights.ownership, Some(Ownership { user, group, mode }), "{wanted} {held:?}");
        assert_eq!(found.warnings.len(), 2, "{:?}", found.warnings);
    }
}
