//! Guard pages: one alarm each (`PAGE_GUARD`).
//!
//! Source: windows-memory-behaviour.md 8.3.

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::{AddressSpace, PageState, Protection};

impl AddressSpace {
    /// The protection that `page` has once its guard was hit, or `None` when no armed guard is there. Changes
    /// nothing, so that the engine can be asked first.
    pub fn guard_at(&self, page: PageNumber) -> Option<Protection> {
        match self.state_at(page) {
            Some(PageState::Committed(protection)) if protection.is_guard() => {
                Some(protection.without_guard())
            }
            _ => None,
        }
    }

    /// Disarms the guard of `page`, and of that page only: true when it was armed. Of several threads that hit
    /// it at once, one gets true and raises the exception.
    pub fn clear_guard(&mut self, page: PageNumber) -> bool {
        let Some(remaining) = self.guard_at(page) else {
            return false;
        };
        let Some((found, _)) = self.find(page) else {
            return false;
        };
        let range = PageRange::new(page, PageCount::ONE);
        self.record(found, range, PageState::Committed(remaining));
        true
    }
}
