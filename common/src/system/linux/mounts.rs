//! What is mounted where, as this process sees it (proc_pid_mountinfo(5)).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The mounts of a moment, with the types of their file systems.
pub struct Mounts(HashMap<PathBuf, String>);

impl Mounts {
    /// Those of now; none where they cannot be read.
    pub fn now() -> Self {
        Self::parse(&fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    /// The type of what is mounted at `folder`: `ext4`.
    pub fn kind(&self, folder: &Path) -> Option<&str> {
        self.0.get(folder).map(String::as_str)
    }

    /// Whether they are not known: a process has one at least.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn parse(lines: &[u8]) -> Self {
        // `36 35 98:0 /root /folder rw,noatime shared:1 - ext4 /dev/root rw`: what comes last lies on top.
        let mounts = lines.split(|&byte| byte == b'\n').filter_map(|line| {
            let mut words = line.split(|&byte| byte == b' ');
            let folder = unescaped(words.nth(4)?);
            let kind = words.skip_while(|word| *word != b"-").nth(1)?;
            Some((folder.into(), String::from_utf8_lossy(kind).into_owned()))
        });
        Self(mounts.collect())
    }
}

/// A path whose white space and backslashes are written as `\040`.
fn unescaped(word: &[u8]) -> OsString {
    let mut path = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_whatever_its_name() {
        let mounts = b"36 35 98:0 / / rw - ext4 /dev/root rw\n\
            41 36 98:0 /certs /srv/a\\040b\\134c\\011 rw,relatime shared:1 master:2 - xfs /dev/root rw\n\
            42 36 98:0 /srv/elsewhere /srv/certs rw - ext4 /srv/source rw\n\
            43 42 0:40 / /srv/certs rw - nfs4 server:/certs rw\n";
        let mounts = Mounts::parse(mounts);
        for (folder, kind) in [
            ("/", Some("ext4")),
            ("/srv/a b\\c\t", Some("xfs")),
            ("/srv/certs", Some("nfs4")),
            ("/srv/a", None),
            ("/srv/elsewhere", None),
            ("/srv/source", None),
            ("/srv/certs/sub", None),
        ] {
            assert_eq!(mounts.kind(Path::new(folder)), kind, "{folder}");
        }
        assert!(Mounts::parse(b"").is_empty() && !Mounts::now().is_empty());
    }
}
