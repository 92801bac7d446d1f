//! Looking records up at random from many threads, each checked against its sum.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::differences::{Differences, Known};
use crate::failure::Failure;

/// Parts of a power of two that the histogram tells apart.
const PARTS_LOG2: u32 = 3;
const BUCKETS: usize = 64 << PARTS_LOG2;

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) count: u64,
    histogram: Box<[u64; BUCKETS]>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            count: 0,
            histogram: Box::new([0; BUCKETS]),
        }
    }
}

impl Outcome {
    fn note(&mut self, time: Duration) {
        self.count += 1;
        self.histogram[bucket(time.as_nanos() as u64)] += 1;
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        for (sum, count) in self.histogram.iter_mut().zip(other.histogram.iter()) {
            *sum += count;
        }
    }

    /// The time in nanoseconds that `share` of the look-ups did not pass, rounded up by an eighth at most.
    pub(super) fn quantile_ns(&self, share: f64) -> Option<u64> {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        self.histogram
            .iter()
            .position(|count| {
                seen += count;
                self.count > 0 && seen >= wanted
            })
            .map(end_of)
    }
}

/// Eight buckets to each power of two; times below eight nanoseconds have their own.
fn bucket(time: u64) -> usize {
    let log2 = 63 - (time | 1).leading_zeros();
    if log2 < PARTS_LOG2 {
        return time as usize;
    }
    let part = (time >> (log2 - PARTS_LOG2)) & ((1 << PARTS_LOG2) - 1);
    (((log2 - PARTS_LOG2 + 1) << PARTS_LOG2) as u64 + part) as usize
}

/// The first time that is past a bucket.
fn end_of(bucket: usize) -> u64 {
    let (octave, part) = (
        bucket as u64 >> PARTS_LOG2,
        bucket as u64 & ((1 << PARTS_LOG2) - 1),
    );
    match octave {
        0 => part + 1,
        _ => ((1 << PARTS_LOG2) + part + 1) << (octave - 1),
    }
}

/// Looks up for `time` from `threads` threads.
pub(super) fn look_up(
    known: Known<'_>,
    differences: &Differences,
    threads: usize,
    time: Duration,
) -> Result<Outcome, Failure> {
    let stop = AtomicBool::new(time.is_zero());
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        let work = |seed: u64| {
            let mut outcome = Outcome::default();
            let mut random = seed;
            let mut began = Instant::now();
            while began < end && !stop.load(Ordering::Relaxed) {
                let record = next(&mut random) as usize % known.checksums.records();
                differences.check_record(known, record);
                let now = Instant::now();
                outcome.note(now - began);
                began = now;
            }
            outcome
        };
        let mut handles = Vec::new();
        for number in 1..=threads as u64 {
            let seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let started = std::thread::Builder::new()
                .stack_size(256 << 10)
                .spawn_scoped(scope, move || work(seed));
            match started {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(super::no_thread(&error));
                }
            }
        }
        let mut sum = Outcome::default();
        for handle in handles {
            let outcome = handle
                .join()
                .map_err(|_| Failure::Broken("a look-up thread failed".to_owned()))?;
            sum.add(&outcome);
        }
        Ok(sum)
    })
}

/// Marsaglia's xorshift: the state is never zero.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::super::catalogue::Catalogue;
    use super::super::checksums::Checksums;
    use super::*;

    #[test]
    fn buckets_follow_each_other() {
        let mut last = 0;
        for time in 0..100_000 {
            let found = bucket(time);
            assert!(found == last || found == last + 1, "{time}");
            assert!(time < end_of(found), "{time}");
            assert!(end_of(found) <= (time + 1) * 9 / 8 + 1, "{time}");
            last = found;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_come_from_the_buckets() {
        let mut outcome = Outcome::default();
        assert_eq!(outcome.quantile_ns(0.5), None);
        for time in 1..=1000 {
            outcome.note(Duration::from_nanos(time));
        }
        assert!((500..=575).contains(&outcome.quantile_ns(0.5).expect("some")));
        assert!((990..=1152).contains(&outcome.quantile_ns(0.99).expect("some")));
    }

    #[test]
    fn a_wrong_record_is_found() {
        let mut data = vec![7; 64 << 10];
        let mut checksums = Checksums::new(data.len() as u64);
        checksums.add(&data);
        checksums.finish();
        let mut catalogue = Catalogue::default();
        catalogue
            .add(Path::new("/a"), OsStr::new("b"), data.len() as u64, 0)
            .expect("room");
        catalogue.complete();
        let time = Duration::from_millis(50);
        let differences = Differences::default();
        let known = Known {
            data: &data,
            checksums: &checksums,
            catalogue: &catalogue,
        };
        let outcome = look_up(known, &differences, 2, time).expect("done");
        assert!(outcome.count > 100 && differences.count() == 0);
        data[5000] = 8;
        let known = Known {
            data: &data,
            checksums: &checksums,
            catalogue: &catalogue,
        };
        look_up(known, &differences, 2, time).expect("done");
        assert!(differences.count() > 0);
        assert_eq!(
            (
                differences.first()[0].file.as_str(),
                differences.first()[0].offset
            ),
            ("/a/b", 4096)
        );
    }
}
