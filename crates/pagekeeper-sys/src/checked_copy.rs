//! Copies from and to addresses that may be no addresses: a bad one fails the copy instead of killing the process.
//!
//! A system call answers a bad buffer with `EFAULT`. A library that keeps the same promise without a system call needs
//! the same trick as the kernel: the few instructions that touch the foreign memory are known by address, and
//! the fault handler sends a thread that faults there to the next instruction, which reports how much is left.
//!
//! The fault handler first does what it can: memory that is only paged out is brought in and the copy goes on.
//! [`give_up`] is for the rest.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches addresses of which nothing is known; faults there are caught by address"
)]

use core::arch::naked_asm;

use crate::signal::FaultInfo;

/// Length in bytes of `rep movsb`.
const COPY_LENGTH: u64 = 2;
/// Length in bytes of `lock or byte ptr [rdi], 0` and of the `xor` behind it, which says that it went well.
const PROBE_LENGTH: u64 = 4 + 2;

/// Copies `count` bytes; returns how many are left. A fault at the first instruction goes on at the second.
///
/// The count is the fourth argument, because that is where the instruction wants it.
#[unsafe(naked)]
unsafe extern "C" fn copy(to: *mut u8, from: *const u8, unused: usize, count: usize) -> usize {
    naked_asm!("rep movsb", "mov rax, rcx", "ret")
}

/// Writes back what is at `to`, in one piece; returns 0, or `failure` after a fault.
#[unsafe(naked)]
unsafe extern "C" fn probe(to: *mut u8, unused: usize, unused_too: usize, failure: usize) -> usize {
    naked_asm!(
        "lock or byte ptr [rdi], 0",
        "xor ecx, ecx",
        "mov rax, rcx",
        "ret"
    )
}

/// If the thread faulted in one of the copies here, it goes on behind the access, and the copy reports failure.
/// For the fault handler, once nothing else helps.
pub fn give_up(fault: &mut FaultInfo<'_>) -> bool {
    let at = fault.instruction_pointer();
    let length = if at == copy as *const () as usize {
        COPY_LENGTH
    } else if at == probe as *const () as usize {
        PROBE_LENGTH
    } else {
        return false;
    };
    fault.context_mut().registers.rip += length;
    true
}

/// Copies `count` bytes from `from` to `to`. Returns how many at the end were not copied: 0 when all went well.
///
/// # Safety
/// Either address may be bad, as long as a fault handler is installed that asks [`give_up`]; but what is good and not
/// meant must not be overwritten: no reference into `to` is alive.
#[inline]
pub unsafe fn copy_checked(to: *mut u8, from: *const u8, count: usize) -> usize {
    // SAFETY: passed on.
    unsafe { copy(to, from, 0, count) }
}

/// Whether the byte at `to` can be written. It is not changed, but it is written.
///
/// # Safety
/// As [`copy_checked`]; other threads may write the byte meanwhile, the write is atomic.
#[inline]
pub unsafe fn is_writable(to: *mut u8) -> bool {
    // SAFETY: passed on.
    unsafe { probe(to, 0, 0, 1) == 0 }
}
