//! Who may read a certificate: the accounts of its settings, as owner of its file and as entries for it.

use common::settings::{self, Acl};
use rustix::process::geteuid;

use super::Files;
use super::acl::Holder;
use super::folder::Folder;
use super::grants::{Grants, Rights};
use super::names::{Answer, Names};
use super::ownership::Ownership;

/// The accounts that could be found, and what a person should know about the others.
pub(super) struct Readers {
    pub(super) rights: Rights,
    pub(super) warnings: Vec<String>,
}

impl Readers {
    /// Finds the accounts and lets them through to the folder. `remembered` is what we gave on the file (or on the one
    /// before it), which holds on while the name service does not answer.
    pub(super) fn find(files: &Files, names: &Names, folder: &Folder, remembered: impl Fn() -> Rights) -> Self {
        let (mut grants, mut warnings) = (Grants::new(), Vec::new());
        let find = |wanted: &settings::Ownership| ownership(wanted, names, folder, &remembered, &mut warnings);
        let ownership = files.ownership.as_deref().map(find);
        for account in &files.acls {
            let (Acl::User(name) | Acl::Group(name)) = account;
            match names.answer(account) {
                // The owner's own entry comes first, in the kernel and here.
                Answer::Known { holder: Holder::User(id), .. } if id == geteuid().as_raw() => {}
                Answer::Known { holder, subject } => {
                    warnings.extend(folder.let_in(account, holder, &subject));
                    grants.insert(holder, name.clone());
                }
                Answer::Unknown => {
                    warnings.push(format!("{account} does not exist: create it; the next poll lets it read the file"));
                }
                Answer::Silent(reason) => {
                    warnings.push(silent(account, &reason));
                    let is_user = matches!(account, Acl::User(_));
                    let held = remembered().grants.into_iter();
                    grants.extend(
                        held.filter(|(holder, held)| held == name && matches!(holder, Holder::User(_)) == is_user),
                    );
                }
            }
        }
        Self { rights: Rights { grants, ownership }, warnings }
    }
}

/// Finds owner and group. For one that does not exist, root stands in.
fn ownership(
    wanted: &settings::Ownership,
    names: &Names,
    folder: &Folder,
    remembered: impl Fn() -> Rights,
    warnings: &mut Vec<String>,
) -> Ownership {
    let mut found = Ownership { mode: wanted.mode.bits(), ..Ownership::private() };
    let held = || remembered().ownership.unwrap_or(Ownership::private());
    let mut find = |account: Acl, passes: bool| match names.answer(&account) {
        Answer::Known { holder, subject } => {
            let (Holder::User(id) | Holder::Group(id)) = holder;
            if passes && holder != Holder::User(found.user) {
                warnings.extend(folder.let_in(&account, holder, &subject));
            }
            Ok(id)
        }
        Answer::Unknown => {
            warnings.push(format!("{account} does not exist: create it; the next poll gives it the file"));
            Err(None)
        }
        Answer::Silent(reason) => {
            warnings.push(silent(&account, &reason));
            Err(Some(held()))
        }
    };
    let user = wanted.owner.as_ref().map(|name| find(Acl::User(name.clone()), true));
    let group = wanted.group.as_ref().map(|name| find(Acl::Group(name.clone()), wanted.mode.lets_group_read()));
    match user {
        Some(Ok(id)) => found.user = id,
        Some(Err(Some(held))) => found.user = held.user,
        Some(Err(None)) | None => {}
    }
    match group {
        Some(Ok(id)) => found.group = id,
        Some(Err(Some(held))) => (found.group, found.mode) = (held.group, found.mode & (held.mode | 0o700)),
        Some(Err(None)) => found.mode &= 0o700,
        None => {}
    }
    found
}

fn silent(account: &Acl, reason: &str) -> String {
    format!("{account} could not be looked up in the system's name service ({reason}): the next poll tries again")
}
