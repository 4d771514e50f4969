#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|data: &[u8]| fuzz::in_time(fuzz::identity, data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = seed.is_multiple_of(2).then(|| fuzz::json::mutate_body(data, size, seed, fuzzer_mutate)).flatten();
    changed.filter(|size| *size <= max_size).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
