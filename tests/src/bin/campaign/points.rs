//! The calls of passes of one kind, what is done at one of them, and what is true after the pass after that.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::handler_story::{DISK, Extension};

use crate::call::Call;
use crate::scenario::{Scenario, Subject};
use crate::tracer::{Deed, Ended, follow};

/// A thread that finds at once what it else waits for makes fewer calls: where a pass does not come to a call, once more.
const TRIES: usize = 300;

/// What passes do that nothing disturbs.
#[derive(Default)]
pub(crate) struct Found {
    /// Their calls, and whether each is on the certificates' disk.
    pub(crate) calls: BTreeMap<Call, bool>,
    /// How many calls one of them alone made, which is chance: another may never come to them.
    pub(crate) chance: usize,
    /// What each leaves.
    pub(crate) state: BTreeMap<String, String>,
}

/// What as many passes do together, two at least: not each makes all of the calls. Only those that are `wanted` count.
pub(crate) fn find(
    extension: &Extension,
    scenario: Scenario,
    passes: usize,
    wanted: impl Fn(&Call) -> bool,
) -> Result<Found> {
    let mut found = Found::default();
    let mut made = BTreeMap::<Call, usize>::new();
    for number in 0..passes {
        let subject = Subject::new(extension, scenario, format!("undisturbed{number}"))?;
        let ended = follow(extension, &subject.settings, |entered| {
            if wanted(&entered.call) {
                let is_on_disk = entered.paths().iter().any(|path| path.starts_with(DISK));
                *found.calls.entry(entered.call.clone()).or_default() |= is_on_disk;
                *made.entry(entered.call.clone()).or_default() += 1;
            }
            Ok(Deed::Nothing)
        })?;
        ensure!(ended.status.success(), "{ended:?}");
        subject.check()?;
        found.state = subject.state()?;
        subject.remove()?;
    }
    let all = found.calls.len();
    found.calls.retain(|call, _| made[call] > 1);
    found.chance = all - found.calls.len();
    Ok(found)
}

/// Does this to passes until one comes to the call that is meant. The certificate of that one, or of the last, and what
/// became of it.
pub(crate) fn meet<'a, T>(
    extension: &'a Extension,
    scenario: Scenario,
    name: &str,
    mut attempt: impl FnMut(&Subject<'a>) -> Result<Option<T>>,
) -> Result<(Subject<'a>, Option<T>)> {
    let mut tries = 0;
    loop {
        let subject = Subject::new(extension, scenario, name.to_owned())?;
        let met = attempt(&subject)?;
        tries += 1;
        if met.is_some() || tries == TRIES {
            return Ok((subject, met));
        }
        subject.remove()?;
    }
}

/// Begins a pass, and kills it when it is about to make this call. Nothing when it did not come to it.
pub(crate) fn kill_at(extension: &Extension, settings: &Value, wanted: &Call) -> Result<Option<()>> {
    let ended =
        follow(extension, settings, |entered| Ok(if entered.call == *wanted { Deed::Kill } else { Deed::Nothing }))?;
    match (ended.status.code(), ended.status.signal()) {
        (Some(0), _) => Ok(None),
        (_, Some(libc::SIGKILL)) => Ok(Some(())),
        _ => bail!("{wanted:?}: {ended:?}"),
    }
}

/// A pass that came to an error.
pub(crate) struct Disturbed {
    pub(crate) ended: Ended,
    /// The files that the failed call is about; several calls, when the error lasted.
    pub(crate) paths: Vec<Vec<PathBuf>>,
    /// Whether the program meant to print with one of them.
    pub(crate) is_output: bool,
    /// What was renamed after that, when a file was meant to be on the disk.
    pub(crate) renamed: Vec<PathBuf>,
}

/// A pass whose call fails, and with an error that lasts all later ones of the same number in the same thread. Nothing when it
/// did not come to it.
pub(crate) fn fail_at(
    extension: &Extension,
    settings: &Value,
    wanted: &Call,
    error: i32,
    lasts: bool,
) -> Result<Option<Disturbed>> {
    let (mut paths, mut is_output, mut renamed) = (Vec::new(), false, Vec::new());
    let ended = follow(extension, settings, |entered| {
        let call = &entered.call;
        if call == wanted || lasts && call.is_from(wanted) {
            paths.push(entered.paths());
            is_output |= entered.is_output();
            return Ok(Deed::Fail(error));
        }
        if !paths.is_empty() && call.is_rename() {
            renamed.extend(entered.paths());
        }
        // What comes after the only error matters for this alone.
        let is_over = !paths.is_empty() && !lasts && wanted.number != libc::SYS_fsync;
        Ok(if is_over { Deed::Leave } else { Deed::Nothing })
    })
    .with_context(|| format!("{wanted:?}"))?;
    if paths.is_empty() {
        ensure!(ended.status.success(), "without an error: {ended:?}");
        return Ok(None);
    }
    Ok(Some(Disturbed { ended, paths, is_output, renamed }))
}

/// The next pass leaves what a pass does that nothing disturbs.
pub(crate) fn heal(subject: &Subject<'_>, wanted: &BTreeMap<String, String>) -> Result<()> {
    subject.pass()?;
    subject.check().context("after the next pass")?;
    let state = subject.state()?;
    ensure!(state == *wanted, "the next pass leaves {state:#?}, not {wanted:#?}");
    Ok(())
}
