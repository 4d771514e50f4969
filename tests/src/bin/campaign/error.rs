//! The kernel answers with an error, at every call on a file of a pass, and a real disk is full or read-only: what was in use
//! stays, the cause is named with its path, and the next pass leaves what a pass without an error would have left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::handler_story::{DISK, Extension};
use tests::story::Finished;

use crate::figures::{Figures, Size};
use crate::points::{Disturbed, Ended, Point, Thread, calls, pass_with};
use crate::scenario::{STORE, Scenario, Subject, add_accounts};

/// Every call on a file or a folder.
const CALLS: &str = "%file,%desc";
/// The code with which the loader ends when it cannot load a program.
const LOADER: i32 = 127;
/// What goes wrong, the words for it, and whether it goes wrong from there on (`+`, as strace says it).
type Failure = (&'static str, &'static str, &'static str);

/// All of them.
const ERRORS: [Failure; 10] = [
    ("ENOSPC", "No space left on device", ""),
    ("ENOSPC", "No space left on device", "+"),
    ("EIO", "Input/output error", ""),
    ("EIO", "Input/output error", "+"),
    ("EDQUOT", "Disk quota exceeded", ""),
    ("EROFS", "Read-only file system", ""),
    ("EROFS", "Read-only file system", "+"),
    ("EACCES", "Permission denied", ""),
    ("EMFILE", "Too many open files", ""),
    ("EINTR", "Interrupted system call", ""),
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
    figures.at_least("errors at a call", tally.injected, size.of(20, 1_500, 15_000));
    figures.note("of these at a call on the certificates' disk", tally.disk);
    figures.note("of these the pass went on with", tally.survived);
    figures.note("of these it reported with cause and path", tally.reported);
    figures.note("of these on other files, or its own output: the pass ended", tally.ended);
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
    let undisturbed = Subject::new(&extension, scenario, "undisturbed".to_owned())?;
    let found = calls(&extension, &undisturbed.settings, CALLS, DISK)?;
    let wanted = undisturbed.state()?;
    undisturbed.remove()?;
    let elsewhere = elsewhere(&extension, scenario, &found)?;
    let mut tally = Tally { possible: (found.len() + elsewhere.len()) * ERRORS.len(), ..Tally::default() };
    // Steps prime to the number of errors: a sample has some of each, and others in each scenario.
    let on_disk = sample(&found, scenario, size.of(101, 3, 1));
    let tries: Vec<_> = on_disk.chain(sample(&elsewhere, scenario, size.of(1_009, 101, 1))).collect();
    println!("{scenario:?}: {} errors", tries.len());
    for (number, (point, error)) in tries.into_iter().enumerate() {
        let subject = Subject::new(&extension, scenario, format!("subject{number}"))?;
        let told = endure(&extension, &subject, point, error, &mut tally).and_then(|()| {
            subject.pass()?;
            subject.check().context("after the next pass")?;
            let state = subject.state()?;
            ensure!(state == wanted, "the next pass leaves {state:#?}, not {wanted:#?}");
            Ok(())
        });
        if let Err(problem) = told {
            tally.wrong.push(format!("{scenario:?}, {point:?}{}, {}: {problem:#}", error.2, error.0));
        }
        subject.remove()?;
    }
    Ok(tally)
}

/// The calls of a pass on all other files: settings, roots, accounts, the program itself.
fn elsewhere(extension: &Extension, scenario: Scenario, found: &BTreeSet<Point>) -> Result<BTreeSet<Point>> {
    let subject = Subject::new(extension, scenario, "elsewhere".to_owned())?;
    let mut all = calls(extension, &subject.settings, CALLS, "")?;
    all.retain(|point| !found.contains(point));
    subject.remove()?;
    Ok(all)
}

/// Every so-manieth of all errors at all points, from another one on in each scenario.
fn sample(
    points: &BTreeSet<Point>,
    scenario: Scenario,
    step: usize,
) -> impl Iterator<Item = (&Point, &'static Failure)> {
    let all = points.iter().flat_map(|point| ERRORS.iter().map(move |error| (point, error)));
    all.skip(scenario as usize % step).step_by(step)
}

/// How errors ended.
#[derive(Default)]
struct Tally {
    possible: usize,
    injected: usize,
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
        self.disk += other.disk;
        self.survived += other.survived;
        self.reported += other.reported;
        self.ended += other.ended;
        self.fsync += other.fsync;
        self.wrong.extend(other.wrong);
    }
}

/// A pass with this error. What must be true of it right after.
fn endure(
    extension: &Extension,
    subject: &Subject<'_>,
    point: &Point,
    (error, words, on): &Failure,
    tally: &mut Tally,
) -> Result<()> {
    let ended = pass_with(extension, &subject.settings, point, &format!("error={error}:when={}{on}", point.count))?;
    subject.check().context("after the error")?;
    let disturbed = match ended {
        Ended::Itself(disturbed) => disturbed,
        // The loader and Rust do so where a program gets no memory, or cannot look at the descriptors that it was given.
        Ended::Aborted if ["mmap", "poll"].contains(&point.call.as_str()) => {
            tally.injected += 1;
            tally.ended += 1;
            return Ok(());
        }
        Ended::Aborted => bail!("it gave up without a word"),
    };
    let lines = disturbed.injected();
    let Some(line) = lines.first() else { return Ok(()) };
    tally.injected += 1;
    let is_on_disk = match point.thread {
        Thread::First => line.contains(DISK),
        // Several threads may have met it.
        Thread::Other => lines.iter().all(|line| line.contains(DISK)),
    };
    tally.disk += usize::from(is_on_disk);
    if point.call == "fsync" {
        tally.fsync += 1;
        let name = line.split(['<', '>']).nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let unfinished = name.ends_with(".tmp") && *error != "EINTR";
        ensure!(!unfinished || !disturbed.renamed_after(name), "renamed after a failed fsync: {line}");
    }
    let Finished { code, output, errors, .. } = &disturbed.finished;
    match code {
        Some(0) => tally.survived += 1,
        // What it says went wrong as well.
        _ if lines.iter().any(|line| line.contains("write(1<") || line.contains("write(2<")) => tally.ended += 1,
        _ if is_on_disk => {
            let message = message(&disturbed)?;
            ensure!(*error != "EINTR", "not tried again: {line}: {message}");
            ensure!(message.contains(words) && message.contains(DISK), "{line}: {message}");
            tally.reported += 1;
        }
        _ => {
            // The loader has words of its own, so has who looks up names, and who asks whether a file is there hears that it
            // is not.
            let is_name = point.thread == Thread::Other && output.contains("its name cannot be resolved");
            let has_own_words = *code == Some(LOADER) || point.call == "statx" || is_name;
            ensure!(
                has_own_words || [output, errors].iter().any(|said| said.contains(words)),
                "{line}: {output}{errors}"
            );
            tally.ended += 1;
        }
    }
    Ok(())
}

/// What the certificate's error says.
fn message(disturbed: &Disturbed) -> Result<String> {
    let said = &disturbed.finished;
    let result: Value = serde_json::from_str(&said.output).with_context(|| format!("{said:?}"))?;
    let message = result["certificates"][0]["error"]["message"].as_str();
    message.map(str::to_owned).with_context(|| format!("no error is told: {said:?}"))
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
