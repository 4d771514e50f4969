//! The system calls of a pass, at each of which something can be made to happen.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::handler_story::{Extension, program};
use tests::story::Finished;

/// A call of this name, for the `count`th time in one thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) call: String,
    pub(crate) count: usize,
}

/// What strace sees of these calls in a pass with these settings, with the paths of descriptors.
pub(crate) fn trace(extension: &Extension, settings: &Value, calls: &str) -> Result<String> {
    let trace = extension.story.folder().join("trace");
    let (output, filter) = (trace.to_string_lossy(), format!("trace={calls}"));
    let finished = pass_under(extension, settings, &["-y", "-o", &output, "-e", &filter])?;
    ensure!(finished.code == Some(0), "{finished:?}");
    Ok(fs::read_to_string(&trace)?)
}

/// The points of a pass with these settings, which is made. `calls` is what strace is to look at, such as `%file,%desc`;
/// only those count whose line in the trace holds `about`, such as a folder.
pub(crate) fn points(extension: &Extension, settings: &Value, calls: &str, about: &str) -> Result<Vec<Point>> {
    let mut made: HashMap<(String, String), usize> = HashMap::new();
    let mut points = BTreeSet::new();
    for line in trace(extension, settings, calls)?.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        // The call that starts the program is strace's own; other lines are ends of calls, and of threads.
        let is_call = call != "execve" && call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_call {
            let count = made.entry((thread.to_owned(), call.to_owned())).or_default();
            *count += 1;
            if rest.contains(about) {
                points.insert(Point { call: call.to_owned(), count: *count });
            }
        }
    }
    Ok(points.into_iter().collect())
}

/// A pass to which this is done at this call, in the words of strace: `signal=KILL:when=3`. `None` when that killed it.
pub(crate) fn pass_with(
    extension: &Extension,
    settings: &Value,
    point: &Point,
    done: &str,
) -> Result<Option<Disturbed>> {
    let call = &point.call;
    let trace = extension.story.folder().join("trace");
    let (output, filter) = (trace.to_string_lossy(), format!("trace={call},{RENAMES}"));
    let inject = format!("inject={call}:{done}");
    match pass_under(extension, settings, &["-y", "-o", &output, "-e", &filter, "-e", &inject]) {
        Ok(finished) => Ok(Some(Disturbed { finished, trace: fs::read_to_string(&trace)? })),
        Err(error) if format!("{error:#}").contains("ended by signal 9") => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{point:?}")),
    }
}

/// What gives a file its name.
const RENAMES: &str = "renameat,renameat2";

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

fn pass_under(extension: &Extension, settings: &Value, options: &[&str]) -> Result<Finished> {
    let file = extension.story.write_settings(settings)?.to_string_lossy().into_owned();
    let service = program("akvvm_service")?.to_string_lossy().into_owned();
    let words = [&["-f", "-qq"], options, &[&service, "sync", "--json", &file]].concat();
    let finished = extension.attempt("strace", &words)?;
    ensure!(!finished.errors.contains("strace: "), "{}", finished.errors);
    Ok(finished)
}
