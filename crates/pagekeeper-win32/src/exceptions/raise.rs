//! Exceptions that a program raises itself. Windows: `RaiseException`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, reads the caller's arguments"
)]

use core::arch::naked_asm;
use core::ffi::c_void;
use core::ptr;
use std::io::Write;

use super::{context, dispatch};
use crate::constants::{
    EXCEPTION_CONTINUE_EXECUTION, EXCEPTION_MAXIMUM_PARAMETERS, EXCEPTION_NONCONTINUABLE,
    STATUS_NONCONTINUABLE_EXCEPTION,
};
use crate::memory;
use crate::types::{DWORD, EXCEPTION_RECORD};

/// Windows keeps this bit for itself.
const RESERVED_BIT: DWORD = 0x1000_0000;

/// `RaiseException`. Comes back when a handler says that the thread shall go on.
///
/// Notes where it was called, which is where the thread would go on, and does the rest in Rust.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub extern "C-unwind" fn RaiseException(
    code: DWORD,
    flags: DWORD,
    count: DWORD,
    arguments: *const usize,
) {
    naked_asm!(
        "mov r8, [rsp]",
        "lea r9, [rsp + 8]",
        "jmp {raise}",
        raise = sym raise,
    )
}

extern "C-unwind" fn raise(
    code: DWORD,
    flags: DWORD,
    count: DWORD,
    arguments: *const usize,
    instruction: u64,
    stack: u64,
) {
    let mut information = [0; 15];
    let mut used = 0;
    if !arguments.is_null() {
        let count = count.min(EXCEPTION_MAXIMUM_PARAMETERS) as usize;
        for (index, word) in information.iter_mut().take(count).enumerate() {
            *word = memory::read(arguments.wrapping_add(index)).unwrap_or(0);
            used += 1;
        }
    }
    let mut record = EXCEPTION_RECORD {
        ExceptionCode: code & !RESERVED_BIT,
        ExceptionFlags: flags & EXCEPTION_NONCONTINUABLE,
        ExceptionRecord: ptr::null_mut(),
        ExceptionAddress: ptr::with_exposed_provenance_mut::<c_void>(instruction as usize),
        NumberParameters: used,
        ExceptionInformation: information,
    };
    let mut context = context::at(instruction, stack);
    if dispatch(&mut record, &mut context) != EXCEPTION_CONTINUE_EXECUTION {
        die(&record);
    }
    if record.ExceptionFlags & EXCEPTION_NONCONTINUABLE != 0 {
        // Going on was not allowed: that is an exception of its own.
        let mut second = EXCEPTION_RECORD {
            ExceptionCode: STATUS_NONCONTINUABLE_EXCEPTION,
            ExceptionRecord: &raw mut record,
            NumberParameters: 0,
            ..record
        };
        dispatch(&mut second, &mut context);
        die(&second);
    }
}

/// Nobody took it.
fn die(record: &EXCEPTION_RECORD) -> ! {
    let _ = writeln!(
        std::io::stderr(),
        "pagekeeper: unhandled exception {:#x} raised at {:#x}",
        record.ExceptionCode,
        record.ExceptionAddress.addr(),
    );
    std::process::abort()
}
