//! Signals: what the program sets is what it sees, and the pager keeps SIGBUS and SIGSEGV.
//!
//! `pagekeeper_sys::signal` holds the rules; here are libc's names for them. Before the first inline engine starts,
//! libc's functions are called as they are.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::c_int;

use libc::{sighandler_t, siginfo_t, sigset_t, stack_t, timespec};
use pagekeeper_sys::signal::{self, Action, MaskChange, SignalSet};

use super::reach::fail;
use super::real::ErrorNumber;
use super::wrap::{real, rows, touch};

rows! { "signals";
    sigaction: "the actions; SIGBUS and SIGSEGV virtually";
    signal: "SIGBUS and SIGSEGV virtually";
    bsd_signal: "SIGBUS and SIGSEGV virtually";
    ssignal: "SIGBUS and SIGSEGV virtually";
    sysv_signal: "SIGBUS and SIGSEGV virtually";
    __sysv_signal: "SIGBUS and SIGSEGV virtually";
    sigset: "SIGBUS and SIGSEGV virtually";
    sighold: "SIGBUS and SIGSEGV virtually";
    sigrelse: "SIGBUS and SIGSEGV virtually";
    sigignore: "SIGBUS and SIGSEGV virtually";
    siginterrupt: "SIGBUS and SIGSEGV virtually";
    sigprocmask: "the masks; SIGBUS and SIGSEGV virtually";
    pthread_sigmask: "the masks; SIGBUS and SIGSEGV virtually";
    sigpending: "the set, with what is pending virtually";
    sigsuspend: "the mask, without SIGBUS and SIGSEGV";
    sigwait: "the set, the signal";
    sigwaitinfo: "the set, the information";
    sigtimedwait: "the set, the information, the time";
    signalfd: "the set";
    sigaltstack: "the stacks";
}

/// Signals that libc keeps for itself: cancelling, and changing the user of all threads.
const LIBC_OWN: SignalSet = SignalSet(0b11 << 31);
/// libc puts its own way back from a handler into every action.
const SA_RESTORER: u64 = 0x0400_0000;
const SIG_HOLD: sighandler_t = 2;

/// The kernel's part of libc's set.
unsafe fn set_at(set: *const sigset_t) -> SignalSet {
    // SAFETY: the caller promised a set; its first word holds all 64 signals.
    SignalSet(unsafe { set.cast::<u64>().read_unaligned() })
}

unsafe fn put_set(set: *mut sigset_t, value: SignalSet) {
    // SAFETY: the caller promised room for a set; what lies behind its first word stands for no signal.
    unsafe {
        core::ptr::write_bytes(set.cast::<u8>(), 0, size_of::<sigset_t>());
        set.cast::<u64>().write_unaligned(value.0);
    }
}

/// A copy of what may be null.
pub(super) unsafe fn copied<T: Copy>(pointer: *const T) -> Option<T> {
    // SAFETY: the caller's pointer is null or good.
    unsafe { pointer.as_ref() }.copied()
}

/// A mask for the time of a call, without the signals that the pager needs.
pub(super) struct Mask(Option<sigset_t>);

impl Mask {
    /// # Safety
    /// The caller's mask is null or good.
    pub(super) unsafe fn filtered(mask: *const sigset_t) -> Self {
        // SAFETY: as promised.
        unsafe {
            let mut copy = copied(mask);
            if let Some(copy) = &mut copy
                && signal::is_installed()
            {
                let set = signal::filter_mask(set_at(copy));
                put_set(copy, set);
            }
            Self(copy)
        }
    }

    pub(super) fn as_ptr(&self) -> *const sigset_t {
        self.0
            .as_ref()
            .map_or(core::ptr::null(), core::ptr::from_ref)
    }
}

