//! Which pages of a range are in memory, run by run: by scanning where the kernel can, else entry
//! by entry.

use core::fmt::Debug;

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::{Categories, Entries, Entry, Query, Scan};
use crate::Errno;
use crate::probe::{Feature, Features};

/// Finds pages that are in memory and in the page table (the page of zeros counts).
pub trait Presence: Send + Sync + Debug {
    /// Hands every run of such pages to `each`, upwards. Neighbouring runs may come apart.
    ///
    /// # Errors
    /// What reading the page map gives.
    fn present_runs(&self, range: PageRange, each: &mut dyn FnMut(PageRange)) -> Result<(), Errno>;

    /// How many there are.
    ///
    /// # Errors
    /// As [`present_runs`](Self::present_runs).
    fn present_pages(&self, range: PageRange) -> Result<PageCount, Errno> {
        let mut total = PageCount::ZERO;
        self.present_runs(range, &mut |run| total += run.count())?;
        Ok(total)
    }

    /// What it is, for people.
    fn name(&self) -> &'static str;
}

/// The best that this kernel has.
///
/// # Errors
/// As [`Entries::open`].
pub fn presence(features: &Features) -> Result<Box<dyn Presence>, Errno> {
    if features.has(Feature::PagemapScan)
        && let Ok(scan) = Scan::open()
    {
        return Ok(Box::new(scan));
    }
    Ok(Box::new(Entries::open()?))
}

impl Presence for Scan {
    fn present_runs(&self, range: PageRange, each: &mut dyn FnMut(PageRange)) -> Result<(), Errno> {
        let query = Query::new()
            .all_of(Categories::PRESENT)
            .report(Categories::PRESENT);
        self.walk(range, query, |run, _| each(run))
    }

    fn name(&self) -> &'static str {
        "pagemap_scan"
    }
}

impl Presence for Entries {
    fn present_runs(&self, range: PageRange, each: &mut dyn FnMut(PageRange)) -> Result<(), Errno> {
        let mut words = [Entry::default(); 256];
        let mut rest = range;
        let mut run_start: Option<PageNumber> = None;
        while !rest.is_empty() {
            let count = self.read(rest, &mut words)?;
            for (page, word) in rest.pages().zip(&words[..count]) {
                match (word.is_present(), run_start) {
                    (true, None) => run_start = Some(page),
                    (false, Some(start)) => {
                        each(PageRange::between(start, page));
                        run_start = None;
                    }
                    _ => {}
                }
            }
            let next = rest.start().plus(PageCount::new(count as u64));
            rest = PageRange::between(next, range.end());
        }
        if let Some(start) = run_start {
            each(PageRange::between(start, range.end()));
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "pagemap"
    }
}
