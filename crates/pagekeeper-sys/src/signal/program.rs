//! What the program believes about SIGBUS and SIGSEGV: its actions, and which of them it has blocked.
//!
//! Actions are the process's and live in one table behind a lock. Blocked signals are the thread's: two bits in
//! a thread-local that is reached by an offset fixed at load time (initial-exec), since the ordinary way may
//! call the loader, which may allocate.
//!
//! **While a handler of the program runs**, the signals that its action blocks are blocked as well, until it
//! returns or jumps away with `siglongjmp`. The jump restores the real mask inside libc, past every wrapper, so
//! the real mask has to carry the news: while such a handler runs, [`HANDLER_MARK`] is blocked for real, a
//! signal number that libc keeps for itself and never lets a program block. Where the mark is gone, the handler
//! is gone, and the bits from before count.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: sets signal actions; a thread-local defined in assembly"
)]

use core::arch::{asm, global_asm};

use super::calls::{
    Action, MaskChange, SIGNAL_BUS, SIGNAL_SEGV, SignalSet, real_action, send_to_self,
};
use super::context::SigInfo;
use super::install;
use crate::Errno;
use crate::lock::{FutexLock, SignalsBlocked, replace_signal_mask};

/// Blocked for real while a handler of the program runs for a fault signal: glibc's SIGCANCEL (32).
pub(super) const HANDLER_MARK: SignalSet = SignalSet::of(32);

/// The signals that the pager keeps, in the order of the table.
const FAULT_SIGNALS: [i32; 2] = [SIGNAL_BUS, SIGNAL_SEGV];

/// Numbers of signals go from 1 to 64.
const SIGNAL_COUNT: usize = 64;

/// What the program set.
struct Program {
    /// Its actions for [`FAULT_SIGNALS`].
    actions: [Action; 2],
    /// For every other signal: which fault signals its action's mask named before we took them out.
    filtered: [SignalSet; SIGNAL_COUNT + 1],
}

/// Taken in the handler, and outside with all signals blocked. Nothing is locked after it.
static PROGRAM: FutexLock<Program> = FutexLock::new(Program {
    actions: [Action::DEFAULT; 2],
    filtered: [SignalSet::EMPTY; SIGNAL_COUNT + 1],
});

/// A thread's part. All zero in a new thread.
#[repr(C)]
struct ThreadSignals {
    /// Which fault signals the program has blocked.
    blocked: SignalSet,
    /// The same while [`HANDLER_MARK`] is in the real mask; counts instead of `blocked` then.
    blocked_in_handler: SignalSet,
    /// Which of them were sent meanwhile.
    pending: SignalSet,
    /// What they said: the first 32 bytes of the information, which is all that a sent signal uses.
    remembered: [[u64; 4]; 2],
}

global_asm!(
    ".pushsection .tbss.pagekeeper_sys_thread_signals,\"awT\",@nobits",
    ".p2align 3",
    ".globl pagekeeper_sys_thread_signals",
    ".hidden pagekeeper_sys_thread_signals",
    ".type pagekeeper_sys_thread_signals,@object",
    "pagekeeper_sys_thread_signals:",
    ".zero {size}",
    ".size pagekeeper_sys_thread_signals, {size}",
    ".popsection",
    size = const size_of::<ThreadSignals>(),
);

/// This thread's part. The pointer is good for this thread only, and for accesses that no signal can interrupt
/// half-way (all signals blocked, or a single word).
#[inline(never)]
fn thread() -> *mut ThreadSignals {
    let address: *mut ThreadSignals;
    // SAFETY: Reads the thread pointer and a constant from the global offset table.
    unsafe {
        asm!(
            "mov {0}, qword ptr fs:[0]",
            "add {0}, qword ptr [rip + pagekeeper_sys_thread_signals@GOTTPOFF]",
            out(reg) address,
            options(nostack, readonly),
        );
    }
    address
}

/// The fault signals that count as blocked under the real mask `mask`.
pub(super) fn blocked_in(mask: SignalSet) -> SignalSet {
    // SAFETY: This thread's words.
    unsafe {
        if mask.meets(HANDLER_MARK) {
            (*thread()).blocked_in_handler
        } else {
            (*thread()).blocked
        }
    }
}

/// Sets what [`blocked_in`] gives for `mask`.
fn set_blocked_in(mask: SignalSet, blocked: SignalSet) {
    // SAFETY: This thread's words.
    unsafe {
        if mask.meets(HANDLER_MARK) {
            (*thread()).blocked_in_handler = blocked;
        } else {
            (*thread()).blocked = blocked;
        }
    }
}

/// The thread's words before a handler ran.
pub(super) struct Saved {
    blocked: SignalSet,
}

/// The program's handler starts with these fault signals blocked. All signals are blocked for real.
pub(super) fn enter_handler(blocked: SignalSet) -> Saved {
    let thread = thread();
    // SAFETY: This thread's words.
    unsafe {
        (*thread).blocked_in_handler = blocked;
        Saved {
            blocked: (*thread).blocked,
        }
    }
}

