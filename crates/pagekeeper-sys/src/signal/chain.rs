//! Passing on a signal that is not ours, as the kernel would have delivered it.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: calls the program's signal handlers by address"
)]

use super::calls::{Action, SIGNAL_SEGV, SignalSet, process_number};
use super::context::{Context, SigInfo};
use super::leave::{self, NoRoom};
use super::program::{self, HANDLER_MARK};
use super::{death, install};
use crate::lock::replace_signal_mask;
use linux_raw_sys::general::SI_KERNEL;

/// Stack in bytes below the frame that a handler gets at least when it is moved to the thread's own stack.
const HANDLER_ROOM_BYTES: usize = 2 << 10;

/// A program's handler; the kernel passes three arguments whether it asked for them or not.
type Handler = unsafe extern "C-unwind" fn(i32, *mut SigInfo, *mut Context);

/// Does with the signal what the program's virtual action says.
///
/// # Safety
/// The structs are those of the handler that calls this; all signals are blocked; no destructor is pending.
pub(super) unsafe fn chain(information: &SigInfo, context: &mut Context) {
    let signal = information.signal;
    if program::blocked_in(context.mask).contains(signal) {
        if information.is_fault() {
            // The kernel does not wait with a fault: it kills.
            death::prepare(context, information, signal, information.code);
        } else {
            program::remember(information);
        }
        return;
    }
    let action = program::take_action(signal);
    if action.is_default() {
        // Process 1 of a container is spared what it has no handler for, unless it is a fault.
        if information.is_fault() || process_number() != 1 {
            death::prepare(context, information, signal, information.code);
        }
    } else if action.is_ignore() {
        if information.is_fault() {
            death::prepare(context, information, signal, information.code);
        }
    } else {
        // SAFETY: Passed on.
        unsafe { run(&action, information, context) }
    }
}

/// Runs the program's handler on the stack that it asked for.
unsafe fn run(action: &Action, information: &SigInfo, context: &mut Context) {
    let block = action.blocked_meanwhile(information.signal);
    if !action.on_alternate_stack() && !leave::is_on_interrupted_stack(context) {
        // The kernel switched stacks for us; a handler that did not ask for that may need more than an
        // alternate stack has.
        let words = [action.handler, block.0 as usize];
        // SAFETY: Passed on.
        let NoRoom = unsafe {
            leave::leave(
                context,
                information,
                HANDLER_ROOM_BYTES,
                on_own_stack,
                words,
            )
        };
        // As the kernel does when it cannot build the frame.
        death::prepare(context, information, SIGNAL_SEGV, SI_KERNEL as i32);
        return;
    }
    // SAFETY: The action is the program's, the structs are the kernel's.
    unsafe { call(context, information, action.handler, block) }
}

/// The body of a handler that was moved to the thread's own stack.
unsafe extern "C-unwind" fn on_own_stack(
    context: *mut Context,
    information: *mut SigInfo,
    handler: usize,
    block: usize,
) {
    // SAFETY: `leave` passes the copies, which live as long as this function's frame.
    let (context, information) = unsafe { (&mut *context, &*information) };
    leave::rearm(context);
    // SAFETY: `run` passed the program's action.
    unsafe { call(context, information, handler, SignalSet(block as u64)) }
}

/// Calls the handler with the mask and the view of the mask that it would have had.
unsafe fn call(context: &mut Context, information: &SigInfo, handler: usize, block: SignalSet) {
    let signal = information.signal;
    let blocked_before = program::blocked_in(context.mask);
    let meanwhile = (context.mask | block | HANDLER_MARK).without(SignalSet::FAULTS);
    let saved = program::enter_handler(blocked_before | (block & SignalSet::FAULTS));
    context.mask = context.mask | blocked_before;
    // SAFETY: The program installed this address as a handler of this signal.
    let handler = unsafe { core::mem::transmute::<usize, Handler>(handler) };
    replace_signal_mask(meanwhile.0);
    // SAFETY: What the kernel would have called, with the same arguments.
    unsafe {
        handler(
            signal,
            core::ptr::from_ref(information).cast_mut(),
            &raw mut *context,
        );
    }
    replace_signal_mask(SignalSet::ALL.0);
    // The handler may have edited the mask that comes back: honour it, without blocking faults for real.
    let wanted = context.mask & SignalSet::FAULTS;
    context.mask = context.mask.without(SignalSet::FAULTS);
    program::leave_handler(saved, context.mask, wanted);
    // Rust's own stack-overflow handler sets the default action and expects the fault to come again. Past
    // our wrappers that replaced us: keep what it set as the program's wish, and stay installed.
    if install::is_installed() {
        let _ = program::reassert_signal(signal);
    }
}
