//! `PAGEMAP_SCAN`: runs of pages by category, with an atomic get-and-protect.
//!
//! Made by the kernel for GetWriteWatch and ResetWriteWatch (6.7). A query names what pages must be
//! and what is to be reported; a scan goes on from where the last call stopped, so a small buffer
//! on the stack will do.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: one ioctl that fills a buffer of ours, and may write-protect pages"
)]

use core::ops::ControlFlow;

use linux_raw_sys::general as c;
use pagekeeper_units::{PageCount, PageNumber, PageRange};
use rustix::ioctl::{Opcode, opcode};

use super::Entries;
use crate::{Errno, raw};

const PAGEMAP_SCAN: Opcode = opcode::read_write::<c::pm_scan_arg>(b'f', 16);

bitflags::bitflags! {
    /// What the kernel knows about a page (`PAGE_IS_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Categories: u64 {
        /// Registered for asynchronous write-protection.
        const WATCHED = c::PAGE_IS_WPALLOWED as u64;
        /// Written since it was protected (or never protected).
        const WRITTEN = c::PAGE_IS_WRITTEN as u64;
        /// A page of a file.
        const FILE = c::PAGE_IS_FILE as u64;
        /// In memory.
        const PRESENT = c::PAGE_IS_PRESENT as u64;
        /// In the kernel's swap.
        const SWAPPED = c::PAGE_IS_SWAPPED as u64;
        /// The shared page of zeros.
        const ZERO = c::PAGE_IS_PFNZERO as u64;
        /// Part of a huge page.
        const HUGE = c::PAGE_IS_HUGE as u64;
        /// Soft-dirty.
        const SOFT_DIRTY = c::PAGE_IS_SOFT_DIRTY as u64;
        /// A guard marker (6.15).
        const GUARD = c::PAGE_IS_GUARD as u64;
    }
}

/// A run of pages of one kind; what a scan fills in.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct PageRun(c::page_region);

impl Default for PageRun {
    fn default() -> Self {
        Self(c::page_region {
            start: 0,
            end: 0,
            categories: 0,
        })
    }
}

impl PageRun {
    /// The pages.
    pub fn range(&self) -> PageRange {
        PageRange::between(
            PageNumber::containing(self.0.start),
            PageNumber::containing(self.0.end),
        )
    }

    /// What they are, of the categories asked for.
    pub fn categories(&self) -> Categories {
        Categories::from_bits_retain(self.0.categories)
    }
}

/// What to look for, and what to report.
///
/// ```
/// use pagekeeper_sys::pagemap::{Categories, Query};
/// // Pages in memory or in swap, but not the page of zeros.
/// let query = Query::new()
///     .any_of(Categories::PRESENT | Categories::SWAPPED)
///     .none_of(Categories::ZERO)
///     .report(Categories::PRESENT | Categories::SWAPPED);
/// # let _ = query;
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Query {
    all: Categories,
    any: Categories,
    none: Categories,
    report: Categories,
    flags: u64,
    most: u64,
}

impl Query {
    /// Matches every page and reports no categories.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pages must be all of these.
    pub fn all_of(mut self, categories: Categories) -> Self {
        self.all = categories;
        self
    }

    /// Pages must be one of these at least. Together with [`none_of`](Self::none_of) on the *same*
    /// category that means: not this one.
    pub fn any_of(mut self, categories: Categories) -> Self {
        self.any = categories;
        self
    }

    /// Pages must be none of these.
    pub fn none_of(mut self, categories: Categories) -> Self {
        self.none = categories;
        self
    }

    /// Which categories the runs carry. Runs are as long as these agree, so ask for few.
    pub fn report(mut self, categories: Categories) -> Self {
        self.report = categories;
        self
    }

    /// Write-protects what matched, in the same step: get and reset, atomically. The range must be
    /// registered for asynchronous write-protection, else `EPERM`. Windows:
    /// `GetWriteWatch(WRITE_WATCH_FLAG_RESET)`.
    pub fn protect_matching(mut self) -> Self {
        self.flags = u64::from(c::PM_SCAN_WP_MATCHING | c::PM_SCAN_CHECK_WPASYNC);
        self
    }

    /// Stops after so many matching pages.
    pub fn at_most(mut self, pages: PageCount) -> Self {
        self.most = pages.get();
        self
    }
}