touch! { fn sigwait(set: *const sigset_t, number: *mut c_int) -> ErrorNumber { read set, fill number } }
touch! { fn sigwaitinfo(set: *const sigset_t, information: *mut siginfo_t) -> c_int { read set, fill information } }
touch! { fn sigtimedwait(set: *const sigset_t, information: *mut siginfo_t, time: *const timespec) -> c_int { read set, fill information, read time } }
touch! { fn signalfd(descriptor: c_int, set: *const sigset_t, flags: c_int) -> c_int { read set } }
touch! { fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int { read new, fill old } }

/// Sets an action as the pager's rules say.
unsafe fn change(number: c_int, new: Option<Action>) -> Result<Action, c_int> {
    if SignalSet::of(number).meets(LIBC_OWN) {
        return Err(libc::EINVAL);
    }
    // SAFETY: the caller's handler.
    unsafe { signal::virtual_sigaction(number, new.as_ref()) }.map_err(|errno| errno.raw_os_error())
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sigaction(
    number: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    let real = real!(sigaction: (c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int);
    // SAFETY: the caller's promises. libc's own function, too, copies the structs in user space.
    unsafe {
        if !signal::is_installed() {
            return real(number, new, old);
        }
        let action = copied(new).map(|new| Action {
            handler: new.sa_sigaction,
            flags: u64::from(new.sa_flags as u32) & !SA_RESTORER,
            restorer: 0,
            mask: set_at(&raw const new.sa_mask).without(LIBC_OWN),
        });
        match change(number, action) {
            Err(errno) => fail(errno),
            Ok(before) => {
                if !old.is_null() {
                    (*old).sa_sigaction = before.handler;
                    (*old).sa_flags = (before.flags & !SA_RESTORER) as c_int;
                    (*old).sa_restorer = None;
                    put_set(&raw mut (*old).sa_mask, before.mask);
                }
                0
            }
        }
    }
}

/// Sets a handler; the one before, or `SIG_ERR`.
unsafe fn simple(
    number: c_int,
    handler: sighandler_t,
    flags: c_int,
    mask: SignalSet,
) -> sighandler_t {
    if handler == libc::SIG_ERR || number < 1 {
        fail::<c_int>(libc::EINVAL);
        return libc::SIG_ERR;
    }
    let action = Action {
        handler,
        flags: flags as u32 as u64,
        restorer: 0,
        mask,
    };
    // SAFETY: the caller's handler.
    match unsafe { change(number, Some(action)) } {
        Ok(before) => before.handler,
        Err(errno) => {
            fail::<c_int>(errno);
            libc::SIG_ERR
        }
    }
}

macro_rules! signal_like {
    ($($name:ident: $flags:expr, $masked:expr;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(number: c_int, handler: sighandler_t) -> sighandler_t {
            let address = slots::$name.address();
            if !signal::is_installed() && !address.is_null() {
                // SAFETY: libc's function of this name has this type; the caller's handler.
                return unsafe {
                    core::mem::transmute::<*mut core::ffi::c_void, unsafe extern "C-unwind" fn(c_int, sighandler_t) -> sighandler_t>(address)(number, handler)
                };
            }
            let mask = if $masked { SignalSet::of(number) } else { SignalSet::EMPTY };
            // SAFETY: the caller's handler.
            unsafe { simple(number, handler, $flags, mask) }
        }
    )* };
}

signal_like! {
    signal: libc::SA_RESTART, true;
    bsd_signal: libc::SA_RESTART, true;
    ssignal: libc::SA_RESTART, true;
    sysv_signal: libc::SA_RESETHAND | libc::SA_NODEFER, false;
    __sysv_signal: libc::SA_RESETHAND | libc::SA_NODEFER, false;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sigset(number: c_int, handler: sighandler_t) -> sighandler_t {
    let set = SignalSet::of(number);
    let hold = handler == SIG_HOLD;
    // SAFETY: only asks.
    let before = match unsafe { change(number, None) } {
        Ok(action) => action.handler,
        Err(errno) => {
            fail::<c_int>(errno);
            return libc::SIG_ERR;
        }
    };
    if !hold {
        // SAFETY: the caller's handler.
        if unsafe { simple(number, handler, 0, SignalSet::EMPTY) } == libc::SIG_ERR {
            return libc::SIG_ERR;
        }
    }
    let how = if hold {
        MaskChange::Block
    } else {
        MaskChange::Unblock
    };
    let mask = signal::virtual_sigprocmask(how, Some(set));
    if mask.contains(number) {
        SIG_HOLD
    } else {
        before
    }
}

macro_rules! hold_like {
    ($($name:ident: $how:ident;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(number: c_int) -> c_int {
            if !(1..=64).contains(&number) || SignalSet::of(number).meets(LIBC_OWN) {
                return fail(libc::EINVAL);
            }
            signal::virtual_sigprocmask(MaskChange::$how, Some(SignalSet::of(number)));
            0
        }
    )* };
}

hold_like! {
    sighold: Block;
    sigrelse: Unblock;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sigignore(number: c_int) -> c_int {
    // SAFETY: no handler.
    let before = unsafe { simple(number, libc::SIG_IGN, 0, SignalSet::EMPTY) };
    if before == libc::SIG_ERR { -1 } else { 0 }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn siginterrupt(number: c_int, interrupt: c_int) -> c_int {
    // SAFETY: the program's own handler with another flag.
    let result = unsafe {
        change(number, None).and_then(|mut action| {
            let restart = libc::SA_RESTART as u64;
            action.flags = if interrupt != 0 {
                action.flags & !restart
            } else {
                action.flags | restart
            };
            change(number, Some(action))
        })
    };
    result.map_or_else(fail, |_| 0)
}

/// `sigprocmask` as the pager's rules say; the error number, or 0.
unsafe fn change_mask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the caller's promises.
    unsafe {
        let set = copied(new).map(|new| set_at(&raw const new).without(LIBC_OWN));
        let change = match MaskChange::from_number(how) {
            Ok(change) => change,
            Err(_) if set.is_none() => MaskChange::Block,
            Err(errno) => return errno.raw_os_error(),
        };
        if !old.is_null() {
            // Room for the answer before anything changes, or a handler might run with the answer half written.
            put_set(old, SignalSet::EMPTY);
        }
        let before = signal::virtual_sigprocmask(change, set);
        if !old.is_null() {
            put_set(old, before);
        }
        0
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn sigprocmask(
    how: c_int,
    new: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    let real = real!(sigprocmask: (c_int, *const sigset_t, *mut sigset_t) -> c_int);
    // SAFETY: the caller's promises.
    unsafe {
        if !signal::is_installed() {
            return real(how, new, old);
        }
        match change_mask(how, new, old) {
            0 => 0,
            number => fail(number),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_sigmask(
    how: c_int,
    new: *const sigset_t,
    old: *mut sigset_t,
) -> ErrorNumber {
    let real = real!(pthread_sigmask: (c_int, *const sigset_t, *mut sigset_t) -> ErrorNumber);
    // SAFETY: the caller's promises.
    unsafe {
        if !signal::is_installed() {
            return real(how, new, old);
        }
        ErrorNumber(change_mask(how, new, old))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sigpending(set: *mut sigset_t) -> c_int {
    let real = real!(sigpending: (*mut sigset_t) -> c_int);
    // SAFETY: a set of our own, then the caller's.
    unsafe {
        let mut pending = core::mem::zeroed::<sigset_t>();
        let result = real(&raw mut pending);
        if result == 0 {
            put_set(set, set_at(&raw const pending) | signal::virtual_pending());
        }
        result
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sigsuspend(mask: *const sigset_t) -> c_int {
    let real = real!(sigsuspend: (*const sigset_t) -> c_int);
    // SAFETY: the caller's mask, copied.
    unsafe {
        let filtered = Mask::filtered(mask);
        real(filtered.as_ptr())
    }
}
