//! Who may read a certificate: the accounts of its settings, as entries for its file.

use common::settings::Acl;
use rustix::process::geteuid;

use super::acl::Holder;
use super::folder::Folder;
use super::grants::Grants;
use super::names::{Answer, Names};

/// The accounts that could be found, and what a person should know about the others.
pub(super) struct Readers {
    pub(super) grants: Grants,
    pub(super) warnings: Vec<String>,
}

impl Readers {
    /// Finds the accounts and lets them through to the folder. `remembered` are grants of ours on the file (or on the one
    /// before it), which hold on while the name service does not answer.
    pub(super) fn find(acls: &[Acl], names: &Names, folder: &Folder, remembered: impl Fn() -> Grants) -> Self {
        let (mut grants, mut warnings) = (Grants::new(), Vec::new());
        for account in acls {
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
                    warnings.push(format!(
                        "{account} could not be looked up in the system's name service ({reason}): the next poll tries again"
                    ));
                    let is_user = matches!(account, Acl::User(_));
                    let held = remembered().into_iter();
                    grants.extend(
                        held.filter(|(holder, held)| held == name && matches!(holder, Holder::User(_)) == is_user),
                    );
                }
            }
        }
        Self { grants, warnings }
    }
}
