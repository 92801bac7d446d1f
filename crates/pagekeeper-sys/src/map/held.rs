//! What the library itself holds of the address space: tables, the compressed pool, buffers. Whoever looks at the process is told,
//! so that it is not taken for the program's own memory.
//!
//! The kernel has names for anonymous memory, but not every kernel is built with them; so there is a list. Taking part needs
//! neither a lock nor an allocation: a thread that forks leaves nothing locked behind.

use core::sync::atomic::{AtomicU64, Ordering};

use pagekeeper_units::{PageNumber, PageRange};

/// Mappings that are listed; a process with more has some taken for its own.
const MOST: usize = 1024;
/// The purpose stands above the page number.
const PURPOSE_SHIFT: u32 = 56;

/// What a mapping of the library's is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Where every page is.
    Tables = 1,
    /// Compressed pages.
    Pool = 2,
    /// Pages on their way in and out, stacks of handlers.
    Buffers = 3,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tables, Self::Pool, Self::Buffers];

    /// The purpose with that number.
    pub fn of(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| *purpose as u64 == number)
    }
}

/// One mapping; free while the start is 0, unfinished while the end is.
struct Entry {
    start: AtomicU64,
    end: AtomicU64,
}

static LIST: [Entry; MOST] = [const {
    Entry {
        start: AtomicU64::new(0),
        end: AtomicU64::new(0),
    }
}; MOST];

/// A place in the list, given back when dropped.
#[derive(Debug)]
pub(super) struct Held(usize);

impl Held {
    /// Lists a range; `None` when the list is full.
    pub(super) fn note(range: PageRange, purpose: Purpose) -> Option<Self> {
        let start = range.start().get();
        let place = LIST.iter().position(|entry| {
            entry.start.load(Ordering::Relaxed) == 0
                && entry
                    .start
                    .compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
        })?;
        let end = range.end().get() | (purpose as u64) << PURPOSE_SHIFT;
        LIST[place].end.store(end, Ordering::Release);
        Some(Self(place))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        LIST[self.0].end.store(0, Ordering::Release);
        LIST[self.0].start.store(0, Ordering::Release);
    }
}

/// What the library holds at the moment, in no order.
pub fn held() -> Vec<(PageRange, Purpose)> {
    LIST.iter()
        .filter_map(|entry| {
            let start = entry.start.load(Ordering::Acquire);
            let end = entry.end.load(Ordering::Acquire);
            let purpose = Purpose::of(end >> PURPOSE_SHIFT)?;
            let end = end & ((1 << PURPOSE_SHIFT) - 1);
            // Another mapping may have taken the place in between.
            let is_whole = start != 0 && start < end;
            (is_whole && entry.start.load(Ordering::Acquire) == start).then(|| {
                let range = PageRange::between(PageNumber::new(start), PageNumber::new(end));
                (range, purpose)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use pagekeeper_units::PageCount;

    use super::super::{SharedBytes, Treatment};
    use super::*;

    #[test]
    fn what_is_held_is_listed_as_long_as_it_is_there() {
        let shows = |range: PageRange| held().into_iter().find(|(held, _)| *held == range);
        let bytes = SharedBytes::new(PageCount::new(3), Treatment::empty(), Purpose::Pool).unwrap();
        let range = bytes.range();
        assert_eq!(shows(range), Some((range, Purpose::Pool)));
        drop(bytes);
        assert_eq!(shows(range), None);
        let table = super::super::ZeroedTable::<AtomicU64>::new(1000).unwrap();
        let start = &raw const table[0] as u64;
        let found = held()
            .into_iter()
            .find(|(range, _)| range.address() == start);
        assert!(
            found.is_some_and(
                |(range, purpose)| range.count().get() == 2 && purpose == Purpose::Tables
            )
        );
        // A full list refuses, and has room again.
        let range = PageRange::new(PageNumber::new(1 << 30), PageCount::ONE);
        let mut all = Vec::new();
        while let Some(place) = Held::note(range, Purpose::Buffers) {
            all.push(place);
        }
        assert!(all.len() <= MOST && !all.is_empty());
        all.pop();
        assert!(Held::note(range, Purpose::Buffers).is_some());
    }
}
