//! On a clock that is only counted, with the random numbers of a seed.
#![allow(clippy::panic)]

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const FINE: Verdict = Verdict { asked: true, installed: true, retry: None };

fn missing(retry: Retry) -> Verdict {
    Verdict { asked: true, installed: false, retry: Some(retry) }
}

fn stale(retry: Retry) -> Verdict {
    Verdict { asked: true, installed: true, retry: Some(retry) }
}

/// Lets time pass until the next pass, answers it with `verdict` for all, and returns when it was and what was due.
fn step(poller: &mut Poller, now: &mut Instant, verdict: impl Fn(usize) -> Verdict) -> Vec<usize> {
    for _ in 0..3 {
        match poller.next(*now) {
            Action::Wait(pause) => *now += pause,
            Action::Poll(due) => {
                let verdicts: Vec<_> = due.iter().map(|&index| (index, verdict(index))).collect();
                poller.finished(&verdicts, *now);
                return due;
            }
        }
    }
    panic!("nothing is ever due");
}

fn poller(certificates: usize, seed: u64) -> (Poller, Instant) {
    let now = Instant::now();
    (Poller::new(HOUR, &vec![0; certificates], now, Rng::with_seed(seed)), now)
}

#[test]
fn polls_at_once_then_around_the_interval() {
    for seed in 0..100 {
        let (mut poller, start) = poller(3, seed);
        let mut now = start;
        assert_eq!(step(&mut poller, &mut now, |_| FINE), [0, 1, 2]);
        assert_eq!(now, start);
        step(&mut poller, &mut now, |_| FINE);
        assert!(now - start >= HOUR.mul_f64(0.1) && now - start <= HOUR, "{:?}", now - start);
        let before = now;
        step(&mut poller, &mut now, |_| FINE);
        let pause = now - before;
        assert!(pause >= HOUR.mul_f64(0.9) && pause <= HOUR.mul_f64(1.1), "{pause:?}");
    }
}

#[test]
fn machines_that_start_together_drift_apart() {
    let mut pauses: Vec<Duration> = (0..50)
        .map(|seed| {
            let (mut poller, start) = poller(1, seed);
            let mut now = start;
            step(&mut poller, &mut now, |_| FINE);
            step(&mut poller, &mut now, |_| FINE);
            now - start
        })
        .collect();
    pauses.sort();
    pauses.dedup();
    assert_eq!(pauses.len(), 50);
}

#[test]
fn a_missing_certificate_is_tried_within_a_minute_for_an_hour_and_every_five_minutes_after() {
    for retry in [Retry::Soon, Retry::NextPoll, Retry::Throttled(None)] {
        let (mut poller, start) = poller(1, 7);
        poller.interval = 24 * HOUR;
        let mut now = start;
        let mut before = start;
        for _ in 0..200 {
            step(&mut poller, &mut now, |_| missing(retry));
            let pause = now - before;
            let limit = if before - start < MISSING_PATIENCE { 60 } else { 300 };
            assert!(pause <= Duration::from_secs(limit), "{pause:?} after {:?}", before - start);
            before = now;
        }
    }
}

#[test]
fn twenty_five_tries_of_an_initial_sync_fit_into_fifteen_minutes() {
    for seed in 0..50 {
        let (mut poller, start) = poller(1, seed);
        poller.interval = 24 * HOUR;
        let sync = InitialSync::new(start);
        let mut now = start;
        let mut tries = 0;
        loop {
            step(&mut poller, &mut now, |_| missing(Retry::Soon));
            tries += 1;
            if sync.is_used_up(poller.failures(0), false, now) {
                break;
            }
        }
        assert_eq!(tries, 25);
        assert!(now - start < InitialSync::TIME, "{:?}", now - start);
    }
}

#[test]
fn certificates_that_are_tried_at_different_times_leave_each_other_their_tries() {
    for seed in 0..50 {
        let start = Instant::now();
        let mut poller = Poller::new(24 * HOUR, &[0, 1], start, Rng::with_seed(seed));
        let sync = InitialSync::new(start);
        let mut now = start;
        let mut tries = [0, 0];
        while !(0..2).any(|index| sync.is_used_up(poller.failures(index), false, now)) {
            let retry = |index| if index == 0 { Retry::NextPoll } else { Retry::Throttled(None) };
            for index in step(&mut poller, &mut now, |index| missing(retry(index))) {
                tries[index] += 1;
            }
        }
        assert_eq!(tries.into_iter().max(), Some(25), "{tries:?}");
        assert!(now - start < InitialSync::TIME, "{:?}", now - start);
    }
}

