//! The symbolic link that applications open: what it points to, and how it is swung.

use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, readlinkat, statat, symlinkat};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;

use super::directory::Directory;
use super::file::Kept;
use super::temporary::Temporary;
use super::{StoreError, failed};

/// The file that a link of ours points to, by its name in the folder; `None` when there is no link, or when it
/// leads to a file that we wrote for another certificate. `base` is `<vault>.<certificate>`: a link to any other file, or
/// anything else than a link, is not ours.
pub(super) fn target(folder: &Directory, link: &str, base: &str) -> Result<Option<String>, StoreError> {
    let path = folder.path.join(link);
    let foreign = |found: String| Err(StoreError::Foreign { path: path.clone(), found });
    let stat = match retry_on_intr(|| statat(&folder.fd, link, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(cause) => return Err(failed("look at the link", &path)(cause)),
    };
    if !FileType::from_raw_mode(stat.st_mode).is_symlink() {
        return foreign("is no symbolic link".into());
    }
    if stat.st_uid != geteuid().as_raw() {
        return foreign(format!("is a link of user {}", stat.st_uid));
    }
    let target = retry_on_intr(|| readlinkat(&folder.fd, link, Vec::new())).map_err(failed("read the link", &path))?;
    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
    match name_in(&folder.path, target) {
        Some(name) if version_part(name, base).is_some() => Ok(Some(name.to_owned())),
        // The settings gave this link to another certificate before.
        Some(name) if matches!(Kept::open(folder, name, false), Ok(Some(kept)) if kept.is_recorded()) => Ok(None),
        _ => foreign(format!("is a link to {target:?}, which is no version of {base} in this folder")),
    }
}

/// What follows `<vault>.<certificate>.` in the name of a file, up to the next dot: the version. Earlier releases
/// wrote two dates and `.PEM` behind it.
pub(super) fn version_part<'a>(name: &'a str, base: &str) -> Option<&'a str> {
    let (start, rest) = name.split_at_checked(base.len())?;
    let rest = rest.strip_prefix('.').filter(|rest| start.eq_ignore_ascii_case(base) && !rest.is_empty())?;
    rest.split('.').next()
}

/// Lets each link point to its file of the folder, by one rename where there is a link: there is no moment without one, and
/// links that belong together are swung directly after each other. The names of the files are on the disk before: `named` is the last
/// change to them, if it was in this pass; whether an earlier one brought them there is not known. Says whether any link was
/// swung; the folder is to be brought to the disk then.
pub(super) fn point(
    folder: &Directory,
    base: &str,
    links: &[(&str, &str)],
    named: Option<NonZeroU64>,
) -> Result<bool, StoreError> {
    let mut moving = Vec::with_capacity(links.len());
    for &(link, name) in links {
        if target(folder, link, base)?.as_deref() != Some(name) {
            moving.push((link, name));
        }
    }
    if moving.is_empty() {
        return Ok(false);
    }
    let change = named.map_or_else(|| folder.note_change(), NonZeroU64::get);
    folder.sync(change).map_err(failed("bring the folder to the disk", &folder.path))?;
    let (mut swung, mut unfinished) = (Vec::new(), Vec::new());
    for (link, name) in moving {
        let path = folder.path.join(link);
        // Where there is none yet, it needs no other name first.
        match folder.change(|| retry_on_intr(|| symlinkat(name, &folder.fd, link))) {
            Ok(()) => swung.push((path, name)),
            Err(Errno::EXIST) => {
                let new = Temporary::link(folder, name).map_err(failed("create the link", &path))?;
                unfinished.push((path, link, name, new));
            }
            Err(cause) => return Err(failed("create the link", &path)(cause)),
        }
    }
    for (path, link, name, new) in unfinished {
        new.install_as(link).map_err(failed("swing the link", &path))?;
        swung.push((path, name));
    }
    for (path, name) in &swung {
        log::info!("{}: points to {name}", path.display());
    }
    Ok(true)
}

/// The name that a target has in the folder itself, be it written relative or absolute.
fn name_in<'a>(folder: &Path, target: &'a Path) -> Option<&'a str> {
    let relative = if target.is_absolute() { target.strip_prefix(folder).ok()? } else { target };
    let mut components = relative.components().filter(|component| *component != Component::CurDir);
    match (components.next(), components.next()) {
        (Some(Component::Normal(name)), None) => name.to_str(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_counts_only_when_it_lies_in_the_folder() {
        let folder = Path::new("/srv/certs");
        for (target, name) in [
            ("v.c.1", Some("v.c.1")),
            ("./v.c.1", Some("v.c.1")),
            ("/srv/certs/v.c.1", Some("v.c.1")),
            ("/srv/certs/../certs/v.c.1", None),
            ("/srv/certs", None),
            ("/srv/certs/sub/v.c.1", None),
            ("/srv/other/v.c.1", None),
            ("../certs/v.c.1", None),
            ("..", None),
            ("", None),
        ] {
            assert_eq!(name_in(folder, Path::new(target)), name, "{target}");
        }
    }

    #[test]
    fn the_version_stands_behind_vault_and_certificate() {
        for (name, version) in [
            ("vault.web.0123", Some("0123")),
            ("Vault.Web.0123", Some("0123")),
            ("vault.web.0123.1600000000.1700000000.PEM", Some("0123")),
            ("vault.web.", None),
            ("vault.web", None),
            ("vault.web2.0123", None),
            ("vault.api.0123", None),
            ("vault.we", None),
            ("ä", None),
        ] {
            assert_eq!(version_part(name, "vault.web"), version, "{name}");
        }
    }
}
