//! The kernel answers with an error, at every call on a file of a pass, and a real disk is full or read-only: what was in use
//! stays, the cause is named with its path, and the next pass leaves what a pass without an error would have left.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::handler_story::{DISK, Extension};

use crate::figures::{Figures, Size};
use crate::points::{Disturbed, Point, pass_with, points};
use crate::scenario::{STORE, Scenario, Subject, add_accounts};

/// Every call on a file or a folder.
const CALLS: &str = "%file,%desc";
/// What goes wrong, the words for it, and whether it goes wrong from there on (`+`, as strace says it).
const ERRORS: [(&str, &str, &str); 10] = [
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
    let extension = Extension::begin()?;
    add_accounts(&extension)?;
    let mut wrong = Vec::new();
    let mut tally = Tally::default();
    for scenario in Scenario::ALL {
        let undisturbed = Subject::new(&extension, scenario, "undisturbed".to_owned())?;
        let found = points(&extension, &undisturbed.settings, CALLS, DISK)?;
        let wanted = undisturbed.state()?;
        undisturbed.remove()?;
        let elsewhere = match size {
            Size::Long => elsewhere(&extension, scenario, &found)?,
            Size::Smoke | Size::Bounded => Vec::new(),
        };
        // Prime to the number of errors: a sample has some of each.
        let tries = sample(&found, scenario as usize, size.of(101, 3, 1)).chain(sample(&elsewhere, 0, 11));
        let tries: Vec<_> = tries.collect();
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
                wrong
                    .push(format!("{scenario:?}, {} {}{}, {}: {problem:#}", point.call, point.count, error.2, error.0));
            }
            subject.remove()?;
        }
    }
    drop(extension);
    real_disk().context("a real disk")?;
    figures.at_least("errors at a call", tally.injected, size.of(20, 1_500, 5_000));
    figures.note("of these the pass went on with", tally.survived);
    figures.note("of these it reported with cause and path", tally.reported);
    figures.note("failed fsync", tally.fsync);
    figures.exactly("a full disk and a read-only one, endured and healed", 2, 2);
    figures.exactly("lost, leaked, unnamed, or not healed by the next pass", wrong.len(), 0);
    match wrong.is_empty() {
        true => Ok(()),
        false => bail!("{}", wrong.join("\n")),
    }
}

/// The calls of a pass on all other files, which are thousands: settings, roots, accounts, the program itself.
fn elsewhere(extension: &Extension, scenario: Scenario, found: &[Point]) -> Result<Vec<Point>> {
    let subject = Subject::new(extension, scenario, "elsewhere".to_owned())?;
    let mut all = points(extension, &subject.settings, CALLS, "")?;
    all.retain(|point| !found.contains(point));
    subject.remove()?;
    Ok(all)
}

/// Every so-manieth of all errors at all points, after the first so many.
fn sample(
    points: &[Point],
    first: usize,
    step: usize,
) -> impl Iterator<Item = (&Point, &'static (&'static str, &'static str, &'static str))> {
    points.iter().flat_map(|point| ERRORS.iter().map(move |error| (point, error))).skip(first).step_by(step)
}

/// How errors ended.
#[derive(Default)]
struct Tally {
    injected: usize,
    survived: usize,
    reported: usize,
    fsync: usize,
}

/// A pass with this error. What must be true of it right after.
fn endure(
    extension: &Extension,
    subject: &Subject<'_>,
    point: &Point,
    (error, words, on): &(&str, &str, &str),
    tally: &mut Tally,
) -> Result<()> {
    let disturbed = pass_with(extension, &subject.settings, point, &format!("error={error}:when={}{on}", point.count))?;
    let disturbed = disturbed.context("the error killed it")?;
    subject.check().context("after the error")?;
    let lines = disturbed.injected();
    let Some(line) = lines.first() else { return Ok(()) };
    tally.injected += 1;
    if point.call == "fsync" {
        tally.fsync += 1;
        let name = line.split(['<', '>']).nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let unfinished = name.ends_with(".tmp") && *error != "EINTR";
        ensure!(!unfinished || !disturbed.renamed_after(name), "renamed after a failed fsync: {line}");
    }
    match disturbed.finished.code {
        Some(0) => tally.survived += 1,
        // The loader, or what looks up a host in a thread of its own.
        _ if lines.iter().any(|line| !line.contains(DISK)) => tally.survived += 1,
        _ => {
            let message = message(&disturbed)?;
            ensure!(*error != "EINTR", "not tried again: {line}: {message}");
            ensure!(message.contains(words) && message.contains(DISK), "{line}: {message}");
            tally.reported += 1;
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
fn real_disk() -> Result<()> {
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
    }
    ensure!(!filler.exists() && fs::read_dir(disk)?.count() > 0, "what is left on the disk");
    Ok(())
}
