//! What being looked at costs: the same work with and without somebody who looks, by turns.
//!
//! Work that pages differs by more than a look costs from second to second. So the slices are short and many: neighbours are alike,
//! each watched slice has one look in it, which so weighs several times what it does once a second, and the median of the pairs'
//! differences is told with how sure it is.
//!
//! The process has a hundred or ten thousand regions beside its data. Another process looks as `top` does, at everything.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pagekeeper::monitor::Observer;
use pagekeeper::{EngineKind, Protection, Reservation, Space};
use pagekeeper_sys::time::thread_processor_time;
use pagekeeper_units::{ByteCount, PAGE_SIZE};
use serde::{Deserialize, Serialize};

use crate::contender::{Place, ours_space};
use crate::pages::Words;
use crate::random::{Random, mix};
use crate::zipf::Zipf;

const PAGE: u64 = PAGE_SIZE as u64;
const WORDS_PER_PAGE: u64 = PAGE / 8;
/// Regions beside the data: as many as an ordinary process has, and many.
pub(crate) const REGIONS: [u64; 2] = [100, 10_000];
/// Operations between two looks at the clock.
const BATCH: u64 = 256;
/// Where in a slice the look begins, so that it is over within it.
const LOOK_AT: f64 = 0.2;

/// What the process is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Load {
    /// Loads anywhere in data that fits.
    Fits,
    /// Loads and stores after Zipf in data that is larger than the RAM, and that fits when it is packed.
    Pages,
}

impl Load {
    pub(crate) const ALL: [Self; 2] = [Self::Fits, Self::Pages];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Pages => "pages",
        }
    }

    /// The cell of the results.
    pub(crate) fn cell(self, regions: u64) -> String {
        format!("{}/{regions}", self.name())
    }
}

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) engine: String,
    pub(crate) place: Place,
    pub(crate) load: Load,
    /// Regions beside the data.
    pub(crate) regions: u64,
    pub(crate) data_bytes: u64,
    /// Of each slice.
    pub(crate) seconds: f64,
    /// Pairs of slices, one of which is watched.
    pub(crate) pairs: u32,
    pub(crate) seed: u64,
}

/// What a child found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// For each pair: operations a second alone, and watched.
    pub(crate) pairs: Vec<(f64, f64)>,
    /// Processor time of the observer for each look, in milliseconds.
    pub(crate) look_ms: Vec<f64>,
    /// Pages whose word was not what had been stored.
    pub(crate) wrong_words: u64,
}

/// The other process: looks when a line comes, and says what it took.
///
/// # Errors
/// The process cannot be looked at.
pub(crate) fn observe(pid: u32) -> anyhow::Result<()> {
    let mut observer = Observer::of(pid)?;
    let mut output = std::io::stdout();
    for line in std::io::stdin().lines() {
        let _ = line?;
        let start = thread_processor_time();
        let snapshot = observer.snapshot()?;
        let took = thread_processor_time().saturating_sub(start);
        writeln!(
            output,
            "{} {}",
            took.as_secs_f64() * 1e3,
            snapshot.regions.len()
        )?;
        output.flush()?;
    }
    Ok(())
}

/// Does the job.
///
/// # Errors
/// The space or the observer cannot be had.
pub(crate) fn run(job: &Job) -> anyhow::Result<Report> {
    let engine: EngineKind = job.engine.parse().map_err(anyhow::Error::msg)?;
    let space = ours_space(engine, &job.place, ByteCount::new(job.data_bytes))?;
    let _regions = regions(&space, job.regions)?;
    let data = space
        .reserve(ByteCount::new(job.data_bytes))
        .committed()
        .build()?;
    let mut words = words_of(&data, job.data_bytes);
    let pages = job.data_bytes / PAGE;
    for page in 0..pages {
        // Most of a page is the same word, so that all of it fits into the compressed pool: disks have moods.
        for word in 0..WORDS_PER_PAGE {
            let packed = word % 8 != 1;
            words.store(page * WORDS_PER_PAGE + word, value(page, packed, word));
        }
    }
    let mut watcher = Watcher::start(job.regions)?;
    let mut report = Report::default();
    let mut worker = Worker::new(job, pages);
    // Until nothing is new to the engine any more.
    worker.slice(&mut words, job.seconds.max(0.5));
    for _ in 0..job.pairs {
        // Which of the two is watched is left to chance: nothing that recurs can fall on the same one always.
        let first = worker.random.below(2) == 0;
        let mut rates = [0.0; 2];
        for is_watched in [first, !first] {
            rates[usize::from(is_watched)] = if is_watched {
                let (rate, took) = watcher.during(job, || worker.slice(&mut words, job.seconds))?;
                report.look_ms.push(took);
                rate
            } else {
                worker.slice(&mut words, job.seconds)
            };
        }
        report.pairs.push((rates[0], rates[1]));
    }
    let wrong = |page: &u64| words.load(page * WORDS_PER_PAGE + 1) != value(*page, false, 1);
    report.wrong_words = (0..pages).filter(wrong).count() as u64;
    Ok(report)
}

