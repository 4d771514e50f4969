//! Linux: a regular file directly in the agent's own folder, which others can neither write nor redirect.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use common::text::excerpt;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::{Errno, retry_on_intr};
use zeroize::Zeroizing;

use crate::identity::IdentityError;
use crate::network::Network;

/// Where the agent keeps its keys.
pub(crate) const FOLDER: &str = "/var/opt/azcmagent/tokens";
const SUFFIX: &str = ".key";
/// The most that a key may have, in bytes.
const LARGEST: usize = 4096;
/// The agent's account.
const ACCOUNT: &str = "himds";

/// Reads the key file that a challenge named.
///
/// # Errors
/// It is not a key file of the agent, or cannot be read.
pub(crate) fn read(path: &str, network: &Network) -> Result<Zeroizing<String>, IdentityError> {
    let agent = match network {
        Network::Own => Ok(agent()),
        Network::Dialer(dialer) => dialer.arc_agent().map_err(|error| error.to_string()),
    };
    agent
        .and_then(|agent| read_in(Path::new(FOLDER), path, agent))
        .map_err(|reason| IdentityError::KeyFile { path: excerpt(path), reason })
}

/// The same with the agent's folder and user id as arguments.
fn read_in(folder: &Path, path: &str, agent: Option<u32>) -> Result<Zeroizing<String>, String> {
    let name = file_name(folder, path)?;
    let can = |action: &str, error: Errno| {
        let who = if error == Errno::ACCESS { "; it is for root and members of the group himds" } else { "" };
        format!("cannot be {action} ({}){who}", std::io::Error::from(error))
    };
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = retry_on_intr(|| openat(CWD, folder, flags | OFlags::PATH | OFlags::DIRECTORY, Mode::empty()))
        .map_err(|error| can("reached", error))?;
    let stat = retry_on_intr(|| fstat(&directory)).map_err(|error| can("reached", error))?;
    if !is_owned(&stat, agent) || stat.st_mode & 0o002 != 0 {
        return Err("is in a folder that others than root and himds may write".to_owned());
    }
    // A FIFO in its place would keep a blocking open waiting for a writer.
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match retry_on_intr(|| openat(&directory, name, flags, Mode::empty())) {
        Ok(file) => file,
        Err(Errno::LOOP) => return Err("is a symbolic link".to_owned()),
        Err(error) => return Err(can("opened", error)),
    };
    let stat = retry_on_intr(|| fstat(&file)).map_err(|error| can("looked at", error))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err("is no regular file".to_owned());
    }
    if !is_owned(&stat, agent) {
        return Err("belongs to neither root nor himds".to_owned());
    }
    if !usize::try_from(stat.st_size).is_ok_and(|size| (1..=LARGEST).contains(&size)) {
        return Err(format!("has {} bytes: a key has 1 to {LARGEST}", stat.st_size));
    }
    let mut content = Zeroizing::new(vec![0; LARGEST]);
    let mut length = 0;
    while length < LARGEST {
        match retry_on_intr(|| rustix::io::read(&file, &mut content[length..])) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) => return Err(can("read", error)),
        }
    }
    let key = std::str::from_utf8(&content[..length]).ok();
    let key = key.filter(|key| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()));
    key.map(|key| Zeroizing::new(key.to_owned())).ok_or_else(|| "does not hold a key".to_owned())
}

/// The name of the file, when the path is one directly in the agent's folder.
fn file_name<'a>(folder: &Path, path: &'a str) -> Result<&'a str, String> {
    // Letter by letter: a path that only leads to the folder is not what the agent writes.
    let is_agents = |parent: &str| folder.as_os_str() == OsStr::new(parent);
    let name = path.rsplit_once('/').filter(|(parent, _)| is_agents(parent)).map(|(_, name)| name);
    let Some(name) = name else { return Err(format!("is not in {}", folder.display())) };
    let plain = |stem: &str| !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    match name.strip_suffix(SUFFIX) {
        Some(stem) if plain(stem) => Ok(name),
        _ => Err(format!("is not called NAME{SUFFIX}")),
    }
}

fn is_owned(stat: &Stat, agent: Option<u32>) -> bool {
    stat.st_uid == 0 || Some(stat.st_uid) == agent
}

/// The agent's user id. Its package makes a local account: no directory server is asked, which could hang.
pub(crate) fn agent() -> Option<u32> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let entry = accounts.lines().find_map(|line| line.strip_prefix(ACCOUNT)?.strip_prefix(':'))?;
    entry.split(':').nth(1)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::process::geteuid;

    use super::*;

    fn refusal(folder: &Path, path: &str) -> String {
        read_in(folder, path, Some(geteuid().as_raw())).unwrap_err()
    }

    #[test]
    fn reads_a_key_in_the_folder_of_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0f0e-1a.key");
        for size in [1, 32, LARGEST] {
            fs::write(&path, "k".repeat(size)).unwrap();
            let key = read_in(folder.path(), path.to_str().unwrap(), Some(geteuid().as_raw())).unwrap();
            assert_eq!(*key, "k".repeat(size));
        }
    }

    #[test]
    fn refuses_every_path_to_elsewhere() {
        let folder = Path::new(FOLDER);
        for path in [
            "/etc/shadow",
            "/etc/shadow.key",
            "/var/opt/azcmagent/tokens",
            "/var/opt/azcmagent/tokens/",
            "/var/opt/azcmagent/tokens/.key",
            "/var/opt/azcmagent/tokens/a.pem",
            "/var/opt/azcmagent/tokens/a.key/",
            "/var/opt/azcmagent/tokens//a.key",
            "/var/opt/azcmagent/tokens/x/a.key",
            "/var/opt/azcmagent/tokens/../a.key",
            "/var/opt/azcmagent/tokens/../tokens/a.key",
            "/var/opt/azcmagent/Tokens/a.key",
            "var/opt/azcmagent/tokens/a.key",
            "/var/opt/azcmagent/tokens/a\\b.key",
            "/var/opt/azcmagent/tokens/a\0.key",
            "a.key",
        ] {
            assert!(file_name(folder, path).is_err(), "{path}");
        }
    }

    #[test]
    fn refuses_what_is_no_key_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("big.key"), "k".repeat(LARGEST + 1)).unwrap();
        fs::write(at("empty.key"), "").unwrap();
        fs::write(at("lines.key"), "k\r\nX-Evil: 1").unwrap();
        fs::create_dir(at("folder.key")).unwrap();
        symlink(at("lines.key"), at("link.key")).unwrap();
        for (name, reason) in [
            ("big.key", "has 4097 bytes"),
            ("empty.key", "has 0 bytes"),
            ("lines.key", "does not hold a key"),
            ("folder.key", "is no regular file"),
            ("link.key", "is a symbolic link"),
            ("missing.key", "cannot be opened"),
        ] {
            let found = refusal(folder.path(), &at(name));
            assert!(found.starts_with(reason), "{name}: {found}");
        }
    }

    #[test]
    fn refuses_a_folder_that_everybody_may_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        fs::write(&path, "key").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let found = refusal(folder.path(), path.to_str().unwrap());
        assert!(found.contains("others than root and himds may write"), "{found}");
    }
}
