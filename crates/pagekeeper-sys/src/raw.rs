//! A bare system call, for the few that rustix has no function for.
//!
//! `libc::syscall` would do, but it is a symbol that a preloaded object may interpose, and it writes
//! `errno`, which the fault path must keep. So the instruction itself.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the system call instruction; what each call does is argued where it is made"
)]

use core::arch::asm;

use crate::Errno;

/// Makes the system call `number` and gives back what the kernel returned, as it did.
///
/// # Safety
/// The kernel does to memory whatever that call with these arguments does.
#[inline]
unsafe fn instruction(number: u32, arguments: [usize; 6]) -> isize {
    let returned: isize;
    // SAFETY: The instruction clobbers rax, rcx and r11 only; what the kernel does to memory is the
    // caller's duty, and the block is not marked as leaving memory alone.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as usize => returned,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    returned
}

/// Makes the system call `number` with up to six arguments; missing ones are zero.
///
/// # Errors
/// The kernel's error number.
///
/// # Safety
/// The kernel does to memory whatever that call with these arguments does; the caller answers for it.
#[inline]
pub(crate) unsafe fn call<const COUNT: usize>(
    number: u32,
    arguments: [usize; COUNT],
) -> Result<usize, Errno> {
    const { assert!(COUNT <= 6) };
    let mut all = [0; 6];
    all[..COUNT].copy_from_slice(&arguments);
    // SAFETY: The caller's duty, passed on.
    let returned = unsafe { instruction(number, all) };
    if (-4095..0).contains(&returned) {
        Err(Errno::from_raw_os_error(-returned as i32))
    } else {
        Ok(returned as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general::{__NR_close, __NR_getpid};

    #[test]
    fn results_and_error_numbers_arrive() {
        // SAFETY: Neither call touches memory.
        unsafe {
            assert_eq!(
                call(__NR_getpid, []),
                Ok(std::process::id() as usize),
                "a plain result"
            );
            assert_eq!(call(__NR_close, [usize::MAX]), Err(Errno::BADF));
        }
    }
}
