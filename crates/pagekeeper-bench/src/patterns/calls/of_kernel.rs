//! The kernel's own calls for the same: `mmap`, `mprotect`, `madvise`. (It joins neighbouring mappings that are alike, so it has
//! fewer regions than we have, and runs into its limit of mappings later.)
#![allow(
    unsafe_code,
    reason = "UNSAFETY: protects and advises mappings of its own"
)]

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::{self, Access, Advice, Mapping, Treatment};
use pagekeeper_units::{PAGES_PER_GRANULE, PageCount, PageRange};

use super::{COMMIT, DECOMMIT, Job, PROTECT, RESERVE, Report};

pub(super) fn run(job: &Job) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let reserve = |pages: u64| {
        map::reserve(
            PageCount::new(pages),
            Access::NONE,
            Treatment::NO_HUGE_PAGES,
        )
    };
    let alive: Vec<Mapping> = (0..job.alive)
        .map(|_| reserve(job.pages()))
        .collect::<Result<_, _>>()?;
    let ranges: Vec<PageRange> = alive.iter().map(Mapping::range).collect();
    let target = |index| {
        let (mapping, page) = job.target(index);
        let start = ranges[mapping].start().plus(PageCount::new(page));
        PageRange::new(start, PageCount::ONE)
    };
    let protect = |index, access| {
        // SAFETY: a page of a mapping of our own, to which nobody has a reference.
        match unsafe { map::protect(target(index), access) } {
            // The kernel's limit of mappings: what it costs up to there.
            Err(Errno::NOMEM) => Ok(()),
            other => other,
        }
    };
    let mut set = |name: &str, ns| report.figures.insert(name.to_owned(), ns);
    set(RESERVE, job.time(|_| reserve(PAGES_PER_GRANULE).map(drop))?);
    set(
        COMMIT,
        job.time(|index| protect(index, Access::READ_WRITE))?,
    );
    set(PROTECT, job.time(|index| protect(index, Access::READ))?);
    let ns = job.time(|index| {
        // SAFETY: as above; nobody wants its contents.
        unsafe { map::advise(target(index), Advice::Discard) }
    })?;
    set(DECOMMIT, ns);
    Ok(report)
}
