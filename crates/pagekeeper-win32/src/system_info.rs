//! What the machine is. Windows: `GetSystemInfo`, `GetNativeSystemInfo`, `GetPhysicallyInstalledSystemMemory`.
//!
//! Source: windows-memory-behaviour.md 1.1, 2 and 15. The processors are those that this process may run on.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ptr;

use pagekeeper_sys::cpu::Processors;
use pagekeeper_sys::memory_info::MemoryInfo;

use crate::constants::{
    ERROR_INVALID_PARAMETER, ERROR_NOT_SUPPORTED, PROCESSOR_AMD_X8664, PROCESSOR_ARCHITECTURE_AMD64,
};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::memory;
use crate::types::{BOOL, DWORD, SYSTEM_INFO, WORD};

pub use pagekeeper_units::{HIGHEST_ADDRESS, LOWEST_ADDRESS};

/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;
/// Bytes to which allocations are aligned.
pub const GRANULARITY: u64 = 0x1_0000;
/// A mask of processors has so many bits; Windows then speaks of groups.
const MASK_BITS: usize = 64;

/// `GetSystemInfo`. A bad pointer is passed over in silence: there is no way to say so.
#[unsafe(no_mangle)]
pub extern "C" fn GetSystemInfo(info: *mut SYSTEM_INFO) {
    let _ = memory::write(info, &describe());
}

/// `GetNativeSystemInfo`: the same, since nothing is emulated.
#[unsafe(no_mangle)]
pub extern "C" fn GetNativeSystemInfo(info: *mut SYSTEM_INFO) {
    GetSystemInfo(info);
}

/// `GetPhysicallyInstalledSystemMemory`, in KiB. What the firmware keeps for itself is not known to an ordinary user, so it is
/// what the kernel manages.
#[unsafe(no_mangle)]
pub extern "C" fn GetPhysicallyInstalledSystemMemory(kibibytes: *mut u64) -> BOOL {
    to_bool(installed(kibibytes))
}

fn installed(kibibytes: *mut u64) -> Result<(), Code> {
    if kibibytes.is_null() {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    let info = MemoryInfo::read().map_err(|_| Code(ERROR_NOT_SUPPORTED))?;
    memory::write(kibibytes, &(info.total_bytes / 1024))
}

fn describe() -> SYSTEM_INFO {
    let found = Processors::read();
    let count = found.usable.clamp(1, MASK_BITS);
    SYSTEM_INFO {
        wProcessorArchitecture: PROCESSOR_ARCHITECTURE_AMD64 as WORD,
        wReserved: 0,
        dwPageSize: PAGE_SIZE as DWORD,
        lpMinimumApplicationAddress: ptr::without_provenance_mut(LOWEST_ADDRESS as usize),
        lpMaximumApplicationAddress: ptr::without_provenance_mut(HIGHEST_ADDRESS as usize),
        dwActiveProcessorMask: usize::MAX >> (MASK_BITS - count),
        dwNumberOfProcessors: count as DWORD,
        dwProcessorType: PROCESSOR_AMD_X8664,
        dwAllocationGranularity: GRANULARITY as DWORD,
        wProcessorLevel: found.family as WORD,
        wProcessorRevision: (found.model << 8 | found.stepping & 0xFF) as WORD,
    }
}
