//! The filter of last resort. Windows: `SetUnhandledExceptionFilter`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, calls the caller's function"
)]

use core::ffi::c_int;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::constants::{EXCEPTION_CONTINUE_SEARCH, EXCEPTION_EXECUTE_HANDLER};
use crate::types::{EXCEPTION_POINTERS, ExceptionHandler, LONG};

/// The filter's address; 0 for none.
static FILTER: AtomicUsize = AtomicUsize::new(0);

/// `SetUnhandledExceptionFilter`: returns the one from before.
#[unsafe(no_mangle)]
pub extern "C" fn SetUnhandledExceptionFilter(
    filter: Option<ExceptionHandler>,
) -> Option<ExceptionHandler> {
    let address = filter.map_or(0, |filter| filter as *const () as usize);
    if address != 0 {
        super::listen();
    }
    function(FILTER.swap(address, Ordering::AcqRel))
}

fn function(address: usize) -> Option<ExceptionHandler> {
    // SAFETY: only addresses of such functions are stored, and zero, which is no function.
    unsafe { core::mem::transmute::<usize, Option<ExceptionHandler>>(address) }
}

/// Asks the filter. If it takes the exception the process ends, silently, with the low byte of the exception's code, which
/// is what Linux keeps of an exit code.
pub(super) fn ask(pointers: *mut EXCEPTION_POINTERS) -> LONG {
    let Some(filter) = function(FILTER.load(Ordering::Acquire)) else {
        return EXCEPTION_CONTINUE_SEARCH;
    };
    // SAFETY: the program gave a function that takes this.
    let answer = unsafe { filter(pointers) };
    if answer == EXCEPTION_EXECUTE_HANDLER {
        // SAFETY: the record is the dispatcher's own; ending the process needs nothing else.
        unsafe { libc::_exit((*(*pointers).ExceptionRecord).ExceptionCode as c_int) };
    }
    answer
}
