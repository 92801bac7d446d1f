//! Protections. Windows: `VirtualProtect`, `VirtualProtectEx`.
//!
//! Source: windows-memory-behaviour.md 6; memory that is not ours: product.md.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, changes what others made"
)]

use core::ffi::c_void;

use pagekeeper::{Protection, RegionState, RegionType, Space};

use crate::constants::PROCESS_VM_OPERATION;
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::types::{BOOL, DWORD, HANDLE, SIZE_T};
use crate::{memory, process, space};

/// `VirtualProtect`
#[unsafe(no_mangle)]
pub extern "C" fn VirtualProtect(
    address: *mut c_void,
    size: SIZE_T,
    protection: DWORD,
    old: *mut DWORD,
) -> BOOL {
    let process = process::GetCurrentProcess();
    VirtualProtectEx(process, address, size, protection, old)
}

/// `VirtualProtectEx`, for the own process.
#[unsafe(no_mangle)]
pub extern "C" fn VirtualProtectEx(
    process: HANDLE,
    address: *mut c_void,
    size: SIZE_T,
    protection: DWORD,
    old: *mut DWORD,
) -> BOOL {
    let (address, size) = (address.addr() as u64, size as u64);
    to_bool(protect(process, address, size, protection, old))
}

fn protect(
    process: HANDLE,
    address: u64,
    size: u64,
    protection: DWORD,
    old: *mut DWORD,
) -> Result<(), Code> {
    let protection = Protection::from_windows(protection)?;
    process::check_for(process, PROCESS_VM_OPERATION)?;
    memory::check_writable(old)?;
    let space = space::get()?;
    let before = if is_foreign(space, address) {
        // SAFETY: the caller answers for memory that the program, its libraries or malloc made.
        unsafe { space.protect_foreign_at(address, size, protection) }?
    } else {
        space.protect_at(address, size, protection)?
    };
    // It may have become unwritable by this very call; the change stands, as on Windows.
    let _ = memory::write(old, &before.to_windows());
    Ok(())
}

/// Whether somebody else made the memory at `address`.
pub(crate) fn is_foreign(space: &Space, address: u64) -> bool {
    space.allocation_at(address).is_none()
        && space.query(address).is_ok_and(|region| {
            region.kind.is_some()
                && !(region.kind == Some(RegionType::Private)
                    && region.state == RegionState::Reserved)
        })
}
