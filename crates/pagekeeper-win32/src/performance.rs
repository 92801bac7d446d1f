//! Figures of the system and of the process. Windows: `GetPerformanceInfo`, `GetProcessMemoryInfo`.
//!
//! Commit figures are those of this process's space, which is the system that a program here can see.
//!
//! Source: windows-memory-behaviour.md 2 and 15.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, asks the kernel for counters"
)]

use core::mem::MaybeUninit;
use std::fs;

use pagekeeper_sys::memory_info::MemoryInfo;
use pagekeeper_sys::procmap::Residence;

use crate::constants::{
    ERROR_BAD_LENGTH, ERROR_INSUFFICIENT_BUFFER, ERROR_NOT_SUPPORTED,
    PROCESS_QUERY_LIMITED_INFORMATION,
};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::memory_status::Figures;
use crate::system_info::PAGE_SIZE;
use crate::types::{
    BOOL, DWORD, HANDLE, PERFORMANCE_INFORMATION, PROCESS_MEMORY_COUNTERS_EX,
    PROCESS_MEMORY_COUNTERS_SIZE,
};
use crate::{memory, process};

/// `GetPerformanceInfo`
#[unsafe(no_mangle)]
pub extern "C" fn GetPerformanceInfo(to: *mut PERFORMANCE_INFORMATION, length: DWORD) -> BOOL {
    to_bool(performance(to, length))
}

fn performance(to: *mut PERFORMANCE_INFORMATION, length: DWORD) -> Result<(), Code> {
    if (length as usize) < size_of::<PERFORMANCE_INFORMATION>() {
        return Err(Code(ERROR_BAD_LENGTH));
    }
    let figures = Figures::now()?;
    let machine = MemoryInfo::read().map_err(|_| Code(ERROR_NOT_SUPPORTED))?;
    let kernel = Kernel::read();
    let pages = |bytes: u64| (bytes / PAGE_SIZE) as usize;
    memory::write(
        to,
        &PERFORMANCE_INFORMATION {
            cb: size_of::<PERFORMANCE_INFORMATION>() as DWORD,
            CommitTotal: pages(figures.committed),
            CommitLimit: pages(figures.commit_limit),
            CommitPeak: pages(figures.commit_peak),
            PhysicalTotal: pages(figures.total_physical),
            PhysicalAvailable: pages(figures.available_physical),
            SystemCache: pages(machine.cached_bytes),
            KernelTotal: pages(kernel.reclaimable + kernel.fixed),
            KernelPaged: pages(kernel.reclaimable),
            KernelNonpaged: pages(kernel.fixed),
            PageSize: PAGE_SIZE as usize,
            HandleCount: kernel.files,
            ProcessCount: kernel.processes,
            ThreadCount: kernel.threads,
        },
    )
}

/// What the kernel uses for itself, and how many things there are. Zero where it does not say.
#[derive(Default)]
struct Kernel {
    /// Slabs that it could free, in bytes: the closest to a paged pool.
    reclaimable: u64,
    /// Slabs that it could not free, stacks and page tables, in bytes.
    fixed: u64,
    files: DWORD,
    processes: DWORD,
    threads: DWORD,
}

impl Kernel {
    fn read() -> Self {
        let mut found = Self::default();
        for line in fs::read_to_string("/proc/meminfo")
            .unwrap_or_default()
            .lines()
        {
            let mut words = line.split_ascii_whitespace();
            let (Some(name), Some(kibibytes)) = (words.next(), words.next()) else {
                continue;
            };
            let bytes = kibibytes.parse::<u64>().unwrap_or(0) * 1024;
            match name {
                "SReclaimable:" => found.reclaimable = bytes,
                "SUnreclaim:" | "KernelStack:" | "PageTables:" => found.fixed += bytes,
                _ => {}
            }
        }
        let first_number = |path: &str, at: usize, separator: &[char]| -> DWORD {
            let text = fs::read_to_string(path).unwrap_or_default();
            let mut words = text.split(|c: char| c.is_ascii_whitespace() || separator.contains(&c));
            words
                .nth(at)
                .and_then(|word| word.parse().ok())
                .unwrap_or(0)
        };
        found.files = first_number("/proc/sys/fs/file-nr", 0, &[]);
        // "0.00 0.01 0.05 2/345 6789": running and all threads.
        found.threads = first_number("/proc/loadavg", 4, &['/']);
        found.processes = fs::read_dir("/proc").map_or(0, |entries| {
            let is_process = |entry: &fs::DirEntry| {
                let name = entry.file_name();
                name.to_string_lossy()
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
            };
            entries.flatten().filter(is_process).count() as DWORD
        });
        found
    }
}

/// `GetProcessMemoryInfo`, for the own process; both forms of the structure, by its length.
#[unsafe(no_mangle)]
pub extern "C" fn GetProcessMemoryInfo(
    process: HANDLE,
    to: *mut PROCESS_MEMORY_COUNTERS_EX,
    length: DWORD,
) -> BOOL {
    to_bool(counters(process, to, length))
}

fn counters(
    process: HANDLE,
    to: *mut PROCESS_MEMORY_COUNTERS_EX,
    length: DWORD,
) -> Result<(), Code> {
    let length = length as usize;
    if length < PROCESS_MEMORY_COUNTERS_SIZE {
        return Err(Code(ERROR_INSUFFICIENT_BUFFER));
    }
    process::check_for(process, PROCESS_QUERY_LIMITED_INFORMATION)?;
    let whole = size_of::<PROCESS_MEMORY_COUNTERS_EX>();
    let size = if length < whole {
        PROCESS_MEMORY_COUNTERS_SIZE
    } else {
        whole
    };
    let figures = Figures::now()?;
    let resident = Residence::own().unwrap_or_default();
    let found = PROCESS_MEMORY_COUNTERS_EX {
        cb: size as DWORD,
        PageFaultCount: page_faults(),
        PeakWorkingSetSize: resident.peak_resident_bytes as usize,
        WorkingSetSize: resident.resident_bytes as usize,
        // The kernel does not say what it keeps for one process.
        QuotaPeakPagedPoolUsage: 0,
        QuotaPagedPoolUsage: 0,
        QuotaPeakNonPagedPoolUsage: 0,
        QuotaNonPagedPoolUsage: 0,
        PagefileUsage: figures.committed as usize,
        PeakPagefileUsage: figures.commit_peak as usize,
        PrivateUsage: figures.committed as usize,
    };
    memory::write_prefix(to.cast(), (&raw const found).cast(), size)
}

/// The kernel's count, hard and soft.
fn page_faults() -> DWORD {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills the structure.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: filled.
    let usage = unsafe { usage.assume_init() };
    (usage.ru_minflt + usage.ru_majflt) as DWORD
}
