//! Memory that is of no use for a while, or none at all. Windows: `OfferVirtualMemory`, `ReclaimVirtualMemory`,
//! `DiscardVirtualMemory`. These return the error number and leave the last error alone.
//!
//! Source: windows-memory-behaviour.md 10.4. Offered contents are kept here, so reclaiming always finds them.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, drops contents by address"
)]

use core::ffi::c_void;

use crate::constants::{
    ERROR_INVALID_PARAMETER, ERROR_SUCCESS, VmOfferPriorityNormal, VmOfferPriorityVeryLow,
};
use crate::errors::Code;
use crate::space;
use crate::types::{DWORD, LONG, SIZE_T};

/// `OfferVirtualMemory`
#[unsafe(no_mangle)]
pub extern "C" fn OfferVirtualMemory(address: *mut c_void, size: SIZE_T, priority: LONG) -> DWORD {
    if !(VmOfferPriorityVeryLow..=VmOfferPriorityNormal).contains(&priority) {
        return ERROR_INVALID_PARAMETER;
    }
    number(|| Ok(space::get()?.offer_at(address.addr() as u64, size as u64)?))
}

/// `ReclaimVirtualMemory`
#[unsafe(no_mangle)]
pub extern "C" fn ReclaimVirtualMemory(address: *const c_void, size: SIZE_T) -> DWORD {
    number(|| Ok(space::get()?.reclaim_at(address.addr() as u64, size as u64)?))
}

/// `DiscardVirtualMemory`
///
/// # Safety
/// Nobody needs the contents any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn DiscardVirtualMemory(address: *mut c_void, size: SIZE_T) -> DWORD {
    // SAFETY: passed on.
    number(|| Ok(unsafe { space::get()?.discard_at(address.addr() as u64, size as u64) }?))
}

fn number(work: impl FnOnce() -> Result<(), Code>) -> DWORD {
    match work() {
        Ok(()) => ERROR_SUCCESS,
        Err(Code(code)) => code,
    }
}