#[test]
fn what_cannot_succeed_ends_the_initial_sync_at_once() {
    let now = Instant::now();
    assert!(InitialSync::new(now).is_used_up(1, true, now));
    assert!(!InitialSync::new(now).is_used_up(24, false, now));
    assert!(InitialSync::new(now).is_used_up(25, false, now));
    assert!(InitialSync::new(now).is_used_up(1, false, now + InitialSync::TIME));
}

#[test]
fn a_retry_leaves_the_others_alone() {
    let (mut poller, mut now) = poller(3, 1);
    step(&mut poller, &mut now, |index| if index == 1 { missing(Retry::Soon) } else { FINE });
    assert_eq!(step(&mut poller, &mut now, |_| FINE), [1]);
}

#[test]
fn an_installed_certificate_that_somebody_must_mend_waits_for_the_interval() {
    let (mut poller, start) = poller(1, 3);
    let mut now = start;
    step(&mut poller, &mut now, |_| stale(Retry::NextPoll));
    step(&mut poller, &mut now, |_| FINE);
    assert!(now - start >= HOUR.mul_f64(0.1));
}

#[test]
fn an_outage_is_retried_with_pauses_that_grow_to_five_minutes() {
    let (mut poller, start) = poller(1, 11);
    poller.interval = 24 * HOUR;
    let mut now = start;
    let mut before = start;
    for round in 0..100 {
        step(&mut poller, &mut now, |_| stale(Retry::Soon));
        let pause = now - before;
        assert!(pause <= Duration::from_secs(300), "{pause:?}");
        assert!(round == 0 || pause >= Duration::from_secs(1), "no busy loop: {pause:?}");
        before = now;
    }
    assert!(now - start > Duration::from_secs(3000));
}

#[test]
fn retry_after_wins_when_it_is_longer() {
    let (mut poller, start) = poller(1, 5);
    let mut now = start;
    poller.interval = 10 * HOUR;
    step(&mut poller, &mut now, |_| missing(Retry::Throttled(Some(Duration::from_secs(200)))));
    step(&mut poller, &mut now, |_| FINE);
    assert!(now - start >= Duration::from_secs(200) && now - start <= Duration::from_secs(205), "{:?}", now - start);
}

#[test]
fn a_hostile_retry_after_ends_within_the_hour() {
    let (mut poller, start) = poller(1, 5);
    let mut now = start;
    step(&mut poller, &mut now, |_| stale(Retry::Throttled(Some(Duration::MAX))));
    while step(&mut poller, &mut now, |_| FINE).is_empty() {}
    assert!(now - start >= HOUR && now - start <= HOUR + Duration::from_secs(5), "{:?}", now - start);
}

#[test]
fn the_pause_that_a_vault_asked_for_holds_for_regular_polls_and_for_all_its_certificates() {
    let start = Instant::now();
    let mut now = start;
    let minute = Duration::from_secs(60);
    let mut poller = Poller::new(minute, &[0, 0, 1], start, Rng::with_seed(4));
    let asked = Retry::Throttled(Some(Duration::from_secs(200)));
    step(&mut poller, &mut now, |index| if index == 1 { stale(asked) } else { FINE });
    let mut seen = Vec::new();
    while now - start < Duration::from_secs(220) {
        let due = step(&mut poller, &mut now, |_| FINE);
        seen.extend(due.into_iter().map(|index| (index, now - start)));
    }
    assert!(seen.iter().filter(|(index, _)| *index == 2).count() >= 3, "another vault goes on: {seen:?}");
    let early = |(index, at): &&(usize, Duration)| *index < 2 && *at < Duration::from_secs(200);
    assert_eq!(seen.iter().find(early), None);
    assert!(seen.iter().any(|(index, _)| *index == 1), "{seen:?}");
}

#[test]
fn somebody_who_asks_for_a_poll_gets_it_during_a_pause() {
    let (mut poller, mut now) = poller(1, 5);
    step(&mut poller, &mut now, |_| stale(Retry::Throttled(Some(HOUR))));
    now += Duration::from_secs(1);
    poller.wake(now);
    assert_eq!(poller.next(now), Action::Poll(vec![0]));
}

#[test]
fn those_that_were_not_reached_come_first_at_the_next_poll() {
    let (mut poller, mut now) = poller(4, 2);
    let stopped = Retry::NextPoll;
    let verdict = |index| match index {
        0 => FINE,
        1 => stale(stopped),
        _ => Verdict { asked: false, ..stale(stopped) },
    };
    step(&mut poller, &mut now, verdict);
    assert_eq!(step(&mut poller, &mut now, |_| FINE), [2, 3, 0, 1]);
}

#[test]
fn a_wake_up_makes_everything_due() {
    let (mut poller, mut now) = poller(2, 2);
    step(&mut poller, &mut now, |_| FINE);
    now += Duration::from_secs(1);
    poller.wake(now);
    assert_eq!(poller.next(now), Action::Poll(vec![0, 1]));
}

