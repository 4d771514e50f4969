//! The metadata file beside split links: which version they lead to, for programs that watch it. It holds no secret, is
//! readable for everybody, and is replaced after the links.

use std::io::{Read, Write};

use common::report::Installed;
use rustix::fs::{FileType, Mode, fchmod, fstat, fsync};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;
use serde_json::json;

use super::directory::Directory;
use super::layout::Pair;
use super::temporary::Temporary;
use super::{StoreError, failed};

const MODE: u32 = 0o644;
/// No metadata, of any release, comes near this.
const LARGEST: i64 = 64 * 1024;

/// Says in the file of this name what is in use. Whether that changed anything.
pub(super) fn replace(folder: &Directory, name: &str, installed: &Installed, pair: &Pair) -> Result<bool, StoreError> {
    let content = content(installed, pair);
    if read(folder, name)?.is_some_and(|(before, mode)| before == content.as_bytes() && mode == MODE) {
        return Ok(false);
    }
    let path = folder.path.join(name);
    let (unfinished, mut file) = Temporary::file(folder).map_err(failed("create the file", &path))?;
    let written = file.write_all(content.as_bytes());
    written.map_err(|cause| failed("write the file", &path)(Errno::from_io_error(&cause).unwrap_or(Errno::IO)))?;
    retry_on_intr(|| fchmod(&file, Mode::from_raw_mode(MODE))).map_err(failed("change the permissions", &path))?;
    retry_on_intr(|| fsync(&file)).map_err(failed("bring the file to the disk", &path))?;
    unfinished.install_as(name).map_err(failed("name the file", &path))?;
    Ok(true)
}

/// Its shape is documented and stays.
fn content(installed: &Installed, pair: &Pair) -> String {
    let metadata = json!({
        "version": installed.version.as_str(),
        "thumbprint": installed.thumbprint.to_string(),
        "notBefore": common::status::seconds(installed.not_before),
        "notAfter": common::status::seconds(installed.not_after),
        "certificate": pair.chain,
        "privateKey": pair.key,
    });
    format!("{metadata:#}\n")
}

/// What is there, with its mode. Anything else than a small file of root's is somebody else's.
fn read(folder: &Directory, name: &str) -> Result<Option<(Vec<u8>, u32)>, StoreError> {
    let path = folder.path.join(name);
    let foreign = |found: &str| Err(StoreError::Foreign { path: path.clone(), found: found.into() });
    let fd = match folder.open_file(name) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NXIO) => return foreign("is no regular file"),
        Err(cause) => return Err(failed("open the file", &path)(cause)),
    };
    let stat = retry_on_intr(|| fstat(&fd)).map_err(failed("look at the file", &path))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return foreign("is no regular file");
    }
    if stat.st_uid != geteuid().as_raw() {
        return foreign(&format!("is a file of user {}", stat.st_uid));
    }
    if stat.st_size > LARGEST {
        return foreign("is far larger than metadata of a certificate");
    }
    let mut content = Vec::new();
    let result = std::fs::File::from(fd).take(LARGEST.unsigned_abs()).read_to_end(&mut content);
    result.map_err(|cause| failed("read the file", &path)(Errno::from_io_error(&cause).unwrap_or(Errno::IO)))?;
    Ok(Some((content, stat.st_mode & 0o7777)))
}
