//! The RAM budget of one working set, counted in frames of 4 KiB.
//!
//! Everything that holds page contents in RAM takes frames first and gives them back afterwards: pages in the
//! mapping, pages in the staging area, blocks of the compressed pool. So the sum never passes the limit, at
//! no moment, without any polling. Bounce buffers and tables are counted apart (`overhead`).
//!
//! Two kinds of takers: faults leave `headroom` frames alone; the way out (the pool's blocks, which turn 64 frames into
//! fewer) may use them, or a full budget could never be emptied.

use core::sync::atomic::{AtomicU64, Ordering};

use pagekeeper_store::pool::FrameSource;
use pagekeeper_units::PageCount;

/// The budget and what is taken of it.
#[derive(Debug)]
pub(crate) struct Frames {
    limit: AtomicU64,
    headroom: AtomicU64,
    used: AtomicU64,
    peak: AtomicU64,
}

impl Frames {
    pub(crate) fn new(limit: PageCount, headroom: PageCount) -> Self {
        Self {
            limit: AtomicU64::new(limit.get()),
            headroom: AtomicU64::new(headroom.get()),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }
    }

    /// A new limit; may be below what is used, then nothing more is given until enough came back.
    pub(crate) fn set_limit(&self, limit: PageCount, headroom: PageCount) {
        self.limit.store(limit.get(), Ordering::Release);
        self.headroom.store(headroom.get(), Ordering::Release);
    }

    pub(crate) fn limit(&self) -> PageCount {
        PageCount::new(self.limit.load(Ordering::Acquire))
    }

    pub(crate) fn headroom(&self) -> PageCount {
        PageCount::new(self.headroom.load(Ordering::Acquire))
    }

    pub(crate) fn used(&self) -> PageCount {
        PageCount::new(self.used.load(Ordering::Acquire))
    }

    pub(crate) fn peak(&self) -> PageCount {
        PageCount::new(self.peak.load(Ordering::Relaxed))
    }

    /// How far what is used lies above the limit (after the limit was lowered).
    pub(crate) fn excess(&self) -> u64 {
        self.used
            .load(Ordering::Acquire)
            .saturating_sub(self.limit.load(Ordering::Acquire))
    }

    /// Takes `count` frames for a fault, or none.
    pub(crate) fn take_for_fault(&self, count: u64) -> bool {
        let ceiling = self
            .limit
            .load(Ordering::Acquire)
            .saturating_sub(self.headroom.load(Ordering::Acquire));
        self.take_below(ceiling, count)
    }

    /// Takes `count` frames for work that frees more frames than it takes, or none.
    pub(crate) fn take_for_way_out(&self, count: u64) -> bool {
        self.take_below(self.limit.load(Ordering::Acquire), count)
    }

    fn take_below(&self, ceiling: u64, count: u64) -> bool {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let next = used + count;
            if next > ceiling {
                return false;
            }
            match self
                .used
                .compare_exchange_weak(used, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    // Mostly it is no new peak, and then the line stays shared.
                    if next > self.peak.load(Ordering::Relaxed) {
                        self.peak.fetch_max(next, Ordering::Relaxed);
                    }
                    return true;
                }
                Err(seen) => used = seen,
            }
        }
    }

    /// Gives `count` frames back.
    pub(crate) fn give(&self, count: u64) {
        let before = self.used.fetch_sub(count, Ordering::AcqRel);
        debug_assert!(before >= count, "more frames given back than taken");
    }
}

impl FrameSource for Frames {
    fn take(&self, pages: u32) -> bool {
        self.take_for_way_out(u64::from(pages))
    }

    fn give(&self, pages: u32) {
        Frames::give(self, u64::from(pages));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_leave_the_headroom_alone_and_the_way_out_may_use_it() {
        let frames = Frames::new(PageCount::new(100), PageCount::new(10));
        assert!(frames.take_for_fault(90));
        assert!(!frames.take_for_fault(1));
        assert!(frames.take_for_way_out(10));
        assert!(!frames.take_for_way_out(1));
        frames.give(100);
        assert_eq!(frames.used(), PageCount::ZERO);
        assert_eq!(frames.peak(), PageCount::new(100));
    }

    #[test]
    fn a_lowered_limit_shows_its_excess_and_refuses() {
        let frames = Frames::new(PageCount::new(100), PageCount::ZERO);
        assert!(frames.take_for_fault(80));
        frames.set_limit(PageCount::new(50), PageCount::new(5));
        assert_eq!(frames.excess(), 30);
        assert!(!frames.take_for_fault(1));
        frames.give(40);
        assert!(frames.take_for_fault(5));
        assert!(!frames.take_for_fault(1));
    }
}
