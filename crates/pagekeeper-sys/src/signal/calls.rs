//! The kernel's own view of signal actions and masks, by bare system calls.
//!
//! Not through libc: this project will export `sigaction` and `sigprocmask` itself, and libc's structs differ
//! from the kernel's (a mask of 128 bytes instead of 8).

#![allow(
    unsafe_code,
    reason = "UNSAFETY: system calls that take pointers to kernel structs, and the signal-return code"
)]

use core::arch::global_asm;
use core::ops::{BitAnd, BitOr, Not};

use linux_raw_sys::general::{
    __NR_getpid, __NR_gettid, __NR_rt_sigaction, __NR_rt_tgsigqueueinfo, __NR_sigaltstack,
    SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_RESTART, SA_RESTORER, SA_SIGINFO, SIG_BLOCK,
    SIG_SETMASK, SIG_UNBLOCK, SIGBUS, SIGSEGV,
};

use super::context::{SigInfo, SignalStack};
use crate::Errno;
use crate::raw;

/// The number of SIGBUS.
pub const SIGNAL_BUS: i32 = SIGBUS as i32;
/// The number of SIGSEGV.
pub const SIGNAL_SEGV: i32 = SIGSEGV as i32;

/// `SIG_DFL` as the kernel stores it.
const DEFAULT: usize = 0;
/// `SIG_IGN` as the kernel stores it.
const IGNORE: usize = 1;

/// A set of signals as the kernel keeps it: bit `n - 1` stands for signal `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal (the kernel leaves SIGKILL and SIGSTOP out by itself).
    pub const ALL: Self = Self(u64::MAX);
    /// SIGBUS and SIGSEGV, which the pager needs.
    pub const FAULTS: Self = Self(1 << (SIGBUS - 1) | 1 << (SIGSEGV - 1));

    /// The set of one signal; empty for a number that is none.
    pub const fn of(signal: i32) -> Self {
        if signal >= 1 && signal <= 64 {
            Self(1 << (signal - 1))
        } else {
            Self::EMPTY
        }
    }

    /// Whether the set holds `signal`.
    pub const fn contains(self, signal: i32) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    /// Whether the sets have a signal in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The set without the signals of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for SignalSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for SignalSet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for SignalSet {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// How a mask is changed: the first argument of `sigprocmask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskChange {
    /// Add the set (`SIG_BLOCK`).
    Block,
    /// Take the set out (`SIG_UNBLOCK`).
    Unblock,
    /// Use the set as it is (`SIG_SETMASK`).
    Set,
}

impl MaskChange {
    /// From the number that a C program passes.
    ///
    /// # Errors
    /// `EINVAL` for a number that is none of the three.
    pub fn from_number(how: i32) -> Result<Self, Errno> {
        match u32::try_from(how) {
            Ok(SIG_BLOCK) => Ok(Self::Block),
            Ok(SIG_UNBLOCK) => Ok(Self::Unblock),
            Ok(SIG_SETMASK) => Ok(Self::Set),
            _ => Err(Errno::INVAL),
        }
    }

    /// `before`, changed by `set`.
    pub fn apply(self, before: SignalSet, set: SignalSet) -> SignalSet {
        match self {
            Self::Block => before | set,
            Self::Unblock => before.without(set),
            Self::Set => set,
        }
    }
}

/// A signal's action in the kernel's layout (`struct kernel_sigaction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Action {
    /// 0 is `SIG_DFL`, 1 is `SIG_IGN`, otherwise the handler's address.
    pub handler: usize,
    /// `SA_*` flags.
    pub flags: u64,
    /// The code that the handler returns to; used with `SA_RESTORER`.
    pub restorer: usize,
    /// The signals blocked while the handler runs.
    pub mask: SignalSet,
}

impl Action {
    /// `SIG_DFL`.
    pub const DEFAULT: Self = Self {
        handler: DEFAULT,
        flags: 0,
        restorer: 0,
        mask: SignalSet::EMPTY,
    };

    /// Whether it is `SIG_DFL`.
    pub fn is_default(&self) -> bool {
        self.handler == DEFAULT
    }

    /// Whether it is `SIG_IGN`.
    pub fn is_ignore(&self) -> bool {
        self.handler == IGNORE
    }

    /// Whether the handler asked for the alternate stack (`SA_ONSTACK`).
    pub fn on_alternate_stack(&self) -> bool {
        self.flags & u64::from(SA_ONSTACK) != 0
    }

    /// Whether the handler runs once only (`SA_RESETHAND`).
    pub fn is_one_shot(&self) -> bool {
        self.flags & u64::from(SA_RESETHAND) != 0
    }

    /// Whether system calls go on after the handler (`SA_RESTART`).
    pub fn restarts(&self) -> bool {
        self.flags & u64::from(SA_RESTART) != 0
    }

    /// The signals that the kernel would add to the mask while the handler runs for `signal`.
    pub(super) fn blocked_meanwhile(&self, signal: i32) -> SignalSet {
        if self.flags & u64::from(SA_NODEFER) != 0 {
            self.mask
        } else {
            self.mask | SignalSet::of(signal)
        }
    }

