//! Sequences of Windows' calls with hostile arguments: nothing crashes, errors are defined, nothing changes where a call fails.
//!
//! The entry is shared with `tests/hostile_sequences.rs` of pagekeeper-win32, which draws its bytes at random on a stable compiler.

#![no_main]
#![allow(
    unsafe_code,
    reason = "UNSAFETY: sets variables while there is one thread"
)]

#[path = "../../crates/pagekeeper-win32/tests/hostile_sequence/mod.rs"]
mod hostile_sequence;

use libfuzzer_sys::fuzz_target;

/// A small budget, so that pages move; whoever fuzzes may set others, and the engine.
fn settings() {
    for (name, value) in [
        ("PAGEKEEPER_RAM", "16M"),
        ("PAGEKEEPER_PAGE_FILE_MAX", "64M"),
    ] {
        if std::env::var_os(name).is_none() {
            // SAFETY: before the first input there is one thread.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

fuzz_target!(init: settings(), |bytes: &[u8]| hostile_sequence::run(bytes));
