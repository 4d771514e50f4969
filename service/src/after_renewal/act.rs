//! `act FILE`: does what the note says, all of it at the same time, and answers. Who leaves the note is confined and this is not,
//! so only what the settings name is done.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use common::files;
use common::settings::{Action, Settings};
use fs2::FileExt;

use super::note::{Answer, Desk, Failure, Note, Task};
use super::{programs, verify};
use crate::{DONE, system};

/// A service manager that finds the note still there starts this anew: not without a pause where nothing can be written.
const PAUSE: Duration = Duration::from_secs(30);

/// Starts this program as the one that acts, with these settings.
pub(super) fn start(file: &Path, desk: &Desk) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("act").arg(file).arg("--state-folder").arg(desk.state());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Does what the note below `state` says. Nothing when there is none.
pub(crate) fn run(file: &Path, state: &Path) -> Result<u8> {
    let desk = Desk::of(state);
    if !desk.note().exists() {
        return Ok(DONE);
    }
    // Two of this may meet where no service manager sees to it that they do not.
    let lock = system::open_lock(&desk.lock());
    let lock = lock.with_context(|| desk.lock().display().to_string())?;
    lock.lock_exclusive().with_context(|| desk.lock().display().to_string())?;
    let answered = match files::load::<Note>(&desk.note()) {
        Ok(None) => return Ok(DONE),
        Ok(Some(note)) => files::save(&desk.answer(), &answer(note, &named(file))),
        Err(cause) => Err(cause),
    };
    // Without an answer it counts as failed, and is asked for again.
    let removed = files::remove(&desk.note());
    if removed.is_err() {
        thread::sleep(PAUSE);
    }
    answered.and(removed)?;
    Ok(DONE)
}

/// What the settings name.
fn named(file: &Path) -> Result<HashSet<Action>, String> {
    let settings = Settings::load(file).map_err(|wrong| wrong.to_string())?;
    let all = settings.certificates.iter().filter_map(|observed| observed.after_renewal.as_ref());
    Ok(all.flat_map(|after_renewal| after_renewal.actions.iter().cloned()).collect())
}

fn answer(note: Note, named: &Result<HashSet<Action>, String>) -> Answer {
    let results = thread::scope(|scope| {
        let begin = |task| {
            thread::Builder::new().spawn_scoped(scope, move || permitted(task, named).and_then(|()| perform(task)))
        };
        let threads: Vec<_> = note.tasks.iter().map(begin).collect();
        let failed = |reason| Err(failure(reason));
        let end = |thread: io::Result<ScopedJoinHandle<'_, _>>| match thread.map(ScopedJoinHandle::join) {
            Ok(done) => done.unwrap_or_else(|_| failed("an internal error".to_owned())),
            Err(cause) => failed(format!("it cannot be begun: {cause}")),
        };
        threads.into_iter().map(end).collect()
    });
    Answer { note, results }
}

fn failure(reason: String) -> Failure {
    Failure { reason, output: String::new() }
}

fn permitted(task: &Task, named: &Result<HashSet<Action>, String>) -> Result<(), Failure> {
    match named {
        Ok(named) if named.contains(&task.action) => Ok(()),
        Ok(_) => Err(failure("it is not done: the settings do not name it".to_owned())),
        Err(wrong) => Err(failure(wrong.clone())),
    }
}

fn perform(task: &Task) -> Result<(), Failure> {
    match &task.action {
        Action::Hook(name) => programs::run_hook(name, &task.moves),
        Action::Reload(unit) => programs::reload(unit),
        Action::Restart(unit) => programs::restart(unit),
        Action::Verify(server) => verify::verify(server, &task.moves, &task.unmoved),
    }
}
