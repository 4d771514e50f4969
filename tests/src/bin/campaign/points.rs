//! The system calls of a pass as strace sees them, at each of which it can make an error.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::handler_story::{Extension, program};
use tests::story::Finished;

/// A call of this name, for the `count`th time in one thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) thread: Thread,
    pub(crate) call: String,
    pub(crate) count: usize,
}

/// Whose call it is. strace counts the calls of each thread, so where it follows several, the one that comes to the Nth call
/// first is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thread {
    /// The first one, which does the work of a pass with one certificate.
    First,
    /// One that asks for a token, a name or an account meanwhile.
    Other,
}

impl Thread {
    /// The options of strace that make it follow no thread too many.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::First => &[],
            Self::Other => &["-f"],
        }
    }
}

/// What strace sees of these calls in a pass with these settings, with the paths of descriptors.
pub(crate) fn trace(extension: &Extension, settings: &Value, calls: &str) -> Result<String> {
    let trace = extension.story.folder().join("trace");
    let (output, filter) = (trace.to_string_lossy(), format!("trace={calls}"));
    let finished = pass_under(extension, settings, Thread::Other, &["-y", "-o", &output, "-e", &filter])?;
    ensure!(finished.code == Some(0), "{finished:?}");
    Ok(fs::read_to_string(&trace)?)
}

/// The calls of a pass with these settings, which is made, but for those of other threads where another was at the same point
/// before. `calls` is what strace is to look at, such as `%file,%desc`; only those count whose line in the trace holds `about`,
/// such as a folder.
pub(crate) fn calls(extension: &Extension, settings: &Value, calls: &str, about: &str) -> Result<BTreeSet<Point>> {
    let trace = trace(extension, settings, calls)?;
    let first = trace.split(' ').next();
    let mut made: HashMap<(&str, &str), usize> = HashMap::new();
    let mut reached = HashSet::new();
    let mut found = BTreeSet::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        // The call that starts the program is strace's own; other lines are ends of calls, and of threads.
        let is_call = call != "execve" && call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_call {
            continue;
        }
        let count = made.entry((thread, call)).or_default();
        *count += 1;
        let is_new = reached.insert((call, *count));
        let thread = if first == Some(thread) { Thread::First } else { Thread::Other };
        if rest.contains(about) && (is_new || thread == Thread::First) {
            found.insert(Point { thread, call: call.to_owned(), count: *count });
        }
    }
    Ok(found)
}

/// A pass to which this is done at this call, in the words of strace: `error=EIO:when=3`.
pub(crate) fn pass_with(extension: &Extension, settings: &Value, point: &Point, done: &str) -> Result<Ended> {
    let call = &point.call;
    let trace = extension.story.folder().join("trace");
    let (output, filter) = (trace.to_string_lossy(), format!("trace={call},{RENAMES}"));
    let inject = format!("inject={call}:{done}");
    match pass_under(extension, settings, point.thread, &["-y", "-o", &output, "-e", &filter, "-e", &inject]) {
        Ok(finished) => Ok(Ended::Itself(Disturbed { finished, trace: fs::read_to_string(&trace)? })),
        Err(error)
            if ["signal 6", "signal 11"]
                .iter()
                .any(|end| format!("{error:#}").contains(&format!("ended by {end}"))) =>
        {
            Ok(Ended::Aborted)
        }
        Err(error) => Err(error).with_context(|| format!("{point:?}")),
    }
}

/// What gives a file its name.
const RENAMES: &str = "renameat,renameat2";

/// What became of a pass.
pub(crate) enum Ended {
    /// It went on until its end.
    Itself(Disturbed),
    /// It gave up without a word.
    Aborted,
}

/// A pass that went on with what was done to it.
pub(crate) struct Disturbed {
    /// How it ended, and what it printed.
    pub(crate) finished: Finished,
    trace: String,
}

impl Disturbed {
    /// Where the error was injected: the lines of the calls, of one thread or of several. None when the pass did not come to
    /// it.
    pub(crate) fn injected(&self) -> Vec<&str> {
        self.trace.lines().filter(|line| line.contains("(INJECTED)")).collect()
    }

    /// Whether a file with this name was renamed after the error.
    pub(crate) fn renamed_after(&self, name: &str) -> bool {
        let after = self.trace.lines().skip_while(|line| !line.contains("(INJECTED)"));
        after.skip(1).any(|line| line.contains("rename") && line.contains(name))
    }
}

fn pass_under(extension: &Extension, settings: &Value, thread: Thread, options: &[&str]) -> Result<Finished> {
    let file = extension.story.write_settings(settings)?.to_string_lossy().into_owned();
    let service = program("akvvm_service")?.to_string_lossy().into_owned();
    let words = [thread.options(), &["-qq"], options, &[&service, "sync", "--json", &file]].concat();
    let finished = extension.attempt("strace", &words)?;
    ensure!(!finished.errors.contains("strace: "), "{}", finished.errors);
    Ok(finished)
}
