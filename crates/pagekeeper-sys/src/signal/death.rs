//! Dying as the kernel would have it: by the right signal, with the registers of the faulting instruction.
//!
//! The signal is queued to the thread while blocked, with the kernel's information in it and the default
//! action set; the way back out of the frame unblocks it, so it is delivered with the original registers
//! in place. A parent, a tracer and a core dump see what they would have seen without us.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: gives the fault signals their default action"
)]

use core::sync::atomic::{AtomicI32, Ordering};

use linux_raw_sys::general::{__NR_exit_group, __NR_rt_sigprocmask, __NR_tgkill, __NR_write};

use super::calls::{
    Action, SIGNAL_BUS, SIGNAL_SEGV, SignalSet, real_action, send_to_self, thread_number,
};
use super::context::{Context, SigInfo};
use crate::raw;

/// The thread that was told to die; zero while none is.
static DYING: AtomicI32 = AtomicI32::new(0);

/// Arranges that the thread dies by `signal` when its frame is returned through. All signals are blocked.
pub(super) fn prepare(context: &mut Context, information: &SigInfo, signal: i32, code: i32) {
    DYING.store(thread_number(), Ordering::Relaxed);
    let mut last = *information;
    last.signal = signal;
    last.code = code;
    // SAFETY: The default action runs no code.
    let _ = unsafe { real_action(signal, Some(&Action::DEFAULT)) };
    send_to_self(signal, &last);
    context.mask = context.mask.without(SignalSet::of(signal));
}

/// Whether this thread was told to die and is still here: process 1 of a container, to which the kernel does
/// not deliver what it sends to itself. Then both signals get their default action, and the fault that comes
/// again is the kernel's own, from which nothing protects.
#[inline]
pub(super) fn has_outlived() -> bool {
    let dying = DYING.load(Ordering::Relaxed);
    dying != 0 && dying == thread_number() && resign()
}

#[cold]
fn resign() -> bool {
    for signal in [SIGNAL_BUS, SIGNAL_SEGV] {
        // SAFETY: The default action runs no code.
        let _ = unsafe { real_action(signal, Some(&Action::DEFAULT)) };
    }
    true
}

/// Writes one fixed line to the standard error output and ends the process by SIGABRT, whatever the program made of that
/// signal. For when going on would mean wrong data. Works in the fault handler too.
pub fn stop_process(line: &'static str) -> ! {
    say(line);
    // SAFETY: The default action runs no code; the other calls touch no memory but the set on the stack.
    unsafe {
        let _ = real_action(SIGNAL_ABORT, Some(&Action::DEFAULT));
        let open = SignalSet::of(SIGNAL_ABORT);
        let _ = raw::call(
            __NR_rt_sigprocmask,
            [
                SIG_UNBLOCK,
                (&raw const open) as usize,
                0,
                size_of::<SignalSet>(),
            ],
        );
        let process = super::calls::process_number() as usize;
        let thread = thread_number() as usize;
        let _ = raw::call(__NR_tgkill, [process, thread, SIGNAL_ABORT as usize]);
        // Process 1 of a container is still here.
        loop {
            let _ = raw::call(__NR_exit_group, [128 + SIGNAL_ABORT as usize]);
        }
    }
}

const SIGNAL_ABORT: i32 = 6;
/// `SIG_UNBLOCK`.
const SIG_UNBLOCK: usize = 1;

/// Writes one fixed line to the standard error output; what becomes of it does not matter. Works in the fault handler.
pub fn say(line: &'static str) {
    // SAFETY: The kernel reads the line.
    let _ = unsafe { raw::call(__NR_write, [2, line.as_ptr() as usize, line.len()]) };
}
