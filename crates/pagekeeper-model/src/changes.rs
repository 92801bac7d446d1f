//! Runs of pages that change state: what a plan tells the engine to carry out.

use core::fmt;
use core::ops::Deref;

use pagekeeper_units::{PageNumber, PageRange};

use crate::PageState;

/// A run of pages that changes from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The pages.
    pub range: PageRange,
    /// What every page of the run is now.
    pub before: PageState,
    /// What every page of the run shall be.
    pub after: PageState,
}

/// How many runs fit without the heap. Committing into a partly committed piece rarely needs more.
const INLINE_RUNS: usize = 3;

/// Runs in ascending order, never overlapping. A slice; up to three runs take no heap memory, so that the
/// common plan of one run costs nothing.
#[derive(Clone)]
pub struct ChangeList {
    inline: [Change; INLINE_RUNS],
    inline_count: u8,
    spilled: Vec<Change>,
}

impl ChangeList {
    const NOTHING: Change = Change {
        range: PageRange::between(PageNumber::new(0), PageNumber::new(0)),
        before: PageState::Reserved,
        after: PageState::Reserved,
    };

    #[inline]
    pub(crate) const fn new() -> Self {
        Self {
            inline: [Self::NOTHING; INLINE_RUNS],
            inline_count: 0,
            spilled: Vec::new(),
        }
    }

    /// Adds a run above all others.
    #[inline]
    pub(crate) fn push(&mut self, change: Change) {
        let count = usize::from(self.inline_count);
        if self.spilled.is_empty() && count < INLINE_RUNS {
            self.inline[count] = change;
            self.inline_count += 1;
        } else {
            self.spill(change);
        }
    }

    #[cold]
    fn spill(&mut self, change: Change) {
        if self.spilled.is_empty() {
            self.spilled.reserve(4 * INLINE_RUNS);
            self.spilled.extend_from_slice(&self.inline);
        }
        self.spilled.push(change);
    }

    /// The runs.
    #[inline]
    pub fn as_slice(&self) -> &[Change] {
        if self.spilled.is_empty() {
            &self.inline[..usize::from(self.inline_count).min(INLINE_RUNS)]
        } else {
            &self.spilled
        }
    }
}

impl Deref for ChangeList {
    type Target = [Change];
    #[inline]
    fn deref(&self) -> &[Change] {
        self.as_slice()
    }
}

impl fmt::Debug for ChangeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}