fn value(page: u64, is_packed: bool, word: u64) -> u64 {
    if is_packed {
        page
    } else {
        mix(page << 9 | word)
    }
}

/// Every second page of a stretch of address space committed.
fn regions(space: &Space, count: u64) -> anyhow::Result<Reservation> {
    let reservation = space.reserve(ByteCount::new(count * PAGE)).build()?;
    for page in (0..count).step_by(2) {
        reservation.commit(page * PAGE..(page + 1) * PAGE, Protection::READ_WRITE)?;
    }
    Ok(reservation)
}

#[allow(unsafe_code, reason = "UNSAFETY: looks at the own memory as words")]
fn words_of(data: &Reservation, bytes: u64) -> Words {
    // SAFETY: committed, and used through these words only.
    unsafe { Words::new(data.base(), bytes / 8) }
}

/// Draws pages and touches them.
struct Worker {
    random: Random,
    zipf: Option<Zipf>,
    pages: u64,
}

impl Worker {
    fn new(job: &Job, pages: u64) -> Self {
        Self {
            random: Random::new(job.seed),
            zipf: (job.load == Load::Pages).then(|| Zipf::new(pages)),
            pages,
        }
    }

    /// Operations a second over a while.
    fn slice(&mut self, words: &mut Words, seconds: f64) -> f64 {
        let limit = Duration::from_secs_f64(seconds);
        let start = Instant::now();
        let (mut done, mut sum) = (0_u64, 0_u64);
        while start.elapsed() < limit {
            for _ in 0..BATCH {
                let Some(zipf) = &self.zipf else {
                    let word = self.random.below(self.pages * WORDS_PER_PAGE);
                    sum = sum.wrapping_add(words.load(word));
                    continue;
                };
                let page = zipf.place(zipf.rank(self.random.unit()));
                let word = page * WORDS_PER_PAGE + self.random.below(WORDS_PER_PAGE);
                let found = words.load(word);
                sum = sum.wrapping_add(found);
                // Every second one is written, with what was there.
                if sum % 2 == 0 {
                    words.store(word, found);
                }
            }
            done += BATCH;
        }
        std::hint::black_box(sum);
        done as f64 / start.elapsed().as_secs_f64()
    }
}

/// The process that looks.
struct Watcher {
    /// Regions that it must see.
    regions: u64,
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Watcher {
    fn start(regions: u64) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["observer", &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the observer cannot be started")?;
        let output = child.stdout.take().context("no pipe")?;
        let mut started = Self {
            regions,
            child,
            answers: BufReader::new(output),
        };
        // Opening files and finding the live source is no refresh.
        started.look()?;
        Ok(started)
    }

    fn look(&mut self) -> anyhow::Result<f64> {
        let input = self.child.stdin.as_mut().context("no pipe")?;
        input.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let mut numbers = line.split_ascii_whitespace();
        let took = numbers.next().and_then(|word| word.parse().ok());
        let regions: u64 = numbers
            .next()
            .and_then(|word| word.parse().ok())
            .unwrap_or(0);
        if regions < self.regions {
            bail!("the observer sees {regions} regions only");
        }
        took.context("the observer says nothing")
    }

    /// Looks once while `work` runs; what it took of a processor.
    fn during<R>(&mut self, job: &Job, work: impl FnOnce() -> R) -> anyhow::Result<(R, f64)> {
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                std::thread::sleep(Duration::from_secs_f64(job.seconds * LOOK_AT));
                self.look()
            });
            let result = work();
            let took = looking
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((result, took))
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
