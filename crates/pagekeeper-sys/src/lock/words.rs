//! The three words that threads sleep on, as protocols: everything that the kernel or the compiler does for them comes from
//! `futex`, so that a test can put a model in its place and go through all interleavings (`tests/interleavings.rs`).

#![allow(
    unsafe_code,
    reason = "UNSAFETY: a word in a table is one of these: transparent wrappers"
)]

use core::sync::atomic::Ordering;
use core::time::Duration;

use super::futex::{AtomicU32, SPINS, deadline_after, sleep, spin_loop, wake_all, wake_one};

/// Nobody holds the lock.
const FREE: u32 = 0;
/// Somebody holds the lock, and nobody sleeps on it.
const HELD: u32 = 1;
/// Somebody holds the lock, and others may sleep on it.
const CONTENDED: u32 = 2;

/// The bare lock, without a value: one word, which may also lie in a table of atomics.
///
/// The same rules as for [`FutexLock`](super::FutexLock). Unlocking without holding it is a mistake that nothing notices.
#[derive(Debug)]
#[repr(transparent)]
pub struct RawLock {
    pub(super) word: AtomicU32,
}

impl RawLock {
    /// The lock that lives in `word`; zero is a free one. Nobody may use the word for anything else.
    #[inline]
    pub fn of(word: &AtomicU32) -> &Self {
        // SAFETY: Self is a transparent wrapper of the word's type.
        unsafe { &*core::ptr::from_ref(word).cast::<Self>() }
    }

    /// Takes the lock, waiting for it.
    #[inline]
    pub fn lock(&self) {
        if !self.try_lock() {
            self.lock_slowly();
        }
    }

    /// Takes the lock if it is free; whether it was.
    #[inline]
    pub fn try_lock(&self) -> bool {
        self.word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether somebody holds the lock at this moment.
    #[inline]
    pub fn is_locked(&self) -> bool {
        self.word.load(Ordering::Relaxed) != FREE
    }

    #[cold]
    fn lock_slowly(&self) {
        let mut seen = self.spin();
        if seen == FREE {
            match self
                .word
                .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        loop {
            // From here on we may have slept, so others may sleep too: take it as contended, which costs
            // at most one needless wake-up.
            if seen != CONTENDED && self.word.swap(CONTENDED, Ordering::Acquire) == FREE {
                return;
            }
            // However it ends: look again.
            sleep(&self.word, CONTENDED, None);
            seen = self.spin();
        }
    }

    /// Looks until the lock is free, others sleep on it, or patience ends. Gives back what was seen last.
    fn spin(&self) -> u32 {
        for _ in 0..SPINS {
            let seen = self.word.load(Ordering::Relaxed);
            if seen != HELD {
                return seen;
            }
            spin_loop();
        }
        self.word.load(Ordering::Relaxed)
    }

    /// Frees the lock, which the caller holds.
    #[inline]
    pub fn unlock(&self) {
        if self.word.swap(FREE, Ordering::Release) == CONTENDED {
            wake_one(&self.word);
        }
    }
}

/// A sequence number that threads can wait on until it moves.
///
/// The pattern: read [`WaitWord::current`], look at the state that the word stands for, and if it is not as
/// wanted, [`WaitWord::wait`] with the number read. Whoever changes the state calls [`WaitWord::wake_all`]
/// afterwards; a change between the look and the wait moves the number, so no wake-up is lost. Waking when
/// nobody waits makes no system call.
#[derive(Debug)]
#[repr(transparent)]
pub struct WaitWord {
    /// Bit 0: somebody may sleep. The rest: the sequence number.
    pub(super) word: AtomicU32,
}

const SLEEPERS: u32 = 1;
const STEP: u32 = 2;

impl WaitWord {
    /// The wait word that lives in `word`. Nobody may use the word for anything else.
    #[inline]
    pub fn of(word: &AtomicU32) -> &Self {
        // SAFETY: Self is a transparent wrapper of the word's type.
        unsafe { &*core::ptr::from_ref(word).cast::<Self>() }
    }

    /// The number now.
    #[inline]
    pub fn current(&self) -> u32 {
        self.word.load(Ordering::Acquire) & !SLEEPERS
    }

    /// Sleeps while the number is `sequence`, at most `timeout` (`None`: for ever). Returns whether the
    /// number has moved; `false` after the time has passed.
    pub fn wait(&self, sequence: u32, timeout: Option<Duration>) -> bool {
        let deadline = timeout.map(deadline_after);
        loop {
            let now = self.word.load(Ordering::Acquire);
            if now & !SLEEPERS != sequence {
                return true;
            }
            if now & SLEEPERS == 0
                && self
                    .word
                    .compare_exchange(now, now | SLEEPERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            if sleep(&self.word, now | SLEEPERS, deadline.as_ref()) {
                return self.current() != sequence;
            }
        }
    }

    /// Moves the number and wakes everybody who waits.
    #[inline]
    pub fn wake_all(&self) {
        let before = self
            .word
            .fetch_update(Ordering::Release, Ordering::Relaxed, |word| {
                Some((word & !SLEEPERS).wrapping_add(STEP))
            })
            .unwrap_or_else(|word| word);
        if before & SLEEPERS != 0 {
            wake_all(&self.word);
        }
    }
}

/// An auto-reset event: [`Event::set`] lets one waiter through, now or later.
///
/// Windows: an event object with `bManualReset` false. Setting it twice before anybody waits counts once.
#[derive(Debug)]
pub struct Event {
    pub(super) word: AtomicU32,
}

/// Not set, and nobody sleeps.
const UNSET: u32 = 0;
/// Set.
const SET: u32 = 1;
/// Not set, and somebody may sleep.
const AWAITED: u32 = 2;

impl Event {
    /// Sets the event and wakes one waiter, if there is one. May be called from the fault handler; makes a
    /// system call only if somebody may sleep.
    #[inline]
    pub fn set(&self) {
        if self.word.swap(SET, Ordering::Release) == AWAITED {
            wake_one(&self.word);
        }
    }

    /// Takes the event if it is set.
    pub fn try_take(&self) -> bool {
        self.word
            .compare_exchange(SET, UNSET, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Waits until the event is set and takes it; at most `timeout` (`None`: for ever). Returns whether it
    /// was taken.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if self.try_take() {
            return true;
        }
        let deadline = timeout.map(deadline_after);
        loop {
            // Having slept once, we cannot know whether others still sleep: leave the word as awaited,
            // also when taking, which costs the next `set` at most one needless wake-up.
            if self.word.swap(AWAITED, Ordering::Acquire) == SET {
                return true;
            }
            if sleep(&self.word, AWAITED, deadline.as_ref()) {
                return self.word.swap(AWAITED, Ordering::Acquire) == SET;
            }
        }
    }
}
