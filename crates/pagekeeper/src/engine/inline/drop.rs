//! Dropping pages, also where the program has locked its memory.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: drops pages whose contents the caller does not want"
)]

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::{Advice, advise};
use pagekeeper_sys::prctl;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::error::EngineError;

/// Drops the pages of a range: they are absent afterwards. Whether that worked; on locked memory (`mlockall`) the plain
/// advice is refused, the one for locked memory needs 5.18.
///
/// # Safety
/// The range lies in our own mappings, and nobody wants its contents.
pub(crate) unsafe fn drop_pages(range: PageRange) -> bool {
    // SAFETY: the caller's promise.
    match unsafe { advise(range, Advice::Discard) } {
        Ok(()) => true,
        // SAFETY: as above.
        Err(Errno::INVAL) => unsafe { advise(range, Advice::DiscardLocked) }.is_ok(),
        Err(_) => false,
    }
}

/// With `mlockall(MCL_FUTURE)` in force every new mapping is filled at once: a terabyte of address space would be.
pub(crate) fn refuse_future_locks() -> Result<(), EngineError> {
    if !prctl::future_memory_is_locked() {
        return Ok(());
    }
    Err(EngineError::Unavailable {
        engine: "inline",
        reason: "mlockall(MCL_FUTURE) is in force: call munlockall first, or use the mapped engine"
            .to_owned(),
    })
}

/// The pages from the first to the last that were present.
#[derive(Default)]
pub(crate) struct Span {
    first: Option<PageNumber>,
    last: Option<PageNumber>,
}

impl Span {
    pub(crate) fn include(&mut self, page: PageNumber) {
        self.first = Some(self.first.unwrap_or(page));
        self.last = Some(page);
    }

    pub(crate) fn range(&self) -> Option<PageRange> {
        Some(PageRange::between(
            self.first?,
            self.last?.plus(PageCount::ONE),
        ))
    }
}
