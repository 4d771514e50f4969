//! Accounts by the system's name service (files, SSSD, LDAP …), which takes as long as it likes.

use std::ffi::CString;
use std::io;

use common::settings::Acl;
use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use serde::{Deserialize, Serialize};

/// Somebody of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Account {
    /// A user, with the groups that he is in.
    User {
        id: u32,
        groups: Vec<u32>,
    },
    Group {
        id: u32,
    },
}

/// Who has this name; `None` when there is nobody. All digits are an id only when nobody has them for a name.
///
/// # Errors
/// The name service cannot say: who is not there is no error (glibc), but a directory's client that is down is one, `ENOENT`
/// among others.
pub(crate) fn find_account(name: &Acl) -> io::Result<Option<Account>> {
    match name {
        Acl::User(name) => {
            let (id, user) = match (User::from_name(name)?, id(name)) {
                (Some(user), _) => (user.uid.as_raw(), Some(user)),
                (None, Some(id)) => (id, User::from_uid(Uid::from_raw(id))?),
                (None, None) => return Ok(None),
            };
            let groups = match user {
                Some(user) => groups(&user)?,
                None => Vec::new(),
            };
            Ok(Some(Account::User { id, groups }))
        }
        Acl::Group(name) => {
            let known = Group::from_name(name)?.map(|group| group.gid.as_raw());
            Ok(known.or_else(|| id(name)).map(|id| Account::Group { id }))
        }
    }
}

fn groups(user: &User) -> Result<Vec<u32>, Errno> {
    let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
    Ok(getgrouplist(&name, user.gid)?.into_iter().map(Gid::as_raw).collect())
}

fn id(name: &str) -> Option<u32> {
    let is_number = name.bytes().all(|c| c.is_ascii_digit());
    name.parse().ok().filter(|id| is_number && *id != u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn user(name: &str) -> Option<Account> {
        find_account(&Acl::User(name.into())).unwrap()
    }

    #[test]
    fn knows_the_groups_of_a_user() {
        for name in ["root", "daemon"] {
            let primary = User::from_name(name).unwrap().map(|user| user.gid.as_raw());
            let Some(Account::User { groups, .. }) = user(name) else { panic!("{name}") };
            assert_eq!(groups.first().copied(), primary, "{name}");
        }
    }

    #[test]
    fn knows_names_and_ids_and_tells_strangers() {
        assert_eq!(user("root"), user("0"));
        assert!(matches!(user("root"), Some(Account::User { id: 0, groups }) if groups.contains(&0)));
        assert_eq!(user("3999999999"), Some(Account::User { id: 3_999_999_999, groups: Vec::new() }));
        assert_eq!(find_account(&Acl::Group("root".into())).unwrap(), Some(Account::Group { id: 0 }));
        for stranger in ["no such user here", "4294967295", "+5"] {
            assert_eq!(user(stranger), None, "{stranger}");
        }
    }
}
