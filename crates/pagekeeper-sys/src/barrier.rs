//! A memory barrier on all running threads of the process, paid for by the one that asks.
//!
//! With it a common way may do without atomic instructions: who wants it to stop says so, asks for the barrier, and then sees
//! what every thread wrote before it looked.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: one bare system call, which touches no memory of ours"
)]

use linux_raw_sys::general::__NR_membarrier;

use crate::{Errno, raw};

/// `MEMBARRIER_CMD_PRIVATE_EXPEDITED`.
const PRIVATE: usize = 1 << 3;
/// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`.
const REGISTER: usize = 1 << 4;

/// Makes every thread of the process that runs now pass a full memory barrier before this returns.
///
/// # Errors
/// `ENOSYS` before 4.14, what a filter gives.
pub fn all_threads() -> Result<(), Errno> {
    match call(PRIVATE) {
        // Not registered yet, once in a process's life.
        Err(Errno::PERM) => call(REGISTER).and_then(|()| call(PRIVATE)),
        other => other,
    }
}

fn call(command: usize) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    unsafe { raw::call(__NR_membarrier, [command]) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_barrier_can_be_had_again_and_again() {
        for _ in 0..3 {
            if let Err(errno) = all_threads() {
                println!("skipped, because membarrier gives {errno}");
            }
        }
    }
}
