//! A set of pages of one piece: 512 bits.

use core::ops::Range;

use pagekeeper_units::PAGES_PER_HUGE_PAGE;

/// Pages in a piece.
pub(super) const PIECE_PAGES: usize = PAGES_PER_HUGE_PAGE as usize;

const WORDS: usize = PIECE_PAGES / 64;

/// Which of a piece's 512 pages have a property. Positions are counted from the 2 MiB boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct PageSet([u64; WORDS]);

/// The words that `range` reaches into.
fn words(range: &Range<usize>) -> Range<usize> {
    if range.is_empty() {
        0..0
    } else {
        range.start / 64..range.end.div_ceil(64).min(WORDS)
    }
}

/// The bits of word `word` that lie in `range`.
fn mask(word: usize, range: &Range<usize>) -> u64 {
    let low = range.start.clamp(word * 64, word * 64 + 64) - word * 64;
    let high = range.end.clamp(word * 64, word * 64 + 64) - word * 64;
    let below = |bits: usize| {
        if bits >= 64 {
            u64::MAX
        } else {
            (1 << bits) - 1
        }
    };
    below(high) & !below(low)
}

impl PageSet {
    /// No page.
    pub(super) const EMPTY: Self = Self([0; WORDS]);

    /// The pages of `range`.
    pub(super) fn of(range: Range<usize>) -> Self {
        let mut set = Self::EMPTY;
        set.insert(range);
        set
    }

    pub(super) fn insert(&mut self, range: Range<usize>) {
        for word in words(&range) {
            self.0[word] |= mask(word, &range);
        }
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        for word in words(&range) {
            self.0[word] &= !mask(word, &range);
        }
    }

    pub(super) fn contains(&self, page: usize) -> bool {
        self.0
            .get(page / 64)
            .is_some_and(|bits| bits >> (page % 64) & 1 != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|&bits| bits == 0)
    }

    /// Whether a page of `range` is in the set.
    pub(super) fn touches(&self, range: &Range<usize>) -> bool {
        words(range).any(|word| self.0[word] & mask(word, range) != 0)
    }

    /// Whether every page of `range` is in the set.
    pub(super) fn contains_all(&self, range: Range<usize>) -> bool {
        words(&range).all(|word| mask(word, &range) & !self.0[word] == 0)
    }

    /// How many pages of `range` are in the set.
    pub(super) fn count_in(&self, range: &Range<usize>) -> u64 {
        let in_word = |word| u64::from((self.0[word] & mask(word, range)).count_ones());
        words(range).map(in_word).sum()
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// The runs inside `range`, upwards: each as long as pages agree on being in the set or not.
    pub(super) fn runs(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, bool)> {
        let mut at = range.start;
        core::iter::from_fn(move || {
            if at >= range.end {
                return None;
            }
            let start = at;
            let inside = self.contains(start);
            at = self.end_of_run(start, inside).min(range.end);
            Some((start..at, inside))
        })
    }

    /// The first page above `start` whose membership is not `inside`, or the end.
    fn end_of_run(&self, start: usize, inside: bool) -> usize {
        let mut from = start;
        while from < PIECE_PAGES {
            let bits = if inside {
                !self.0[from / 64]
            } else {
                self.0[from / 64]
            };
            let rest = bits >> (from % 64);
            if rest != 0 {
                return from + rest.trailing_zeros() as usize;
            }
            from = (from / 64 + 1) * 64;
        }
        PIECE_PAGES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cross_words_and_stop_at_the_range() {
        let mut set = PageSet::of(10..140);
        set.insert(500..512);
        let runs: Vec<_> = set.runs(0..512).collect();
        let wanted = [
            (0..10, false),
            (10..140, true),
            (140..500, false),
            (500..512, true),
        ]
        .to_vec();
        assert_eq!(runs, wanted);
        assert_eq!(set.runs(64..128).collect::<Vec<_>>(), [(64..128, true)]);
        assert_eq!(set.count(), 142);
        set.remove(0..512);
        assert!(set.is_empty() && !set.touches(&(0..512)));
    }

    #[test]
    fn a_set_agrees_with_a_plain_array() {
        let mut state = 0x1234_5678_9ABC_DEF1_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut set = PageSet::EMPTY;
        let mut array = [false; PIECE_PAGES];
        for _ in 0..2_000 {
            let start = next(PIECE_PAGES);
            let end = start + next(PIECE_PAGES - start + 1);
            let value = next(2) == 1;
            if value {
                set.insert(start..end)
            } else {
                set.remove(start..end)
            }
            array[start..end].fill(value);
            let from = next(PIECE_PAGES);
            let mut at = from;
            for (run, inside) in set.runs(from..PIECE_PAGES) {
                assert_eq!(run.start, at);
                assert!(array[run.clone()].iter().all(|&bit| bit == inside));
                at = run.end;
            }
            assert_eq!(at, PIECE_PAGES);
            assert_eq!(set.count(), array.iter().filter(|&&bit| bit).count() as u64);
            assert_eq!(
                set.touches(&(start..end)),
                array[start..end].contains(&true)
            );
            let inside = array[start..end].iter().filter(|&&bit| bit).count();
            assert_eq!(set.count_in(&(start..end)), inside as u64);
            assert_eq!(set.contains_all(start..end), inside == end - start);
        }
    }
}