    /// The action with a way back from the handler, which the kernel demands on x86-64.
    pub(super) fn with_restorer(mut self) -> Self {
        if self.flags & u64::from(SA_RESTORER) == 0 {
            self.flags |= u64::from(SA_RESTORER);
            self.restorer = restorer();
        }
        self
    }

    /// Our own action: full mask, on the alternate stack, with the kernel's information.
    pub(super) fn ours(handler: usize, restart: bool) -> Self {
        let flags = SA_SIGINFO | SA_ONSTACK | if restart { SA_RESTART } else { 0 };
        Self {
            handler,
            flags: u64::from(flags),
            restorer: 0,
            mask: SignalSet::ALL,
        }
        .with_restorer()
    }
}

/// Sets (if given) the action that the kernel has for `signal`; gives back the one before.
///
/// # Errors
/// `EINVAL` for a number that is no signal or may have no action.
///
/// # Safety
/// A handler in `new` must be a function fit to run at any instruction of any thread.
pub(super) unsafe fn real_action(signal: i32, new: Option<&Action>) -> Result<Action, Errno> {
    let mut old = Action::DEFAULT;
    let new = new.map_or(0, |action| core::ptr::from_ref(action) as usize);
    // SAFETY: `new` is null or a live struct, `old` is one, both in the kernel's layout.
    unsafe {
        raw::call(
            __NR_rt_sigaction,
            [
                signal as usize,
                new,
                (&raw mut old) as usize,
                size_of::<u64>(),
            ],
        )?;
    }
    Ok(old)
}

/// This thread's number.
pub(super) fn thread_number() -> i32 {
    // SAFETY: Touches no memory.
    unsafe { raw::call(__NR_gettid, []) }.unwrap_or(0) as i32
}

/// This process's number.
pub(super) fn process_number() -> i32 {
    // SAFETY: Touches no memory.
    unsafe { raw::call(__NR_getpid, []) }.unwrap_or(0) as i32
}

/// Sends `signal` to this thread with `info` as it is. To oneself the kernel allows any information, and a
/// code above zero is neither refused for want of queue space nor served after other signals.
pub(super) fn send_to_self(signal: i32, info: &SigInfo) {
    // SAFETY: `info` is a live struct in the kernel's layout.
    let _ = unsafe {
        raw::call(
            __NR_rt_tgsigqueueinfo,
            [
                process_number() as usize,
                thread_number() as usize,
                signal as usize,
                core::ptr::from_ref(info) as usize,
            ],
        )
    };
}

/// Sets this thread's alternate signal stack; used to arm one again that `SS_AUTODISARM` took away.
pub(super) fn set_alternate_stack(stack: &SignalStack) {
    // SAFETY: The settings are the ones that the kernel saved for this thread.
    let _ = unsafe { raw::call(__NR_sigaltstack, [core::ptr::from_ref(stack) as usize, 0]) };
}

// Where a handler returns to: rt_sigreturn. Byte for byte the code by which debuggers and unwinders know a
// signal frame (mov $15, %rax; syscall), with no unwind information of its own so that they look at the
// bytes, and behind padding, since they look up the address before. gdb wants "sigaction" in a name it finds there.
global_asm!(
    ".pushsection .text.pagekeeper_sys_sigaction_return,\"ax\",@progbits",
    ".p2align 4",
    ".skip 16, 0x90",
    ".globl pagekeeper_sys_sigaction_return",
    ".hidden pagekeeper_sys_sigaction_return",
    ".type pagekeeper_sys_sigaction_return,@function",
    "pagekeeper_sys_sigaction_return:",
    ".byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00",
    "syscall",
    "ud2",
    ".size pagekeeper_sys_sigaction_return, . - pagekeeper_sys_sigaction_return",
    ".popsection",
);

unsafe extern "C" {
    fn pagekeeper_sys_sigaction_return();
}

/// The address of the code that a handler returns to.
#[inline(never)]
pub(super) fn restorer() -> usize {
    pagekeeper_sys_sigaction_return as *const () as usize
}

const _: () = assert!(size_of::<Action>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_change_as_the_kernel_changes_them() {
        let (one, two) = (SignalSet::of(1), SignalSet::of(2));
        assert_eq!(MaskChange::Block.apply(one, two), one | two);
        assert_eq!(MaskChange::Unblock.apply(one | two, two), one);
        assert_eq!(MaskChange::Set.apply(one, two), two);
        assert_eq!(MaskChange::from_number(7), Err(Errno::INVAL));
        assert_eq!(MaskChange::from_number(-1), Err(Errno::INVAL));
        assert_eq!(SignalSet::of(0), SignalSet::EMPTY);
        assert_eq!(SignalSet::of(65), SignalSet::EMPTY);
        assert!(SignalSet::of(64).contains(64));
    }

    #[test]
    fn a_signal_without_action_is_refused() {
        // SAFETY: Nothing is set.
        unsafe {
            assert_eq!(real_action(9, Some(&Action::DEFAULT)), Err(Errno::INVAL));
            assert_eq!(real_action(99, None), Err(Errno::INVAL));
        }
    }
}
