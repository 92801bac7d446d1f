//! Prefetch: a hint that pages will be wanted (`PrefetchVirtualMemory`).
//!
//! Source: windows-memory-behaviour.md 10.4.

use pagekeeper_units::{HIGHEST_ADDRESS, PageNumber, PageRange};

use crate::{Access, AddressSpace, PageState, Refusal};

/// Pages that are worth bringing in. No state changes, so that there is nothing to apply.
#[derive(Clone, Debug)]
pub struct PrefetchPlan {
    ranges: Vec<PageRange>,
}

impl PrefetchPlan {
    /// The committed and readable pages of the ranges that were named, in their order. Armed guard pages are left
    /// out: a hint must not set them off.
    pub fn ranges(&self) -> &[PageRange] {
        &self.ranges
    }
}

impl AddressSpace {
    /// Plans a prefetch of ranges in bytes (address and size), rounded outwards. Ranges that name free, reserved or
    /// foreign memory are fine and bring nothing.
    ///
    /// # Errors
    /// [`Refusal::NoRanges`], and [`Refusal::SizeZero`] when any of them is empty.
    pub fn plan_prefetch(&self, entries: &[(u64, u64)]) -> Result<PrefetchPlan, Refusal> {
        if entries.is_empty() {
            return Err(Refusal::NoRanges);
        }
        if entries.iter().any(|&(_, size)| size == 0) {
            return Err(Refusal::SizeZero);
        }
        let mut ranges = Vec::new();
        for &(address, size) in entries {
            let size = size.min((HIGHEST_ADDRESS + 1).saturating_sub(address));
            if let Some(range) = PageRange::touched_by(address, size) {
                self.collect_readable(range, &mut ranges);
            }
        }
        Ok(PrefetchPlan { ranges })
    }

    fn collect_readable(&self, range: PageRange, ranges: &mut Vec<PageRange>) {
        let mut at = range.start();
        while at < range.end()
            && let Some(allocation) = self.allocation_at_or_after(at.get())
        {
            let part = range.intersection(allocation.range());
            if part.is_empty() {
                break;
            }
            allocation
                .map
                .visit(part.start().get(), part.end().get(), |from, to, byte| {
                    if let PageState::Committed(protection) = PageState::from_byte(byte)
                        && protection.allows(Access::Read)
                        && !protection.is_guard()
                    {
                        ranges.push(PageRange::between(
                            PageNumber::new(from),
                            PageNumber::new(to),
                        ));
                    }
                    true
                });
            at = part.end();
        }
    }
}
