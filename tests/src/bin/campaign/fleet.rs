//! A fleet that starts together before one vault: the service's own schedule, ten thousand times, on a simulated clock.
//!
//! Leaves the times behind, for `scripts/bench --fleet` to draw.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;
use serde_json::json;
use tests::handler_story::target;

use crate::figures::{Figures, Size};
use crate::schedule::{Action, Poller, Retry, Verdict};

const MACHINES: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(3600);
/// The vault answers so many requests in each window.
const LIMIT: u32 = 4_000;
const WINDOW: Duration = Duration::from_secs(10);
/// What one request takes on the simulated clock.
const REQUEST: Duration = Duration::from_millis(1);
/// The end of the simulation, two polls.
const END: Duration = Duration::from_secs(7200);

/// How a fleet starts.
struct Start {
    name: &'static str,
    /// The machines start at random moments of this time.
    within: Duration,
    certificates: usize,
    /// The vault answers nobody for so long.
    outage: Duration,
}

struct Machine {
    poller: Poller,
    begun: Instant,
    installed: Vec<bool>,
    complete: Option<Instant>,
}

/// The vault's limit, in windows that do not slide.
#[derive(Default)]
struct Vault {
    window: u128,
    used: u32,
    asked: u64,
    refused: u64,
}

impl Vault {
    /// What somebody is told who asks at this time; nothing when he gets his certificate.
    fn ask(&mut self, now: Duration, outage: Duration, tells_pause: bool) -> Option<Retry> {
        self.asked += 1;
        if now < outage {
            return Some(Retry::Soon);
        }
        let (window, gone) = (now.as_millis() / WINDOW.as_millis(), now.as_millis() % WINDOW.as_millis());
        if self.window != window {
            (self.window, self.used) = (window, 0);
        }
        if self.used < LIMIT {
            self.used += 1;
            return None;
        }
        self.refused += 1;
        let rest = WINDOW.saturating_sub(Duration::from_millis(u64::try_from(gone).unwrap_or(0)));
        Some(Retry::Throttled(tells_pause.then_some(rest)))
    }
}

fn simulate(start: &Start, tells_pause: bool) -> (Vec<Machine>, Vault, Instant) {
    let zero = Instant::now();
    let mut random = Rng::with_seed(1);
    let mut machines: Vec<Machine> = (0..MACHINES as u64)
        .map(|seed| {
            let begun = zero + start.within.mul_f64(random.f64());
            let poller = Poller::new(INTERVAL, &vec![0; start.certificates], begun, Rng::with_seed(seed));
            Machine { poller, begun, installed: vec![false; start.certificates], complete: None }
        })
        .collect();
    let mut vault = Vault::default();
    let mut queue: BinaryHeap<_> =
        machines.iter().enumerate().map(|(index, machine)| Reverse((machine.begun, index))).collect();
    while let Some(Reverse((now, index))) = queue.pop() {
        if now - zero > END {
            break;
        }
        let machine = &mut machines[index];
        let due = match machine.poller.next(now) {
            Action::Wait(pause) => {
                queue.push(Reverse((now + pause, index)));
                continue;
            }
            Action::Poll(due) => due,
        };
        let (mut clock, mut stopped, mut verdicts) = (now, None, vec![]);
        for one in due {
            // A vault that refused is not asked for the rest of the pass.
            let asked = stopped.is_none();
            if asked {
                stopped = vault.ask(now - zero, start.outage, tells_pause);
                machine.installed[one] |= stopped.is_none();
                clock += REQUEST;
            }
            verdicts.push((one, Verdict { asked, installed: machine.installed[one], retry: stopped }));
        }
        if machine.complete.is_none() && machine.installed.iter().all(|&installed| installed) {
            machine.complete = Some(clock);
        }
        machine.poller.finished(&verdicts, clock);
        queue.push(Reverse((clock, index)));
    }
    (machines, vault, zero)
}

pub(crate) fn run(_: Size, figures: &mut Figures) -> Result<()> {
    let seconds = Duration::from_secs;
    let none = Duration::ZERO;
    let mut starts = vec![];
    for certificates in [1, 5, 20] {
        starts.push(Start { name: "at once", within: none, certificates, outage: none });
        starts.push(Start { name: "within a minute", within: seconds(60), certificates, outage: none });
        starts.push(Start { name: "within an hour", within: seconds(3600), certificates, outage: none });
    }
    for certificates in [1, 5, 20] {
        let name = "while the vault is out for 20 minutes";
        starts.push(Start { name, within: none, certificates, outage: seconds(1200) });
    }
    let mut drawn = vec![];
    for (start, tells_pause) in starts.iter().flat_map(|start| [(start, true), (start, false)]) {
        let (machines, vault, zero) = simulate(start, tells_pause);
        let what = format!(
            "{}, certificates: {}, `Retry-After`: {}",
            start.name,
            start.certificates,
            if tells_pause { "yes" } else { "no" }
        );
        let mut times: Vec<u64> = machines
            .iter()
            .filter_map(|machine| Some((machine.complete? - machine.begun.max(zero + start.outage)).as_secs()))
            .collect();
        times.sort_unstable();
        figures.exactly(&format!("{what}: machines that lack one"), MACHINES - times.len(), 0);
        let slowest = times.last().context("no machine has all its certificates")?;
        let most = times[times.len() * 99 / 100 - usize::from(times.len() >= 100)];
        let name = format!("{what}: seconds until 99 of 100 machines have all");
        match start.certificates == 1 && start.outage.is_zero() {
            true => figures.at_most(&name, most, 60),
            false => figures.note(&name, most),
        }
        figures.note(&format!("{what}: seconds until the last has"), slowest);
        figures.note(&format!("{what}: refused requests, %"), vault.refused * 100 / vault.asked);
        // The time after which so many hundredths of the fleet have everything.
        let hundredths: Vec<u64> = (1..=100).map(|share| times[times.len() * share / 100 - 1]).collect();
        drawn.push(json!({"start": start.name, "certificates": start.certificates, "retry_after": tells_pause,
            "seconds": hundredths}));
    }
    let folder = target()?.join("campaign");
    fs::create_dir_all(&folder)?;
    let file = folder.join("fleet.json");
    fs::write(&file, json!(drawn).to_string()).with_context(|| file.display().to_string())
}
