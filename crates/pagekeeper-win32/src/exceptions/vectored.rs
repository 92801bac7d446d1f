//! Handlers of the whole process. Windows: `AddVectoredExceptionHandler`, `RemoveVectoredExceptionHandler`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, calls the caller's functions"
)]

use core::ffi::c_void;
use core::ptr;
use std::sync::{PoisonError, RwLock};

use crate::constants::{EXCEPTION_CONTINUE_EXECUTION, EXCEPTION_CONTINUE_SEARCH};
use crate::types::{EXCEPTION_POINTERS, ExceptionHandler, LONG, ULONG};

/// One registration. Its rank is its place in the order, lowest first, and never changes.
#[derive(Clone, Copy)]
struct Registration {
    rank: i64,
    handler: ExceptionHandler,
}

/// By rank. A lock and a look for each step, since a handler may add and remove others, and may never come back.
static HANDLERS: RwLock<Vec<Registration>> = RwLock::new(Vec::new());

/// Handles are 16 apart, and none is NULL.
const HANDLE_SHIFT: u32 = 4;
/// The handle of rank 0.
const MIDDLE: i64 = 1 << 40;

/// `AddVectoredExceptionHandler`: `first` not 0 puts it before all others. NULL for a NULL handler.
#[unsafe(no_mangle)]
pub extern "C" fn AddVectoredExceptionHandler(
    first: ULONG,
    handler: Option<ExceptionHandler>,
) -> *mut c_void {
    let Some(handler) = handler else {
        return ptr::null_mut();
    };
    super::listen();
    let mut handlers = HANDLERS.write().unwrap_or_else(PoisonError::into_inner);
    let rank = if first != 0 {
        let rank = handlers.first().map_or(0, |lowest| lowest.rank - 1);
        handlers.insert(0, Registration { rank, handler });
        rank
    } else {
        let rank = handlers.last().map_or(0, |highest| highest.rank + 1);
        handlers.push(Registration { rank, handler });
        rank
    };
    ptr::without_provenance_mut(((MIDDLE + rank) << HANDLE_SHIFT) as usize)
}

/// `RemoveVectoredExceptionHandler`: 0 for a handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn RemoveVectoredExceptionHandler(handle: *mut c_void) -> ULONG {
    let number = handle.addr();
    if number.trailing_zeros() < HANDLE_SHIFT {
        return 0;
    }
    let rank = (number >> HANDLE_SHIFT) as i64 - MIDDLE;
    let mut handlers = HANDLERS.write().unwrap_or_else(PoisonError::into_inner);
    let before = handlers.len();
    handlers.retain(|registration| registration.rank != rank);
    ULONG::from(handlers.len() < before)
}

/// The registration after `rank`, copied out, so that no lock is held while it runs.
fn after(rank: i64) -> Option<Registration> {
    let handlers = HANDLERS.read().unwrap_or_else(PoisonError::into_inner);
    let at = handlers.partition_point(|registration| registration.rank <= rank);
    handlers.get(at).copied()
}

pub(super) fn ask(pointers: *mut EXCEPTION_POINTERS) -> LONG {
    let mut rank = i64::MIN;
    while let Some(registration) = after(rank) {
        // SAFETY: the program registered a function that takes this.
        let answer = unsafe { (registration.handler)(pointers) };
        if answer == EXCEPTION_CONTINUE_EXECUTION {
            return answer;
        }
        rank = registration.rank;
    }
    EXCEPTION_CONTINUE_SEARCH
}
