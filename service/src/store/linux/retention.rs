//! Removing the files of older versions, where the settings say how many are kept: only files that we wrote, and none that
//! a link in the folder leads to.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use common::settings::Version;
use jiff::Timestamp;
use rustix::fs::{AtFlags, Dir, FileType, readlinkat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use super::directory::Directory;
use super::file::Kept;
use super::link;

/// A certificate whose older versions are not kept for ever.
pub(super) struct Limit {
    /// `<vault>.<certificate>`.
    pub(super) base: String,
    /// How many versions stay.
    pub(super) versions: usize,
    /// Whether the settings give the files an owner beside root.
    pub(super) has_owner: bool,
}

/// What a folder holds.
#[derive(Default)]
struct Contents {
    /// The files that could be of a version, by `<vault>.<certificate>`.
    files: HashMap<String, Vec<String>>,
    /// The last parts of what links lead to: what has such a name stays, however the link writes its way to it.
    linked: HashSet<Vec<u8>>,
}

/// Our files of one version.
struct Ours {
    /// Later versions first: by the start of their validity, and of the same one by the time of writing.
    age: (Timestamp, (i64, i64)),
    names: Vec<String>,
    stays: bool,
}

/// Removes what is beyond the limits. A failure is worth a line only: the next pass tries again, and it removes again what
/// a power cut brings back.
pub(super) fn prune(folder: &Directory, limits: &[Limit]) {
    let contents = match list(folder) {
        Ok(contents) => contents,
        Err(cause) => {
            let path = folder.path.display();
            log::warn!("{path}: cannot look for older versions: {cause}: the next poll tries again");
            return;
        }
    };
    for name in limits.iter().flat_map(|limit| contents.beyond(folder, limit)) {
        remove(folder, &name);
    }
}

impl Contents {
    /// The names of our files of all versions but the newest ones.
    fn beyond(&self, folder: &Directory, limit: &Limit) -> Vec<String> {
        let mut names = HashMap::<Version, Vec<&String>>::new();
        for name in self.files.get(&limit.base).into_iter().flatten() {
            if let Some(version) = version(name, &limit.base) {
                names.entry(version).or_default().push(name);
            }
        }
        if names.len() <= limit.versions {
            return Vec::new();
        }
        let mut versions: Vec<Ours> = names.values().filter_map(|names| self.ours(folder, limit, names)).collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.age));
        versions.into_iter().skip(limit.versions).filter(|version| !version.stays).flat_map(|v| v.names).collect()
    }

    /// Those of the files that we wrote; `None` when there are none.
    fn ours(&self, folder: &Directory, limit: &Limit, names: &[&String]) -> Option<Ours> {
        let whole = names.iter().filter_map(|&name| {
            let kept = Kept::open(folder, name, limit.has_owner).ok().flatten().filter(Kept::is_recorded)?;
            let written = kept.written();
            let facts = Kept::facts(&[kept])?;
            Some(((facts.not_before, written), name.clone()))
        });
        let (ages, names): (Vec<_>, Vec<_>) = whole.unzip();
        let stays = names.iter().any(|name| self.linked.contains(name.as_bytes()));
        Some(Ours { age: ages.into_iter().max()?, names, stays })
    }
}

/// The version that a file of ours holds, or a part of it.
fn version(name: &str, base: &str) -> Option<Version> {
    let version = link::version_part(name, base)?;
    let part = &name[base.len() + 1 + version.len()..];
    let time = part.strip_prefix(".pem.").or_else(|| part.strip_prefix(".keyid."));
    let is_part = time.is_some_and(|time| !time.is_empty() && time.bytes().all(|digit| digit.is_ascii_digit()));
    if part.is_empty() || is_part { Version::parse(version) } else { None }
}

fn list(folder: &Directory) -> Result<Contents, Errno> {
    let mut contents = Contents::default();
    for entry in retry_on_intr(|| Dir::read_from(&folder.fd))? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(entry.file_type(), FileType::Symlink | FileType::Unknown)
            && let Ok(target) = retry_on_intr(|| readlinkat(&folder.fd, name, Vec::new()))
        {
            let target = target.into_bytes();
            contents.linked.extend(target.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec));
            continue;
        }
        let Ok(name) = name.to_str() else { continue };
        // Neither the name of a vault nor that of a certificate has a dot.
        if let Some((end, _)) = name.match_indices('.').nth(1) {
            contents.files.entry(name[..end].to_owned()).or_default().push(name.to_owned());
        }
    }
    Ok(contents)
}

fn remove(folder: &Directory, name: &str) {
    let path = folder.path.join(Path::new(name));
    match retry_on_intr(|| unlinkat(&folder.fd, name, AtFlags::empty())) {
        Ok(()) => log::info!("{}: removed, as newer versions are enough by keepVersions", path.display()),
        Err(cause) => {
            log::warn!("{}: cannot remove this older version: {cause}: the next poll tries again", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_form_are_of_a_version() {
        let id = "0123456789abcdef0123456789abcdef";
        for (name, is_version) in [
            (format!("v.c.{id}"), true),
            (format!("v.c.{id}.pem.17"), true),
            (format!("v.c.{id}.keyid.17"), true),
            (format!("v.c.{id}.keyid."), false),
            (format!("v.c.{id}.pem.17.bak"), false),
            (format!("v.c.{id}.bak"), false),
            (format!("v.c.{id}.1600000000.1700000000.PEM"), false),
            (format!("v.c2.{id}"), false),
            ("v.c.pem".into(), false),
            ("v.c".into(), false),
        ] {
            assert_eq!(version(&name, "v.c").is_some(), is_version, "{name}");
        }
    }
}
