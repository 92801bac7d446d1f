//! A mapped file: our view beside a plain `mmap`, and beside one in a control group that has no more RAM than we.
//!
//! | cell | what |
//! |---|---|
//! | first-scan | every word of the file, upwards, right after it was mapped |
//! | scan | the same over and over |
//! | random | a word of a page drawn from all of them |

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads mapped files, which nobody changes, as words"
)]

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pagekeeper::{EngineKind, Protection, Section, View};
use pagekeeper_sys::file::{self, AllocateHow, WriteOut};
use pagekeeper_sys::map::{self, Access, Mapping};
use pagekeeper_units::{ByteCount, PAGE_SIZE};
use serde::{Deserialize, Serialize};

use crate::contender::{ContenderKind, Place, ours_space};
use crate::pages::Words;
use crate::random::{Random, mix};
use crate::usage::{Peak, with_peak};

const WORDS_PER_PAGE: u64 = PAGE_SIZE as u64 / 8;

/// Who maps the file: we, the kernel without a limit, and the kernel in a control group.
pub(crate) const CONTENDERS: [ContenderKind; 3] = [
    ContenderKind::Mapped,
    ContenderKind::Plain,
    ContenderKind::FileMapping,
];

/// What is measured, in the order of the table.
pub(crate) const CELLS: [&str; 3] = ["first-scan", "scan", "random"];
/// How many threads read; the file is shared out among them for scans.
pub(crate) const THREADS: [u64; 2] = [1, 2];

/// How large the file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Size {
    /// It fits into the RAM, and is in the page cache when it is mapped.
    Fits,
    /// Several times the RAM, and on the disk when it is mapped.
    Larger,
}

impl Size {
    pub(crate) const ALL: [Self; 2] = [Self::Fits, Self::Larger];

    /// The name of a cell of the table.
    pub(crate) fn cell(self, what: &str, threads: u64) -> String {
        let size = match self {
            Self::Fits => "fits",
            Self::Larger => "larger",
        };
        format!("{size}/{what}/{threads}")
    }
}

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) contender: ContenderKind,
    pub(crate) place: Place,
    pub(crate) size: Size,
    pub(crate) data_bytes: u64,
    pub(crate) threads: u64,
    /// Time of scans, and of random reads.
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

/// What a child found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Nanoseconds a page (scans) or a read, as they pass for a thread, divided by the number of threads: see [`CELLS`].
    pub(crate) figures: Vec<(String, f64)>,
    /// Pages that were not what the file holds.
    pub(crate) wrong_pages: u64,
    /// The most pages that were mapped at any look of ours.
    pub(crate) mapped_peak_bytes: Option<u64>,
    pub(crate) peak: Peak,
}

/// The mapped file.
enum Mapped {
    Ours(View),
    Kernel(Mapping),
}

impl Mapped {
    fn new(job: &Job, file: &OwnedFd) -> anyhow::Result<Self> {
        let data = ByteCount::new(job.data_bytes);
        if job.contender.engine().is_none() {
            let mapping = map::map_file(data.pages(), file, 0, Access::READ)?;
            return Ok(Self::Kernel(mapping));
        }
        let space = ours_space(EngineKind::Mapped, &job.place, ByteCount::mib(1))?;
        let section = Section::from_file(&space, file.as_fd())
            .protection(Protection::READ_ONLY)
            .build()?;
        Ok(Self::Ours(section.view().build()?))
    }

    fn words(&self, bytes: u64) -> Words {
        let base = match self {
            Self::Ours(view) => view.base(),
            Self::Kernel(mapping) => mapping.base(),
        };
        // SAFETY: so many bytes are mapped; nobody writes to the file.
        unsafe { Words::new(base, bytes / 8) }
    }

    fn peak_bytes(&self) -> Option<u64> {
        let Self::Ours(view) = self else { return None };
        let engines = view.space().status().engines;
        let views = engines
            .iter()
            .find(|(kind, _)| *kind == EngineKind::Views)?;
        Some(views.1.peak.bytes().get())
    }
}

/// Does the job.
///
/// # Errors
/// Where the file cannot be made or mapped.
pub(crate) fn run(job: &Job, before: &Peak) -> anyhow::Result<Report> {
    let file = create(job)?;
    let mapped = Mapped::new(job, &file)?;
    let words = mapped.words(job.data_bytes);
    let files = [file.try_clone()?];
    let (mut report, peak) = with_peak(before, &files, || measure(job, &words));
    report.mapped_peak_bytes = mapped.peak_bytes();
    report.peak = peak;
    Ok(report)
}

/// What the file holds.
#[inline]
fn word(page: u64, index: u64) -> u64 {
    mix(page).wrapping_add(index)
}

fn create(job: &Job) -> anyhow::Result<OwnedFd> {
    const AT_ONCE: u64 = 256;
    let file = file::create_in_folder(&job.place.folder)?.file;
    let done = file::allocate(&file, 0, job.data_bytes, 64 << 20, AllocateHow::Best);
    if let Some(error) = done.error {
        return Err(error).context("no room for the mapped file");
    }
    let pages = job.data_bytes / PAGE_SIZE as u64;
    for first in (0..pages).step_by(AT_ONCE as usize) {
        let some = first..pages.min(first + AT_ONCE);
        let words = some.flat_map(|page| (0..WORDS_PER_PAGE).map(move |index| word(page, index)));
        let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        file::write_at(&file, &bytes, first * PAGE_SIZE as u64)?;
    }
    file::write_out(&file, 0, job.data_bytes, WriteOut::AndWait)?;
    if job.size == Size::Larger {
        file::forget(&file, 0, job.data_bytes)?;
    }
    Ok(file)
}

