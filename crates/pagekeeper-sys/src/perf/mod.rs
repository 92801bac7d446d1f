//! Page faults by the kernel's software events, where an ordinary user may: counted here, one by one in [`FaultSamples`].

#![allow(
    unsafe_code,
    reason = "UNSAFETY: one bare system call that reads a struct of ours"
)]

mod fault_samples;

use core::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use linux_raw_sys::general::__NR_perf_event_open;

pub use fault_samples::{FaultSample, FaultSamples};

use crate::{Errno, raw};

/// The first version of the kernel's `perf_event_attr`, which is all that a counter needs.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}
const _: () = assert!(size_of::<Attributes>() == 64);

impl Attributes {
    /// A software event of user code in a thread and those that it starts; counted, not sampled.
    const fn counting(config: u64) -> Self {
        Self {
            kind: TYPE_SOFTWARE,
            size: size_of::<Self>() as u32,
            config,
            sample_period: 0,
            sample_type: 0,
            read_format: 0,
            flags: FLAG_INHERIT | FLAG_EXCLUDE_KERNEL | FLAG_EXCLUDE_HYPERVISOR,
            wakeup_events: 0,
            breakpoint_type: 0,
            breakpoint_address: 0,
        }
    }

    /// Opens the event for a thread (0: the calling one) on a processor (`usize::MAX`: any).
    fn open(&self, thread: usize, processor: usize) -> Result<OwnedFd, Errno> {
        let argument = [
            core::ptr::from_ref(self).expose_provenance(),
            thread,
            processor,
            usize::MAX, // no group
            OPEN_CLOSE_ON_EXEC,
        ];
        // SAFETY: The kernel reads the attributes and returns a new descriptor.
        unsafe {
            let number = raw::call(__NR_perf_event_open, argument)?;
            Ok(OwnedFd::from_raw_fd(number as RawFd))
        }
    }
}

const TYPE_SOFTWARE: u32 = 1;
const FAULTS_MINOR: u64 = 5;
const FAULTS_MAJOR: u64 = 6;
const FLAG_INHERIT: u64 = 1 << 1;
const FLAG_EXCLUDE_KERNEL: u64 = 1 << 5;
const FLAG_EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const OPEN_CLOSE_ON_EXEC: usize = 8;

/// Page faults so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Faults {
    /// Answered without reading a disk.
    pub minor: u64,
    /// Answered by reading a disk.
    pub major: u64,
}

/// Counters of the faults of user code in the calling thread, and in the threads that it starts from
/// now on. Open it before starting threads.
#[derive(Debug)]
pub struct FaultCounters {
    minor: OwnedFd,
    major: OwnedFd,
}

impl FaultCounters {
    /// Opens and starts the counters.
    ///
    /// # Errors
    /// `EACCES` or `EPERM` by `kernel.perf_event_paranoid` above 2 or a filter, `ENOSYS`.
    pub fn open() -> Result<Self, Errno> {
        Ok(Self {
            minor: Attributes::counting(FAULTS_MINOR).open(0, usize::MAX)?,
            major: Attributes::counting(FAULTS_MAJOR).open(0, usize::MAX)?,
        })
    }

    /// Reads both.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self) -> Result<Faults, Errno> {
        Ok(Faults {
            minor: read_counter(&self.minor)?,
            major: read_counter(&self.major)?,
        })
    }
}

fn read_counter(counter: &OwnedFd) -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    match crate::file::retry(|| rustix::io::read(counter, &mut bytes[..]))? {
        8 => Ok(u64::from_ne_bytes(bytes)),
        _ => Err(Errno::IO),
    }
}

/// The faults of the whole process since it started, kernel-mode ones included. Works everywhere.
///
/// # Errors
/// `ENOENT` without `/proc`.
pub fn process_faults() -> Result<Faults, Errno> {
    let text = crate::text::read_file("/proc/self/stat")?;
    // The name in brackets may hold anything; the fields behind it are numbers.
    let (_, rest) = text.rsplit_once(')').ok_or(Errno::INVAL)?;
    let mut fields = rest.split_ascii_whitespace();
    let mut number = |index| -> Result<u64, Errno> {
        fields
            .nth(index)
            .and_then(|word| word.parse().ok())
            .ok_or(Errno::INVAL)
    };
    // state ppid pgrp session tty tpgid flags minflt cminflt majflt
    Ok(Faults {
        minor: number(7)?,
        major: number(1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Access, Treatment, reserve};
    use pagekeeper_units::PageCount;

    fn touch_hundred_pages() {
        let treatment = Treatment::NO_HUGE_PAGES;
        let memory = reserve(PageCount::new(100), Access::READ_WRITE, treatment).unwrap();
        for page in 0..100 {
            // SAFETY: Inside the mapping.
            unsafe { memory.base().add(page * 4096).write_volatile(1) };
        }
    }

    #[test]
    fn the_process_count_sees_every_touch() {
        let before = process_faults().unwrap();
        touch_hundred_pages();
        let after = process_faults().unwrap();
        assert!(after.minor - before.minor >= 100, "{before:?} {after:?}");
    }

    #[test]
    fn the_counters_see_every_touch() {
        let counters = match FaultCounters::open() {
            Ok(counters) => counters,
            Err(errno) => return println!("skipped, because perf_event_open gives {errno}"),
        };
        let before = counters.read().unwrap();
        touch_hundred_pages();
        let after = counters.read().unwrap();
        let seen = after.minor - before.minor;
        assert!((100..200).contains(&seen), "{seen} faults for 100 pages");
    }
}