#[test]
fn nothing_observed_means_nothing_but_waiting() {
    let (mut poller, mut now) = poller(0, 2);
    assert_eq!(poller.next(now), Action::Poll(vec![]));
    poller.finished(&[], now);
    assert!(matches!(poller.next(now), Action::Wait(_)));
    now += 2 * HOUR;
    assert_eq!(poller.next(now), Action::Poll(vec![]));
}

#[test]
fn pauses_grow_as_documented() {
    const LATER: Duration = Duration::from_secs(3599);
    let seconds = |retry, installed, failures, chance| {
        pause(retry, installed, failures, LATER, chance).map(|pause| pause.as_secs_f64())
    };
    let asked = |seconds| Retry::Throttled(Some(Duration::from_secs(seconds)));
    for (retry, installed, failures, chance, pause) in [
        // Missing: 2 s, and half as much again each time, up to a minute; a tenth less at most.
        (Retry::NextPoll, false, 0, 1.0, Some(2.0)),
        (Retry::NextPoll, false, 0, 0.0, Some(1.8)),
        (Retry::Soon, false, 1, 1.0, Some(3.0)),
        (Retry::Hopeless, false, 2, 1.0, Some(4.5)),
        (Retry::NextPoll, false, 9, 1.0, Some(MISSING_CAP)),
        (Retry::NextPoll, false, 9, 0.5, Some(MISSING_CAP * 0.95)),
        // Installed: from a second to one that doubles, or the next poll.
        (Retry::Soon, true, 0, 0.0, Some(1.0)),
        (Retry::Soon, true, 0, 1.0, Some(6.0)),
        (Retry::Soon, true, 2, 1.0, Some(21.0)),
        (Retry::Soon, true, 40, 1.0, Some(OUTAGE_CAP)),
        (Retry::NextPoll, true, 0, 1.0, None),
        (Retry::Hopeless, true, 0, 1.0, None),
        // Throttled: what was asked for, and more each time.
        (Retry::Throttled(None), false, 0, 0.0, Some(5.0)),
        (Retry::Throttled(None), true, 0, 1.0, Some(10.0)),
        (asked(30), true, 1, 1.0, Some(40.0)),
        (asked(0), true, 0, 0.0, Some(1.0)),
        (asked(30), false, 40, 1.0, Some(30.0 + MISSING_CAP)),
        (asked(30), true, 40, 1.0, Some(30.0 + THROTTLED_CAP)),
    ] {
        let found = seconds(retry, installed, failures, chance);
        let is_right = match (found, pause) {
            (Some(found), Some(pause)) => (found - pause).abs() < 1e-6,
            (found, pause) => found == pause,
        };
        assert!(is_right, "{retry:?}, installed: {installed}, {failures} before, {chance}: {found:?}, not {pause:?}");
    }
    let after_an_hour = |chance| pause(Retry::Soon, false, 3, MISSING_PATIENCE, chance);
    assert_eq!(after_an_hour(1.0), Some(Duration::from_secs_f64(MISSING_LATER)));
    assert_eq!(after_an_hour(0.0), Some(Duration::from_secs_f64(MISSING_LATER * 0.9)));
}

#[test]
fn a_failure_after_a_success_is_the_first_again() {
    let (mut poller, start) = poller(1, 11);
    poller.interval = 24 * HOUR;
    let mut now = start;
    while now - start < 2 * MISSING_PATIENCE {
        step(&mut poller, &mut now, |_| missing(Retry::Soon));
    }
    step(&mut poller, &mut now, |_| FINE);
    poller.wake(now);
    step(&mut poller, &mut now, |_| missing(Retry::Soon));
    let before = now;
    step(&mut poller, &mut now, |_| FINE);
    assert!(now - before <= Duration::from_secs(2), "{:?}", now - before);
}

#[test]
fn it_is_known_when_the_next_look_comes() {
    let (mut poller, mut now) = poller(2, 5);
    step(&mut poller, &mut now, |index| if index == 0 { FINE } else { missing(Retry::Soon) });
    let (poll, fine, missing) =
        (poller.until_next_poll(now), poller.until_next_try(0, now), poller.until_next_try(1, now));
    assert!(poll >= HOUR.mul_f64(0.1) && poll <= HOUR, "{poll:?}");
    assert_eq!(fine, poll);
    assert!(missing >= Duration::from_millis(1800) && missing <= Duration::from_secs(2), "{missing:?}");
    assert_eq!(poller.until_next_poll(now + 2 * HOUR), Duration::ZERO);
    let initial = InitialSync::new(now);
    assert_eq!(initial.time_left(now + Duration::from_secs(60)), Duration::from_secs(14 * 60));
}
