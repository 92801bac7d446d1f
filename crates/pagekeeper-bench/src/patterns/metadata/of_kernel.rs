//! The kernel's own calls for the same things: `mmap`, `mprotect`, `madvise`, one each.
#![allow(
    unsafe_code,
    reason = "UNSAFETY: protects, advises and touches mappings of its own"
)]

use std::time::Instant;

use pagekeeper_sys::Errno;
use pagekeeper_sys::map::{self, Access, Advice, Mapping, Treatment};
use pagekeeper_units::{ByteCount, PAGE_SIZE, PageCount, PageRange};

use super::{EXTENT, Job, PAGES_DECOMMITTED, RESERVATION_BYTES, RESERVATIONS, Report, each};
use crate::pages::Words;
use crate::random::mix;
use crate::usage::Peak;

const WORDS_PER_PAGE: u64 = PAGE_SIZE as u64 / 8;

pub(super) fn run(job: &Job) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let ns = each(RESERVATIONS, |_| {
        reserve(ByteCount::new(RESERVATION_BYTES).pages(), Access::NONE).map(drop)
    })?;
    report.set("reserve-release", ns);
    let array = reserve(ByteCount::gib(1).pages(), Access::NONE)?;
    let ns = each(PAGES_DECOMMITTED, |page| open(&array, page))?;
    report.set("commit-next", ns);
    drop(array);
    discards(&mut report)?;
    dense(job, &mut report)?;
    alternating(job, &mut report)?;
    Ok(report)
}

fn reserve(pages: PageCount, access: Access) -> Result<Mapping, Errno> {
    map::reserve(pages, access, Treatment::NO_HUGE_PAGES)
}

fn part(mapping: &Mapping, page: u64, pages: u64) -> PageRange {
    PageRange::new(mapping.page(page), PageCount::new(pages))
}

/// Makes one page of a mapping usable.
fn open(mapping: &Mapping, page: u64) -> Result<(), Errno> {
    // SAFETY: a mapping of our own, to which nobody has a reference.
    unsafe { map::protect(part(mapping, page, 1), Access::READ_WRITE) }
}

fn words(mapping: &Mapping) -> Words {
    // SAFETY: the caller touches opened pages of a mapping of its own only.
    unsafe { Words::new(mapping.base(), mapping.len() as u64 / 8) }
}

fn discards(report: &mut Report) -> Result<(), Errno> {
    let pages = PAGES_DECOMMITTED;
    for (name, step, touched) in [
        ("decommit-touched", 1, true),
        ("decommit-untouched", 1, false),
        ("decommit-extent-touched", EXTENT, true),
        ("decommit-extent-untouched", EXTENT, false),
    ] {
        let mapping = reserve(PageCount::new(pages), Access::READ_WRITE)?;
        if touched {
            let mut words = words(&mapping);
            for page in 0..pages {
                words.store(page * WORDS_PER_PAGE, 1);
            }
        }
        let ns = each(pages / step, |index| {
            // SAFETY: a mapping of our own whose contents nobody wants any more.
            unsafe { map::advise(part(&mapping, index * step, step), Advice::Discard) }
        })?;
        report.set(name, ns);
    }
    Ok(())
}

/// What comes with one large `mprotect`: nothing but the mapping.
fn dense(job: &Job, report: &mut Report) -> Result<(), Errno> {
    let mapping = reserve(PageCount::new(job.commits), Access::NONE)?;
    let before = Peak::now(&[]).total as f64;
    // SAFETY: a mapping of our own, to which nobody has a reference.
    unsafe { map::protect(mapping.range(), Access::READ_WRITE)? };
    report.set(
        "rss-dense",
        (Peak::now(&[]).total as f64 - before) / job.commits as f64,
    );
    Ok(())
}

fn alternating(job: &Job, report: &mut Report) -> Result<(), Errno> {
    let mapping = reserve(PageCount::new(2 * job.commits), Access::NONE)?;
    let mut opened = 0;
    let start = Instant::now();
    while opened < job.commits {
        match open(&mapping, 2 * opened) {
            Ok(()) => opened += 1,
            // The kernel's limit of mappings.
            Err(Errno::NOMEM) => break,
            Err(other) => return Err(other),
        }
    }
    let ns = start.elapsed().as_nanos() as f64 / opened.max(1) as f64;
    report.set("alternating", opened as f64);
    report.set("commit-alternating", ns);
    let mut words = words(&mapping);
    let ns = each(opened, |index| {
        words.store(2 * index * WORDS_PER_PAGE, mix(index));
        Ok::<_, Errno>(())
    })?;
    report.set("write-alternating", ns);
    let mut wrong = 0;
    let ns = each(opened, |index| {
        wrong += u64::from(words.load(2 * index * WORDS_PER_PAGE) != mix(index));
        Ok::<_, Errno>(())
    })?;
    report.set("read-alternating", ns);
    report.wrong_words += wrong;
    Ok(())
}
