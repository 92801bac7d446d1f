//! Data several times larger than the RAM: fill it, scan it, access it in each pattern for a fixed time, and compare every
//! byte at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use pagekeeper_units::{ByteCount, PAGE_SIZE};
use serde::{Deserialize, Serialize};

use super::access::{Chooser, Mode, Pattern};
use crate::contender::{ContenderKind, Memory, Place, Use};
use crate::content::{Content, DataKind, WORDS, weight};
use crate::histogram::Histogram;
use crate::pages::Pages;
use crate::random::Random;
use crate::usage::{Peak, Usage, with_peak};
use crate::zipf::Zipf;

/// Every so many operations are timed.
const SAMPLED: u64 = 16;

/// One pattern with one way of access and a number of threads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) pattern: Pattern,
    pub(crate) mode: Mode,
    pub(crate) threads: u8,
}

impl Cell {
    /// All of them, in the order in which they run.
    pub(crate) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for pattern in Pattern::ALL {
            for threads in 1..=2 {
                cells.extend(Mode::ALL.map(|mode| Self {
                    pattern,
                    mode,
                    threads,
                }));
            }
        }
        cells
    }

    /// Its name in results, such as `uniform/read/2`.
    pub(crate) fn name(&self) -> String {
        format!(
            "{}/{}/{}",
            self.pattern.name(),
            self.mode.name(),
            self.threads
        )
    }
}

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) contender: ContenderKind,
    pub(crate) place: Place,
    pub(crate) kind: DataKind,
    pub(crate) data_bytes: u64,
    /// The hot set is half the RAM that all contenders were promised, whatever this one was given.
    pub(crate) hot_bytes: u64,
    pub(crate) cells: Vec<Cell>,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

/// One timed phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) seconds: f64,
    pub(crate) operations: u64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) usage: Usage,
}

impl Phase {
    pub(crate) fn per_second(&self) -> f64 {
        self.operations as f64 / self.seconds.max(1e-9)
    }

    /// Operations being pages, MB (10^6 bytes) a second.
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.per_second() * PAGE_SIZE as f64 / 1e6
    }
}

/// What a child found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Mapping and committing.
    pub(crate) setup_seconds: f64,
    pub(crate) fill: Phase,
    pub(crate) scan: Phase,
    pub(crate) cells: Vec<(Cell, Phase)>,
    /// Words that were not what had been written, at the end or at a read.
    pub(crate) wrong_words: u64,
    /// Whether the counters of all pages add up to the updates that were made.
    pub(crate) updates_agree: bool,
    pub(crate) peak: Peak,
    /// The contender's own figures.
    pub(crate) figures: BTreeMap<String, f64>,
}

/// Does the job. `before` is the memory that the program used before.
pub(crate) fn run(job: &Job, before: &Peak) -> anyhow::Result<Report> {
    let content = Content::new(job.kind, job.seed);
    let start = Instant::now();
    let data = ByteCount::new(job.data_bytes);
    let memory = job.contender.contender().map(&job.place, data)?;
    let setup_seconds = start.elapsed().as_secs_f64();
    let files = memory.cached_files();
    let (report, peak) = with_peak(before, &files, || measure(job, &*memory, &content));
    Ok(Report {
        setup_seconds,
        peak,
        ..report
    })
}

#[allow(
    unsafe_code,
    reason = "UNSAFETY: looks at the contender's memory as pages"
)]
fn measure(job: &Job, memory: &dyn Memory, content: &Content) -> Report {
    let count = job.data_bytes / PAGE_SIZE as u64;
    // SAFETY: the contender mapped so many bytes; nobody else uses them.
    let mut pages = unsafe { Pages::new(memory.base(), count, content) };
    memory.advise(Use::Sequential);
    let fill = timed(count, || pages.fill());
    let scan = timed(count, || {
        std::hint::black_box(pages.sum());
    });
    let zipf = Zipf::new(count);
    let mut tally = Tally::default();
    let mut cells = Vec::new();
    for (index, &cell) in job.cells.iter().enumerate() {
        memory.advise(cell.pattern.advice());
        let seed = job.seed.wrapping_add(1_000 * index as u64);
        let (phase, found) = run_cell(&pages, cell, job, &zipf, seed);
        tally.add(&found);
        cells.push((cell, phase));
    }
    memory.advise(Use::Sequential);
    let check = pages.check();
    Report {
        setup_seconds: 0.0,
        fill,
        scan,
        cells,
        wrong_words: check.wrong_words + tally.wrong,
        updates_agree: check.updates == tally.updates,
        peak: Peak::default(),
        figures: memory.report(),
    }
}

