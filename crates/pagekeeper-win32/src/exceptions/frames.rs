//! Blocks in C that take exceptions: what `__try` and `__except` do, as macros over `setjmp` (`include/excpt.h`).
//!
//! Each thread has a chain of the blocks that it is in, the innermost first, in the frames of its own functions.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, follows the thread's chain of frames, jumps"
)]

use core::cell::Cell;
use core::ffi::{c_int, c_void};
use core::ptr;

use crate::constants::{
    EXCEPTION_CONTINUE_EXECUTION, EXCEPTION_CONTINUE_SEARCH, EXCEPTION_EXECUTE_HANDLER,
};
use crate::types::{EXCEPTION_POINTERS, EXCEPTION_RECORD, ExceptionHandler, LONG};

/// The first fields of `PAGEKEEPER_FRAME`; the jump buffer behind them is the C library's.
#[repr(C)]
pub struct Frame {
    outer: *mut Frame,
    filter: Option<ExceptionHandler>,
    record: EXCEPTION_RECORD,
}

/// The field behind, which C knows as `Jump`.
const JUMP_OFFSET: usize = size_of::<Frame>();

thread_local! {
    static INNERMOST: Cell<*mut Frame> = const { Cell::new(ptr::null_mut()) };
}

unsafe extern "C" {
    /// The C library's; it does not come back.
    fn longjmp(environment: *mut c_void, value: c_int) -> !;
}

/// `PagekeeperEnterFrame`: the thread is in the block of `frame` now.
///
/// # Safety
/// The frame stays where it is until it is left, its filter is set, and its jump buffer filled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PagekeeperEnterFrame(frame: *mut Frame, jump: *mut c_void) {
    debug_assert_eq!(frame.addr() + JUMP_OFFSET, jump.addr());
    super::listen();
    // SAFETY: the caller's frame is live.
    unsafe { (*frame).outer = INNERMOST.get() };
    INNERMOST.set(frame);
}

/// `PagekeeperLeaveFrame`: the thread left the block at its end. Blocks inside that were left by a jump of the program's own
/// are left with it.
///
/// # Safety
/// The frame was entered by this thread and not left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PagekeeperLeaveFrame(frame: *mut Frame) {
    // SAFETY: the caller's frame is live.
    INNERMOST.set(unsafe { (*frame).outer });
}

/// Asks the filters from the inside out. One that takes the exception does not come back here: the thread goes on in its
/// block, and is in none of those inside.
pub(super) fn ask(pointers: *mut EXCEPTION_POINTERS) -> LONG {
    let mut frame = INNERMOST.get();
    while !frame.is_null() {
        // SAFETY: frames in the chain are live: they are left before their function returns.
        let (outer, filter) = unsafe { ((*frame).outer, (*frame).filter) };
        let answer = match filter {
            // SAFETY: the program gave a function that takes this.
            Some(filter) => unsafe { filter(pointers) },
            None => EXCEPTION_EXECUTE_HANDLER,
        };
        if answer == EXCEPTION_CONTINUE_EXECUTION {
            return answer;
        }
        if answer == EXCEPTION_EXECUTE_HANDLER {
            INNERMOST.set(outer);
            // SAFETY: the frame is live, the pointers are the dispatcher's own; the buffer lies behind the fields. No
            // frame between here and there has anything to clean up.
            unsafe {
                (*frame).record = *(*pointers).ExceptionRecord;
                longjmp(frame.byte_add(JUMP_OFFSET).cast(), 1);
            }
        }
        frame = outer;
    }
    EXCEPTION_CONTINUE_SEARCH
}
