//! Pages held in memory for the kernel, and pages brought in ahead of time. User context.
//!
//! A system call that is given a page that is out fails with `EFAULT`, and one whose buffer leaves half way loses data. So
//! the wrappers of `kernel_touch` bring the pages of a buffer in and pin them for the call: a pinned page is in the
//! mapping and stays there. Pins count, since several threads may pass the same buffer.

use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::arena::Arena;
use super::entry::{Kind, PINS_MAX};
use super::extent::ExtentNumber;
use super::fault::{Answer, Want, bring_in, forbidden};
use super::work_area::WorkArea;
use crate::registry::Reading;

/// Why pages could not be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinRefused {
    /// A page is not committed, or its protection forbids the access: the kernel would answer `EFAULT`.
    Forbidden,
    /// A page's contents could not be brought back: the kernel would answer `EIO`.
    Lost,
}

/// Pages of inline arenas, held in memory until dropped. Pages of other memory in the range need nothing.
pub(crate) struct Pinned {
    range: PageRange,
}

impl Pinned {
    /// Brings in and pins the inline pages among the pages of `range`, for reading or writing.
    pub(crate) fn new(range: PageRange, want: Want) -> Result<Self, PinRefused> {
        let reading = Reading::begin();
        let mut pinned = Self {
            range: PageRange::new(range.start(), PageCount::ZERO),
        };
        let _blocked = SignalsBlocked::new();
        for page in range.pages() {
            if let Some(arena) = reading.find_inline(page) {
                let mut area = arena.set().areas().take();
                pin_page(arena, page, want, &mut area)?;
            }
            pinned.range = PageRange::between(range.start(), page.plus(PageCount::ONE));
        }
        Ok(pinned)
    }

    /// The pages.
    pub(crate) fn range(&self) -> PageRange {
        self.range
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let reading = Reading::begin();
        for page in self.range.pages() {
            if let Some(arena) = reading.find_inline(page) {
                // A pin survives a decommit, so there is always one to take back.
                arena.entry(page).update(|entry| {
                    if entry.pins() > 0 {
                        entry.unpinned()
                    } else {
                        entry
                    }
                });
            }
        }
    }
}

fn pin_page(
    arena: &Arena,
    page: PageNumber,
    want: Want,
    area: &mut WorkArea,
) -> Result<(), PinRefused> {
    loop {
        if forbidden(arena.entry(page).load(), want).is_some() {
            return Err(PinRefused::Forbidden);
        }
        let extent = arena.lock_extent(ExtentNumber::of(page));
        let result = extent.entry(page).try_update(|entry| {
            let here = entry.kind() == Kind::Present && !entry.is_busy();
            (here && forbidden(entry, want).is_none() && entry.pins() < PINS_MAX)
                .then(|| entry.pinned())
        });
        // A write through the kernel is not seen by us: the copy in the page file may be outdated from now on. It is
        // compared before it is believed, so it may stay.
        drop(extent);
        match result {
            Ok(_) => return Ok(()),
            Err(entry) if entry.pins() >= PINS_MAX => {
                pagekeeper_sys::time::pause(core::time::Duration::from_micros(50));
                continue;
            }
            Err(_) => {}
        }
        match bring_in(arena, page, want, area) {
            Answer::Again => {}
            Answer::Lost(_) => return Err(PinRefused::Lost),
            Answer::Violation | Answer::Guard => return Err(PinRefused::Forbidden),
        }
    }
}

/// Brings pages in that will be needed; stops where the budget has no free frames.
pub(crate) fn prefetch(arena: &Arena, range: PageRange) {
    let _blocked = SignalsBlocked::new();
    let set = arena.set();
    let mut area = set.areas().take();
    for page in range.pages() {
        let entry = arena.entry(page).load();
        let wanted = matches!(entry.kind(), Kind::Pool | Kind::File | Kind::Staged);
        if !wanted || entry.is_busy() || !entry.rights().may_be_present() {
            continue;
        }
        if bring_in(arena, page, Want::Read, &mut area) != Answer::Again {
            continue;
        }
    }
}