/// Times something that handles `operations` pages.
fn timed(operations: u64, work: impl FnOnce()) -> Phase {
    let before = Usage::now();
    let start = Instant::now();
    work();
    let seconds = start.elapsed().as_secs_f64();
    let usage = Usage::now().since(&before);
    Phase {
        seconds,
        operations,
        usage,
        ..Phase::default()
    }
}

/// What the threads of a cell add up.
#[derive(Default)]
struct Tally {
    /// Operations in the measured time.
    operations: u64,
    /// Reads of wrong words, at any time.
    wrong: u64,
    /// Weights of all updates, at any time.
    updates: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.wrong += other.wrong;
        self.updates = self.updates.wrapping_add(other.updates);
    }
}

const WARMING: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// Runs one cell: a quarter of the time unmeasured, so that the working set settles, then the time itself.
fn run_cell(pages: &Pages<'_>, cell: Cell, job: &Job, zipf: &Zipf, seed: u64) -> (Phase, Tally) {
    let stage = AtomicU8::new(WARMING);
    let threads = u64::from(cell.threads);
    let hot = job.hot_bytes / PAGE_SIZE as u64;
    let mut phase = Phase::default();
    let mut tally = Tally::default();
    let mut latencies = Histogram::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let chooser =
                    Chooser::new(cell.pattern, pages.count(), hot, zipf, (thread, threads));
                let random = Random::new(seed.wrapping_add(thread));
                let stage = &stage;
                scope.spawn(move || access(pages, cell.mode, chooser, random, stage))
            })
            .collect();
        std::thread::sleep(Duration::from_secs_f64(job.seconds / 4.0));
        let before = Usage::now();
        let start = Instant::now();
        stage.store(MEASURED, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs_f64(job.seconds));
        stage.store(OVER, Ordering::Relaxed);
        phase.seconds = start.elapsed().as_secs_f64();
        phase.usage = Usage::now().since(&before);
        for worker in workers {
            match worker.join() {
                Ok((found, times)) => {
                    tally.add(&found);
                    latencies.add(&times);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    phase.operations = tally.operations;
    phase.p50_us = latencies.quantile(0.50).map(|ns| ns / 1e3);
    phase.p99_us = latencies.quantile(0.99).map(|ns| ns / 1e3);
    (phase, tally)
}

/// One thread of a cell.
fn access(
    pages: &Pages<'_>,
    mode: Mode,
    mut chooser: Chooser<'_>,
    mut random: Random,
    stage: &AtomicU8,
) -> (Tally, Histogram) {
    let mut tally = Tally::default();
    let mut latencies = Histogram::new();
    let mut count = 0_u64;
    loop {
        let now = stage.load(Ordering::Relaxed);
        if now == OVER {
            return (tally, latencies);
        }
        let page = chooser.next(&mut random);
        let word = random.below(WORDS as u64) as usize;
        let sampled = count.is_multiple_of(SAMPLED).then(Instant::now);
        match mode {
            Mode::Read => tally.wrong += u64::from(!pages.read(page, word)),
            Mode::Update => {
                pages.update(page);
                tally.updates = tally.updates.wrapping_add(weight(page));
            }
        }
        count += 1;
        if now == MEASURED {
            tally.operations += 1;
            if let Some(start) = sampled {
                latencies.record(start.elapsed().as_nanos() as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(contender: ContenderKind) -> Job {
        Job {
            contender,
            place: Place {
                ram: ByteCount::mib(2),
                folder: std::env::temp_dir(),
            },
            kind: DataKind::Compressible,
            data_bytes: 4 << 20,
            hot_bytes: 1 << 20,
            cells: Cell::all(),
            seconds: 0.1,
            seed: crate::random::test_seed(),
        }
    }

    #[test]
    fn every_cell_runs_and_all_bytes_agree() {
        let report = run(&job(ContenderKind::PlainHuge), &Peak::default()).unwrap();
        assert_eq!((report.wrong_words, report.updates_agree), (0, true));
        assert_eq!(report.cells.len(), 16);
        for (cell, phase) in &report.cells {
            assert!(phase.operations > 0, "{}", cell.name());
            assert!(phase.p50_us <= phase.p99_us, "{}", cell.name());
        }
        assert_eq!(report.fill.operations, 1024);
        assert!(report.peak.anonymous >= 4 << 20);
    }

    #[test]
    fn names_of_cells_differ() {
        let mut names: Vec<_> = Cell::all().iter().map(Cell::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 16);
        assert!(names.contains(&"hot-scan/update/2".to_owned()));
    }
}
