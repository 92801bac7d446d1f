//! A set of pages as runs: for what holds for few pages of a space, and then for many in a row.

use std::collections::BTreeMap;

use pagekeeper_units::{PageNumber, PageRange};

/// Runs of pages that do not overlap: first page → the page behind the last.
#[derive(Default)]
pub(crate) struct PageRuns {
    runs: BTreeMap<PageNumber, PageNumber>,
}

impl PageRuns {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(crate) fn contains(&self, page: PageNumber) -> bool {
        let below = self.runs.range(..=page).next_back();
        below.is_some_and(|(_, end)| page < *end)
    }

    /// Puts `range` in, joined with what it touches.
    pub(crate) fn insert(&mut self, range: PageRange) {
        if range.is_empty() {
            return;
        }
        self.remove(range);
        let (mut start, mut end) = (range.start(), range.end());
        if let Some((&below, &its_end)) = self.runs.range(..start).next_back()
            && its_end == start
        {
            start = below;
        }
        if let Some(above) = self.runs.remove(&end) {
            end = above;
        }
        self.runs.insert(start, end);
    }

    /// Takes `range` out; returns the parts that were in, downwards.
    pub(crate) fn remove(&mut self, range: PageRange) -> Vec<PageRange> {
        let mut removed = Vec::new();
        while let Some((&start, &end)) = self.runs.range(..range.end()).next_back() {
            if end <= range.start() || range.is_empty() {
                break;
            }
            self.runs.remove(&start);
            if end > range.end() {
                self.runs.insert(range.end(), end);
            }
            let inside = PageRange::between(start.max(range.start()), end.min(range.end()));
            removed.push(inside);
            if start < range.start() {
                self.runs.insert(start, range.start());
                break;
            }
        }
        removed
    }

    /// The parts of `range` that are in, upwards.
    pub(crate) fn inside(&self, range: PageRange) -> impl Iterator<Item = PageRange> + '_ {
        let below = self.runs.range(..range.start()).next_back();
        below
            .into_iter()
            .chain(self.runs.range(range.start()..range.end()))
            .map(move |(start, end)| PageRange::between(*start, *end).intersection(range))
            .filter(|part| !part.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PageRange {
        PageRange::between(PageNumber::new(start), PageNumber::new(end))
    }

    #[test]
    fn runs_are_cut_where_pages_are_taken_out() {
        let mut runs = PageRuns::default();
        runs.insert(range(10, 20));
        runs.insert(range(30, 40));
        assert_eq!(runs.remove(range(15, 32)), [range(30, 32), range(15, 20)]);
        assert!(runs.contains(PageNumber::new(14)) && !runs.contains(PageNumber::new(15)));
        assert!(!runs.contains(PageNumber::new(31)) && runs.contains(PageNumber::new(39)));
        assert_eq!(runs.remove(range(11, 12)), [range(11, 12)]);
        assert!(runs.contains(PageNumber::new(10)) && runs.contains(PageNumber::new(12)));
        assert_eq!(runs.remove(range(0, 100)).len(), 3);
        assert!(runs.is_empty());
    }

    #[test]
    fn runs_that_touch_are_one() {
        let mut runs = PageRuns::default();
        runs.insert(range(1, 2));
        runs.insert(range(3, 4));
        runs.insert(range(2, 3));
        runs.insert(range(9, 12));
        let inside: Vec<_> = runs.inside(range(2, 10)).collect();
        assert_eq!(inside, [range(2, 4), range(9, 10)]);
    }
}
