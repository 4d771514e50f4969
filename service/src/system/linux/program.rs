//! Other programs, which may hang, say too much, or leave something behind.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often it is looked whether a program is done.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the end of the output is waited for: what a program started in the background may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How much of the output is kept, in bytes: its end says what went wrong.
const KEPT: usize = 4096;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// The end of what it said, on both of its outputs.
    pub(crate) output: String,
}

/// Runs a program; `None` when it did not end within `limit`, and was killed with all that it started in its group.
///
/// # Errors
/// It cannot be run.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> io::Result<Option<Finished>> {
    let (mut reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let (said, hears) = channel();
    let listen = move || {
        let mut part = [0; KEPT];
        while let Ok(length @ 1..) = reader.read(&mut part) {
            if said.send(part[..length].to_vec()).is_err() {
                return;
            }
        }
    };
    // Before the program: what cannot be listened to is not begun.
    thread::Builder::new().spawn(listen)?;
    let mut child = command.spawn()?;
    // The command holds the pipe's other end, too.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let deadline = Instant::now() + limit;
    let mut output = Vec::new();
    let mut keep = |part: Vec<u8>| {
        output.extend(part);
        let surplus = output.len().saturating_sub(KEPT);
        output.drain(..surplus);
    };
    let status = loop {
        hears.try_iter().for_each(&mut keep);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // It may have ended at this moment.
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(PAUSE);
    };
    let end = Instant::now() + LAST_WORDS;
    // What goes on talking is not listened to for ever either.
    while let Some(left) = end.checked_duration_since(Instant::now())
        && let Ok(part) = hears.recv_timeout(left)
    {
        keep(part);
    }
    let code = status.code().filter(|_| status.signal().is_none());
    Ok(Some(Finished { code, output: String::from_utf8_lossy(&output).into_owned() }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration) -> Option<Finished> {
        run_within(Command::new("sh").args(["-c", script]), limit).unwrap()
    }

    #[test]
    fn the_end_of_what_a_program_said_and_its_exit_code_are_kept() {
        let finished = run("seq 100000; echo no space >&2; exit 3", Duration::from_secs(60)).unwrap();
        assert_eq!(finished.code, Some(3));
        assert!(finished.output.len() <= KEPT && finished.output.ends_with("100000\nno space\n"));
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_its_children_and_one_that_left_a_child_is_not_waited_for() {
        let begin = Instant::now();
        assert!(run("sleep 600 & sleep 600", Duration::from_millis(200)).is_none());
        let finished = run("sleep 20 & echo done", Duration::from_secs(60)).unwrap();
        assert_eq!((finished.code, finished.output.as_str()), (Some(0), "done\n"));
        let finished = run("timeout 20 yes & exit 7", Duration::from_secs(60)).unwrap();
        assert_eq!((finished.code, finished.output.get(..2)), (Some(7), Some("y\n")));
        assert!(begin.elapsed() < Duration::from_secs(15));
    }
}