/// The handler has returned, to a thread with the real mask `mask` and `wanted` blocked. All signals are
/// blocked for real.
pub(super) fn leave_handler(saved: Saved, mask: SignalSet, wanted: SignalSet) {
    // SAFETY: This thread's words.
    unsafe { (*thread()).blocked = saved.blocked };
    set_blocked_in(mask, wanted);
    release_pending(wanted);
}

/// Keeps a signal that was sent while blocked. As in the kernel, the first of a kind is kept.
pub(super) fn remember(information: &SigInfo) {
    let (thread, signal) = (thread(), information.signal);
    let Some(index) = index_of(signal) else {
        return;
    };
    // SAFETY: This thread's words, with all signals blocked; the information is 128 bytes long.
    unsafe {
        if !(*thread).pending.contains(signal) {
            (*thread).pending = (*thread).pending | SignalSet::of(signal);
            let words = core::ptr::from_ref(information).cast::<[u64; 4]>();
            (&raw mut (*thread).remembered[index]).write(words.read());
        }
    }
}

/// Sends again what was kept and is no longer blocked; it arrives when the real mask allows.
fn release_pending(blocked: SignalSet) {
    let thread = thread();
    for (index, signal) in FAULT_SIGNALS.into_iter().enumerate() {
        // SAFETY: This thread's words, with all signals blocked; an information is plain words, and the rest
        // of it is zero.
        unsafe {
            if (*thread).pending.contains(signal) && !blocked.contains(signal) {
                (*thread).pending = (*thread).pending.without(SignalSet::of(signal));
                let mut information = core::mem::zeroed::<SigInfo>();
                let words = (&raw mut information).cast::<[u64; 4]>();
                words.write((&raw const (*thread).remembered[index]).read());
                send_to_self(signal, &information);
            }
        }
    }
}

fn index_of(signal: i32) -> Option<usize> {
    FAULT_SIGNALS.iter().position(|&known| known == signal)
}

/// The program's action for a fault signal, taken for running: a one-shot action is the default one afterwards.
pub(super) fn take_action(signal: i32) -> Action {
    let Some(index) = index_of(signal) else {
        return Action::DEFAULT;
    };
    let mut program = PROGRAM.lock();
    let action = program.actions[index];
    if action.is_one_shot() {
        // The kernel resets the handler only; flags and mask stay visible.
        program.actions[index].handler = Action::DEFAULT.handler;
    }
    action
}

/// Makes the actions that are installed the program's, and ours the kernel's.
pub(super) fn take_over(our_entry: usize) -> Result<(), Errno> {
    let mut program = PROGRAM.lock_outside_handler();
    for (index, signal) in FAULT_SIGNALS.into_iter().enumerate() {
        // SAFETY: Reads; then sets our handler, which is made to run anywhere. The program's action is in the
        // table before the first fault can ask for it.
        unsafe {
            let action = real_action(signal, None)?;
            if action.handler != our_entry {
                program.actions[index] = action;
            }
            real_action(signal, Some(&install::our_action(&program.actions[index])))?;
        }
    }
    Ok(())
}

/// Makes the program's actions the kernel's.
pub(super) fn give_back() -> Result<(), Errno> {
    let program = PROGRAM.lock_outside_handler();
    for (index, signal) in FAULT_SIGNALS.into_iter().enumerate() {
        // SAFETY: The program's own action.
        unsafe { real_action(signal, Some(&program.actions[index].with_restorer()))? };
    }
    Ok(())
}

/// As [`super::reassert`], for one signal. All signals may be blocked already.
pub(super) fn reassert_signal(signal: i32) -> Result<bool, Errno> {
    let Some(index) = index_of(signal) else {
        return Ok(false);
    };
    let mut program = PROGRAM.lock_outside_handler();
    let (action, ours) = install::installed_action(signal)?;
    if ours {
        return Ok(false);
    }
    program.actions[index] = action;
    // SAFETY: Our handler is made to run anywhere.
    unsafe { real_action(signal, Some(&install::our_action(&action)))? };
    Ok(true)
}

