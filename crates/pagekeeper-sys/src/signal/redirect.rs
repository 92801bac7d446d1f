//! Going on outside the signal frame: what runs there, and how it ends.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: runs on a copied signal frame and returns through it"
)]

use core::arch::asm;

use linux_raw_sys::general::SEGV_ACCERR;

use super::calls::{SIGNAL_SEGV, SignalSet};
use super::context::{Context, FaultInfo, SigInfo};
use super::death;
use super::leave::{self, NoRoom};
use crate::lock::replace_signal_mask;

/// Stack in bytes that must be free below the frame for a redirection; with less the process dies, which
/// leaves the message to [`super::Decision::Redirect`].
pub const REDIRECT_ROOM_BYTES: usize = 8 << 10;

/// What runs on the thread's own stack after [`super::Decision::Redirect`].
///
/// All signals are as they were before the fault, no lock is held, nothing of the signal frame is in use: it
/// may allocate, block, fault again (nested redirections included), or never return (`longjmp`). A Rust panic
/// must not leave it: the interrupted instruction is no call, so there is nothing to unwind to.
pub type RedirectTarget = fn(&mut Redirected<'_>) -> Verdict;

/// A fault, taken out of the signal frame.
#[derive(Debug)]
pub struct Redirected<'a> {
    /// The fault, with the interrupted registers, which may be changed (Windows:
    /// `EXCEPTION_CONTINUE_EXECUTION` with a changed `CONTEXT`).
    pub fault: FaultInfo<'a>,
    /// The word that was given with [`super::Decision::Redirect`].
    pub argument: usize,
}

/// How a redirected fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Restore everything and run the instruction again.
    Resume,
    /// The process dies by this signal with the interrupted registers.
    Die {
        /// The signal, as a rule SIGSEGV.
        signal: i32,
        /// Its `si_code`, as a debugger will show it (`SEGV_MAPERR`: 1, `SEGV_ACCERR`: 2).
        code: i32,
    },
}

/// Leaves the handler's frame for `target`; if the stack has no room the thread is prepared to die when the
/// handler returns.
///
/// # Safety
/// As [`leave::leave`].
pub(super) unsafe fn redirect(
    context: &mut Context,
    information: &SigInfo,
    target: RedirectTarget,
    argument: usize,
) {
    let words = [target as *const () as usize, argument];
    // SAFETY: Passed on.
    let NoRoom =
        unsafe { leave::leave(context, information, REDIRECT_ROOM_BYTES, redirected, words) };
    death::say("pagekeeper: access violation, and no room on the thread's stack to report it\n");
    death::prepare(context, information, SIGNAL_SEGV, SEGV_ACCERR as i32);
}

/// The body that runs on the thread's own stack; its return is `rt_sigreturn`.
unsafe extern "C-unwind" fn redirected(
    context: *mut Context,
    information: *mut SigInfo,
    target: usize,
    argument: usize,
) {
    // SAFETY: `leave` passes the copies, which live as long as this function's frame does.
    let (context, information) = unsafe { (&mut *context, &*information) };
    // SAFETY: `redirect` passed a function of this type.
    let target = unsafe { core::mem::transmute::<usize, RedirectTarget>(target) };
    leave::rearm(context);
    load_floating_control(context);
    replace_signal_mask(context.mask.0);
    // SAFETY: libc's errno of this thread.
    let errno = unsafe { *libc::__errno_location() };
    let verdict = target(&mut Redirected {
        fault: FaultInfo {
            info: information,
            context: &mut *context,
        },
        argument,
    });
    match verdict {
        // SAFETY: As above.
        Verdict::Resume => unsafe { *libc::__errno_location() = errno },
        Verdict::Die { signal, code } => {
            replace_signal_mask(SignalSet::ALL.0);
            death::prepare(context, information, signal, code);
        }
    }
}

/// Gives the function the thread's own rounding and exception settings, as any function it calls would have;
/// the kernel starts a handler with the processor's initial ones.
fn load_floating_control(context: &Context) {
    let (control, mxcsr) = context.floating_control();
    // Pending exception flags of the interrupted code are not ours to raise.
    let mxcsr = mxcsr & !0x3F;
    // SAFETY: The values come from this processor's own state; both instructions only read memory.
    unsafe {
        asm!(
            "fldcw word ptr [{}]",
            "ldmxcsr dword ptr [{}]",
            in(reg) &raw const control,
            in(reg) &raw const mxcsr,
            options(nostack, readonly),
        );
    }
}