/// What one scan call found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Runs filled in from the start of the buffer.
    pub runs: usize,
    /// Where the walk stopped: the end of the range when done, else go on from here.
    pub stopped_at: PageNumber,
}

/// The open page map, able to scan.
#[derive(Debug)]
pub struct Scan {
    entries: Entries,
}

impl Scan {
    /// Opens the page map and makes one empty scan, to see whether this kernel can.
    ///
    /// # Errors
    /// `ENOTTY` before 6.7; else as [`Entries::open`].
    pub fn open() -> Result<Self, Errno> {
        Self::checked(Entries::open()?)
    }

    /// The same of another process.
    ///
    /// # Errors
    /// `ENOTTY` before 6.7; else as [`Entries::open_of`].
    pub fn open_of(pid: u32) -> Result<Self, Errno> {
        Self::checked(Entries::open_of(pid)?)
    }

    fn checked(entries: Entries) -> Result<Self, Errno> {
        let scan = Self { entries };
        let query = Query::new().report(Categories::PRESENT);
        scan.once(PageRange::default(), query, &mut [])?;
        Ok(scan)
    }

    /// One call of the kernel: scans `range` until the runs are full or the range ends.
    ///
    /// # Errors
    /// `EPERM` when pages to be protected are not registered for it, `EINTR`, `EINVAL`.
    pub fn once(
        &self,
        range: PageRange,
        query: Query,
        runs: &mut [PageRun],
    ) -> Result<Scanned, Errno> {
        let mut argument = c::pm_scan_arg {
            size: size_of::<c::pm_scan_arg>() as u64,
            flags: query.flags,
            start: range.address(),
            end: range.end().address(),
            walk_end: 0,
            vec: runs.as_mut_ptr().expose_provenance() as u64,
            vec_len: runs.len() as u64,
            max_pages: query.most,
            category_inverted: query.none.bits(),
            category_mask: (query.all | query.none).bits(),
            category_anyof_mask: query.any.bits(),
            return_mask: query.report.bits(),
        };
        // SAFETY: 1. Opcode and struct belong together. 2. The buffer has vec_len runs, which are
        // transparent over the kernel's struct. 3. Protecting is only done to ranges registered
        // for asynchronous protection, where no access ever fails because of it.
        let runs = unsafe {
            raw::call(
                c::__NR_ioctl,
                [
                    rustix::fd::AsRawFd::as_raw_fd(self.entries.file()) as usize,
                    PAGEMAP_SCAN as usize,
                    (&raw mut argument).expose_provenance(),
                ],
            )?
        };
        Ok(Scanned {
            runs,
            stopped_at: PageNumber::containing(argument.walk_end),
        })
    }

    /// Scans all of `range` and hands every run to `each`. Allocates nothing.
    ///
    /// # Errors
    /// As [`once`](Self::once).
    pub fn walk(
        &self,
        range: PageRange,
        query: Query,
        mut each: impl FnMut(PageRange, Categories),
    ) -> Result<(), Errno> {
        let all = |run: PageRange, categories: Categories| {
            each(run, categories);
            ControlFlow::Continue(())
        };
        self.walk_until(range, query, all).map(|_| ())
    }

    /// The same until `each` has had enough: then it gets the few runs more that were found at one go, and no others.
    /// Returns where the next scan goes on.
    ///
    /// # Errors
    /// As [`once`](Self::once).
    pub fn walk_until(
        &self,
        range: PageRange,
        query: Query,
        mut each: impl FnMut(PageRange, Categories) -> ControlFlow<()>,
    ) -> Result<PageNumber, Errno> {
        let mut runs = [PageRun::default(); 64];
        let mut rest = range;
        let mut flow = ControlFlow::Continue(());
        while !rest.is_empty() && flow.is_continue() {
            let scanned = match self.once(rest, query, &mut runs) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            for run in &runs[..scanned.runs.min(runs.len())] {
                if each(run.range(), run.categories()).is_break() {
                    flow = ControlFlow::Break(());
                }
            }
            if scanned.stopped_at <= rest.start() {
                return Ok(range.end());
            }
            rest = PageRange::between(scanned.stopped_at, range.end());
        }
        Ok(rest.start())
    }

    /// The plain entries of the same file.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }
}
