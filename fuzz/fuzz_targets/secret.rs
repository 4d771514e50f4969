#![no_main]

use fuzz::json::{body, change_input};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|data: &[u8]| fuzz::in_time(fuzz::secret, data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    change_input(data, size, max_size, seed, body)
});
