//! Renewals of the running service before readers that spin. Who may read finds one whole version behind the link, always.
//! Who may not opens nothing, under whatever name and however early. Who watches the folder sees the link change once.

use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use openssl::pkey::PKey;
use openssl::x509::X509;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Signal, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde_json::{Value, json};
use tests::handler_story::{Extension, PATIENCE, observed};
use tests::story::{Service, observing, wait_for};

use crate::figures::{Figures, Size};
use crate::scenario::{Scenario, Subject, add_accounts};

/// A folder that everybody may enter: nothing but the files' own permissions keeps a reader out.
const FOLDER: &str = "/srv/open";
const LINK: &str = "/srv/open/contoso.web";
/// An account that the settings let read, and one that they do not know.
const APP: u32 = 61_001;
const STRANGER: u32 = 61_099;
/// As many readers as this that may not read.
const STRANGERS: usize = 2;
/// Older versions in the vault are forgotten: a list of ten thousand would be what is measured.
const KEPT: usize = 3;

pub(crate) fn run(size: Size, figures: &mut Figures) -> Result<()> {
    let extension = Extension::begin()?;
    add_accounts(&extension)?;
    let names = order_of_calls(&extension)?;
    figures.at_least("files with a key that were private, with their final list, before they had a name", names, 6);

    let (renewals, unchanged) = (size.of(100, 2_000, 10_000), size.of(5, 100, 500));
    fs::create_dir(FOLDER)?;
    extension.story.put("web")?;
    let settings = observing(&[observed("web", FOLDER, &json!({"acls": [{"user": "app"}], "keepVersions": 2}))]);
    let service = extension.story.run(&settings)?;
    wait_for(PATIENCE, "first version", || Path::new(LINK).exists().then_some(()))?;

    let (stop, seen, watch) = (AtomicBool::new(false), Seen::default(), Watch::new()?);
    thread::scope(|scope| -> Result<()> {
        let watcher = scope.spawn(|| watch.count(&stop, &seen));
        let app = scope.spawn(|| read(&stop, &seen));
        let strangers: Vec<_> = (0..STRANGERS).map(|_| scope.spawn(|| try_to_open(&stop, &seen))).collect();
        let renewed = renew(&extension, &service, renewals).and_then(|()| poll(&service, unchanged));
        // What happened last is in the queue.
        thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        for thread in strangers.into_iter().chain([watcher, app]) {
            end(thread)?;
        }
        renewed
    })?;
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    figures.at_least("whole versions that the permitted reader read", count(&seen.whole), renewals);
    figures.exactly("times that it found none, or one that is not whole", count(&seen.broken), 0);
    figures.at_least("attempts of others to open a file", count(&seen.refused), renewals * 10);
    figures.exactly("of these successful", count(&seen.opened), 0);
    figures.exactly("changes of the link in as many renewals", count(&seen.swings), renewals);
    figures.note("polls that found nothing new", unchanged);
    figures.exactly("other events on the link", count(&seen.others), 0);
    Ok(())
}

/// What the readers count.
#[derive(Default)]
struct Seen {
    whole: AtomicUsize,
    broken: AtomicUsize,
    refused: AtomicUsize,
    opened: AtomicUsize,
    swings: AtomicUsize,
    others: AtomicUsize,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn end(thread: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("a reader panicked"))?
}

fn renew(extension: &Extension, service: &Service, renewals: usize) -> Result<()> {
    for _ in 0..renewals {
        let issued = extension.story.issue("web")?;
        let version = extension.story.azure.put("contoso", "web", issued.pem()?)?;
        let wanted = PathBuf::from(format!("contoso.web.{version}"));
        service.signal(Signal::HUP)?;
        wait_for(PATIENCE, "new version", || fs::read_link(LINK).ok().filter(|to| *to == wanted))?;
        extension.story.azure.forget_requests();
        extension.story.azure.secret("contoso", "web", |secret| {
            let old = secret.versions.len().saturating_sub(KEPT);
            secret.versions.drain(..old);
        })?;
    }
    Ok(())
}

fn poll(service: &Service, polls: usize) -> Result<()> {
    (0..polls).try_for_each(|_| service.poll())
}

