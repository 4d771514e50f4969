//! The lines that wait for the collector: a bounded number, the oldest are dropped and counted.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::chunk::Line;

/// How many lines wait at most.
const MOST_LINES: usize = 1000;
/// How many lines go into one chunk.
const MOST_AT_ONCE: usize = 100;

/// Between those who log and the thread that sends.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    /// The number of the first line, counted from the start.
    first: u64,
    /// How many were dropped and not yet reported.
    dropped: u64,
    is_closing: bool,
    is_over: bool,
}

/// Lines to send together. They stay in the queue until they are delivered.
#[derive(Debug)]
pub(super) struct Batch {
    /// Oldest first.
    pub(super) lines: Vec<Line>,
    /// How many lines are missing before these.
    pub(super) dropped: u64,
    /// The number of the line after the last of these.
    pub(super) end: u64,
}

impl Queue {
    pub(super) fn push(&self, line: Line) {
        let mut state = self.state();
        if state.is_over {
            return;
        }
        if state.lines.len() >= MOST_LINES {
            let second = state.first + 1;
            state.drop_before_and_count(second);
        }
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    /// Waits for lines, and calls `idle` before it has to; nothing when the queue is closed and empty.
    pub(super) fn next(&self, idle: impl FnOnce()) -> Option<Batch> {
        let mut state = self.state();
        if state.lines.is_empty() {
            idle();
            let nothing_to_do = |state: &mut State| state.lines.is_empty() && !state.is_closing;
            state = self.changed.wait_while(state, nothing_to_do).unwrap_or_else(PoisonError::into_inner);
        }
        let lines: Vec<_> = state.lines.iter().take(MOST_AT_ONCE).cloned().collect();
        let end = state.first + lines.len() as u64;
        (!lines.is_empty()).then(|| Batch { lines, dropped: state.dropped, end })
    }

    pub(super) fn delivered(&self, batch: &Batch) {
        let mut state = self.state();
        let dropped_meanwhile = state.first.min(batch.end) - (batch.end - batch.lines.len() as u64);
        state.dropped -= batch.dropped + dropped_meanwhile;
        state.drop_before(batch.end);
    }

    /// Drops these lines: they could be what the collector does not like.
    pub(super) fn give_up(&self, batch: &Batch) {
        self.state().drop_before_and_count(batch.end);
    }

    /// Waits before another try. The end cuts it short, once: a second failure after that is the last.
    pub(super) fn pause(&self, length: Duration) -> ControlFlow<()> {
        let state = self.state();
        if state.is_closing {
            return ControlFlow::Break(());
        }
        let waited = self.changed.wait_timeout_while(state, length, |state| !state.is_closing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        ControlFlow::Continue(())
    }

    /// Lets the sender finish, for as long as this at most.
    pub(super) fn close(&self, patience: Duration) {
        let mut state = self.state();
        state.is_closing = true;
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(state, patience, |state| !state.is_over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Nobody sends any more.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        state.lines.clear();
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Answers how many were still there.
    fn drop_before(&mut self, end: u64) -> u64 {
        let mut count = 0;
        while self.first < end && self.lines.pop_front().is_some() {
            self.first += 1;
            count += 1;
        }
        count
    }

    fn drop_before_and_count(&mut self, end: u64) {
        self.dropped += self.drop_before(end);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use log::Level;

    fn queue_of(numbers: std::ops::Range<usize>) -> Queue {
        let queue = Queue::default();
        push(&queue, numbers);
        queue
    }

    fn push(queue: &Queue, numbers: std::ops::Range<usize>) {
        for number in numbers {
            queue.push(Line {
                level: Level::Info,
                message: number.to_string(),
                subject: None,
                at: Timestamp::UNIX_EPOCH,
            });
        }
    }

    fn next(queue: &Queue) -> (Batch, String, u64) {
        let batch = queue.next(|| ()).unwrap();
        let (first, dropped) = (batch.lines[0].message.clone(), batch.dropped);
        (batch, first, dropped)
    }

    #[test]
    fn keeps_lines_until_they_are_delivered() {
        let queue = queue_of(0..150);
        assert_eq!(next(&queue).1, "0");
        let (batch, first, _) = next(&queue);
        assert_eq!((first.as_str(), batch.lines.len()), ("0", 100));
        queue.delivered(&batch);
        let (batch, first, _) = next(&queue);
        assert_eq!((first.as_str(), batch.lines.len()), ("100", 50));
        queue.delivered(&batch);
        queue.close(Duration::ZERO);
        assert!(queue.next(|| ()).is_none());
    }

    #[test]
    fn drops_the_oldest_and_reports_each_once() {
        let queue = queue_of(0..1007);
        let (batch, first, dropped) = next(&queue);
        assert_eq!((first.as_str(), dropped), ("7", 7));
        // While that batch is under way, ten of its lines are dropped: they are not missing if it arrives.
        push(&queue, 1007..1017);
        queue.delivered(&batch);
        assert_eq!(next(&queue).1, "107");
        assert_eq!(next(&queue).2, 0);
    }

    #[test]
    fn counts_what_is_given_up() {
        let queue = queue_of(0..150);
        queue.give_up(&next(&queue).0);
        let (_, first, dropped) = next(&queue);
        assert_eq!((first.as_str(), dropped), ("100", 100));
    }

    #[test]
    fn a_closing_queue_allows_one_more_try() {
        let queue = queue_of(0..1);
        assert!(queue.pause(Duration::ZERO).is_continue());
        queue.close(Duration::ZERO);
        assert_eq!(next(&queue).1, "0");
        assert!(queue.pause(Duration::from_secs(60)).is_break());
    }
}
