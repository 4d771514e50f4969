//! The kernel ends the service in the middle of its work, at one system call after the other: what is on the disk then,
//! and what the next pass makes of it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::handler_story::{DISK, Extension, PATIENCE, observed, program};
use tests::pki::Issued;
use tests::story::{observing, wait_for};

const STORE: &str = "/srv/certs";
/// More often than this no call is made on the way of one certificate.
const MOST: usize = 40;

/// The content of a version's file: leaf first, then what certifies it, and the key last.
fn content(issued: &Issued) -> String {
    let certificates = [&issued.leaf].into_iter().chain(&issued.intermediates).chain(&issued.root);
    let mut text: String = certificates.map(|one| String::from_utf8(one.to_pem().unwrap()).unwrap()).collect();
    text += &String::from_utf8(issued.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    text
}

/// A certificate of its own in a folder of its own, with all the versions that it ever had.
struct Subject {
    name: String,
    settings: Value,
    versions: BTreeMap<String, String>,
}

impl Subject {
    fn new(name: &str) -> Self {
        let folder = format!("{STORE}/{name}");
        let settings = observing(&[observed(name, &folder, &json!({"acls": [{"user": "app"}]}))]);
        Self { name: name.to_owned(), settings, versions: BTreeMap::new() }
    }

    fn folder(&self) -> PathBuf {
        Path::new(STORE).join(&self.name)
    }

    /// Puts a new version into the vault; answers the name of its file.
    fn renew(&mut self, extension: &Extension) -> String {
        let (issued, version) = extension.story.put(&self.name).unwrap();
        let file = format!("contoso.{}.{version}", self.name);
        self.versions.insert(file.clone(), content(&issued));
        file
    }

    /// A pass that is killed when it is about to make `call` for the `count`th time. Whether it got that far.
    fn pass_killed_at(&self, extension: &Extension, call: &str, count: usize) -> bool {
        let service = program("akvvm_service").unwrap().to_string_lossy().into_owned();
        let file = extension.story.write_settings(&self.settings).unwrap().to_string_lossy().into_owned();
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={count}"));
        let mut words = vec!["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        // The loader and the library open files, too; these are the store's.
        let folder = self.folder().to_string_lossy().into_owned();
        if call == "openat" {
            words.extend(["-P", DISK, "-P", STORE, "-P", &folder]);
        }
        words.extend([&service, "sync", &file]);
        match extension.attempt("strace", &words) {
            Ok(finished) if finished.code == Some(0) => false,
            Err(error) if format!("{error:#}").contains("ended by signal 9") => true,
            other => panic!("{call} {count}: {other:?}"),
        }
    }

    fn check(&self, moment: &str) {
        self.check_below(Path::new(DISK), moment);
    }

    /// Whatever has a name is whole, and no key is readable for others, under whatever name.
    fn check_below(&self, disk: &Path, moment: &str) {
        for path in below(disk) {
            let shown = format!("{moment}: {}", path.display());
            let stat = fs::symlink_metadata(&path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "lost+found" {
                continue;
            }
            if stat.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
                assert_eq!(text, self.versions[target.to_str().unwrap()], "{shown}");
            } else if stat.is_file() {
                // Beside an access control list 0640 is its mask.
                assert_eq!((stat.uid(), stat.mode() & 0o137), (0, 0), "{shown}: {:o}", stat.mode());
                if !name.ends_with(".tmp") {
                    assert_eq!(fs::read_to_string(&path).unwrap(), self.versions[name], "{shown}");
                }
            }
        }
    }

    /// The next pass leaves what a pass without a crash would have left.
    fn converge(&self, extension: &Extension, newest: &str, moment: &str) {
        let synced = extension.sync(&self.settings).unwrap();
        assert_eq!(synced.code(), Some(0), "{moment}: {synced:#?}");
        self.check(moment);
        let link = self.folder().join(format!("contoso.{}", self.name));
        assert_eq!(fs::read_link(link).unwrap(), Path::new(newest), "{moment}");
        let left: Vec<_> =
            below(Path::new(DISK)).into_iter().filter(|path| path.extension() == Some("tmp".as_ref())).collect();
        assert_eq!(left, [] as [PathBuf; 0], "{moment}");
    }
}

/// Everything below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let folders: Vec<PathBuf> =
        found.iter().filter(|path| fs::symlink_metadata(path).unwrap().is_dir()).cloned().collect();
    found.extend(folders.iter().flat_map(|folder| below(folder)));
    found
}

#[test]
fn a_kill_at_any_step_leaves_whole_files_behind_links_and_the_next_pass_goes_on() {
    let extension = Extension::begin().unwrap();
    extension.story.world().add_user("app", 61_001).unwrap();
    for call in ["openat", "write", "fchmod", "fsetxattr", "fsync", "symlinkat", "renameat"] {
        let calls = if call == "renameat" { "renameat,renameat2" } else { call };
        let mut points = 0;
        for count in 1.. {
            assert!(count < MOST, "{call} is made without end");
            let mut subject = Subject::new(&format!("{call}{count}"));
            let mut killed = false;
            for stage in ["first install", "renewal"] {
                let moment = format!("{stage}, {call} {count}");
                let newest = subject.renew(&extension);
                let reached = subject.pass_killed_at(&extension, calls, count);
                subject.check(&moment);
                subject.converge(&extension, &newest, &moment);
                killed |= reached;
                points += usize::from(reached);
            }
            fs::remove_dir_all(STORE).unwrap();
            if !killed {
                break;
            }
        }
        assert!(points > 0, "{call} was never reached");
    }
}

/// A file system: its name, the smallest size that it takes, options of what makes it, and of mounts.
type Kind = (&'static str, &'static str, &'static [&'static str], &'static str);

const EXT4: Kind = ("ext4", "16M", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "loop,commit=900");
/// The copy has the number of the one that it was made of.
const XFS: Kind = ("xfs", "300M", &["-q"], "loop,nouuid");
const BTRFS: Kind = ("btrfs", "128M", &["-q"], "loop,commit=900");

/// A small file system in a file, mounted as the disk. It writes to the file when it is told to (fsync), and hardly else, so
/// that a copy of the file is what a disk holds after a power cut: all that was only in memory is lost.
struct Disk {
    image: PathBuf,
    options: &'static str,
}

impl Disk {
    fn mount(extension: &Extension, (name, size, making, options): Kind) -> Self {
        let image = extension.story.folder().join("disk");
        let shown = image.to_str().unwrap();
        extension.run("truncate", &["--size", size, shown]).unwrap();
        extension.run(&format!("mkfs.{name}"), &[making, &[shown]].concat()).unwrap();
        extension.run("mount", &["-t", name, "-o", options, shown, DISK]).unwrap();
        Self { image, options }
    }

    /// Cuts the power now: shows `look` the folder where the disk is mounted again after the machine has started.
    fn after_a_power_cut(&self, extension: &Extension, look: impl FnOnce(&Path)) {
        let (copy, folder) = (self.image.with_extension("copy"), extension.story.folder().join("after"));
        let (image, shown) = (self.image.to_str().unwrap(), copy.to_str().unwrap());
        // Holes stay holes.
        extension.run("cp", &["--sparse=always", image, shown]).unwrap();
        fs::create_dir_all(&folder).unwrap();
        extension.run("mount", &["-o", self.options, shown, folder.to_str().unwrap()]).unwrap();
        look(&folder);
        // A program that another story just starts has copies of open files for a moment.
        let gone = || extension.run("umount", &[folder.to_str().unwrap()]).ok();
        wait_for(PATIENCE, "end of the mount", gone).unwrap();
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_whole_files_and_what_was_reported_stays() {
    cut_the_power(EXT4);
}

#[test]
fn a_power_cut_at_any_step_on_xfs_leaves_the_same() {
    cut_the_power(XFS);
}

#[test]
fn a_power_cut_at_any_step_on_btrfs_leaves_the_same() {
    cut_the_power(BTRFS);
}

fn cut_the_power(kind: Kind) {
    let extension = Extension::begin().unwrap();
    extension.story.world().add_user("app", 61_001).unwrap();
    let disk = Disk::mount(&extension, kind);
    let mut subject = Subject::new("web");
    let link = |root: &Path| root.join(subject_link());
    let mut cuts = 0;
    for call in ["write", "fsync", "fsetxattr", "symlinkat", "renameat,renameat2"] {
        for count in 1..MOST {
            let moment = format!("{call} {count}");
            let newest = subject.renew(&extension);
            let reached = subject.pass_killed_at(&extension, call, count);
            disk.after_a_power_cut(&extension, |root| {
                subject.check_below(root, &moment);
                // Before the first installation there is none; what an undisturbed pass reported is on the disk.
                assert!(cuts == 0 || fs::read_to_string(link(root)).is_ok(), "{moment}: the link is lost");
                assert!(reached || fs::read_link(link(root)).unwrap() == Path::new(&newest), "{moment}: not kept");
            });
            cuts += usize::from(reached);
            subject.converge(&extension, &newest, &moment);
            if !reached {
                break;
            }
        }
    }
    assert!(cuts > 10, "{cuts}");
}

/// Where the link of the certificate `web` is on the disk.
fn subject_link() -> PathBuf {
    Path::new(STORE).strip_prefix(DISK).unwrap().join("web/contoso.web")
}
