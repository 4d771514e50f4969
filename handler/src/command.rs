//! Other programs, which may hang: their output, or nothing after a while.

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often it is looked whether a program is done.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs a program that says little; `None` when it did not end within `patience` and was killed.
///
/// # Errors
/// It cannot be run.
pub(crate) fn output_within(command: &mut Command, patience: Duration) -> Result<Option<Output>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| command.get_program().to_string_lossy().into_owned())?;
    let deadline = Instant::now() + patience;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
    Ok(Some(child.wait_with_output()?))
}
