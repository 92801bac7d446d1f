//! Looking at pages of views in the process's own page table: which are there, and which were copied.

use core::ops::ControlFlow;

use pagekeeper_sys::Errno;
use pagekeeper_sys::pagemap::{Categories, Entries, Entry, Query, Scan};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

/// What a page that is there is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    /// The page cache's: of the file, or of a slot.
    OfFile,
    /// A private copy.
    Copied,
}

/// How many pages are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) of_file: u64,
    pub(super) copied: u64,
}

impl Counts {
    pub(super) fn sum(self) -> u64 {
        self.of_file + self.copied
    }

    pub(super) fn add(&mut self, run: PageRange, there: There) {
        match there {
            There::OfFile => self.of_file += run.count().get(),
            There::Copied => self.copied += run.count().get(),
        }
    }
}

/// Hands every run of pages that are there (or in the kernel's swap) to `each`, upwards.
pub(super) fn visit(range: PageRange, mut each: impl FnMut(PageRange, There)) -> Result<(), Errno> {
    if range.is_empty() {
        return Ok(());
    }
    match Scan::open().and_then(|scan| scan_with(&scan, range, &mut each)) {
        // Before 6.7.
        Err(Errno::NOTTY | Errno::INVAL) => {
            let mut all = |run, there| {
                each(run, there);
                ControlFlow::Continue(())
            };
            read_entries(range, &mut all).map(|_| ())
        }
        other => other,
    }
}

/// Pages in memory, and those that the kernel has in its swap.
fn present() -> Query {
    Query::new().any_of(Categories::PRESENT | Categories::SWAPPED)
}

/// Hands runs of pages that are there, whatever they are made of, to `each`, until it has had enough; it may get some more. Says
/// where to go on.
pub(super) fn visit_present(
    range: PageRange,
    mut each: impl FnMut(PageRange) -> ControlFlow<()>,
) -> Result<PageNumber, Errno> {
    let query = present().at_most(MOST_AT_ONCE);
    let walked = Scan::open().and_then(|scan| scan.walk_until(range, query, |run, _| each(run)));
    match walked {
        Err(Errno::NOTTY | Errno::INVAL) => read_entries(range, &mut |run, _| each(run)),
        other => other,
    }
}

/// The longest run that is found at one go.
const MOST_AT_ONCE: PageCount = PageCount::new(2048);

fn scan_with(
    scan: &Scan,
    range: PageRange,
    each: &mut impl FnMut(PageRange, There),
) -> Result<(), Errno> {
    let query = present().report(Categories::FILE);
    scan.walk(range, query, |run, categories| {
        let there = if categories.contains(Categories::FILE) {
            There::OfFile
        } else {
            There::Copied
        };
        each(run, there);
    })
}

fn read_entries(
    range: PageRange,
    each: &mut impl FnMut(PageRange, There) -> ControlFlow<()>,
) -> Result<PageNumber, Errno> {
    let entries = Entries::open()?;
    let mut words = [Entry::default(); 256];
    let mut rest = range;
    let mut flow = ControlFlow::Continue(());
    while !rest.is_empty() && flow.is_continue() {
        let count = entries.read(rest, &mut words)?;
        for (page, word) in rest.pages().zip(&words[..count]) {
            if word.is_present() || word.is_swapped() {
                let there = if word.is_file() {
                    There::OfFile
                } else {
                    There::Copied
                };
                if each(PageRange::new(page, PageCount::ONE), there).is_break() {
                    flow = ControlFlow::Break(());
                }
            }
        }
        let next = rest.start().plus(PageCount::new(count as u64));
        rest = PageRange::between(next, range.end());
    }
    Ok(rest.start())
}

/// The runs of `range` that were copied, upwards, joined.
pub(super) fn copied(range: PageRange) -> Result<Vec<PageRange>, Errno> {
    let mut runs: Vec<PageRange> = Vec::new();
    visit(range, |run, there| {
        if there == There::Copied {
            join(&mut runs, run);
        }
    })?;
    Ok(runs)
}

/// Adds a run above all others.
pub(super) fn join(runs: &mut Vec<PageRange>, run: PageRange) {
    match runs.last_mut() {
        Some(last) if last.end() == run.start() => {
            *last = PageRange::between(last.start(), run.end());
        }
        _ => runs.push(run),
    }
}

/// What is left of `range` without `runs`, which are sorted and lie inside.
pub(super) fn without(range: PageRange, runs: &[PageRange]) -> Vec<PageRange> {
    let mut rest = Vec::new();
    let mut at: PageNumber = range.start();
    for run in runs {
        if run.start() > at {
            rest.push(PageRange::between(at, run.start()));
        }
        at = at.max(run.end());
    }
    if at < range.end() {
        rest.push(PageRange::between(at, range.end()));
    }
    rest
}
