//! Running a function on another stack.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: replaces the stack pointer for the time of a call"
)]

use core::arch::naked_asm;
use core::ffi::c_void;

/// Calls `function(argument)` with the stack pointer at `stack_top` (rounded down to 16 bytes) and comes
/// back. The stack that it is called on is used with 16 bytes and the return address.
///
/// Debuggers see through it: the frame's unwind information goes by the frame pointer.
///
/// # Safety
/// 1. The memory below `stack_top` must be writable, large enough for `function`, not used by anybody else
///    until this returns, and never paged.
/// 2. `argument` must be what `function` expects.
/// 3. `function` must return: no unwinding and no jump across.
#[unsafe(naked)]
pub unsafe extern "C" fn call_on_stack(
    stack_top: *mut u8,
    function: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "and rdi, -16",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen {
        value: u64,
        address: usize,
        alignment: usize,
    }

    unsafe extern "C" fn body(argument: *mut c_void) {
        #[repr(align(16))]
        struct Aligned(u8);
        let local = Aligned(7);
        // SAFETY: The test passes a `Seen`.
        let seen = unsafe { &mut *argument.cast::<Seen>() };
        seen.address = (&raw const local) as usize;
        seen.alignment = seen.address % 16;
        seen.value += u64::from(std::hint::black_box(&local).0);
    }

    #[test]
    fn the_function_runs_there_and_comes_back() {
        let mut stack = vec![0_u8; 64 << 10];
        let range = stack.as_mut_ptr_range();
        let mut seen = Seen {
            value: 1,
            address: 0,
            alignment: 1,
        };
        // A top that is not aligned is rounded down.
        for odd in [0, 1, 8, 15] {
            // SAFETY: The vector is a stack of our own; the argument is a `Seen`.
            unsafe { call_on_stack(range.end.sub(odd), body, (&raw mut seen).cast()) };
        }
        assert_eq!((seen.value, seen.alignment), (29, 0));
        assert!((range.start as usize..range.end as usize).contains(&seen.address));
    }
}
