//! Counters: what the pager did, and where pages are now.

use core::sync::atomic::{AtomicU64, Ordering};

use pagekeeper_units::{ByteCount, PageCount};

use crate::fault_sites::most_first;

/// Buckets of the fault latency histogram: bucket `i` counts faults of 2^i up to 2^(i+1) nanoseconds.
pub const LATENCY_BUCKETS: usize = 40;

/// Whether a figure is counted at each event or looked up in the kernel from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Exactness {
    /// Counted at each event.
    #[default]
    Exact,
    /// Looked up in the kernel; may be out of date.
    Sampled,
}

/// What one engine of a space did and holds.
#[derive(Clone, Debug, Default)]
pub struct EngineStatistics {
    /// RAM that the engine may use for pages.
    pub budget: PageCount,
    /// Pages in the working set.
    pub resident: PageCount,
    /// Pages that left the working set and are not stored elsewhere yet.
    pub modified: PageCount,
    /// Pages that left the working set, are stored elsewhere, and still have their frame.
    pub standby: PageCount,
    /// Pages in the compressed pool.
    pub compressed: PageCount,
    /// RAM that the compressed pool uses.
    pub pool: ByteCount,
    /// Page-file slots in use.
    pub page_file: PageCount,
    /// Frames in use at the worst moment: resident, modified, standby and pool together.
    pub peak: PageCount,
    /// Whether resident, modified, standby and page file are counted or sampled.
    pub residence: Exactness,
    /// Faults answered without the disk: first touches.
    pub zero_faults: u64,
    /// Faults answered from the modified or standby list.
    pub soft_faults: u64,
    /// Faults answered from the compressed pool.
    pub pool_faults: u64,
    /// Faults answered from the page file.
    pub hard_faults: u64,
    /// Whether the fault counts are exact or sampled.
    pub faults: Exactness,
    /// Pages that came from the page file, read-ahead and prefetch included.
    pub pages_in: u64,
    /// Those of them that were read before a fault asked for them.
    pub pages_ahead: u64,
    /// Pages written to the page file.
    pub pages_out: u64,
    /// Pages whose writing was spared because the page file still had them.
    pub clean_drops: u64,
    /// Pages that were packed into the compressed pool where they lay, without passing through the modified list.
    pub packed_in_place: u64,
    /// Pages that could not be read back.
    pub lost: u64,
    /// Faults that ended as in-page errors because nothing could be thrown out to make room: see the error number there.
    pub refused: u64,
    /// Fault latencies; see [`LATENCY_BUCKETS`]. All zero where they are not measured.
    pub latency: Vec<u64>,
    /// Instructions that fault most, by address, with how often, estimated from a sample; the most first. Empty where it is not
    /// known.
    pub sites: Vec<(u64, u64)>,
}

impl EngineStatistics {
    /// The latency in nanoseconds that `share` (0.0 to 1.0) of the faults did not pass, rounded up to a power of two.
    /// `None` without any fault.
    pub fn latency_quantile_ns(&self, share: f64) -> Option<u64> {
        let total: u64 = self.latency.iter().sum();
        if total == 0 {
            return None;
        }
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.latency.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(1 << (bucket + 1));
            }
        }
        None
    }

    /// Adds another engine's figures.
    pub fn add(&mut self, other: &Self) {
        self.budget += other.budget;
        self.resident += other.resident;
        self.modified += other.modified;
        self.standby += other.standby;
        self.compressed += other.compressed;
        self.pool = ByteCount::new(self.pool.get() + other.pool.get());
        self.page_file += other.page_file;
        self.peak += other.peak;
        if other.residence == Exactness::Sampled {
            self.residence = Exactness::Sampled;
        }
        if other.faults == Exactness::Sampled {
            self.faults = Exactness::Sampled;
        }
        self.zero_faults += other.zero_faults;
        self.soft_faults += other.soft_faults;
        self.pool_faults += other.pool_faults;
        self.hard_faults += other.hard_faults;
        self.pages_in += other.pages_in;
        self.pages_out += other.pages_out;
        self.clean_drops += other.clean_drops;
        self.pages_ahead += other.pages_ahead;
        self.packed_in_place += other.packed_in_place;
        self.lost += other.lost;
        self.refused += other.refused;
        if self.latency.len() < other.latency.len() {
            self.latency.resize(other.latency.len(), 0);
        }
        for (sum, count) in self.latency.iter_mut().zip(&other.latency) {
            *sum += count;
        }
        for &(address, faults) in &other.sites {
            match self.sites.iter_mut().find(|(known, _)| *known == address) {
                Some((_, sum)) => *sum += faults,
                None => self.sites.push((address, faults)),
            }
        }
        most_first(&mut self.sites);
    }
}

/// A counter that the fault path may bump.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram that the fault path may bump.
#[derive(Debug)]
pub(crate) struct LatencyHistogram([AtomicU64; LATENCY_BUCKETS]);

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; LATENCY_BUCKETS])
    }
}

impl LatencyHistogram {
    #[inline]
    pub(crate) fn record(&self, nanoseconds: u64) {
        let bucket = (63 - (nanoseconds | 1).leading_zeros() as usize).min(LATENCY_BUCKETS - 1);
        if let Some(count) = self.0.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<u64> {
        self.0
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_from_the_buckets() {
        let histogram = LatencyHistogram::default();
        for _ in 0..99 {
            histogram.record(4_500);
        }
        histogram.record(90_000);
        let statistics = EngineStatistics {
            latency: histogram.snapshot(),
            ..Default::default()
        };
        assert_eq!(statistics.latency_quantile_ns(0.5), Some(8192));
        assert_eq!(statistics.latency_quantile_ns(0.99), Some(8192));
        assert_eq!(statistics.latency_quantile_ns(1.0), Some(131_072));
        assert_eq!(EngineStatistics::default().latency_quantile_ns(0.5), None);
    }
}
