//! One byte of state for every page of a range, stored by runs.
//!
//! | representation | when | cost |
//! |---|---|---|
//! | [`few::Few`] | at most three runs: nearly every allocation | none beyond the map itself |
//! | [`pieces::Pieces`] | more | a tree entry a uniform piece; one byte a page in a 2 MiB chunk that holds many runs |
//!
//! So a uniform run costs the same whether it has one page or a billion, and a range where every second page
//! differs costs about one byte a page. Both representations are changed by one verb, [`PageMap::set`], and read by
//! one, [`PageMap::run`]; nothing else in the model knows them.

use pagekeeper_units::{PageNumber, PageRange};

mod chunk;
mod few;
mod pieces;

use few::Few;
use pieces::Pieces;

/// A total map from the pages of a range to bytes.
pub(crate) struct PageMap {
    start: u64,
    end: u64,
    repr: Repr,
}

enum Repr {
    Few(Few),
    Pieces(Box<Pieces>),
}

impl PageMap {
    /// Every page of `range` has the byte `state`. No heap memory is taken.
    #[inline]
    pub(crate) fn uniform(range: PageRange, state: u8) -> Self {
        Self {
            start: range.start().get(),
            end: range.end().get(),
            repr: Repr::Few(Few::uniform(state)),
        }
    }

    /// The pages that have a byte.
    #[inline]
    pub(crate) fn range(&self) -> PageRange {
        PageRange::between(PageNumber::new(self.start), PageNumber::new(self.end))
    }

    /// The byte of `page`, and the end (exclusive) of the longest run of that byte from `page` upwards.
    /// `page` must lie in the range.
    #[inline]
    pub(crate) fn run(&self, page: u64) -> (u8, u64) {
        debug_assert!(
            (self.start..self.end).contains(&page),
            "a page outside its map"
        );
        match &self.repr {
            Repr::Few(few) => few.run(page, self.end),
            Repr::Pieces(pieces) => pieces.run(page, self.end),
        }
    }

    /// [`PageMap::run`], clipped to `limit`, without looking beyond it.
    #[inline]
    fn run_below(&self, page: u64, limit: u64) -> (u8, u64) {
        match &self.repr {
            Repr::Few(few) => {
                let (state, end) = few.run(page, self.end);
                (state, end.min(limit))
            }
            Repr::Pieces(pieces) => pieces.run(page, limit),
        }
    }

    /// The byte of `page`, which must lie in the range.
    #[inline]
    pub(crate) fn get(&self, page: u64) -> u8 {
        match &self.repr {
            Repr::Few(few) => few.run(page, self.end).0,
            Repr::Pieces(pieces) => pieces.get(page),
        }
    }

    /// Calls `visit` with each maximal run in `from..to`, upwards, clipped to it, until it answers `false`.
    #[inline]
    pub(crate) fn visit(&self, from: u64, to: u64, mut visit: impl FnMut(u64, u64, u8) -> bool) {
        let mut at = from;
        while at < to {
            let (state, end) = self.run_below(at, to);
            if !visit(at, end, state) {
                return;
            }
            at = end;
        }
    }

    /// Gives every page of `from..to`, which must lie in the range, the byte `state`.
    pub(crate) fn set(&mut self, from: u64, to: u64, state: u8) {
        debug_assert!(
            self.start <= from && to <= self.end,
            "pages outside their map"
        );
        if from >= to {
            return;
        }
        match &mut self.repr {
            Repr::Few(few) => {
                if let Err(runs) = few.set(self.start, self.end, from, to, state) {
                    let pieces = Pieces::from_runs(self.start, self.end, runs.as_slice());
                    self.repr = Repr::Pieces(Box::new(pieces));
                }
            }
            Repr::Pieces(pieces) => {
                pieces.set(from, to, state);
                if let Some((runs, count)) = pieces.as_few() {
                    self.repr = Repr::Few(Few::from_runs(&runs[..count]));
                }
            }
        }
    }

    /// Heap memory in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.repr {
            Repr::Few(_) => 0,
            Repr::Pieces(pieces) => size_of::<Pieces>() + pieces.heap_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(map: &PageMap, naive: &[u8], start: u64) {
        let mut at = 0;
        let mut seen = 0;
        map.visit(start, start + naive.len() as u64, |from, to, state| {
            assert_eq!(from, start + at as u64, "runs leave no gap");
            let end = (to - start) as usize;
            assert!(naive[at..end].iter().all(|&b| b == state));
            if end < naive.len() {
                assert_ne!(naive[end], state, "a run is as long as it can be");
            }
            at = end;
            seen += 1;
            true
        });
        assert_eq!(at, naive.len());
        assert!(seen > 0);
    }

    /// Random stretches, short and long, over several chunks that the range does not fill, against an array.
    #[test]
    fn it_agrees_with_an_array() {
        let mut random = 0x1234_5678_9ABC_DEF1_u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 20) % below
        };
        for (start, pages) in [
            (512u64 * 7 + 333, 3000u64),
            (1024, 512),
            (16, 40),
            (500, 24),
        ] {
            let range = PageRange::between(PageNumber::new(start), PageNumber::new(start + pages));
            let mut map = PageMap::uniform(range, 0);
            let mut naive = vec![0u8; pages as usize];
            for step in 0..30_000u64 {
                // Waves: mostly small changes of many kinds, then mostly large ones of one kind.
                let calm = (step / 3_000) % 2 == 1;
                let from = next(pages);
                let longest = if calm || next(20) == 0 { pages } else { 4 };
                let to = (from + 1 + next(longest)).min(pages);
                let state = next(if calm { 2 } else { 5 }) as u8;
                map.set(start + from, start + to, state);
                naive[from as usize..to as usize].fill(state);
                let probe = next(pages);
                assert_eq!(map.get(start + probe), naive[probe as usize]);
                if step.is_multiple_of(64) {
                    check(&map, &naive, start);
                }
            }
            map.set(start, start + pages, 9);
            naive.fill(9);
            check(&map, &naive, start);
            assert_eq!(map.heap_bytes(), 0, "a uniform map owns no heap memory");
        }
    }

    #[test]
    fn alternating_pages_cost_about_a_byte_each() {
        let pages = 1 << 20;
        let range = PageRange::between(PageNumber::new(512), PageNumber::new(512 + pages));
        let mut map = PageMap::uniform(range, 0);
        for page in (0..pages).step_by(2) {
            map.set(512 + page, 513 + page, 1);
        }
        let bytes = map.heap_bytes() as u64;
        assert!(bytes < pages * 5 / 4, "{bytes} bytes for {pages} pages");
        for page in (0..pages).step_by(2) {
            map.set(512 + page, 513 + page, 0);
        }
        assert_eq!(map.heap_bytes(), 0);
    }
}