/// This thread is that account's from here on, without a capability.
fn become_account(id: u32) -> Result<()> {
    set_thread_groups(&[])?;
    let (group, user) = (Gid::from_raw(id), Uid::from_raw(id));
    set_thread_res_gid(group, group, group)?;
    Ok(set_thread_res_uid(user, user, user)?)
}

/// Reads what the link leads to.
fn read(stop: &AtomicBool, seen: &Seen) -> Result<()> {
    become_account(APP)?;
    while !stop.load(Ordering::Relaxed) {
        let is_whole = fs::read(LINK).is_ok_and(|text| is_whole(&text));
        count(if is_whole { &seen.whole } else { &seen.broken });
    }
    Ok(())
}

/// Whether the key fits the leaf, and the chain is there.
fn is_whole(text: &[u8]) -> bool {
    let (Ok(chain), Ok(key)) = (X509::stack_from_pem(text), PKey::private_key_from_pem(text)) else { return false };
    chain.len() == 3 && chain[0].public_key().is_ok_and(|of_leaf| of_leaf.public_eq(&key))
}

/// Tries to open whatever has a name in the folder, finished or not.
fn try_to_open(stop: &AtomicBool, seen: &Seen) -> Result<()> {
    become_account(STRANGER)?;
    while !stop.load(Ordering::Relaxed) {
        for entry in fs::read_dir(FOLDER)?.flatten() {
            match File::open(entry.path()) {
                Ok(_) => count(&seen.opened),
                // It may be gone meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => count(&seen.refused),
            }
        }
    }
    Ok(())
}

/// Watches the folder.
struct Watch(std::os::fd::OwnedFd);

impl Watch {
    fn new() -> Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes =
            WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ATTRIB | WatchFlags::MODIFY;
        inotify::add_watch(&queue, FOLDER, changes)?;
        Ok(Self(queue))
    }

    /// Counts what happens to the link.
    fn count(&self, stop: &AtomicBool, seen: &Seen) -> Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    ensure!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW), "too many events");
                    if event.file_name().is_some_and(|name| Path::new(LINK).ends_with(name.to_str().unwrap_or(""))) {
                        count(if event.events() == ReadFlags::MOVED_TO { &seen.swings } else { &seen.others });
                    }
                }
                Err(Errno::AGAIN) if stop.load(Ordering::Relaxed) => return Ok(()),
                Err(Errno::AGAIN) => thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Proves by the calls of passes that files are created for root only, and get owner and list before their name and no
/// other afterwards. How many files with a key were named.
fn order_of_calls(extension: &Extension) -> Result<usize> {
    let mut named = 0;
    for scenario in [Scenario::FirstInstall, Scenario::Renewal, Scenario::Layout, Scenario::SplitRenewal] {
        let subject = Subject::new(extension, scenario, "web".to_owned())?;
        let folder = subject.folder().to_string_lossy().into_owned();
        let trace = trace(
            extension,
            &subject.settings,
            "openat,chmod,fchmod,fchmodat,chown,fchown,fchownat,\
             setxattr,fsetxattr,fsync,renameat,renameat2",
        )?;
        let of_keys = trace.lines().filter(|line| line.contains(&folder));
        for line in of_keys {
            let is_temporary = line.contains(".tmp");
            ensure!(!line.contains("O_CREAT") || line.contains("0600)") && is_temporary, "{scenario:?}: {line}");
            let changes = ["chmod", "chown", "setxattr"].iter().any(|call| line.contains(call));
            // The folder itself gets passage for the account.
            let is_folder = line.contains(&format!("<{folder}>")) && line.contains("fsetxattr(");
            ensure!(!changes || is_temporary || is_folder, "after it has its name: {scenario:?}: {line}");
            let is_name_of_key = line.contains("renameat") && !line.contains(".luma");
            named += usize::from(is_name_of_key);
        }
        subject.remove()?;
    }
    Ok(named)
}

/// What strace sees of these calls in a pass with these settings, with the paths of descriptors.
fn trace(extension: &Extension, settings: &Value, calls: &str) -> Result<String> {
    let trace = extension.story.folder().join("trace");
    let (output, filter) = (trace.to_string_lossy(), format!("trace={calls}"));
    let synced = extension.sync_under(&["strace", "-f", "-qq", "-y", "-o", &output, "-e", &filter], settings)?;
    ensure!(synced.code() == Some(0), "{synced:?}");
    Ok(fs::read_to_string(&trace)?)
}
