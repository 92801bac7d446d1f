//! Is memory low, or is there plenty? Windows: `CreateMemoryResourceNotification`, `QueryMemoryResourceNotification`.
//!
//! The thresholds are those of Windows: low below 32 MiB for every 4 GiB of RAM, at most 64 MiB; plenty above three times that; of
//! what programs can get without swapping.
//!
//! Source: windows-memory-behaviour.md 15.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ptr;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::constants::{
    ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER, FALSE, HighMemoryResourceNotification,
    LowMemoryResourceNotification, TRUE,
};
use crate::errors::Code;
use crate::last_error::{or, to_bool};
use crate::memory;
use crate::memory_status::Figures;
use crate::types::{BOOL, HANDLE, LONG};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Between two handles, as on Windows.
const STEP: usize = 4;

/// The handles that are open, and what each is about.
static OPEN: Mutex<BTreeMap<usize, LONG>> = Mutex::new(BTreeMap::new());

/// `CreateMemoryResourceNotification`
#[unsafe(no_mangle)]
pub extern "C" fn CreateMemoryResourceNotification(kind: LONG) -> HANDLE {
    or(create(kind), ptr::null_mut())
}

fn create(kind: LONG) -> Result<HANDLE, Code> {
    if kind != LowMemoryResourceNotification && kind != HighMemoryResourceNotification {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut number = STEP;
    while open.contains_key(&number) {
        number += STEP;
    }
    open.insert(number, kind);
    Ok(ptr::without_provenance_mut(number))
}

/// `QueryMemoryResourceNotification`
#[unsafe(no_mangle)]
pub extern "C" fn QueryMemoryResourceNotification(handle: HANDLE, state: *mut BOOL) -> BOOL {
    to_bool(query(handle, state))
}

fn query(handle: HANDLE, state: *mut BOOL) -> Result<(), Code> {
    let kind = OPEN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&handle.addr())
        .copied()
        .ok_or(Code(ERROR_INVALID_HANDLE))?;
    let figures = Figures::now()?;
    let low = low_threshold(figures.total_physical);
    let is_so = if kind == LowMemoryResourceNotification {
        figures.available_physical < low
    } else {
        figures.available_physical > 3 * low
    };
    memory::write(state, if is_so { &TRUE } else { &FALSE })
}

/// Closes a notification.
pub(crate) fn close(handle: HANDLE) -> Result<(), Code> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    match open.remove(&handle.addr()) {
        Some(_) => Ok(()),
        None => Err(Code(ERROR_INVALID_HANDLE)),
    }
}

fn low_threshold(total: u64) -> u64 {
    (total.div_ceil(4 * GIB) * 32 * MIB).min(64 * MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_grows_with_the_machine_up_to_a_limit() {
        assert_eq!(low_threshold(2 * GIB), 32 * MIB);
        assert_eq!(low_threshold(8 * GIB), 64 * MIB);
        assert_eq!(low_threshold(512 * GIB), 64 * MIB);
    }
}
