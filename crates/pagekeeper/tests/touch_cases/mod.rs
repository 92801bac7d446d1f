//! One case for each function of the table.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: calls libc's functions with pointers, which is what is tested"
)]

use std::path::PathBuf;

use crate::touch_support::Paged;

mod checked;
mod facts;
mod files;
mod locks;
mod paths;
pub(crate) mod processes;
mod signals;
mod sockets;
mod stdio;
mod vectors;

/// Puts arguments into paged memory, sends them out, makes the call and looks at what came of it.
pub(crate) type Case = fn(&str, &mut Paged);

/// All cases.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    [
        files::cases(),
        vectors::cases(),
        paths::cases(),
        facts::cases(),
        stdio::cases(),
        sockets::cases(),
        locks::cases(),
        processes::cases(),
        signals::cases(),
        checked::cases(),
    ]
    .concat()
}

/// A folder for the tests' files, gone at the end of the case.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(place()).expect("a folder")
}

fn place() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// Bytes that are like no other.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