fn measure(job: &Job, words: &Words) -> Report {
    let pages = job.data_bytes / PAGE_SIZE as u64;
    let limit = Duration::from_secs_f64(job.seconds);
    let part = |thread| pages * thread / job.threads..pages * (thread + 1) / job.threads;
    let mut wrong_pages = 0;
    let mut figures = Vec::new();
    let mut note = |what: &str, (done, wrong, took): (u64, u64, Duration)| {
        wrong_pages += wrong;
        figures.push((what.to_owned(), took.as_nanos() as f64 / done.max(1) as f64));
    };
    note(
        "first-scan",
        on_threads(job.threads, |thread| {
            (pages / job.threads, scan(words, part(thread)))
        }),
    );
    note(
        "scan",
        on_threads(job.threads, |thread| {
            repeat(limit, || (pages / job.threads, scan(words, part(thread))))
        }),
    );
    note(
        "random",
        on_threads(job.threads, |thread| {
            let mut random = Random::new(job.seed + thread);
            repeat(limit, || read_randomly(words, pages, &mut random))
        }),
    );
    // The last word: each one by itself.
    let differs = |page: &u64| {
        let mut indices = 0..WORDS_PER_PAGE;
        indices.any(|index| words.load(page * WORDS_PER_PAGE + index) != word(*page, index))
    };
    wrong_pages += (0..pages).filter(differs).count() as u64;
    Report {
        figures,
        wrong_pages,
        mapped_peak_bytes: None,
        peak: Peak::default(),
    }
}

/// Runs `body` on each thread. It says how much it did and how much was wrong; the sums come back, with the time.
fn on_threads(threads: u64, body: impl Fn(u64) -> (u64, u64) + Sync) -> (u64, u64, Duration) {
    let start = Instant::now();
    let sums = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|thread| {
                let body = &body;
                scope.spawn(move || body(thread))
            })
            .collect();
        all.into_iter().fold((0, 0), |sum, thread| {
            // A thread that panicked did nothing and found everything wrong.
            let (done, wrong) = thread.join().unwrap_or((0, u64::MAX / 64));
            (sum.0 + done, sum.1 + wrong)
        })
    });
    (sums.0, sums.1, start.elapsed())
}

/// Does something over and over, once at least.
fn repeat(limit: Duration, mut work: impl FnMut() -> (u64, u64)) -> (u64, u64) {
    let start = Instant::now();
    let mut sum = (0, 0);
    loop {
        let (done, wrong) = work();
        sum = (sum.0 + done, sum.1 + wrong);
        if start.elapsed() >= limit {
            return sum;
        }
    }
}

/// Reads all words of some pages; says how many pages have another sum than they should.
fn scan(words: &Words, pages: std::ops::Range<u64>) -> u64 {
    const INDICES: u64 = WORDS_PER_PAGE * (WORDS_PER_PAGE - 1) / 2;
    let differs = |page: &u64| {
        let first = page * WORDS_PER_PAGE;
        let all = (first..first + WORDS_PER_PAGE).map(|index| words.load(index));
        let sum = all.fold(0, u64::wrapping_add);
        sum != mix(*page)
            .wrapping_mul(WORDS_PER_PAGE)
            .wrapping_add(INDICES)
    };
    pages.filter(differs).count() as u64
}

fn read_randomly(words: &Words, pages: u64, random: &mut Random) -> (u64, u64) {
    const BATCH: u64 = 256;
    let mut wrong = 0;
    for _ in 0..BATCH {
        let (page, index) = (random.below(pages), random.below(WORDS_PER_PAGE));
        wrong += u64::from(words.load(page * WORDS_PER_PAGE + index) != word(page, index));
    }
    (BATCH, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(contender: ContenderKind, size: Size) -> Job {
        Job {
            contender,
            place: Place {
                ram: ByteCount::mib(4),
                folder: std::path::PathBuf::from("/var/tmp"),
            },
            size,
            data_bytes: 2 << 20,
            threads: 2,
            seconds: 0.01,
            seed: 1,
        }
    }

    #[test]
    fn a_plain_mapping_is_read_and_right() {
        for size in Size::ALL {
            let report = run(&job(ContenderKind::Plain, size), &Peak::default()).unwrap();
            assert_eq!(report.wrong_pages, 0);
            assert_eq!(report.mapped_peak_bytes, None);
            let names: Vec<_> = report.figures.iter().map(|(name, _)| name).collect();
            assert_eq!(names, CELLS);
            assert!(report.figures.iter().all(|(_, ns)| *ns > 0.0));
        }
    }

    #[test]
    fn a_wrong_word_is_found_by_every_way_of_reading() {
        let mut memory: Vec<u64> = (0..2)
            .flat_map(|page| (0..WORDS_PER_PAGE).map(move |index| word(page, index)))
            .collect();
        memory[WORDS_PER_PAGE as usize + 7] ^= 1;
        // SAFETY: the vector's memory.
        let words = unsafe { Words::new(memory.as_mut_ptr().cast(), 2 * WORDS_PER_PAGE) };
        assert_eq!((scan(&words, 0..1), scan(&words, 0..2)), (0, 1));
        let mut random = Random::new(1);
        let found = (0..100).map(|_| read_randomly(&words, 2, &mut random).1);
        assert!(found.sum::<u64>() > 0, "25,600 reads of 1,024 words");
    }
}
