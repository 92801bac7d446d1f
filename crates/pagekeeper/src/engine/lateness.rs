//! How punctual a balancer is: what is looked up is only as good as that.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

/// How late the balancer is called, lately; and what that is worth in pages.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    /// Microseconds. Rises at once, falls slowly: a busy machine is busy for a while.
    micros: AtomicU64,
}

/// Called this late, all is well: what faults can bring in meanwhile is within the slack.
const PUNCTUAL_MICROS: u64 = 5_000;
/// In how many looks most of it is forgotten.
const FORGETTING: u64 = 512;

impl Lateness {
    /// The balancer was called so much later than it had asked.
    pub(crate) fn note(&self, late: Duration) {
        let before = self.micros.load(Ordering::Relaxed);
        let now = (late.as_micros() as u64).max(before - before.div_ceil(FORGETTING));
        self.micros.store(now, Ordering::Relaxed);
    }

    /// Pages that faults, which bring in `fastest` a millisecond, can bring in during such a delay, beyond what the slack is
    /// for.
    pub(crate) fn reserve(&self, fastest: u64) -> u64 {
        let late = self.micros.load(Ordering::Relaxed);
        late.saturating_sub(PUNCTUAL_MICROS) * fastest / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_raises_the_reserve_at_once_and_is_forgotten_slowly() {
        let lateness = Lateness::default();
        lateness.note(Duration::from_millis(4));
        assert_eq!(lateness.reserve(400), 0, "the slack is for this");
        lateness.note(Duration::from_millis(25));
        assert_eq!(lateness.reserve(400), 20 * 400);
        lateness.note(Duration::ZERO);
        assert!(lateness.reserve(400) > 19 * 400);
        for _ in 0..4096 {
            lateness.note(Duration::ZERO);
        }
        assert_eq!(lateness.reserve(400), 0);
    }
}
