//! Pages of arenas that something else uses for the time being: a view took the place of a placeholder. No call of this engine
//! reaches them, although the pieces around them are opened, fenced, emptied and closed as a whole.
//!
//! To the record they are pages that are not committed. Ranges come and go under the book's mutex, under which everything
//! that changes what addresses mean is called as well; the mutex here is only for those who look.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pagekeeper_units::{PageNumber, PageRange};

/// See the module text.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// Whether there are any: asked before each call.
    any: AtomicBool,
    /// First page → page behind the last. They do not overlap.
    ranges: Mutex<BTreeMap<PageNumber, PageNumber>>,
}

impl Lent {
    fn ranges(&self) -> MutexGuard<'_, BTreeMap<PageNumber, PageNumber>> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `range` is left alone.
    pub(super) fn add(&self, range: PageRange) {
        self.ranges().insert(range.start(), range.end());
        self.any.store(true, Ordering::Relaxed);
    }

    /// It is the engine's again.
    pub(super) fn remove(&self, range: PageRange) {
        let mut ranges = self.ranges();
        ranges.remove(&range.start());
        self.any.store(!ranges.is_empty(), Ordering::Relaxed);
    }

    /// Calls `call` with each run of `range` that is not lent, upwards, until it fails.
    pub(super) fn each_other<E>(
        &self,
        range: PageRange,
        mut call: impl FnMut(PageRange) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.any.load(Ordering::Relaxed) {
            return call(range);
        }
        let mut at = range.start();
        let lent: Vec<(PageNumber, PageNumber)> = {
            let ranges = self.ranges();
            let below = ranges.range(..=at).next_back();
            let inside = ranges.range(at..range.end());
            let all = below.into_iter().chain(inside);
            all.map(|(start, end)| (*start, *end)).collect()
        };
        for (start, end) in lent {
            if at < start {
                call(PageRange::between(at, start))?;
            }
            at = at.max(end);
        }
        match at < range.end() {
            true => call(PageRange::between(at, range.end())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u64, to: u64) -> PageRange {
        PageRange::between(PageNumber::new(from), PageNumber::new(to))
    }

    fn others(lent: &Lent, whole: PageRange) -> Vec<PageRange> {
        let mut parts = Vec::new();
        let done: Result<(), ()> = lent.each_other(whole, |part| {
            parts.push(part);
            Ok(())
        });
        done.unwrap();
        parts
    }

    #[test]
    fn what_is_lent_is_left_out_wherever_it_lies() {
        let lent = Lent::default();
        assert_eq!(others(&lent, range(10, 50)), [range(10, 50)]);
        lent.add(range(5, 12));
        lent.add(range(20, 21));
        lent.add(range(21, 30));
        lent.add(range(48, 60));
        assert_eq!(others(&lent, range(10, 50)), [range(12, 20), range(30, 48)]);
        assert_eq!(others(&lent, range(20, 30)), []);
        assert_eq!(others(&lent, range(6, 7)), []);
        assert_eq!(others(&lent, range(0, 5)), [range(0, 5)]);
        assert_eq!(others(&lent, range(60, 70)), [range(60, 70)]);
        for gone in [range(5, 12), range(20, 21), range(21, 30), range(48, 60)] {
            lent.remove(gone);
        }
        assert_eq!(others(&lent, range(10, 50)), [range(10, 50)]);
    }

    #[test]
    fn the_first_failure_ends_it() {
        let lent = Lent::default();
        lent.add(range(3, 4));
        let mut calls = 0;
        let result = lent.each_other(range(0, 10), |_| {
            calls += 1;
            Err(7)
        });
        assert_eq!((result, calls), (Err(7), 1));
    }
}
