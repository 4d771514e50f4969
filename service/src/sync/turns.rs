//! Decoding in turns: it keeps a processor busy, so more at a time would take memory, and processors from who holds a lock
//! of the file system while others wait for it.

use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// One turn less at a time than there are processors.
pub(super) struct Turns {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// Held while it is one's turn.
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        Self { free: Mutex::new(processors.saturating_sub(1).max(1)), given_back: Condvar::new() }
    }

    /// Waits until there is one to take.
    pub(super) fn take(&self) -> Turn<'_> {
        let taken = self.given_back.wait_while(self.free(), |free| *free == 0);
        *taken.unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn(self)
    }

    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.given_back.notify_one();
    }
}
