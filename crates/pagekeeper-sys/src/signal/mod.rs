//! Page-fault signals: ours answered first, everybody else's left working.
//!
//! The inline engine's faults arrive as SIGBUS, guard and no-access pages as SIGSEGV. Both signals belong
//! to the whole process, so this module has to share them with handlers that the program, its libraries and
//! Rust's own run-time library install before and after us, and with programs that block them.
//!
//! # A fault's way
//!
//! 1. The kernel calls our handler with all signals blocked, on the thread's alternate signal stack if it
//!    has one. It asks the [`FaultHandler`] that [`install`] was given: *mine or not?*
//! 2. [`Decision::Retry`]: the page is there; the handler returns and the instruction runs again. Work that
//!    needs stack goes through [`call_on_stack`]: the foreign signal stack may be 8 KiB small.
//! 3. [`Decision::Redirect`]: the thread leaves the signal frame and goes on at a function on its own stack
//!    ([`Redirected`]), where it may take locks, allocate, call the program, fault again or jump away.
//! 4. [`Decision::Die`]: the process dies by the signal, with the registers of the faulting instruction.
//! 5. [`Decision::NotMine`]: the program's own action runs as the kernel would have run it: its mask, its
//!    stack, once only if it said so, with the kernel's information; or the process dies as it would have.
//!
//! # What the program believes
//!
//! The pager dies if SIGBUS or SIGSEGV is blocked or gets another handler. Wrappers of `sigaction`,
//! `sigprocmask` and their relatives therefore go through [`virtual_sigaction`], [`virtual_sigprocmask`],
//! [`filter_mask`] and [`virtual_mask_report`]: the program sees what it set, and the kernel keeps ours.
//!
//! * **Blocked and sent by another process or thread** (`kill -BUS`): remembered for this thread and sent
//!   again when it unblocks the signal through the wrapper, or when the handler that blocked it returns. As in
//!   the kernel, one of a kind is remembered. Unlike the kernel, a signal to the whole process is not offered
//!   to another thread, and `sigwait` and `signalfd` do not see it.
//! * **Blocked and a real fault**: the process dies by it, as in the kernel.
//! * A thread starts with neither blocked, whatever its creator believed; a wrapper of thread creation can
//!   hand the mask on with [`virtual_sigprocmask`].
//! * While the handler of another signal runs whose mask named SIGBUS or SIGSEGV, they are not blocked.
//!
//! # Limits, said here
//!
//! * A thread that has SIGBUS blocked for real when it faults is killed by the kernel: threads that exist
//!   before [`install`] with it blocked call [`adopt_current_thread`].
//! * Without an alternate stack the handler runs on the thread's own stack, below the red zone.
//! * Processes with user shadow stacks (CET) are not supported by [`Decision::Redirect`]: the frame's return is
//!   not on the shadow stack. glibc does not enable them by default.

mod calls;
mod chain;
mod context;
mod death;
mod install;
mod leave;
mod program;
mod redirect;
mod stack;

pub use calls::{Action, MaskChange, SIGNAL_BUS, SIGNAL_SEGV, SignalSet};
pub use context::{Context, FaultInfo, Registers, SigInfo, SignalStack};
pub use death::{say, stop_process};
pub use install::{Decision, FaultHandler, install, is_installed, reassert, uninstall};
pub use program::{
    adopt_current_thread, filter_mask, virtual_mask_report, virtual_pending, virtual_sigaction,
    virtual_sigprocmask,
};
pub use redirect::{REDIRECT_ROOM_BYTES, RedirectTarget, Redirected, Verdict};
pub use stack::call_on_stack;
