//! The kernel ends the service in the middle of its work: at every system call of a pass, and at random moments of the
//! real service. What is on the disk then is whole and private, and the next pass leaves what a pass without a crash
//! would have left.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tests::handler_story::{DISK, Extension, unfinished};
use tests::story::observing;

use crate::call::Call;
use crate::figures::{Figures, Size};
use crate::points::{find, heal, kill_at, meet};
use crate::scenario::{Scenario, Subject, add_accounts};

/// So many that several threads fetch and several install, in the running service.
const CERTIFICATES: usize = 6;
/// How long a service that is not killed may take for its start and a pass.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(size: Size, figures: &mut Figures) -> Result<()> {
    let extension = Extension::begin()?;
    add_accounts(&extension)?;
    let mut broken = Vec::new();
    let (mut all, mut reached, mut of_helpers, mut chance) = (0, 0, 0, 0);
    for scenario in Scenario::ALL {
        let found = find(&extension, scenario, size.of(3, 3, 10), Call::is_outside)?;
        // A sample takes every twentieth or third, another one in each scenario.
        let step = size.of(20, 3, 1);
        let before = reached;
        let points: Vec<&Call> = found.calls.keys().skip(scenario as usize % step).step_by(step).collect();
        all += points.len();
        chance += found.chance;
        println!("{scenario:?}: {} calls", points.len());
        for (number, point) in points.iter().enumerate() {
            let (subject, was_killed) = meet(&extension, scenario, &format!("subject{number}"), |subject| {
                kill_at(&extension, &subject.settings, point)
            })?;
            match was_killed {
                Some(()) => {
                    reached += 1;
                    of_helpers += usize::from(!point.thread.is_first());
                }
                None => println!("{scenario:?}: no kill came to {point:?}"),
            }
            let healed = subject.check().context("after the kill").and_then(|()| heal(&subject, &found.state));
            if let Err(error) = healed {
                broken.push(format!("{scenario:?}, {point:?}: {error:#}"));
            }
            subject.remove()?;
        }
        figures.note(&format!("calls of {scenario:?}, killed at"), format!("{}, {}", points.len(), reached - before));
    }
    figures.at_least("kills at a call", reached, size.of(50, 500, 1_500));
    figures.note("of these at a call of a helping thread", of_helpers);
    figures.exactly("calls that no kill came to", all - reached, 0);
    figures.note("calls that one of several passes alone made, left out", chance);
    let kills = size.of(20, 300, 1_000);
    let before = at_random(&extension, kills, &mut broken)?;
    figures.note("kills of the running service at random moments", kills);
    figures.at_least("of these before all of the new versions were in use", before, size.of(0, 15, 50));
    figures.exactly("broken, leaked, or not healed by the next pass", broken.len(), 0);
    match broken.is_empty() {
        true => Ok(()),
        false => bail!("{}", broken.join("\n")),
    }
}

/// Kills the service at random moments, with new versions in the vault each time. How often one was not in use yet.
fn at_random(extension: &Extension, kills: usize, broken: &mut Vec<String>) -> Result<usize> {
    let mut random = fastrand::Rng::with_seed(20_231_114);
    let begun = (0..CERTIFICATES).map(|number| Subject::new(extension, Scenario::Renewal, format!("random{number}")));
    let mut subjects: Vec<Subject<'_>> = begun.collect::<Result<_>>()?;
    let settings = observing(&subjects.iter().map(Subject::observed).collect::<Vec<_>>());
    // Twice what a start and a pass take here and now, so that about half of the kills come before the end of the pass.
    let longest = undisturbed(extension, &settings, &subjects)? * 2;
    let mut before = 0;
    for number in 0..kills {
        for subject in &mut subjects {
            subject.renew()?;
        }
        let service = extension.story.run(&settings)?;
        thread::sleep(longest.mul_f64(random.f64()));
        service.signal(Signal::KILL)?;
        drop(service);
        before += usize::from(!subjects.iter().all(Subject::is_current));
        for subject in &subjects {
            if let Err(error) = subject.check() {
                broken.push(format!("random kill {number}: {error:#}"));
            }
        }
        if let Err(error) = heal_all(extension, &settings, &subjects) {
            broken.push(format!("the pass after random kill {number}: {error:#}"));
        }
    }
    subjects.iter().try_for_each(Subject::check)?;
    subjects.into_iter().try_for_each(Subject::remove)?;
    Ok(before)
}

/// After one more pass all of the newest versions are in use, and nothing is unfinished.
fn heal_all(extension: &Extension, settings: &Value, subjects: &[Subject<'_>]) -> Result<()> {
    let synced = extension.sync(settings)?;
    ensure!(synced.code() == Some(0), "{synced:#?}");
    ensure!(subjects.iter().all(Subject::is_current), "a link leads to an older version");
    let left = unfinished(&[DISK]);
    ensure!(left.is_empty(), "left over: {left:?}");
    Ok(())
}

/// How long the running service takes until the newest versions are in use.
fn undisturbed(extension: &Extension, settings: &Value, subjects: &[Subject<'_>]) -> Result<Duration> {
    let service = extension.story.run(settings)?;
    let begin = Instant::now();
    while !subjects.iter().all(Subject::is_current) {
        ensure!(begin.elapsed() < PATIENCE, "the new versions are not in use after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
    let took = begin.elapsed();
    service.signal(Signal::KILL)?;
    Ok(took)
}
