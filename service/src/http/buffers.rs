//! Buffers for ureq that are wiped: what passes through them are tokens and private keys, and ureq's own leave it in freed memory.

use std::io::Read;

use ureq::Error;
use ureq::unversioned::transport::Buffers;
use zeroize::Zeroizing;

/// Room for a request's head with its token, and for as much of an answer.
pub(super) const BUFFER: usize = 8 * 1024;

/// What was read and not yet consumed lies in `input[start..end]`.
pub(super) struct WipedBuffers {
    input: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    output: Zeroizing<Vec<u8>>,
    progress: bool,
}

impl WipedBuffers {
    pub(super) fn new() -> Self {
        let room = || Zeroizing::new(vec![0; BUFFER]);
        Self { input: room(), start: 0, end: 0, output: room(), progress: false }
    }

    /// Reads once, as much as there is room for; `false` at the end.
    pub(super) fn fill(&mut self, source: &mut impl Read) -> Result<bool, Error> {
        let room = self.input_append_buf();
        if room.is_empty() {
            return Err(Error::LargeResponseHeader(BUFFER, BUFFER));
        }
        let amount = source.read(room)?;
        self.input_appended(amount);
        Ok(amount > 0)
    }
}

impl Buffers for WipedBuffers {
    fn output(&mut self) -> &mut [u8] {
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.input[self.end..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.end += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.start += amount;
        debug_assert!(self.start <= self.end);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        // Only asked for while a request is sent, when nothing is left of the answer before.
        (&mut self.input[self.end..], &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.start < self.end && self.progress
    }
}
