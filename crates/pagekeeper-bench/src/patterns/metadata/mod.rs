//! Reserve, commit, query, decommit: what bookkeeping costs, in time and in bytes, beside the kernel's own calls.

mod of_kernel;
mod ours;

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::contender::{ContenderKind, Place};

/// Commits in one reservation that are done to see what one costs.
const PAGES_DECOMMITTED: u64 = 4096;
const RESERVATIONS: u64 = 20_000;
/// Pages of an extent: decommitted in one call.
const EXTENT: u64 = 64;
/// The size of the reservations that come and go.
const RESERVATION_BYTES: u64 = 64 << 10;

/// A figure: its name in results and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
}

const fn figure(name: &'static str, what: &'static str, unit: &'static str) -> Figure {
    Figure { name, what, unit }
}

/// Every figure, in the order of the table.
pub(crate) const FIGURES: [Figure; 18] = [
    figure(
        "reserve-release",
        "reserve and release 64 KiB (kernel: mmap, munmap)",
        "ns",
    ),
    figure(
        "commit-next",
        "commit the next 4 KiB of a growing array (kernel: mprotect)",
        "ns",
    ),
    figure(
        "alternating",
        "alternating 4 KiB commits in one reservation: how many before the first refusal",
        "pages",
    ),
    figure(
        "commit-alternating",
        "one of those commits (kernel: mprotect)",
        "ns",
    ),
    figure(
        "write-alternating",
        "first store to each of those pages",
        "ns",
    ),
    figure(
        "read-alternating",
        "load from each of those pages afterwards, all compared",
        "ns",
    ),
    figure("query-1", "query, 1 region", "ns"),
    figure("query-1000", "query, 1,000 regions", "ns"),
    figure("query-1000000", "query, 1,000,000 regions", "ns"),
    figure(
        "regions",
        "regions in the last line (fewer in a short run)",
        "regions",
    ),
    figure(
        "decommit-touched",
        "decommit one touched page (kernel: madvise)",
        "ns",
    ),
    figure(
        "decommit-untouched",
        "decommit one untouched page (kernel: madvise)",
        "ns",
    ),
    figure(
        "decommit-extent-touched",
        "decommit 64 touched pages in one call (kernel: madvise)",
        "ns",
    ),
    figure(
        "decommit-extent-untouched",
        "decommit 64 untouched pages in one call (kernel: madvise)",
        "ns",
    ),
    figure(
        "bytes-alternating",
        "metadata for each alternating committed page, own figures",
        "bytes",
    ),
    figure(
        "rss-alternating",
        "the same as anonymous memory and page tables that came with the commits",
        "bytes",
    ),
    figure(
        "bytes-dense",
        "metadata for each page of one large commit, own figures",
        "bytes",
    ),
    figure(
        "rss-dense",
        "the same as anonymous memory and page tables",
        "bytes",
    ),
];

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) contender: ContenderKind,
    pub(crate) place: Place,
    /// Alternating commits.
    pub(crate) commits: u64,
}

/// What a child found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) figures: BTreeMap<String, f64>,
    /// Pages whose word was not what had been stored.
    pub(crate) wrong_words: u64,
}

impl Report {
    fn set(&mut self, name: &str, value: f64) {
        debug_assert!(FIGURES.iter().any(|figure| figure.name == name), "{name}");
        self.figures.insert(name.to_owned(), value);
    }
}

/// Does the job: ours, or the kernel's own calls for plain memory.
pub(crate) fn run(job: &Job) -> anyhow::Result<Report> {
    match job.contender.engine() {
        Some(engine) => ours::run(engine, job),
        None => of_kernel::run(job),
    }
}

/// Nanoseconds for each of `count` times `work`.
fn each<E>(count: u64, mut work: impl FnMut(u64) -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    for index in 0..count {
        work(index)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / count.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagekeeper_units::ByteCount;

    #[test]
    fn the_kernel_is_measured_and_refuses_at_its_mapping_limit() {
        let place = Place {
            ram: ByteCount::mib(16),
            folder: std::env::temp_dir(),
        };
        let job = Job {
            contender: ContenderKind::Plain,
            place,
            commits: 1_000,
        };
        let report = run(&job).unwrap();
        assert_eq!(report.wrong_words, 0);
        assert_eq!(report.figures["alternating"], 1_000.0);
        assert!(
            report.figures.values().all(|value| value.is_finite()),
            "{:?}",
            report.figures
        );
    }

    #[test]
    fn figures_have_names_of_their_own() {
        let mut names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIGURES.len());
    }
}
