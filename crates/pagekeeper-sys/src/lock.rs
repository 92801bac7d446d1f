//! Locks and wait words for code that may run inside a fault handler.
//!
//! std's locks may not be used there: they are not const-constructible in every form, they poison (which
//! reads a thread-local), and nothing stops a signal from arriving between "locked" and "unlocked". Here:
//!
//! | type | what it is | who uses it |
//! |---|---|---|
//! | [`RawLock`] | the bare lock of [`FutexLock`]; may lie in a table of atomics | extents of the page table |
//! | [`FutexLock`] | a mutual exclusion lock on one 32-bit word | tables that the fault path shares with background threads |
//! | [`WaitWord`] | a sequence number that can be waited on; wakes everybody | "this page is busy: wait until something changed" |
//! | [`Event`] | an auto-reset event; wakes one (Windows: `CreateEvent` with `bManualReset` false) | background threads |
//! | [`SignalsBlocked`] | all signals of this thread blocked while it lives | everyone who takes a fault-path lock outside the handler |
//!
//! Nothing here allocates, formats, touches a thread-local or writes `errno`: the system calls go to the
//! kernel directly (rustix's raw backend and `crate::raw`), past any wrapper of `sigprocmask` that this
//! project or anybody else interposes.
//!
//! **The rule.** The handler runs with all signals blocked. A thread that holds a [`FutexLock`] of the
//! fault path outside the handler must have them blocked too ([`FutexLock::lock_outside_handler`]), or a
//! fault of its own would wait for itself for ever. While it holds the lock it must not touch memory that
//! is paged: with SIGBUS blocked the kernel kills the process instead of asking.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the cell behind a lock, and the signal mask by a bare system call"
)]

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::AtomicU32;

use linux_raw_sys::general::{__NR_rt_sigprocmask, SIG_SETMASK};

use crate::raw;

mod futex;
mod words;

pub(crate) use self::futex::deadline_after;
pub use self::words::{Event, RawLock, WaitWord};

impl RawLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
        }
    }
}

impl Default for RawLock {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitWord {
    /// A word with the number zero.
    pub const fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
        }
    }
}

impl Default for WaitWord {
    fn default() -> Self {
        Self::new()
    }
}

impl Event {
    /// An event that is not set.
    pub const fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
        }
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

/// A mutual exclusion lock that a fault handler may take.
///
/// One word, const-constructible, no poison, no thread-local, no allocation. Not fair and not recursive.
/// After `fork` the child has the lock in the state it had; a lock held by another thread stays held there.
pub struct FutexLock<T: ?Sized> {
    raw: RawLock,
    value: UnsafeCell<T>,
}

// SAFETY: The lock hands out the value to one thread at a time, so it moves between threads: T: Send.
unsafe impl<T: ?Sized + Send> Send for FutexLock<T> {}
// SAFETY: As above; a shared lock gives exclusive access to one thread at a time.
unsafe impl<T: ?Sized + Send> Sync for FutexLock<T> {}

impl<T> FutexLock<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self {
            raw: RawLock::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the lock apart.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> FutexLock<T> {
    /// Takes the lock, waiting for it. For code in the handler, or where all signals are blocked already;
    /// elsewhere use [`FutexLock::lock_outside_handler`].
    #[inline]
    pub fn lock(&self) -> FutexGuard<'_, T> {
        self.raw.lock();
        FutexGuard {
            lock: self,
            not_send: PhantomData,
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<FutexGuard<'_, T>> {
        // Lazily: a guard made and dropped unasked would free the holder's lock.
        self.raw.try_lock().then(|| FutexGuard {
            lock: self,
            not_send: PhantomData,
        })
    }

    /// Blocks all signals of this thread, then takes the lock. The guard undoes both, in the right order.
    #[inline]
    pub fn lock_outside_handler(&self) -> BlockedGuard<'_, T> {
        let signals = SignalsBlocked::new();
        BlockedGuard {
            guard: self.lock(),
            _signals: signals,
        }
    }

    /// As [`FutexLock::lock_outside_handler`], if the lock is free.
    pub fn try_lock_outside_handler(&self) -> Option<BlockedGuard<'_, T>> {
        let signals = SignalsBlocked::new();
        self.try_lock().map(|guard| BlockedGuard {
            guard,
            _signals: signals,
        })
    }

    /// The value, with no locking, since nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Whether somebody holds the lock at this moment; for assertions and statistics.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }
}

impl<T: ?Sized> fmt::Debug for FutexLock<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FutexLock")
            .field("locked", &self.is_locked())
            .finish_non_exhaustive()
    }
}

impl<T: Default> Default for FutexLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// The holder of a [`FutexLock`]; dropping it frees the lock.
#[must_use = "dropping the guard frees the lock"]
pub struct FutexGuard<'a, T: ?Sized> {
    lock: &'a FutexLock<T>,
    /// The signals that protect the holder are this thread's.
    not_send: PhantomData<*mut ()>,
}

impl<T: ?Sized> Deref for FutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The guard exists, so this thread holds the lock, and the borrow of the guard bounds the
        // reference.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for FutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`; the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for FutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.unlock();
    }
}

/// A [`FutexGuard`] together with the blocked signals that make it safe outside the handler.
///
/// The fields are dropped in their order: first the lock is freed, then the signals come back.
#[must_use = "dropping the guard frees the lock"]
pub struct BlockedGuard<'a, T: ?Sized> {
    guard: FutexGuard<'a, T>,
    _signals: SignalsBlocked,
}

impl<T: ?Sized> Deref for BlockedGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for BlockedGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Every signal but glibc's SIGSETXID (33).
const ALL_BUT_SETXID: u64 = !(1 << 32);

/// All signals of this thread are blocked while this value lives; then the mask is as it was.
///
/// Two of them must be dropped in the reverse order of their making, as scopes do by themselves. While it
/// lives the thread must not touch paged memory (see the module's text).
#[must_use = "the signals come back when the value is dropped"]
#[derive(Debug)]
pub struct SignalsBlocked {
    before: u64,
    /// The mask is this thread's.
    not_send: PhantomData<*mut ()>,
}

impl SignalsBlocked {
    /// Blocks every signal that can be blocked but one. One system call, about 200 ns.
    ///
    /// The one is libc's own, by which it has every thread change its user and groups: a background thread that
    /// blocked it for ever would make `setuid` and `setgroups` wait for ever.
    #[inline]
    pub fn new() -> Self {
        Self {
            before: replace_signal_mask(ALL_BUT_SETXID),
            not_send: PhantomData,
        }
    }

    /// The mask before: bit `n - 1` stands for signal `n`.
    pub fn mask_before(&self) -> u64 {
        self.before
    }
}

impl Default for SignalsBlocked {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SignalsBlocked {
    #[inline]
    fn drop(&mut self) {
        replace_signal_mask(self.before);
    }
}

/// Sets this thread's real signal mask and gives back the one before. Cannot fail: the pointers are good
/// and the size is the kernel's.
#[inline]
pub(crate) fn replace_signal_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: Both pointers are to live 8-byte variables, which is the size given.
    let _ = unsafe {
        raw::call(
            __NR_rt_sigprocmask,
            [
                SIG_SETMASK as usize,
                (&raw const mask) as usize,
                (&raw mut before) as usize,
                size_of::<u64>(),
            ],
        )
    };
    before
}

#[cfg(test)]
mod tests;
