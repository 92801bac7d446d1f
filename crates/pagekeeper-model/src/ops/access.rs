//! What an access would meet: for the dispatcher of exceptions.
//!
//! Source: windows-memory-behaviour.md 8.1 and 8.3.

use pagekeeper_units::PageNumber;

use crate::{Access, AddressSpace, PageState, Protection};

/// What the rules say to an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes through: a fault there is the pager's business.
    Ok,
    /// A guard page violation comes first; the page is left with this protection.
    Guard(Protection),
    /// An access violation. The state of the page, or `None` where no allocation is.
    AccessViolation(Option<PageState>),
    /// The address lies in no arena: it is not ours.
    Foreign,
}

impl AddressSpace {
    /// The state of `page`, or `None` where no allocation is.
    #[inline]
    pub fn state_at(&self, page: PageNumber) -> Option<PageState> {
        let (_, allocation) = self.find(page)?;
        Some(PageState::from_byte(allocation.map.get(page.get())))
    }

    /// What a one-byte access at `address` meets. Changes nothing: a guard stays armed.
    pub fn access(&self, address: u64, access: Access) -> Verdict {
        let page = PageNumber::containing(address);
        match self.state_at(page) {
            Some(PageState::Committed(protection)) if protection.is_guard() => {
                Verdict::Guard(protection.without_guard())
            }
            Some(PageState::Committed(protection)) if protection.allows(access) => Verdict::Ok,
            Some(state) => Verdict::AccessViolation(Some(state)),
            None if self.arenas.containing(page.get()).is_some() => Verdict::AccessViolation(None),
            None => Verdict::Foreign,
        }
    }
}
