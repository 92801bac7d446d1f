//! What lies at an address. Windows: `VirtualQuery`, `VirtualQueryEx`.
//!
//! Source: windows-memory-behaviour.md 7.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;
use core::ptr;

use pagekeeper::{RegionInfo, RegionState, RegionType};

use crate::constants::{
    ERROR_BAD_LENGTH, MEM_COMMIT, MEM_FREE, MEM_IMAGE, MEM_MAPPED, MEM_PRIVATE, MEM_RESERVE,
    PROCESS_QUERY_INFORMATION,
};
use crate::errors::Code;
use crate::last_error::or;
use crate::types::{HANDLE, MEMORY_BASIC_INFORMATION, SIZE_T};
use crate::{memory, process, space};

/// `VirtualQuery`
#[unsafe(no_mangle)]
pub extern "C" fn VirtualQuery(
    address: *const c_void,
    buffer: *mut MEMORY_BASIC_INFORMATION,
    length: SIZE_T,
) -> SIZE_T {
    VirtualQueryEx(process::GetCurrentProcess(), address, buffer, length)
}

/// `VirtualQueryEx`, for the own process.
#[unsafe(no_mangle)]
pub extern "C" fn VirtualQueryEx(
    process: HANDLE,
    address: *const c_void,
    buffer: *mut MEMORY_BASIC_INFORMATION,
    length: SIZE_T,
) -> SIZE_T {
    or(query(process, address.addr() as u64, buffer, length), 0)
}

fn query(
    process: HANDLE,
    address: u64,
    buffer: *mut MEMORY_BASIC_INFORMATION,
    length: SIZE_T,
) -> Result<SIZE_T, Code> {
    const SIZE: usize = size_of::<MEMORY_BASIC_INFORMATION>();
    process::check_for(process, PROCESS_QUERY_INFORMATION)?;
    let region = space::get()?.query(address)?;
    if length < SIZE {
        return Err(Code(ERROR_BAD_LENGTH));
    }
    memory::write(buffer, &describe(&region))?;
    Ok(SIZE)
}

fn describe(region: &RegionInfo) -> MEMORY_BASIC_INFORMATION {
    let pointer = |address: u64| ptr::with_exposed_provenance_mut(address as usize);
    let (base, protection) = match region.allocation {
        Some((base, protection)) => (base.address(), protection.to_windows()),
        None => (0, 0),
    };
    MEMORY_BASIC_INFORMATION {
        BaseAddress: pointer(region.range.address()),
        AllocationBase: pointer(base),
        AllocationProtect: protection,
        PartitionId: 0,
        RegionSize: region.range.bytes().as_usize(),
        State: match region.state {
            RegionState::Free => MEM_FREE,
            RegionState::Reserved => MEM_RESERVE,
            RegionState::Committed(_) => MEM_COMMIT,
        },
        Protect: region.state.protect(),
        Type: match region.kind {
            None => 0,
            Some(RegionType::Private) => MEM_PRIVATE,
            Some(RegionType::Mapped) => MEM_MAPPED,
            Some(RegionType::Image) => MEM_IMAGE,
        },
    }
}
