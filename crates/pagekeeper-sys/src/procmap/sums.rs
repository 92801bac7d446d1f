//! The sums that the kernel keeps for a process.

use crate::Errno;
use crate::text::{read_file, sizes};

/// Figures of `/proc/PID/status`, in bytes. Cheap to read; the kernel may be some pages late.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Residence {
    /// Address space mapped.
    pub mapped_bytes: u64,
    /// In memory now.
    pub resident_bytes: u64,
    /// The most that ever was.
    pub peak_resident_bytes: u64,
    /// Of it, anonymous.
    pub anonymous_bytes: u64,
    /// Of it, pages of files.
    pub file_bytes: u64,
    /// Of it, shared memory.
    pub shared_bytes: u64,
    /// In the host's swap.
    pub swapped_bytes: u64,
    /// Page tables.
    pub page_table_bytes: u64,
    /// Locked in memory.
    pub locked_bytes: u64,
    /// Pinned for devices.
    pub pinned_bytes: u64,
    /// Address space of private memory that may be written, stacks left out.
    pub data_bytes: u64,
    /// Address space of stacks that grow.
    pub stack_bytes: u64,
    /// Address space of programs and libraries, as far as it may be executed and not written.
    pub code_bytes: u64,
    /// Threads.
    pub threads: u64,
}

impl Residence {
    /// The own process's.
    ///
    /// # Errors
    /// `ENOENT` without `/proc`.
    pub fn own() -> Result<Self, Errno> {
        Ok(Self::parse(&read_file("/proc/self/status")?))
    }

    /// Another process's.
    ///
    /// # Errors
    /// `ENOENT` or `ESRCH` when it is gone.
    pub fn of(pid: u32) -> Result<Self, Errno> {
        Ok(Self::parse(&read_file(format!("/proc/{pid}/status"))?))
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in sizes(text) {
            let field = match name {
                "VmSize" => &mut found.mapped_bytes,
                "VmRSS" => &mut found.resident_bytes,
                "VmHWM" => &mut found.peak_resident_bytes,
                "RssAnon" => &mut found.anonymous_bytes,
                "RssFile" => &mut found.file_bytes,
                "RssShmem" => &mut found.shared_bytes,
                "VmSwap" => &mut found.swapped_bytes,
                "VmPTE" => &mut found.page_table_bytes,
                "VmLck" => &mut found.locked_bytes,
                "VmPin" => &mut found.pinned_bytes,
                "VmData" => &mut found.data_bytes,
                "VmStk" => &mut found.stack_bytes,
                "VmExe" | "VmLib" => {
                    found.code_bytes += value;
                    continue;
                }
                "Threads" => &mut found.threads,
                _ => continue,
            };
            *field = value;
        }
        found
    }
}

/// Figures of `/proc/PID/smaps_rollup`, in bytes: exact, but the kernel walks every page table and
/// holds the process's map still meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rollup {
    /// In memory.
    pub resident_bytes: u64,
    /// In memory, shared pages counted in proportion.
    pub proportional_bytes: u64,
    /// Unchanged pages of its own.
    pub private_clean_bytes: u64,
    /// Changed pages of its own.
    pub private_dirty_bytes: u64,
    /// Anonymous.
    pub anonymous_bytes: u64,
    /// Anonymous in huge pages.
    pub anonymous_huge_bytes: u64,
    /// In the host's swap.
    pub swapped_bytes: u64,
    /// Locked.
    pub locked_bytes: u64,
}

impl Rollup {
    /// The own process's.
    ///
    /// # Errors
    /// `ENOENT` without `/proc`.
    pub fn own() -> Result<Self, Errno> {
        Ok(Self::parse(&read_file("/proc/self/smaps_rollup")?))
    }

    /// Another process's.
    ///
    /// # Errors
    /// `ENOENT` or `ESRCH` when it is gone, `EACCES` without the right to look into it.
    pub fn of(pid: u32) -> Result<Self, Errno> {
        Ok(Self::parse(&read_file(format!(
            "/proc/{pid}/smaps_rollup"
        ))?))
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in sizes(text) {
            let field = match name {
                "Rss" => &mut found.resident_bytes,
                "Pss" => &mut found.proportional_bytes,
                "Private_Clean" => &mut found.private_clean_bytes,
                "Private_Dirty" => &mut found.private_dirty_bytes,
                "Anonymous" => &mut found.anonymous_bytes,
                "AnonHugePages" => &mut found.anonymous_huge_bytes,
                "Swap" => &mut found.swapped_bytes,
                "Locked" => &mut found.locked_bytes,
                _ => continue,
            };
            *field = value;
        }
        found
    }
}
