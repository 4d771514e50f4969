//! The walk from `/` to the folder of a certificate, component by component, so that nobody but root can
//! redirect it, creating what is missing on the way.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use common::settings::Acl;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fchmod, fstat, fsync, openat, readlinkat};
use rustix::io::{Errno, retry_on_intr};

use super::acl::{Holder, Subject};
use super::directory::{Directory, is_trusted, is_trusted_owner, place};
use super::layout::CHAIN_LINK;
use super::passage::Passage;
use super::temporary::{self, Temporary};
use super::{StoreError, failed};

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;
/// How often a component may appear or vanish while we look at it.
const ATTEMPTS: usize = 4;

/// The folder of certificates, open for a pass.
pub(super) struct Folder {
    pub(super) directory: Directory,
    /// What lies between `/` and the files, both ends included.
    way: Vec<Passage>,
    /// What keeps an account out, worked out once in a pass.
    obstacles: Mutex<HashMap<Acl, Vec<String>>>,
}

impl Folder {
    /// Walks to `path`, which is absolute and has neither `.` nor `..`, creates what is missing and sweeps
    /// what a crash left in it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut walk = Walk::start(path)?;
        while let Some(name) = walk.pending.pop_front() {
            walk.step(&name)?;
        }
        let mut directory = Directory::open(path.to_owned(), &walk.here).map_err(failed("open the folder", path))?;
        let mut has_chains = false;
        let swept = temporary::sweep(&directory, |name| has_chains |= name.ends_with(CHAIN_LINK.as_bytes()));
        directory.has_chains = has_chains || swept.is_err();
        if let Err(cause) = swept {
            log::warn!("{}: cannot look for temporary files: {cause}: the next poll tries again", path.display());
        }
        Ok(Self { directory, way: walk.way, obstacles: Mutex::default() })
    }

    /// Lets an account through to the files where that is ours to do; the rest comes back as warnings.
    pub(super) fn let_in(&self, account: &Acl, holder: Holder, subject: &Subject) -> Vec<String> {
        let mut obstacles = self.obstacles.lock().unwrap_or_else(PoisonError::into_inner);
        let work_out = || self.way.iter().filter_map(|passage| passage.let_through(account, holder, subject)).collect();
        obstacles.entry(account.clone()).or_insert_with(work_out).clone()
    }
}

impl Drop for Folder {
    /// Brings the links to the disk, once for all of a pass. The files are there already: a power cut before
    /// this can only bring back the older links, which the next pass swings again.
    fn drop(&mut self) {
        if let Err(cause) = self.directory.sync_all() {
            log::warn!("{}", failed("bring the links to the disk", &self.directory.path)(cause));
        }
    }
}

struct Walk {
    /// Stands for the directory reached (`O_PATH`).
    here: OwnedFd,
    stat: Stat,
    path: PathBuf,
    pending: VecDeque<OsString>,
    way: Vec<Passage>,
    links: usize,
}

impl Walk {
    fn start(path: &Path) -> Result<Self, StoreError> {
        let root = Path::new("/");
        let here = place(CWD, root.as_os_str()).map_err(failed("open the directory", root))?;
        let stat = retry_on_intr(|| fstat(&here)).map_err(failed("look at the directory", root))?;
        let mut walk = Self { here, stat, path: root.to_owned(), pending: VecDeque::new(), way: Vec::new(), links: 0 };
        walk.way.push(Passage::new(&walk.path, &walk.here, &walk.stat, false));
        walk.expand(path);
        Ok(walk)
    }

    /// Puts the components of a path before those that are still to come.
    fn expand(&mut self, path: &Path) {
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => self.pending.push_front(name.to_owned()),
                Component::ParentDir => self.pending.push_front("..".into()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }

    fn step(&mut self, name: &OsStr) -> Result<(), StoreError> {
        let path =
            if name == ".." { self.path.parent().unwrap_or(&self.path).to_owned() } else { self.path.join(name) };
        let mut created = false;
        for _ in 0..ATTEMPTS {
            match place(&self.here, name) {
                Ok(next) => return self.enter(path, next, created),
                Err(Errno::NOENT) => created = self.create(&path, name)?,
                Err(Errno::NOTDIR | Errno::LOOP) => return self.follow(&path, name),
                Err(cause) => return Err(failed("open the directory", &path)(cause)),
            }
        }
        Err(failed("create the directory", &path)(Errno::STALE))
    }

    fn enter(&mut self, path: PathBuf, next: OwnedFd, created: bool) -> Result<(), StoreError> {
        self.stat = retry_on_intr(|| fstat(&next)).map_err(failed("look at the directory", &path))?;
        self.way.push(Passage::new(&path, &next, &self.stat, created));
        (self.here, self.path) = (next, path);
        Ok(())
    }

    /// Follows a link that only root could have put there; a link that somebody else may swap could lead
    /// root's writing anywhere.
    fn follow(&mut self, path: &Path, name: &OsStr) -> Result<(), StoreError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = retry_on_intr(|| openat(&self.here, name, flags, Mode::empty())).map_err(failed("open", path))?;
        let stat = retry_on_intr(|| fstat(&link)).map_err(failed("look at", path))?;
        if !FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return Err(StoreError::NotDirectory { path: path.to_owned() });
        }
        let refused = |reason: String| StoreError::Unsafe { path: path.to_owned(), reason };
        if !is_trusted_owner(&stat) {
            return Err(refused(format!("is a symbolic link of user {}, who may redirect it", stat.st_uid)));
        }
        if !is_trusted(&self.stat) {
            return Err(refused(format!("is a symbolic link in {}, where others may replace it", self.path.display())));
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(refused("leads through too many symbolic links".into()));
        }
        let target = retry_on_intr(|| readlinkat(&link, "", Vec::new())).map_err(failed("read the link", path))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            let root = place(CWD, OsStr::from_bytes(b"/")).map_err(failed("open the directory", Path::new("/")))?;
            self.enter(PathBuf::from("/"), root, false)?;
        }
        self.expand(&target);
        Ok(())
    }

    /// Creates a directory, under a temporary name until it is complete: a crash in between leaves nothing that
    /// a later pass would take for somebody else's. Says whether it did: somebody else may have been faster.
    fn create(&self, path: &Path, name: &OsStr) -> Result<bool, StoreError> {
        let failed = failed("create the directory", path);
        let Some(name) = name.to_str() else { return Err(failed(Errno::ILSEQ)) };
        let parent = Directory::open(self.path.clone(), &self.here).map_err(&failed)?;
        temporary::sweep(&parent, |_| {}).map_err(&failed)?;
        let (unfinished, directory) = Temporary::directory(&parent).map_err(&failed)?;
        directory.mark().map_err(&failed)?;
        let is_parent = !self.pending.is_empty();
        if is_parent {
            // The mode given to mkdir would be cut by the umask.
            retry_on_intr(|| fchmod(&directory.fd, Mode::from_raw_mode(0o755))).map_err(&failed)?;
        }
        retry_on_intr(|| fsync(&directory.fd)).map_err(&failed)?;
        match unfinished.install_as(name) {
            Ok(()) => {
                retry_on_intr(|| fsync(&parent.fd)).map_err(&failed)?;
                log::info!("{}: created", path.display());
                Ok(true)
            }
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Ok(false),
            Err(cause) => Err(failed(cause)),
        }
    }
}
