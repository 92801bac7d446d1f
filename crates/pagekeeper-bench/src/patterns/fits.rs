//! Data that fits: first touch and random reads, which should be those of ordinary memory, and bytes written to the disk,
//! which should be none.

use std::time::{Duration, Instant};

use pagekeeper_units::{ByteCount, PAGE_SIZE};
use serde::{Deserialize, Serialize};

use crate::contender::{ContenderKind, Memory, Place};
use crate::pages::Words;
use crate::random::{Random, mix};
use crate::usage::{Peak, Usage, with_peak};

const WORDS_PER_PAGE: u64 = PAGE_SIZE as u64 / 8;

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) contender: ContenderKind,
    pub(crate) place: Place,
    pub(crate) data_bytes: u64,
    /// Time of the random reads.
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

/// What a child found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Mapping and committing.
    pub(crate) setup_seconds: f64,
    /// One store to each page, upwards: nanoseconds a page.
    pub(crate) touch_ns: f64,
    pub(crate) touch_usage: Usage,
    /// Loads of words anywhere: nanoseconds each.
    pub(crate) read_ns: f64,
    /// One store to each page of fresh memory, in random order: nanoseconds a page.
    pub(crate) scattered_touch_ns: f64,
    /// Bytes written to the disk while mapping and committing, both times.
    pub(crate) setup_written_bytes: u64,
    /// Bytes written to the disk from then on, until a moment after the end.
    pub(crate) written_bytes: u64,
    /// Pages whose word was not what had been stored.
    pub(crate) wrong_words: u64,
    pub(crate) peak: Peak,
}

/// Does the job.
pub(crate) fn run(job: &Job, before: &Peak) -> anyhow::Result<Report> {
    let contender = job.contender.contender();
    let at_start = Usage::now();
    let start = Instant::now();
    let data = ByteCount::new(job.data_bytes);
    let memory = contender.map(&job.place, data)?;
    let setup_seconds = start.elapsed().as_secs_f64();
    let mut setup_written_bytes = written_since(&at_start);
    let files = memory.cached_files();
    let (mut report, peak) = with_peak(before, &files, || measure(job, &*memory));
    drop(memory);
    // Fresh memory again, a quarter as much.
    let quarter = ByteCount::new((job.data_bytes / 4).max(PAGE_SIZE as u64));
    let at_second = Usage::now();
    let memory = contender.map(&job.place, quarter)?;
    setup_written_bytes += written_since(&at_second);
    report.scattered_touch_ns = touch_scattered(&*memory, quarter, job.seed);
    // A background writer would have begun by now.
    std::thread::sleep(Duration::from_millis(200));
    report.written_bytes = written_since(&at_start) - setup_written_bytes;
    Ok(Report {
        setup_seconds,
        setup_written_bytes,
        peak,
        ..report
    })
}

fn written_since(earlier: &Usage) -> u64 {
    Usage::now().since(earlier).write_bytes
}

#[allow(
    unsafe_code,
    reason = "UNSAFETY: looks at the contender's memory as words"
)]
fn words_of(memory: &dyn Memory, size: ByteCount) -> Words {
    // SAFETY: the contender mapped so many bytes; nobody else uses them.
    unsafe { Words::new(memory.base(), size.get() / 8) }
}

fn measure(job: &Job, memory: &dyn Memory) -> Report {
    let pages = job.data_bytes / PAGE_SIZE as u64;
    let mut words = words_of(memory, ByteCount::new(job.data_bytes));
    let before = Usage::now();
    let start = Instant::now();
    for page in 0..pages {
        words.store(page * WORDS_PER_PAGE, mix(page));
    }
    let touch_ns = start.elapsed().as_nanos() as f64 / pages as f64;
    let touch_usage = Usage::now().since(&before);
    let read_ns = read_randomly(&words, pages * WORDS_PER_PAGE, job);
    let wrong = |page: &u64| words.load(page * WORDS_PER_PAGE) != mix(*page);
    Report {
        setup_seconds: 0.0,
        touch_ns,
        touch_usage,
        read_ns,
        scattered_touch_ns: 0.0,
        setup_written_bytes: 0,
        written_bytes: 0,
        wrong_words: (0..pages).filter(wrong).count() as u64,
        peak: Peak::default(),
    }
}

/// Nanoseconds for each of many independent loads, drawing their places included.
fn read_randomly(words: &Words, count: u64, job: &Job) -> f64 {
    const BATCH: u64 = 1 << 16;
    let mut random = Random::new(job.seed);
    let (mut loads, mut sum) = (0, 0_u64);
    let limit = Duration::from_secs_f64(job.seconds);
    let start = Instant::now();
    loop {
        for _ in 0..BATCH {
            sum = sum.wrapping_add(words.load(random.below(count)));
        }
        loads += BATCH;
        if start.elapsed() >= limit {
            std::hint::black_box(sum);
            return start.elapsed().as_nanos() as f64 / loads as f64;
        }
    }
}

/// Stores to each page once, in an order without pattern.
fn touch_scattered(memory: &dyn Memory, size: ByteCount, seed: u64) -> f64 {
    let pages = size.get() / PAGE_SIZE as u64;
    let mut order: Vec<u32> = (0..pages as u32).collect();
    let mut random = Random::new(seed);
    for index in (1..order.len()).rev() {
        order.swap(index, random.below(index as u64 + 1) as usize);
    }
    let mut words = words_of(memory, size);
    let start = Instant::now();
    for &page in &order {
        words.store(u64::from(page) * WORDS_PER_PAGE, 1);
    }
    start.elapsed().as_nanos() as f64 / pages as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_memory_is_touched_read_and_right() {
        let job = Job {
            contender: ContenderKind::Plain,
            place: Place {
                ram: ByteCount::mib(16),
                folder: std::env::temp_dir(),
            },
            data_bytes: 4 << 20,
            seconds: 0.01,
            seed: 1,
        };
        let report = run(&job, &Peak::default()).unwrap();
        assert_eq!(report.wrong_words, 0);
        for (name, value) in [
            ("touch", report.touch_ns),
            ("read", report.read_ns),
            ("scattered", report.scattered_touch_ns),
        ] {
            assert!(value > 0.0 && value.is_finite(), "{name}: {value}");
        }
        assert!(report.peak.anonymous >= 4 << 20);
    }
}
