//! The kernel answers with an error, at every call on a file of a pass, and a real disk is full or read-only: what was in use
//! stays, the cause is named with its path, and the next pass leaves what a pass without an error would have left.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::handler_story::{DISK, Extension};

use crate::call::Call;
use crate::figures::{Figures, Size};
use crate::points::{Disturbed, fail_at, find, heal, meet};
use crate::scenario::{STORE, Scenario, Subject, add_accounts};
use crate::tracer::Ended;

/// The code with which the loader ends when it cannot load a program.
const LOADER: i32 = 127;
/// What goes wrong, the words for it, and whether it lasts: for all later calls of the same number in the same thread.
type Failure = (i32, &'static str, bool);

/// All of them.
const ERRORS: [Failure; 10] = [
    (libc::ENOSPC, "No space left on device", false),
    (libc::ENOSPC, "No space left on device", true),
    (libc::EIO, "Input/output error", false),
    (libc::EIO, "Input/output error", true),
    (libc::EDQUOT, "Disk quota exceeded", false),
    (libc::EROFS, "Read-only file system", false),
    (libc::EROFS, "Read-only file system", true),
    (libc::EACCES, "Permission denied", false),
    (libc::EMFILE, "Too many open files", false),
    (libc::EINTR, "Interrupted system call", false),
];

pub(crate) fn run(size: Size, figures: &mut Figures) -> Result<()> {
    // Each in a private world, which belongs to a thread.
    let ended: Vec<_> = thread::scope(|scope| {
        let begun: Vec<_> = Scenario::ALL.iter().map(|&one| scope.spawn(move || errors_in(one, size))).collect();
        begun.into_iter().map(|one| one.join().unwrap_or_else(|_| bail!("it panicked"))).collect()
    });
    let mut tally = Tally::default();
    for (scenario, ended) in Scenario::ALL.iter().zip(ended) {
        tally.add(ended.with_context(|| format!("{scenario:?}"))?);
    }
    let endured = real_disk().context("a real disk")?;
    figures.note("calls of all passes on files, times errors", tally.possible);
    figures.at_least("errors at a call", tally.injected, size.of(20, 1_500, 25_000));
    figures.note("of these at a call of a helping thread", tally.helping);
    figures.note("of these at a call on the certificates' disk", tally.disk);
    figures.note("of these the pass went on with", tally.survived);
    figures.note("of these it reported with cause and path", tally.reported);
    figures.note("of these on other files, or its own output: the pass ended", tally.ended);
    figures.exactly("calls that no error came to", tally.missed, 0);
    figures.note("calls that one of several passes alone made, left out", tally.chance);
    figures.note("failed fsync", tally.fsync);
    figures.exactly("a full disk and a read-only one, endured and healed", endured, 2);
    figures.exactly("lost, leaked, unnamed, or not healed by the next pass", tally.wrong.len(), 0);
    match tally.wrong.is_empty() {
        true => Ok(()),
        false => bail!("{}", tally.wrong.join("\n")),
    }
}

/// The errors at the calls of one kind of pass.
fn errors_in(scenario: Scenario, size: Size) -> Result<Tally> {
    let extension = Extension::begin()?;
    add_accounts(&extension)?;
    let found = find(&extension, scenario, size.of(3, 3, 10), Call::is_on_file)?;
    let calls = |on_disk: bool| found.calls.iter().filter(move |(_, is)| **is == on_disk).map(|(call, _)| call);
    let possible = found.calls.len() * ERRORS.len();
    let mut tally = Tally { possible, chance: found.chance, ..Tally::default() };
    // Steps prime to the number of errors: a sample has some of each, and others in each scenario.
    let on_disk = sample(calls(true), scenario, size.of(101, 3, 1));
    let tries: Vec<_> = on_disk.chain(sample(calls(false), scenario, size.of(1_009, 101, 1))).collect();
    println!("{scenario:?}: {} errors", tries.len());
    for (number, (call, failure)) in tries.into_iter().enumerate() {
        let (error, words, lasts) = *failure;
        let (subject, disturbed) = meet(&extension, scenario, &format!("subject{number}"), |subject| {
            fail_at(&extension, &subject.settings, call, error, lasts)
        })?;
        let on = if lasts { ", from there on" } else { "" };
        let Some(disturbed) = disturbed else {
            println!("{scenario:?}: no error came to {call:?}: {words}{on}");
            tally.missed += 1;
            subject.remove()?;
            continue;
        };
        let endured =
            subject.check().context("after the error").and_then(|()| judge(call, failure, &disturbed, &mut tally));
        if let Err(problem) = endured.and_then(|()| heal(&subject, &found.state)) {
            tally.wrong.push(format!("{scenario:?}, {call:?}, {words}{on}: {problem:#}"));
        }
        subject.remove()?;
    }
    Ok(tally)
}

/// Every so-manieth of all errors at all calls, from another one on in each scenario.
fn sample<'a>(
    calls: impl Iterator<Item = &'a Call>,
    scenario: Scenario,
    step: usize,
) -> impl Iterator<Item = (&'a Call, &'static Failure)> {
    let all = calls.flat_map(|call| ERRORS.iter().map(move |error| (call, error)));
    all.skip(scenario as usize % step).step_by(step)
}

