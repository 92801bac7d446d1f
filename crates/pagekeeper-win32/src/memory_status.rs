//! How much memory there is. Windows: `GlobalMemoryStatus`, `GlobalMemoryStatusEx`.
//!
//! | field | here |
//! |---|---|
//! | total, available physical memory | the machine's, or the control group's limit where that is lower |
//! | total, available page file | the commit limit, and what of it is left |
//! | total, available virtual memory | user space, and what of it is neither reserved here nor mapped by others |
//!
//! Source: windows-memory-behaviour.md 2 and 15.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::mem::offset_of;

use pagekeeper_sys::cgroup::MemoryGroup;
use pagekeeper_sys::memory_info::MemoryInfo;

use crate::constants::{ERROR_INVALID_PARAMETER, ERROR_NOT_SUPPORTED};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::system_info::{HIGHEST_ADDRESS, LOWEST_ADDRESS};
use crate::types::{BOOL, DWORD, MEMORYSTATUS, MEMORYSTATUSEX};
use crate::{memory, space};

/// Figures of this moment, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) total_physical: u64,
    pub(crate) available_physical: u64,
    pub(crate) commit_limit: u64,
    pub(crate) committed: u64,
    pub(crate) commit_peak: u64,
    pub(crate) reserved: u64,
}

impl Figures {
    pub(crate) fn now() -> Result<Self, Code> {
        let machine = MemoryInfo::read().map_err(|_| Code(ERROR_NOT_SUPPORTED))?;
        let status = space::get()?.status();
        let (mut total, mut available) = (machine.total_bytes, machine.available_bytes);
        if let Some(group) = MemoryGroup::own() {
            total = total.min(group.limit_bytes().unwrap_or(u64::MAX));
            available = available.min(group.available_bytes().unwrap_or(u64::MAX));
        }
        Ok(Self {
            total_physical: total,
            available_physical: available.min(total),
            commit_limit: status.commit_limit.get(),
            committed: status.committed.get(),
            commit_peak: status.commit_peak.get(),
            reserved: status.reserved.get(),
        })
    }

    /// In per cent, divided as Windows divides.
    fn load(&self) -> DWORD {
        let hundredth = (self.total_physical / 100).max(1);
        ((self.total_physical - self.available_physical) / hundredth) as DWORD
    }

    fn in_layout(&self) -> MEMORYSTATUSEX {
        let virtual_total = HIGHEST_ADDRESS - LOWEST_ADDRESS + 1;
        MEMORYSTATUSEX {
            dwLength: size_of::<MEMORYSTATUSEX>() as DWORD,
            dwMemoryLoad: self.load(),
            ullTotalPhys: self.total_physical,
            ullAvailPhys: self.available_physical,
            ullTotalPageFile: self.commit_limit,
            ullAvailPageFile: self.commit_limit.saturating_sub(self.committed),
            ullTotalVirtual: virtual_total,
            ullAvailVirtual: virtual_total
                .saturating_sub(self.reserved)
                .saturating_sub(space::mapped_by_others()),
            ullAvailExtendedVirtual: 0,
        }
    }
}

/// `GlobalMemoryStatusEx`
#[unsafe(no_mangle)]
pub extern "C" fn GlobalMemoryStatusEx(status: *mut MEMORYSTATUSEX) -> BOOL {
    to_bool(extended(status))
}

fn extended(status: *mut MEMORYSTATUSEX) -> Result<(), Code> {
    let length = memory::read(
        status
            .cast::<DWORD>()
            .wrapping_byte_add(offset_of!(MEMORYSTATUSEX, dwLength)),
    )?;
    if length as usize != size_of::<MEMORYSTATUSEX>() {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    memory::write(status, &Figures::now()?.in_layout())
}

/// `GlobalMemoryStatus`: ignores the length that comes in and sets no error.
#[unsafe(no_mangle)]
pub extern "C" fn GlobalMemoryStatus(status: *mut MEMORYSTATUS) {
    let Ok(figures) = Figures::now() else {
        return;
    };
    let found = figures.in_layout();
    // Windows' own limit for this structure.
    let clipped = |bytes: u64| bytes.min(u64::MAX / 2) as usize;
    let _ = memory::write(
        status,
        &MEMORYSTATUS {
            dwLength: size_of::<MEMORYSTATUS>() as DWORD,
            dwMemoryLoad: found.dwMemoryLoad,
            dwTotalPhys: clipped(found.ullTotalPhys),
            dwAvailPhys: clipped(found.ullAvailPhys),
            dwTotalPageFile: found.ullTotalPageFile as usize,
            dwAvailPageFile: found.ullAvailPageFile as usize,
            dwTotalVirtual: found.ullTotalVirtual as usize,
            dwAvailVirtual: found.ullAvailVirtual as usize,
        },
    );
}