/// What `sigaction(2)` does, for a wrapper: the fault signals' actions are the program's virtual ones, every
/// other signal's mask is set without the fault signals and reported with them. Gives back the old action.
///
/// Without an installed client it is the kernel's `sigaction`.
///
/// # Errors
/// `EINVAL` as the kernel says it.
///
/// # Safety
/// A handler in `new` must be a function fit to be one; where `new` names `SA_RESTORER`, its restorer too.
pub unsafe fn virtual_sigaction(signal: i32, new: Option<&Action>) -> Result<Action, Errno> {
    let new = new.map(|action| action.with_restorer());
    if !install::is_installed() {
        // SAFETY: The caller's duty.
        return unsafe { real_action(signal, new.as_ref()) };
    }
    let mut program = PROGRAM.lock_outside_handler();
    if let Some(index) = index_of(signal) {
        let old = program.actions[index];
        if let Some(new) = new {
            program.actions[index] = new;
            // SAFETY: Our handler is made to run anywhere.
            unsafe { real_action(signal, Some(&install::our_action(&new)))? };
        }
        return Ok(old);
    }
    let filtered = new.map(|action| Action {
        mask: filter_mask(action.mask),
        ..action
    });
    // SAFETY: The caller's duty.
    let mut old = unsafe { real_action(signal, filtered.as_ref()) }?;
    // The kernel accepted the number, so it is one of 1 to 64.
    if let Some(remembered) = program.filtered.get_mut(signal as usize) {
        old.mask = old.mask | *remembered;
        if let Some(new) = new {
            *remembered = new.mask & SignalSet::FAULTS;
        }
    }
    Ok(old)
}

/// What `sigprocmask(2)` does, for a wrapper: the fault signals are blocked virtually only. Gives back the old
/// mask as the program believes it to be. Signals that were kept and are unblocked now arrive before this
/// returns.
///
/// Without an installed client it is the kernel's `sigprocmask`.
pub fn virtual_sigprocmask(how: MaskChange, set: Option<SignalSet>) -> SignalSet {
    let all = SignalsBlocked::new();
    let before = SignalSet(all.mask_before());
    core::mem::forget(all);
    if !install::is_installed() {
        let after = set.map_or(before, |set| how.apply(before, set));
        replace_signal_mask(after.0);
        return before;
    }
    let report = virtual_mask_report(before);
    let mut after = before;
    if let Some(set) = set {
        let wanted = how.apply(report, set);
        set_blocked_in(before, wanted & SignalSet::FAULTS);
        release_pending(wanted & SignalSet::FAULTS);
        after = filter_mask(wanted) | (before & HANDLER_MARK);
    }
    replace_signal_mask(after.0);
    report
}

/// A mask that may be made real: without SIGBUS and SIGSEGV, and without the number that libc keeps for itself. For
/// wrappers of calls that take a mask for their own time (`ppoll`, `pselect`, `epoll_pwait`, `sigsuspend`).
pub fn filter_mask(set: SignalSet) -> SignalSet {
    set.without(SignalSet::FAULTS).without(HANDLER_MARK)
}

/// The real mask `old` of this thread as the program believes it to be.
pub fn virtual_mask_report(old: SignalSet) -> SignalSet {
    filter_mask(old) | blocked_in(old)
}

/// The fault signals that were sent to this thread while it had them blocked; for a wrapper of `sigpending`.
pub fn virtual_pending() -> SignalSet {
    // SAFETY: One word of this thread.
    unsafe { (*thread()).pending }
}

/// Takes over this thread's mask: a fault signal that it has blocked for real is blocked virtually from now on. For
/// threads that were there before [`super::install`]; the installing thread is done by it.
pub fn adopt_current_thread() {
    let all = SignalsBlocked::new();
    let before = SignalSet(all.mask_before());
    core::mem::forget(all);
    let real = before & SignalSet::FAULTS;
    if real != SignalSet::EMPTY {
        set_blocked_in(before, blocked_in(before) | real);
    }
    replace_signal_mask(filter_mask(before).0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_starts_with_nothing_blocked_and_keeps_its_own() {
        let bus = SignalSet::of(SIGNAL_BUS);
        std::thread::spawn(move || {
            set_blocked_in(SignalSet::EMPTY, bus);
            assert_eq!(blocked_in(SignalSet::EMPTY), bus);
            assert_eq!(blocked_in(HANDLER_MARK), SignalSet::EMPTY, "another word");
            assert_eq!(
                virtual_mask_report(SignalSet::of(1) | HANDLER_MARK),
                SignalSet::of(1)
            );
            std::thread::spawn(|| assert_eq!(blocked_in(SignalSet::EMPTY), SignalSet::EMPTY))
                .join()
                .expect("the second thread has its own words");
        })
        .join()
        .expect("the thread ends well");
    }

    #[test]
    fn masks_are_filtered() {
        assert_eq!(
            filter_mask(SignalSet::FAULTS | SignalSet::of(15)),
            SignalSet::of(15)
        );
        assert_eq!(filter_mask(SignalSet::ALL).0.count_ones(), 61);
    }

    #[test]
    fn without_a_client_the_kernel_answers() {
        std::thread::spawn(|| {
            let both = SignalSet::FAULTS;
            let before = virtual_sigprocmask(MaskChange::Block, Some(both));
            assert!(!before.meets(both));
            let real = SignalSet(SignalsBlocked::new().mask_before());
            assert_eq!(real & both, both, "blocked for real");
            virtual_sigprocmask(MaskChange::Set, Some(before));
        })
        .join()
        .expect("the thread ends well");
    }
}
