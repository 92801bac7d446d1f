//! What a contender used: processor time, bytes to and from the disk, and the most memory at any moment.
#![allow(unsafe_code, reason = "UNSAFETY: getrusage fills a struct of ours")]

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pagekeeper_sys::file::cache_state;
use pagekeeper_sys::procmap::Residence;
use pagekeeper_units::PAGE_SIZE;
use serde::{Deserialize, Serialize};

/// Counters of the own process at one moment, or their difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) major_faults: u64,
    pub(crate) minor_faults: u64,
    /// Bytes that the process caused to be read from a device.
    pub(crate) read_bytes: u64,
    /// Bytes that the process caused to be written to a device: dirtied pages of files count, swap does not.
    pub(crate) write_bytes: u64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        // SAFETY: all zeros is a value of this struct of numbers.
        let mut found: libc::rusage = unsafe { core::mem::zeroed() };
        // SAFETY: fills one struct of ours; cannot fail for the own process.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut found) };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
        let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        Self {
            user_seconds: seconds(found.ru_utime),
            system_seconds: seconds(found.ru_stime),
            major_faults: found.ru_majflt as u64,
            minor_faults: found.ru_minflt as u64,
            read_bytes: named_number(&io, "read_bytes:").unwrap_or(0),
            write_bytes: named_number(&io, "write_bytes:").unwrap_or(0),
        }
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            user_seconds: self.user_seconds - earlier.user_seconds,
            system_seconds: self.system_seconds - earlier.system_seconds,
            major_faults: self.major_faults - earlier.major_faults,
            minor_faults: self.minor_faults - earlier.minor_faults,
            read_bytes: self.read_bytes - earlier.read_bytes,
            write_bytes: self.write_bytes - earlier.write_bytes,
        }
    }
}

/// The number behind a name at the start of a line.
pub(crate) fn named_number(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// RAM at the moment when it was most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peak {
    /// All of it, in bytes.
    pub(crate) total: u64,
    /// Anonymous memory; the library's compressed pool is part of it.
    pub(crate) anonymous: u64,
    pub(crate) page_tables: u64,
    /// Page cache of the file behind the memory.
    pub(crate) page_cache: u64,
}

impl Peak {
    /// The own process now.
    pub(crate) fn now(files: &[OwnedFd]) -> Self {
        let found = Residence::own().unwrap_or_default();
        let page_cache = files
            .iter()
            .filter_map(|file| cache_state(file, 0, 0).ok())
            .map(|state| state.cached_pages * PAGE_SIZE as u64)
            .sum();
        let (anonymous, page_tables) = (found.anonymous_bytes, found.page_table_bytes);
        Self {
            total: anonymous + page_tables + page_cache,
            anonymous,
            page_tables,
            page_cache,
        }
    }

    /// Without what the program itself used before its memory was mapped.
    fn without(&self, before: &Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            anonymous: self.anonymous.saturating_sub(before.anonymous),
            page_tables: self.page_tables.saturating_sub(before.page_tables),
            page_cache: self.page_cache,
        }
    }
}

/// Runs `work` and looks at the memory every few milliseconds meanwhile, less often where a look takes long (counting a
/// page cache does): looking is to take a fiftieth of one processor at most. What was used at `before` is not counted.
pub(crate) fn with_peak<T>(
    before: &Peak,
    files: &[OwnedFd],
    work: impl FnOnce() -> T,
) -> (T, Peak) {
    const EVERY: Duration = Duration::from_millis(10);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = Peak::default();
            loop {
                let last = done.load(Ordering::Acquire);
                let started = std::time::Instant::now();
                let now = Peak::now(files).without(before);
                if now.total > peak.total {
                    peak = now;
                }
                if last {
                    return peak;
                }
                std::thread::sleep(EVERY.max(started.elapsed() * 50));
            }
        });
        let result = work();
        done.store(true, Ordering::Release);
        (result, sampler.join().unwrap_or_default())
    })
}

/// Opens the nameless files that the own process has open in `folder`: the library's page files, for counting their
/// cached pages.
pub(crate) fn nameless_files(folder: &Path) -> Vec<OwnedFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|target| {
                target.starts_with(folder) && target.to_string_lossy().ends_with(" (deleted)")
            })
        })
        .filter_map(|entry| std::fs::File::open(entry.path()).ok())
        .filter(|file| file.metadata().is_ok_and(|found| found.is_file()))
        .map(OwnedFd::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        let text = "rchar: 5\nread_bytes: 12\nwrite_bytes: 4096\ncancelled_write_bytes: 9\n";
        assert_eq!(named_number(text, "write_bytes:"), Some(4096));
        assert_eq!(named_number(text, "missing:"), None);
    }

    #[test]
    fn the_peak_sees_memory_that_came_and_went() {
        const BYTES: usize = 32 << 20;
        let before = Peak::now(&[]);
        let ((), peak) = with_peak(&before, &[], || {
            let memory = vec![1_u8; BYTES];
            std::thread::sleep(Duration::from_millis(60));
            std::hint::black_box(&memory);
        });
        assert!(peak.anonymous as usize > BYTES * 9 / 10, "{peak:?}");
        assert!(peak.total >= peak.anonymous + peak.page_tables, "{peak:?}");
    }

    #[test]
    fn time_that_is_spent_is_counted() {
        let before = Usage::now();
        let start = std::time::Instant::now();
        let mut number = 0_u64;
        while start.elapsed() < Duration::from_millis(100) {
            number = crate::random::mix(number);
        }
        std::hint::black_box(number);
        let used = Usage::now().since(&before);
        // The machine may be busy; some of it was ours.
        assert!(used.user_seconds + used.system_seconds > 0.01, "{used:?}");
    }

    #[test]
    fn nameless_files_are_found_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = pagekeeper_sys::file::create_in_folder(folder.path())
            .unwrap()
            .file;
        rustix::io::pwrite(&file, &[1_u8; 8192], 0).unwrap();
        let found = nameless_files(folder.path());
        assert_eq!(found.len(), 1);
        if Peak::now(&found).page_cache == 0 {
            println!("cached pages are not counted here (cachestat refused)");
        }
    }
}
