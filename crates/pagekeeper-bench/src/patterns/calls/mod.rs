//! What one call costs with 1, 1,000 and a million reservations alive, by one thread and by two, beside the kernel's own.

mod of_kernel;
mod ours;

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::Instant;

use pagekeeper_units::PAGES_PER_GRANULE;
use serde::{Deserialize, Serialize};

use crate::contender::{ContenderKind, Place};

/// A call: its name in results and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
}

/// Every call, in the order in which they are made: each works on what the one before left.
pub(crate) const CALLS: [Call; 5] = [
    Call {
        name: RESERVE,
        what: "reserve and release 64 KiB (mmap, munmap)",
    },
    Call {
        name: COMMIT,
        what: "commit 4 KiB (mprotect)",
    },
    Call {
        name: QUERY,
        what: "query",
    },
    Call {
        name: PROTECT,
        what: "protect 4 KiB, read-only (mprotect)",
    },
    Call {
        name: DECOMMIT,
        what: "decommit 4 KiB, untouched (madvise)",
    },
];
const RESERVE: &str = "reserve-release";
const COMMIT: &str = "commit";
const QUERY: &str = "query";
const PROTECT: &str = "protect";
const DECOMMIT: &str = "decommit";

/// How many threads make the calls.
pub(crate) const THREADS: [u64; 2] = [1, 2];

/// How many reservations are alive, the last as many as were asked for.
pub(crate) const fn alive(most: u64) -> [u64; 3] {
    [1, 1_000, most]
}

/// The name of a cell of the table.
pub(crate) fn cell(call: &str, alive: u64, threads: u64) -> String {
    format!("{call}/{alive}/{threads}")
}

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) contender: ContenderKind,
    pub(crate) place: Place,
    /// Reservations alive.
    pub(crate) alive: u64,
    pub(crate) threads: u64,
    /// Calls of each kind, of all threads together.
    pub(crate) calls: u64,
}

/// What a child found: nanoseconds for each call.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) figures: BTreeMap<String, f64>,
}

impl Job {
    /// Pages of each reservation, so that no call repeats another.
    fn pages(&self) -> u64 {
        (self.calls / self.alive + 1).next_multiple_of(PAGES_PER_GRANULE)
    }

    /// Whether each commit lies in another reservation, far from the others.
    pub(crate) const fn is_scattered(&self) -> bool {
        self.alive > self.calls
    }

    /// The reservation and the page in it that call `index` is about: all reservations by turns, in no order that a cache
    /// could use.
    const fn target(&self, index: u64) -> (usize, u64) {
        /// A prime, so that it visits each.
        const STRIDE: u64 = 700_001;
        let reservation = index * STRIDE % self.alive;
        (reservation as usize, index / self.alive)
    }

    /// The time of a call as its thread sees it, in nanoseconds; with several threads their mean. `call` is told its number.
    fn time<E: Send>(&self, call: impl Fn(u64) -> Result<(), E> + Sync) -> Result<f64, E> {
        let each = self.calls / self.threads;
        let start = Barrier::new(self.threads as usize);
        let run = |thread: u64| {
            start.wait();
            let began = Instant::now();
            (0..each).try_for_each(|index| call(index * self.threads + thread))?;
            Ok(began.elapsed().as_nanos() as f64 / each.max(1) as f64)
        };
        let run = &run;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| scope.spawn(move || run(thread)))
                .collect();
            let mut sum = 0.0;
            for thread in threads {
                match thread.join() {
                    Ok(ns) => sum += ns?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(sum / self.threads as f64)
        })
    }
}

/// Does the job: ours, or the kernel's own calls for plain memory.
pub(crate) fn run(job: &Job) -> anyhow::Result<Report> {
    match job.contender.engine() {
        Some(engine) => ours::run(engine, job),
        None => of_kernel::run(job),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagekeeper_units::ByteCount;

    fn job(contender: ContenderKind) -> Job {
        let place = Place {
            ram: ByteCount::mib(64),
            folder: std::env::temp_dir(),
        };
        Job {
            contender,
            place,
            alive: 30,
            threads: 2,
            calls: 600,
        }
    }

    #[test]
    fn every_page_is_visited_once() {
        let job = job(ContenderKind::Plain);
        let mut targets: Vec<_> = (0..job.calls).map(|index| job.target(index)).collect();
        targets.sort_unstable();
        targets.dedup();
        assert_eq!(targets.len() as u64, job.calls);
        assert!(targets.iter().all(|(_, page)| *page < job.pages()));
    }

    #[test]
    fn the_kernel_is_measured() {
        let report = run(&job(ContenderKind::Plain)).expect("the kernel's own calls");
        assert_eq!(report.figures.len(), CALLS.len() - 1, "all but query");
        assert!(report.figures.values().all(|value| *value > 0.0));
    }
}
