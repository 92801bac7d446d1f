//! Latencies: a histogram with buckets of 3 % width, so that a run of any length takes the same little memory.

/// Buckets for each doubling.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Up to 2^40 nanoseconds, eighteen minutes.
const DOUBLINGS: usize = 40;

/// Counts of nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; DOUBLINGS * STEPS as usize],
            total: 0,
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        let bucket = bucket_of(nanoseconds).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.total += other.total;
    }

    /// The nanoseconds that `share` (0.0 to 1.0) of the samples did not pass; `None` without samples.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted && count > 0 {
                return Some(middle_of(bucket));
            }
        }
        None
    }
}

fn bucket_of(nanoseconds: u64) -> usize {
    if nanoseconds < STEPS {
        return nanoseconds as usize;
    }
    let doubling = 63 - nanoseconds.leading_zeros() - STEP_BITS;
    let step = (nanoseconds >> doubling) - STEPS;
    ((u64::from(doubling) + 1) * STEPS + step) as usize
}

fn middle_of(bucket: usize) -> f64 {
    let (doubling, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if doubling == 0 {
        return step as f64;
    }
    let width = 1_u64 << (doubling - 1);
    ((STEPS + step) * width) as f64 + (width - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, test_seed};

    #[test]
    fn a_bucket_is_never_far_from_its_numbers() {
        let mut random = Random::new(test_seed());
        for _ in 0..100_000 {
            let number = random.next() >> (24 + random.below(40));
            let middle = middle_of(bucket_of(number));
            let error = (middle - number as f64).abs();
            assert!(
                error <= number as f64 * 0.02 + 0.5,
                "{number} became {middle}"
            );
        }
    }

    #[test]
    fn quantiles_are_those_of_the_samples() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), None);
        for number in 1..=1_000_u64 {
            histogram.record(number * 100);
        }
        let mut other = Histogram::new();
        other.record(u64::MAX);
        histogram.add(&other);
        let near = |share, expected: f64| {
            let found = histogram.quantile(share).unwrap();
            assert!((found / expected - 1.0).abs() < 0.03, "{share}: {found}");
        };
        near(0.5, 50_000.0);
        near(0.99, 99_000.0);
        assert!(
            histogram.quantile(1.0).unwrap() > 1e11,
            "the longest is kept"
        );
    }
}
