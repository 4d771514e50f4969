//! What the service can read: its own, and the trusted roots. It may read every file, because it must get into anybody's folders,
//! and gives up what it has no use for (landlock(7)); with it, to start anything. It holds until the process ends, and stands for
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

/// What the kernel says of this process.
const PROCESS: &str = "/proc";

/// What is read beside the service's own: the trusted roots, and the keys of the Azure Arc agent where that is asked for tokens.
pub(super) fn of_the_system(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    let is_arc = settings.certificates.iter().any(|one| one.identity.endpoint.protocol() == Protocol::Arc);
    let keys = is_arc.then(|| PathBuf::from(key_file::FOLDER));
    trust::places().into_iter().chain(keys)
}

/// What is there on the way to a path that may come to be.
fn nearest(path: PathBuf) -> PathBuf {
    path.ancestors().find(|one| one.exists()).map(Path::to_owned).unwrap_or(path)
}

/// From now on this thread, and those that it starts, read only what lies at or below the service's `own` paths and those of the
/// `system`. Where the kernel cannot do that (before 5.19, or without Landlock), the unit alone hides what others have.
pub(super) fn narrow<'a>(own: impl Iterator<Item = &'a Path>, system: impl Iterator<Item = PathBuf>) {
    let system = system.chain([PathBuf::from(PROCESS)]).map(nearest);
    let places: Vec<PathBuf> = own.map(Path::to_owned).chain(system).collect();
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
        for name in ["own/file", "own/below/file", "other/file", "system/file"] {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), "content").unwrap();
        }
        let narrowed = || {
            let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
            if rules.handle_access(AccessFs::Refer).is_err() {
                return; // This kernel has no such rules.
            }
            narrow([&*path("own"), &*path("missing")].into_iter(), [path("system/not/there")].into_iter());
            assert_eq!(fs::read(path("own/below/file")).unwrap(), b"content");
            assert_eq!(fs::read(path("system/file")).unwrap(), b"content", "what is missing may come to be");
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
