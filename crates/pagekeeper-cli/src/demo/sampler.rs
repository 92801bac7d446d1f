//! The most memory that the process had at any time, as the kernel counts it: sampled, not asked of the pager.
//!
//! What counts: anonymous memory (RssAnon), the page cache of the page files, page tables (VmPTE). Every
//! 10 ms; counting a large page cache takes the kernel milliseconds, and is then done less often, so that it
//! takes no more than a twentieth of a processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pagekeeper_sys::procmap::Residence;
use serde::Serialize;

use super::page_cache::PageFiles;

/// Between two samples.
const INTERVAL: Duration = Duration::from_millis(10);
/// Between two looks for new page files.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Counting the page cache may take one part in so many.
const CACHE_SHARE: u32 = 20;

/// The moment at which the sum was the largest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Peak {
    /// The sum of the three below.
    pub(super) total_bytes: u64,
    /// Anonymous memory: managed pages, the compressed pool, tables, buffers, stacks, the heap.
    pub(super) anonymous_bytes: u64,
    /// Pages of the page files in the page cache.
    pub(super) page_cache_bytes: u64,
    /// Page tables.
    pub(super) page_table_bytes: u64,
    /// How often it was looked.
    pub(super) samples: u64,
    /// Whether the page cache of every page file could be counted.
    pub(super) page_cache_counted: bool,
}

/// A thread that watches.
pub(super) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Peak>,
}

impl Sampler {
    /// Starts watching. To be called before the space is made, so that its page files are known from others.
    ///
    /// # Errors
    /// Without room for a thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let files = PageFiles::none_yet();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("pk-sampler".to_owned())
            .stack_size(128 << 10)
            .spawn(move || watch(files, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Stops watching.
    pub(super) fn finish(self) -> Peak {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default()
    }
}

fn watch(mut files: PageFiles, stop: &AtomicBool) -> Peak {
    let mut peak = Peak::default();
    let mut cached = 0;
    let mut next_look = Instant::now();
    let mut next_count = Instant::now();
    loop {
        let last = stop.load(Ordering::Acquire);
        let now = Instant::now();
        if now >= next_look {
            files.look();
            next_look = now + LOOK_INTERVAL;
        }
        if files.count() > 0 && (now >= next_count || last) {
            let began = Instant::now();
            cached = files.cached_bytes();
            next_count = began + began.elapsed() * CACHE_SHARE;
        }
        if let Ok(process) = Residence::own() {
            peak.samples += 1;
            let total = process.anonymous_bytes + process.page_table_bytes + cached;
            if total > peak.total_bytes {
                peak = Peak {
                    total_bytes: total,
                    anonymous_bytes: process.anonymous_bytes,
                    page_cache_bytes: cached,
                    page_table_bytes: process.page_table_bytes,
                    ..peak
                };
            }
        }
        if last {
            peak.page_cache_counted = files.all_counted();
            return peak;
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_there_for_a_while_is_seen() {
        let sampler = Sampler::start().expect("a thread");
        let memory = vec![1_u8; 64 << 20];
        std::thread::sleep(Duration::from_millis(100));
        drop(std::hint::black_box(memory));
        let peak = sampler.finish();
        assert!(peak.anonymous_bytes >= 64 << 20, "{peak:?}");
        assert!(peak.samples >= 2 && peak.page_table_bytes > 0 && peak.page_cache_counted);
        let sum = peak.anonymous_bytes + peak.page_cache_bytes + peak.page_table_bytes;
        assert_eq!(peak.total_bytes, sum);
    }
}