/// How errors ended.
#[derive(Default)]
struct Tally {
    possible: usize,
    injected: usize,
    missed: usize,
    chance: usize,
    helping: usize,
    disk: usize,
    survived: usize,
    reported: usize,
    ended: usize,
    fsync: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.possible += other.possible;
        self.injected += other.injected;
        self.missed += other.missed;
        self.chance += other.chance;
        self.helping += other.helping;
        self.disk += other.disk;
        self.survived += other.survived;
        self.reported += other.reported;
        self.ended += other.ended;
        self.fsync += other.fsync;
        self.wrong.extend(other.wrong);
    }
}

/// What a pass may do after this error, and what it must say.
fn judge(call: &Call, (error, words, _): &Failure, disturbed: &Disturbed, tally: &mut Tally) -> Result<()> {
    tally.injected += 1;
    tally.helping += usize::from(!call.thread.is_first());
    let Disturbed { ended, paths, is_output, renamed } = disturbed;
    let files = paths.first().context("no call")?;
    let is_on_disk = files.iter().any(|path| path.starts_with(DISK));
    tally.disk += usize::from(is_on_disk);
    if call.number == libc::SYS_fsync {
        tally.fsync += 1;
        let names: Vec<_> = files.iter().filter_map(|path| path.file_name()).collect();
        let is_named = renamed.iter().any(|path| path.file_name().is_some_and(|name| names.contains(&name)));
        ensure!(!is_named || *error == libc::EINTR, "renamed after a failed fsync: {files:?}");
    }
    let Ended { status, output, errors } = ended;
    ensure!(status.code().is_none() || !errors.contains("panicked"), "{files:?}: {errors}");
    match (status.code(), status.signal()) {
        (Some(0), _) => tally.survived += 1,
        // The loader and Rust do so where a program gets no memory, or cannot look at the descriptors that it was given.
        (_, Some(libc::SIGABRT | libc::SIGSEGV)) if call.number == libc::SYS_mmap || call.is_poll() => tally.ended += 1,
        (None, _) => bail!("{files:?}: it gave up without a word: {ended:?}"),
        // What it says went wrong as well.
        _ if *is_output => tally.ended += 1,
        _ if is_on_disk => {
            let message = message(ended)?;
            ensure!(*error != libc::EINTR, "not tried again: {files:?}: {message}");
            ensure!(message.contains(words) && message.contains(DISK), "{files:?}: {message}");
            tally.reported += 1;
        }
        (code, _) => {
            // The loader has words of its own, so has who looks up names, and who asks whether a file is there hears that it
            // is not.
            let is_name = !call.thread.is_first() && output.contains("its name cannot be resolved");
            let has_own_words = code == Some(LOADER) || call.number == libc::SYS_statx || is_name;
            ensure!(
                has_own_words || [output, errors].iter().any(|said| said.contains(words)),
                "{files:?}: {output}{errors}"
            );
            tally.ended += 1;
        }
    }
    Ok(())
}

/// What the certificate's error says.
fn message(ended: &Ended) -> Result<String> {
    let result: Value = serde_json::from_str(&ended.output).with_context(|| format!("{ended:?}"))?;
    let message = result["certificates"][0]["error"]["message"].as_str();
    message.map(str::to_owned).with_context(|| format!("no error is told: {ended:?}"))
}

/// A small file system of its own behind a loop device, which fills up, and is mounted read-only.
/// How many of the two were endured and healed.
fn real_disk() -> Result<usize> {
    let extension = Extension::begin()?;
    add_accounts(&extension)?;
    let image = extension.story.folder().join("image").to_string_lossy().into_owned();
    extension.run("truncate", &["--size", "8M", &image])?;
    extension.run("mkfs.ext4", &["-q", &image])?;
    extension.run("mount", &["-o", "loop", &image, DISK])?;
    let disk = Path::new(DISK);
    let filler = disk.join("filler");
    // Where no large piece fits any more, small ones do; what was reserved for a file is given back when it is on the disk.
    let fill = "for piece in 64k 1k 1k; do \
                dd if=/dev/zero of=/srv/filler bs=$piece oflag=append conv=notrunc 2>/dev/null || sync; done";
    let mut endured = 0;
    for (words, begin, end) in [
        ("No space left on device", fill, "rm /srv/filler"),
        ("Read-only file system", "mount -o remount,ro /srv", "mount -o remount,rw /srv"),
    ] {
        let subject = Subject::new(&extension, Scenario::Renewal, "web".to_owned())?;
        let before = subject.state()?;
        extension.run("sh", &["-c", begin])?;
        let synced = extension.sync(&subject.settings)?;
        let (_, message) = synced.error(0)?;
        ensure!(message.contains(words) && message.contains(STORE), "{message}");
        subject.check()?;
        let state = subject.state()?;
        ensure!(state == before, "{words}: {state:#?}, not {before:#?}");
        extension.run("sh", &["-c", end])?;
        subject.pass()?;
        subject.check()?;
        ensure!(subject.state()?.len() == 3, "a link and two versions: {:#?}", subject.state()?);
        subject.remove()?;
        endured += 1;
    }
    ensure!(!filler.exists() && fs::read_dir(disk)?.count() > 0, "what is left on the disk");
    Ok(endured)
}
