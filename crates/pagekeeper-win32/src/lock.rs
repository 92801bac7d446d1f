//! Pages kept in RAM. Windows: `VirtualLock`, `VirtualUnlock`.
//!
//! Source: windows-memory-behaviour.md 10.1. Memory that is not ours is locked by the kernel, within `RLIMIT_MEMLOCK`.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;

use crate::errors::Code;
use crate::last_error::to_bool;
use crate::protect::is_foreign;
use crate::space;
use crate::types::{BOOL, SIZE_T};

/// `VirtualLock`
#[unsafe(no_mangle)]
pub extern "C" fn VirtualLock(address: *mut c_void, size: SIZE_T) -> BOOL {
    to_bool(change(address.addr() as u64, size as u64, true))
}

/// `VirtualUnlock`
#[unsafe(no_mangle)]
pub extern "C" fn VirtualUnlock(address: *mut c_void, size: SIZE_T) -> BOOL {
    to_bool(change(address.addr() as u64, size as u64, false))
}

fn change(address: u64, size: u64, keep: bool) -> Result<(), Code> {
    let space = space::get()?;
    if is_foreign(space, address) {
        space.lock_foreign_at(address, size, keep)?;
    } else if keep {
        space.lock_at(address, size)?;
    } else {
        space.unlock_at(address, size)?;
    }
    Ok(())
}
