//! The system calls of a pass, at each of which something can be made to happen.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::handler_story::{Extension, program};
use tests::story::Finished;

/// A call of this name, for the `count`th time in one thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) call: String,
    pub(crate) count: usize,
}

/// The points of a pass with these settings, which is made. `calls` is what strace is to look at, such as `%file,%desc`.
pub(crate) fn points(extension: &Extension, settings: &Value, calls: &str) -> Result<Vec<Point>> {
    let trace = extension.story.folder().join("trace");
    let (output, filter) = (trace.to_string_lossy(), format!("trace={calls}"));
    let finished = pass_under(extension, settings, &["-o", &output, "-e", &filter])?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let mut threads: HashMap<(String, String), usize> = HashMap::new();
    for line in fs::read_to_string(&trace)?.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *threads.entry((thread.to_owned(), call.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::<String, usize>::new();
    for ((_, call), count) in threads {
        let known = most.entry(call).or_default();
        *known = count.max(*known);
    }
    // The call that starts the program is strace's own.
    most.remove("execve");
    let points =
        most.into_iter().flat_map(|(call, most)| (1..=most).map(move |count| Point { call: call.clone(), count }));
    Ok(points.collect())
}

/// A pass to which this is done at this point, in the words of strace: `signal=KILL`, `error=EIO`. `None` when that killed
/// it.
pub(crate) fn pass_with(
    extension: &Extension,
    settings: &Value,
    point: &Point,
    done: &str,
) -> Result<Option<Finished>> {
    let Point { call, count } = point;
    let (filter, inject) = (format!("trace={call}"), format!("inject={call}:{done}:when={count}"));
    match pass_under(extension, settings, &["-o", "/dev/null", "-e", &filter, "-e", &inject]) {
        Ok(finished) => Ok(Some(finished)),
        Err(error) if format!("{error:#}").contains("ended by signal 9") => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{point:?}")),
    }
}

fn pass_under(extension: &Extension, settings: &Value, options: &[&str]) -> Result<Finished> {
    let file = extension.story.write_settings(settings)?.to_string_lossy().into_owned();
    let service = program("akvvm_service")?.to_string_lossy().into_owned();
    let words = [&["-f", "-qq"], options, &[&service, "sync", &file]].concat();
    let finished = extension.attempt("strace", &words)?;
    if finished.errors.contains("strace: ") {
        bail!("{}", finished.errors);
    }
    Ok(finished)
}
