//! Plain anonymous memory without any limit: what everything is measured against while data fits.

use pagekeeper_sys::map::{self, Access, Mapping, Treatment};
use pagekeeper_units::{ByteCount, HUGE_PAGE_SIZE};

use super::{Contender, Memory, Place};

/// With or without huge pages.
pub(super) struct Plain {
    pub(super) huge: bool,
}

/// Anonymous memory.
struct Anonymous(Mapping);

/// Maps anonymous memory at a multiple of 2 MiB.
pub(super) fn map_anonymous(
    data: ByteCount,
    treatment: Treatment,
) -> anyhow::Result<Box<dyn Memory>> {
    let alignment = ByteCount::new(HUGE_PAGE_SIZE as u64).pages();
    let mapping = map::reserve_aligned(data.pages(), alignment, Access::READ_WRITE, treatment)?;
    Ok(Box::new(Anonymous(mapping)))
}

impl Contender for Plain {
    fn describe(&self) -> &'static str {
        if self.huge {
            "anonymous memory with MADV_HUGEPAGE, no limit: all data in RAM"
        } else {
            "anonymous memory with MADV_NOHUGEPAGE, no limit: all data in RAM"
        }
    }

    fn map(&self, _place: &Place, data: ByteCount) -> anyhow::Result<Box<dyn Memory>> {
        let huge = if self.huge {
            Treatment::HUGE_PAGES
        } else {
            Treatment::NO_HUGE_PAGES
        };
        map_anonymous(data, huge)
    }
}

impl Memory for Anonymous {
    fn base(&self) -> *mut u8 {
        self.0.base()
    }
}
