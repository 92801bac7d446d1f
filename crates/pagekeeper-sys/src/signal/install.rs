//! Installing the handler, and its first decision.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the signal handler itself: called by the kernel, with the kernel's pointers"
)]

use core::mem;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::calls::{Action, SIGNAL_BUS, SIGNAL_SEGV, real_action};
use super::context::{Context, FaultInfo, SigInfo};
use super::redirect::{self, RedirectTarget};
use super::{chain, death, program};
use crate::Errno;

/// Answers a fault. Runs in the handler: all signals are blocked, the stack is foreign and small, anything
/// may be locked.
///
/// It decides with a few hundred bytes of stack whether the address is its own, answers
/// [`Decision::NotMine`] at once if not, and does everything else on a stack of its own
/// ([`super::call_on_stack`]). It allocates nothing, takes only [`crate::lock::FutexLock`]s, touches no paged
/// memory and does not panic. `errno` is kept for it.
pub type FaultHandler = fn(&mut FaultInfo<'_>) -> Decision;

/// What becomes of a fault.
#[derive(Clone, Copy, Debug)]
pub enum Decision {
    /// Resolved: run the instruction again.
    Retry,
    /// Not ours: the program's own action runs, or the default one.
    NotMine,
    /// Leave the signal frame and go on at `target` on the thread's own stack. If that has less than
    /// [`super::REDIRECT_ROOM_BYTES`] of room the process dies by SIGSEGV with one line saying so.
    Redirect {
        /// The function to go on at.
        target: RedirectTarget,
        /// A word for it.
        argument: usize,
    },
    /// The process dies by this signal with the interrupted registers.
    Die {
        /// The signal.
        signal: i32,
        /// Its `si_code`.
        code: i32,
    },
}

/// The installed [`FaultHandler`]'s address; zero while there is none.
static CLIENT: AtomicUsize = AtomicUsize::new(0);

/// Installs `client` for SIGBUS and SIGSEGV. The actions that were there become the program's virtual ones
/// and get what is not the client's. The calling thread's mask is adopted ([`super::adopt_current_thread`]).
///
/// Installing the same client again does nothing.
///
/// # Errors
/// `EBUSY` if another client is installed; what `sigaction` says otherwise.
///
/// # Safety
/// `client` must keep the rules of [`FaultHandler`].
pub unsafe fn install(client: FaultHandler) -> Result<(), Errno> {
    let address = client as *const () as usize;
    match CLIENT.compare_exchange(0, address, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(installed) if installed == address => return Ok(()),
        Err(_) => return Err(Errno::BUSY),
    }
    if let Err(error) = program::take_over(entry()) {
        CLIENT.store(0, Ordering::Release);
        return Err(error);
    }
    super::adopt_current_thread();
    Ok(())
}

/// Gives the signals back to the program: its virtual actions become real. Faults of the client's memory
/// kill from now on. For tests and for an orderly end.
///
/// # Errors
/// What `sigaction` says.
///
/// # Safety
/// Nobody may touch memory whose faults the client answered.
pub unsafe fn uninstall() -> Result<(), Errno> {
    if CLIENT.swap(0, Ordering::AcqRel) != 0 {
        program::give_back()?;
    }
    Ok(())
}

/// Whether a client is installed.
pub fn is_installed() -> bool {
    CLIENT.load(Ordering::Acquire) != 0
}

/// Looks whether the kernel still has our handler for both signals. Where somebody replaced it past the
/// wrappers, what they set becomes the program's virtual action, and ours is set again. Returns whether
/// anything had to be set.
///
/// # Errors
/// What `sigaction` says.
pub fn reassert() -> Result<bool, Errno> {
    if !is_installed() {
        return Ok(false);
    }
    let bus = program::reassert_signal(SIGNAL_BUS)?;
    let segv = program::reassert_signal(SIGNAL_SEGV)?;
    Ok(bus || segv)
}

/// The address of the handler that the kernel calls.
#[inline]
pub(super) fn entry() -> usize {
    on_fault as *const () as usize
}

/// The handler.
unsafe extern "C-unwind" fn on_fault(
    _signal: i32,
    information: *mut SigInfo,
    context: *mut Context,
) {
    // SAFETY: The kernel passes live structs of its own layout, this handler's own.
    let (information, context) = unsafe { (&*information, &mut *context) };
    if death::has_outlived() {
        return;
    }
    let client = CLIENT.load(Ordering::Acquire);
    if client != 0 && information.is_fault() {
        // SAFETY: Only `install` stores here, a function of this type.
        let client = unsafe { mem::transmute::<usize, FaultHandler>(client) };
        // SAFETY: libc's errno of this thread: an address computed from the thread pointer.
        let errno = unsafe { *libc::__errno_location() };
        let decision = client(&mut FaultInfo {
            info: information,
            context: &mut *context,
        });
        // SAFETY: As above.
        unsafe { *libc::__errno_location() = errno };
        match decision {
            Decision::Retry => return,
            Decision::NotMine => {}
            Decision::Redirect { target, argument } => {
                // SAFETY: 1. The structs are this handler's and all signals are blocked. 2. No value here
                // has a destructor.
                return unsafe { redirect::redirect(context, information, target, argument) };
            }
            Decision::Die { signal, code } => {
                return death::prepare(context, information, signal, code);
            }
        }
    }
    // SAFETY: As above.
    unsafe { chain::chain(information, context) }
}

/// Our action in the kernel's form.
pub(super) fn our_action(program_action: &Action) -> Action {
    // A system call that the signal interrupts goes on or fails as the program's own handler would have it.
    let restart =
        program_action.is_default() || program_action.is_ignore() || program_action.restarts();
    Action::ours(entry(), restart)
}

/// The action that the kernel has for `signal`, and whether it is ours.
pub(super) fn installed_action(signal: i32) -> Result<(Action, bool), Errno> {
    // SAFETY: Only reads.
    let action = unsafe { real_action(signal, None) }?;
    Ok((action, action.handler == entry()))
}
