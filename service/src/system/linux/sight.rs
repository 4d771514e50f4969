//! What the service can read: its own, and the trusted roots. It may read every file, because it must get into anybody's folders,
//! and gives up what it has no use for (landlock(7)); with it, to start programs. It holds until the process ends, and stands for
//! what lies at the paths when it begins: see `openings` for what comes in its place.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;

use common::settings::{Protocol, Settings};
use landlock::{
    AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, path_beneath_rules,
};
use log::info;

use super::trust;
use crate::identity::key_file;

/// What the kernel says of this process, and this machine's time zone.
const ALWAYS: [&str; 2] = ["/proc", "/etc/localtime"];
/// Above this lies more than one program's.
const TOP: &str = "/var/opt";

/// What is read and may be replaced at any time: the service's `own` paths, and the keys of the Azure Arc agent where that is
/// asked for tokens.
pub(super) fn places(own: &[PathBuf], settings: &Settings) -> Vec<PathBuf> {
    let is_arc = settings.certificates.iter().any(|one| one.identity.endpoint.protocol() == Protocol::Arc);
    own.iter().cloned().chain(is_arc.then(|| PathBuf::from(key_file::FOLDER))).collect()
}

/// From now on this thread, and those that it starts, read only what lies at or below these `places` and what is needed of the
/// system: the trusted roots above all. Where the kernel cannot do that (before 5.19, or without Landlock), the unit alone hides
/// what others have.
pub(super) fn narrow(mut places: Vec<PathBuf>) {
    // The Azure Arc agent makes this folder when it is first asked.
    let keys = Path::new(key_file::FOLDER);
    if places.iter().any(|place| place == keys) && !keys.exists() {
        places.extend(keys.ancestors().find(|one| one.exists()).filter(|one| one.starts_with(TOP)).map(Path::to_owned));
    }
    places.extend(trust::places().into_iter().chain(ALWAYS.map(PathBuf::from)));
    // What was given up does not come back, so it is tried by a thread that ends: there may be file systems on which such rules
    // do not hold, and a certificate that is not renewed is worse.
    let tried = thread::scope(|scope| {
        let attempt = || try_out(&places);
        thread::Builder::new()
            .spawn_scoped(scope, attempt)
            .map_err(|error| error.to_string())?
            .join()
            .unwrap_or_else(|_| Err("it cannot be tried".to_owned()))
    });
    if let Err(cause) = tried.and_then(|()| restrict(&places).map_err(|error| error.to_string())) {
        info!("files of others stay readable, as far as the unit does not hide them: {cause}");
    }
}

fn try_out(places: &[PathBuf]) -> Result<(), String> {
    let readable: Vec<&PathBuf> = places.iter().filter(|place| File::open(place).is_ok()).collect();
    restrict(places).map_err(|error| error.to_string())?;
    readable.into_iter().try_for_each(|place| match File::open(place) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{} could not be read any more: {error}", place.display())),
    })
}

/// A path that is missing is passed over.
fn restrict(places: &[PathBuf]) -> Result<(), RulesetError> {
    // What is moved from one folder to another counts as read.
    let read = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Refer;
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(read | AccessFs::Execute)?
        .create()?
        .add_rules(path_beneath_rules(places, read))?
        .restrict_self()?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_not_needed_can_neither_be_read_nor_started_by_this_thread() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        for name in ["own/file", "own/below/file", "other/file"] {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), "content").unwrap();
        }
        let narrowed = || {
            let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
            if rules.handle_access(AccessFs::Refer).is_err() {
                return; // This kernel has no such rules.
            }
            narrow(vec![path("own"), path("missing")]);
            assert_eq!(fs::read(path("own/below/file")).unwrap(), b"content");
            fs::rename(path("own/file"), path("own/below/moved")).unwrap();
            assert!(fs::metadata(path("other/file")).is_ok() && fs::read("/proc/self/mountinfo").is_ok());
            for refused in [
                fs::read(path("other/file")).map(drop),
                fs::read_dir(path("other")).map(drop),
                fs::rename(path("other/file"), path("own/stolen")),
                fs::hard_link(path("other/file"), path("own/linked")),
                Command::new("/bin/true").status().map(drop),
            ] {
                let kind = refused.unwrap_err().kind();
                assert!(matches!(kind, ErrorKind::PermissionDenied | ErrorKind::CrossesDevices), "{kind:?}");
            }
        };
        thread::scope(|scope| scope.spawn(narrowed).join()).unwrap();
        assert!(fs::read(path("other/file")).is_ok());
    }
}
