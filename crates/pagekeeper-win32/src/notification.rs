//! Is memory low, or is there plenty? Windows: `CreateMemoryResourceNotification`, `QueryMemoryResourceNotification`.
//!
//! The thresholds are those of Windows: low below 32 MiB for every 4 GiB of RAM, at most 64 MiB; plenty above three times that; of
//! what programs can get without swapping. The handles can be waited for.
//!
//! Source: windows-memory-behaviour.md 15.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ptr;
use std::sync::Arc;

use crate::constants::{
    ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER, FALSE, HighMemoryResourceNotification,
    LowMemoryResourceNotification, TRUE,
};
use crate::errors::Code;
use crate::handles::{Object, entry, insert, is_pseudo};
use crate::last_error::{or, to_bool};
use crate::memory;
use crate::memory_status::Figures;
use crate::types::{BOOL, DWORD, HANDLE, LONG};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What Windows gives: asking and waiting.
const NOTIFICATION_RIGHTS: DWORD = 0x10_0003;

/// What a handle of this kind stands for.
#[derive(Debug)]
pub(crate) struct Notification {
    kind: LONG,
}

impl Notification {
    /// Whether it is true at this moment: between the two thresholds neither is.
    pub(crate) fn is_so(&self) -> Result<bool, Code> {
        let figures = Figures::now()?;
        let low = low_threshold(figures.total_physical);
        Ok(if self.kind == LowMemoryResourceNotification {
            figures.available_physical < low
        } else {
            figures.available_physical > 3 * low
        })
    }
}

/// `CreateMemoryResourceNotification`
#[unsafe(no_mangle)]
pub extern "C" fn CreateMemoryResourceNotification(kind: LONG) -> HANDLE {
    or(create(kind), ptr::null_mut())
}

fn create(kind: LONG) -> Result<HANDLE, Code> {
    if kind != LowMemoryResourceNotification && kind != HighMemoryResourceNotification {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    let object = Object::Notification(Arc::new(Notification { kind }));
    Ok(insert(object, NOTIFICATION_RIGHTS))
}

/// `QueryMemoryResourceNotification`
#[unsafe(no_mangle)]
pub extern "C" fn QueryMemoryResourceNotification(handle: HANDLE, state: *mut BOOL) -> BOOL {
    to_bool(query(handle, state))
}

fn query(handle: HANDLE, state: *mut BOOL) -> Result<(), Code> {
    if handle.is_null() || is_pseudo(handle) || state.is_null() {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    let Object::Notification(notification) = entry(handle)?.object else {
        return Err(Code(ERROR_INVALID_HANDLE));
    };
    let answer = if notification.is_so()? { &TRUE } else { &FALSE };
    memory::write(state, answer)
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
