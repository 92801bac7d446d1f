//! The monotonic clock, and short pauses. Both may be used in the fault handler.

use core::time::Duration;

use rustix::thread::{NanosleepRelativeResult, nanosleep};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds on the monotonic clock. No system call where the kernel's shared page serves it.
#[inline]
pub fn monotonic_nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

/// Sleeps for about `length`; a signal ends it early.
pub fn pause(length: Duration) {
    let request = Timespec {
        tv_sec: length.as_secs() as i64,
        tv_nsec: i64::from(length.subsec_nanos()),
    };
    match nanosleep(&request) {
        NanosleepRelativeResult::Ok
        | NanosleepRelativeResult::Interrupted(_)
        | NanosleepRelativeResult::Err(_) => {}
    }
}

/// Processor time that the calling thread has used.
pub fn thread_processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_during_a_pause() {
        let before = monotonic_nanoseconds();
        pause(Duration::from_millis(5));
        assert!(monotonic_nanoseconds() - before >= 4_000_000);
    }
}
