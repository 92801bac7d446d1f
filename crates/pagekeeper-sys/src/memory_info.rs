//! The machine's memory, as the kernel counts it. Windows: `GlobalMemoryStatusEx`.

use crate::text::{read_file, sizes};
use crate::{Errno, text};

/// Figures of `/proc/meminfo`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct MemoryInfo {
    /// RAM that the kernel manages.
    pub total_bytes: u64,
    /// RAM that holds nothing.
    pub free_bytes: u64,
    /// RAM that programs can get without swapping.
    pub available_bytes: u64,
    /// Page cache.
    pub cached_bytes: u64,
    /// Changed cached pages that are not on the disk yet.
    pub dirty_bytes: u64,
    /// Shared memory and tmpfs files.
    pub shared_bytes: u64,
    /// Page tables of all processes.
    pub page_table_bytes: u64,
    /// The host's swap.
    pub swap_total_bytes: u64,
    /// Of it, unused.
    pub swap_free_bytes: u64,
    /// What the kernel would commit at most under strict overcommit.
    pub commit_limit_bytes: u64,
    /// What is committed in the kernel's books.
    pub committed_bytes: u64,
    /// A huge page's size.
    pub huge_page_bytes: u64,
    /// Huge pages set aside.
    pub huge_pages_total: u64,
    /// Of them, unused.
    pub huge_pages_free: u64,
}

impl MemoryInfo {
    /// Asks the kernel: `/proc/meminfo`, and `sysinfo` where that cannot be read.
    ///
    /// # Errors
    /// None in practice; the kernel's when neither way works.
    pub fn read() -> Result<Self, Errno> {
        match read_file("/proc/meminfo") {
            Ok(text) => Self::parse(&text).ok_or(Errno::INVAL),
            Err(_) => Ok(Self::by_system_call()),
        }
    }

    /// Reads the text of `/proc/meminfo`. `None` without a total.
    fn parse(text: &str) -> Option<Self> {
        let mut info = Self::default();
        for (name, value) in sizes(text) {
            let field = match name {
                "MemTotal" => &mut info.total_bytes,
                "MemFree" => &mut info.free_bytes,
                "MemAvailable" => &mut info.available_bytes,
                "Cached" => &mut info.cached_bytes,
                "Dirty" => &mut info.dirty_bytes,
                "Shmem" => &mut info.shared_bytes,
                "PageTables" => &mut info.page_table_bytes,
                "SwapTotal" => &mut info.swap_total_bytes,
                "SwapFree" => &mut info.swap_free_bytes,
                "CommitLimit" => &mut info.commit_limit_bytes,
                "Committed_AS" => &mut info.committed_bytes,
                "Hugepagesize" => &mut info.huge_page_bytes,
                "HugePages_Total" => &mut info.huge_pages_total,
                "HugePages_Free" => &mut info.huge_pages_free,
                _ => continue,
            };
            *field = value;
        }
        (info.total_bytes > 0).then_some(info)
    }

    fn by_system_call() -> Self {
        let found = rustix::system::sysinfo();
        let unit = u64::from(found.mem_unit.max(1));
        let free = found.freeram as u64 * unit;
        let buffers = found.bufferram as u64 * unit;
        Self {
            total_bytes: found.totalram as u64 * unit,
            free_bytes: free,
            available_bytes: free + buffers,
            shared_bytes: found.sharedram as u64 * unit,
            swap_total_bytes: found.totalswap as u64 * unit,
            swap_free_bytes: found.freeswap as u64 * unit,
            ..Self::default()
        }
    }
}

/// Settings of the kernel that bite a pager. `None` where a setting cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KernelSettings {
    /// `vm.overcommit_memory`: 0 by guess, 1 always, 2 strict.
    pub overcommit_memory: Option<u64>,
    /// `vm.max_map_count`: mappings of a process.
    pub max_map_count: Option<u64>,
    /// `vm.unprivileged_userfaultfd`: 1 lets anyone answer the kernel's faults.
    pub unprivileged_userfaultfd: Option<u64>,
    /// `kernel.io_uring_disabled`: 0 free, 1 for a group, 2 off.
    pub io_uring_disabled: Option<u64>,
    /// `kernel.perf_event_paranoid`: 2 and below let anyone count the own faults.
    pub perf_event_paranoid: Option<i64>,
    /// Same-page merging: 1 runs.
    pub same_page_merging: Option<u64>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Option<String>,
    /// The kernel's release.
    pub release: String,
}

impl KernelSettings {
    /// Reads them all.
    pub fn read() -> Self {
        Self {
            overcommit_memory: text::read_number("/proc/sys/vm/overcommit_memory").ok(),
            max_map_count: text::read_number("/proc/sys/vm/max_map_count").ok(),
            unprivileged_userfaultfd: text::read_number("/proc/sys/vm/unprivileged_userfaultfd")
                .ok(),
            io_uring_disabled: text::read_number("/proc/sys/kernel/io_uring_disabled").ok(),
            perf_event_paranoid: read_file("/proc/sys/kernel/perf_event_paranoid")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            same_page_merging: text::read_number("/sys/kernel/mm/ksm/run").ok(),
            transparent_huge_pages: read_file("/sys/kernel/mm/transparent_hugepage/enabled")
                .ok()
                .and_then(|text| chosen(&text)),
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
        }
    }
}

/// The word in brackets of `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree_on_the_total() {
        let read = MemoryInfo::read().unwrap();
        let called = MemoryInfo::by_system_call();
        assert_eq!(read.total_bytes, called.total_bytes);
        assert_eq!(read.swap_total_bytes, called.swap_total_bytes);
        assert!(read.available_bytes <= read.total_bytes);
        assert!(read.free_bytes > 0 && called.free_bytes > 0);
    }

    #[test]
    fn a_text_without_a_total_is_refused() {
        assert_eq!(MemoryInfo::parse("MemFree: 3 kB\n"), None);
        let info = MemoryInfo::parse("MemTotal: 8 kB\nHugePages_Total:  5\n").unwrap();
        assert_eq!((info.total_bytes, info.huge_pages_total), (8192, 5));
    }

    #[test]
    fn the_chosen_word_stands_in_brackets() {
        assert_eq!(
            chosen("always [madvise] never\n").as_deref(),
            Some("madvise")
        );
        assert_eq!(chosen("always madvise"), None);
    }

    #[test]
    fn settings_are_read() {
        let settings = KernelSettings::read();
        assert!(settings.max_map_count.is_some_and(|count| count > 1000));
        assert!(!settings.release.is_empty());
    }
}
