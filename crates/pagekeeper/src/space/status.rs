//! Figures: what a space may use, uses, and did.

use std::fmt::Write as _;

use pagekeeper_store::page_file::PageFiles;
use pagekeeper_units::{ByteCount, PageCount};

use super::ledger::Ledger;
use super::{Degraded, Space};
use crate::engine::EngineKind;
use crate::error::EngineError;
use crate::statistics::EngineStatistics;

/// A space at one moment.
#[derive(Clone, Debug)]
pub struct SpaceStatus {
    /// The RAM budget.
    pub budget: ByteCount,
    /// Address space in reservations.
    pub reserved: ByteCount,
    /// Committed, in all.
    pub committed: ByteCount,
    /// The commit limit: RAM that may be promised, plus the page files' maximum sizes.
    pub commit_limit: ByteCount,
    /// The most that was ever committed.
    pub commit_peak: ByteCount,
    /// Disk space that the page files have allocated.
    pub page_file_allocated: ByteCount,
    /// The page files' maximum sizes together.
    pub page_file_maximum: ByteCount,
    /// Of the page files, what the disk refused to write: out of use, tried again from time to time.
    pub page_file_withdrawn: ByteCount,
    /// RAM that Pagekeeper itself uses beside the budget: tables, buffers, the model.
    pub overhead: ByteCount,
    /// Figures of the engines, added up.
    pub total: EngineStatistics,
    /// Figures of each engine; a reservation with its own budget has one of its own.
    pub engines: Vec<(EngineKind, EngineStatistics)>,
    /// What is wrong, if something is: for instance that paging stopped after a failed write.
    pub trouble: Option<EngineError>,
    /// What works less well or less safely than it should, with what to do about it.
    pub degraded: Vec<Degraded>,
}

impl Space {
    /// Figures of this moment. Takes the space lock; cheap enough to call every second.
    pub fn status(&self) -> SpaceStatus {
        let mut core = self.shared().core();
        core.follow_files();
        let files = self.shared().files();
        let files = &*files;
        let totals = core.model.totals();
        let account = core.model.commit_account();
        let engines = statistics(&core.ledger, files);
        let mut total = EngineStatistics::default();
        for (_, figures) in &engines {
            total.add(figures);
        }
        let overhead = core
            .ledger
            .engines()
            .map(|(engine, _)| engine.overhead().get())
            .sum::<u64>()
            + core.model.metadata_bytes().get()
            + files.overhead_bytes();
        SpaceStatus {
            budget: core.ledger.ram().bytes(),
            reserved: totals.reserved.bytes(),
            committed: account.charged().bytes(),
            commit_limit: account.limit().bytes(),
            commit_peak: account.peak().bytes(),
            page_file_allocated: files.usable().bytes(),
            page_file_maximum: files.maximum().bytes(),
            page_file_withdrawn: files.withdrawn().bytes(),
            overhead: ByteCount::new(overhead),
            total,
            engines,
            trouble: core
                .ledger
                .engines()
                .find_map(|(engine, _)| engine.health().err()),
            degraded: degraded(&core.ledger, files),
        }
    }
}

/// What is not as it should be.
pub(super) fn degraded(ledger: &Ledger, files: &PageFiles) -> Vec<Degraded> {
    let mut list = Vec::new();
    let withdrawn = files.withdrawn();
    if !withdrawn.is_zero() {
        let size = withdrawn.bytes();
        list.push(Degraded::Withdrawn { size });
    }
    let uncovered = ledger.uncovered();
    if !uncovered.is_zero() {
        let missing = uncovered.bytes();
        list.push(Degraded::Uncovered { missing });
    }
    let failed = ledger
        .engines()
        .find_map(|(engine, _)| match engine.health() {
            Err(EngineError::PagingStopped(errno)) => Some(errno),
            _ => None,
        });
    list.extend(failed.map(Degraded::WriteFailed));
    let unkept: Vec<_> = files
        .usage()
        .iter()
        .filter_map(|file| file.unkept)
        .collect();
    if let Some(cause) = unkept.first() {
        list.push(Degraded::DescriptorsNotKept {
            count: unkept.len(),
            cause: *cause,
        });
    }
    list
}

fn statistics(ledger: &Ledger, files: &PageFiles) -> Vec<(EngineKind, EngineStatistics)> {
    let mut engines: Vec<_> = ledger
        .engines()
        .map(|(engine, _)| (engine.kind(), engine.statistics()))
        .collect();
    // The page files are the inline engines' together; the first one shows their slots.
    if let Some((_, figures)) = engines
        .iter_mut()
        .find(|(kind, _)| *kind == EngineKind::Inline)
    {
        figures.page_file = files.used();
    }
    engines
}

/// The summary at exit.
pub(crate) fn summary(ledger: &Ledger, files: &PageFiles) -> String {
    let mut text = String::from("pagekeeper: summary\n");
    for (kind, figures) in statistics(ledger, files) {
        let pages = |count: PageCount| count.bytes().human();
        let _ = writeln!(
            text,
            "  {kind}: budget {}, peak {}, resident {}, modified {}, standby {}, compressed {} in {}, page file {}",
            pages(figures.budget),
            pages(figures.peak),
            pages(figures.resident),
            pages(figures.modified),
            pages(figures.standby),
            pages(figures.compressed),
            figures.pool.human(),
            pages(figures.page_file),
        );
        let _ = writeln!(
            text,
            "  {kind}: faults {} zero, {} soft, {} pool, {} hard; {} pages in, {} out, {} spared, {} lost",
            figures.zero_faults,
            figures.soft_faults,
            figures.pool_faults,
            figures.hard_faults,
            figures.pages_in,
            figures.pages_out,
            figures.clean_drops,
            figures.lost,
        );
    }
    text
}
