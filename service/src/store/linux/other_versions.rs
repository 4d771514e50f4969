//! The files of a certificate's other versions, which stay in the folder: who loses access to the one in use loses it
//! there too, as their keys may still be valid. Nobody gains any.

use common::settings::Acl;
use rustix::fs::Dir;
use rustix::io::{Errno, retry_on_intr};

use super::acl::Holder;
use super::directory::Directory;
use super::file::{Access, Kept};
use super::grants::{Grants, Rights};
use super::{Files, failed, link, shared};

/// Takes what we gave to accounts that the settings do not name any more from all files but the ones of these names.
/// Reads the folder only when `before`, what we gave on that one or on the one before it, holds such an account. What could
/// not be done comes back as warnings.
pub(super) fn revoke(
    folder: &Directory,
    names: &[String],
    files: &Files,
    wanted: &Rights,
    before: &Rights,
) -> Vec<String> {
    // An account whose name cannot be looked up now is listed all the same.
    let stays =
        |holder: Holder, name: &str| wanted.grants.contains_key(&holder) || files.acls.contains(&account(holder, name));
    let narrow = |rights: &Rights| {
        let grants = rights.grants.iter().filter(|(holder, name)| stays(**holder, name));
        Rights {
            grants: grants.map(|(holder, name)| (*holder, name.clone())).collect::<Grants>(),
            ownership: rights.ownership.and_then(|ownership| ownership.limited_to(wanted.ownership)),
        }
    };
    if narrow(before) == *before {
        return Vec::new();
    }
    let others = match others(folder, names) {
        Ok(others) => others,
        Err(cause) => return vec![failed("list the other versions in the folder", &folder.path)(cause).to_string()],
    };
    let mut warnings = Vec::new();
    for other in others {
        // What is not ours is not ours to change.
        let Ok(Some(kept)) = Kept::open(folder, &other, files.has_owner()) else { continue };
        let recorded = kept.rights();
        let narrowed = narrow(&recorded);
        if narrowed == recorded {
            continue;
        }
        let path = folder.path.join(&other);
        match kept.put_right(&narrowed) {
            Ok(Access::Unsure) => warnings.push(shared(&path)),
            Ok(_) => log::info!("{}: access of accounts that are not listed any more ended", path.display()),
            Err(cause) => warnings.push(failed("change the permissions", &path)(cause).to_string()),
        }
    }
    warnings
}

fn account(holder: Holder, name: &str) -> Acl {
    match holder {
        Holder::User(_) => Acl::User(name.into()),
        Holder::Group(_) => Acl::Group(name.into()),
    }
}

/// The names of the other files that are called after versions of the certificate of these.
fn others(folder: &Directory, names: &[String]) -> Result<Vec<String>, Errno> {
    // Neither the name of a vault nor that of a certificate has a dot.
    let base = names.first().and_then(|name| name.match_indices('.').nth(1).map(|(end, _)| &name[..end]));
    let base = base.unwrap_or_default();
    let mut others = Vec::new();
    for entry in retry_on_intr(|| Dir::read_from(&folder.fd))? {
        let entry = entry?;
        let other = entry.file_name().to_str().ok();
        others.extend(
            other
                .filter(|o| !names.iter().any(|name| name == o) && link::version_part(o, base).is_some())
                .map(str::to_owned),
        );
    }
    Ok(others)
}
