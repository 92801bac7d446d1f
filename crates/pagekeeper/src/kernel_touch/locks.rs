//! Locks that live in paged memory.
//!
//! A thread that waits for a lock sleeps in the kernel, which looks at the lock's word first: the page must be there, or
//! glibc ends the process ("The futex facility returned an unexpected error code"). So:
//!
//! * A lock that is free is taken without the kernel, as ever.
//! * Otherwise the lock's page is brought in and pinned for as long as the call waits. A page that many wait on counts
//!   once.
//! * Where no more pages may be pinned, the thread looks again and again, with pauses: slower, never wrong. A wait on a
//!   condition variable then ends early, as it may at any time ("spuriously").
//! * Waking needs the page only where the lock is shared between processes, robust, or of a priority protocol.
//!
//! Not covered: *robust* mutexes whose owner dies while the page is out (the kernel cannot mark them): lock their pages
//! with `Reservation::lock`. Spin locks never enter the kernel.

// Longer than 500 lines because every lock of pthreads has its own three or four calls.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::c_int;
use core::time::Duration;

use libc::{
    clockid_t, pthread_barrier_t, pthread_cond_t, pthread_mutex_t, pthread_once_t,
    pthread_rwlock_t, timespec,
};

use super::reach::{pages_of, reaches};
use super::wrap::{real, rows};
use crate::engine::inline::pin::{PinRefused, Pinned, Share, Want};

rows! { "locks";
    pthread_mutex_lock: "the mutex, while waiting";
    pthread_mutex_trylock: "the mutex, where the kernel has a part in it";
    pthread_mutex_timedlock: "the mutex, while waiting";
    pthread_mutex_clocklock: "the mutex, while waiting";
    pthread_mutex_unlock: "the mutex, where the kernel looks at it";
    pthread_cond_wait: "the condition variable and the mutex, while waiting";
    pthread_cond_timedwait: "the condition variable and the mutex, while waiting";
    pthread_cond_clockwait: "the condition variable and the mutex, while waiting";
    pthread_cond_signal: "the condition variable";
    pthread_cond_broadcast: "the condition variable";
    pthread_rwlock_rdlock: "the lock, while waiting";
    pthread_rwlock_wrlock: "the lock, while waiting";
    pthread_rwlock_timedrdlock: "the lock, while waiting";
    pthread_rwlock_timedwrlock: "the lock, while waiting";
    pthread_rwlock_clockrdlock: "the lock, while waiting";
    pthread_rwlock_clockwrlock: "the lock, while waiting";
    pthread_rwlock_unlock: "the lock, where the kernel looks at it";
    pthread_barrier_wait: "the barrier, while waiting";
    pthread_once: "the control word";
}

unsafe extern "C-unwind" {
    fn pthread_testcancel();
    // Never enter the kernel but to wake, so nobody stands in front of them.
    fn pthread_rwlock_tryrdlock(lock: *mut pthread_rwlock_t) -> c_int;
    fn pthread_rwlock_trywrlock(lock: *mut pthread_rwlock_t) -> c_int;
}

/// libc's own, in the way of attempts.
unsafe fn try_mutex(mutex: *mut pthread_mutex_t) -> c_int {
    let real = real!(pthread_mutex_trylock: (*mut pthread_mutex_t) -> c_int);
    // SAFETY: the caller's promises.
    unsafe { real(mutex) }
}

/// What became of the wish to have an object in memory.
enum Held {
    /// It is, or the real function will find out by itself why it cannot be.
    Yes(#[allow(dead_code, reason = "held until dropped")] Option<Pinned>),
    /// Not now.
    Busy,
}

/// Pins an object that lies in paged memory.
fn hold<T>(object: *const T, share: Share) -> Held {
    if !reaches(object, size_of::<T>()) {
        return Held::Yes(None);
    }
    match Pinned::new(pages_of(object.addr(), size_of::<T>()), Want::Write, share) {
        Ok(pinned) => Held::Yes(Some(pinned)),
        // The program's own access will say so, with the right exception.
        Err(PinRefused::Forbidden | PinRefused::Lost) => Held::Yes(None),
        Err(PinRefused::Busy) => Held::Busy,
    }
}

/// Pins an object for a call that waits for nobody: sooner or later there is a place.
pub(super) fn hold_briefly<T>(object: *const T) -> Option<Pinned> {
    let mut patience = Patience::new();
    loop {
        match hold(object, Share::Brief) {
            Held::Yes(pinned) => return pinned,
            Held::Busy => patience.pause(),
        }
    }
}

/// Growing pauses between looks.
struct Patience(u32);

impl Patience {
    const fn new() -> Self {
        Self(1)
    }

    fn pause(&mut self) {
        pagekeeper_sys::time::pause(Duration::from_micros(u64::from(self.0) * 20));
        self.0 = (self.0 * 2).min(50);
    }
}

/// A moment on a clock up to which something is waited for.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    clock: clockid_t,
    pub(super) at: timespec,
}

impl Deadline {
    /// # Safety
    /// `at` is readable: it is copied to ordinary memory here.
    pub(super) unsafe fn new(clock: clockid_t, at: *const timespec) -> Self {
        // SAFETY: passed on.
        let at = unsafe { *at };
        Self { clock, at }
    }

    fn has_passed(&self) -> bool {
        let mut now = timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: fills the struct.
        unsafe { libc::clock_gettime(self.clock, &raw mut now) };
        (now.tv_sec, now.tv_nsec) >= (self.at.tv_sec, self.at.tv_nsec)
    }
}

/// Whether the kernel takes part in a mutex beyond waiting and private waking: robust, priority protocols, shared. The
/// kind lies where the static initialisers put it.
unsafe fn is_special(mutex: *const pthread_mutex_t) -> bool {
    const KIND_OFFSET: usize = 16;
    const ROBUST_INHERIT_PROTECT_SHARED: c_int = 16 | 32 | 64 | 128;
    // SAFETY: the caller of the lock function promised a mutex.
    unsafe { *mutex.byte_add(KIND_OFFSET).cast::<c_int>() & ROBUST_INHERIT_PROTECT_SHARED != 0 }
}

/// Takes a lock: tried without the kernel first, then waiting with its page pinned, or looking again and again.
pub(super) fn take_lock<T>(
    object: *const T,
    deadline: Option<Deadline>,
    try_first: bool,
    busy: c_int,
    attempt: impl Fn() -> c_int,
    wait: impl Fn() -> c_int,
) -> c_int {
    if try_first {
        let result = attempt();
        if result != busy {
            return result;
        }
    }
    let mut patience = Patience::new();
    loop {
        if let Held::Yes(_pinned) = hold(object, Share::Wrapper) {
            return wait();
        }
        let result = {
            // An attempt at a special mutex goes to the kernel.
            let _pinned = (!try_first).then(|| hold_briefly(object));
            attempt()
        };
        if result != busy {
            return result;
        }
        if deadline.is_some_and(|deadline| deadline.has_passed()) {
            return libc::ETIMEDOUT;
        }
        patience.pause();
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    let real = real!(pthread_mutex_lock: (*mut pthread_mutex_t) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        if !reaches(mutex, size_of::<pthread_mutex_t>()) {
            return real(mutex);
        }
        take_lock(
            mutex,
            None,
            !is_special(mutex),
            libc::EBUSY,
            || try_mutex(mutex),
            || real(mutex),
        )
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int {
    let real = real!(pthread_mutex_trylock: (*mut pthread_mutex_t) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        let reaches = reaches(mutex, size_of::<pthread_mutex_t>());
        let _pinned = (reaches && is_special(mutex)).then(|| hold_briefly(mutex));
        real(mutex)
    }
}

/// A lock taken until a moment: `name(object, [clock,] moment)`.
macro_rules! until {
    ($($name:ident($type:ty) by $attempt:ident special $special:expr;)*) => { $(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name(object: *mut $type, moment: *const timespec) -> c_int {
            let real = real!($name: (*mut $type, *const timespec) -> c_int);
            // SAFETY: the caller's promises, passed on.
            unsafe {
                if !reaches(object, size_of::<$type>()) {
                    return real(object, moment);
                }
                let deadline = Deadline::new(libc::CLOCK_REALTIME, moment);
                let special: unsafe fn(*const $type) -> bool = $special;
                take_lock(object, Some(deadline), !special(object), libc::EBUSY, || $attempt(object), || {
                    real(object, &raw const deadline.at)
                })
            }
        }
    )* };
}

macro_rules! until_on_clock {
    ($($name:ident($type:ty) by $attempt:ident special $special:expr;)*) => { $(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name(object: *mut $type, clock: clockid_t, moment: *const timespec) -> c_int {
            let real = real!($name: (*mut $type, clockid_t, *const timespec) -> c_int);
            // SAFETY: the caller's promises, passed on.
            unsafe {
                if !reaches(object, size_of::<$type>()) {
                    return real(object, clock, moment);
                }
                let deadline = Deadline::new(clock, moment);
                let special: unsafe fn(*const $type) -> bool = $special;
                take_lock(object, Some(deadline), !special(object), libc::EBUSY, || $attempt(object), || {
                    real(object, clock, &raw const deadline.at)
                })
            }
        }
    )* };
}

until! {
    pthread_mutex_timedlock(pthread_mutex_t) by try_mutex special is_special;
    pthread_rwlock_timedrdlock(pthread_rwlock_t) by pthread_rwlock_tryrdlock special never;
    pthread_rwlock_timedwrlock(pthread_rwlock_t) by pthread_rwlock_trywrlock special never;
}

until_on_clock! {
    pthread_mutex_clocklock(pthread_mutex_t) by try_mutex special is_special;
    pthread_rwlock_clockrdlock(pthread_rwlock_t) by pthread_rwlock_tryrdlock special never;
    pthread_rwlock_clockwrlock(pthread_rwlock_t) by pthread_rwlock_trywrlock special never;
}

/// Read-write locks have no kinds that the kernel knows.
unsafe fn never<T>(_object: *const T) -> bool {
    false
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    let real = real!(pthread_mutex_unlock: (*mut pthread_mutex_t) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        let reaches = reaches(mutex, size_of::<pthread_mutex_t>());
        let _pinned = (reaches && is_special(mutex)).then(|| hold_briefly(mutex));
        real(mutex)
    }
}

/// Waits on a condition variable: with both pages pinned, or for a moment only.
unsafe fn wait_on_condition(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    deadline: Option<Deadline>,
    wait: impl FnOnce() -> c_int,
) -> c_int {
    if let Held::Yes(_mutex) = hold(mutex, Share::Wrapper)
        && let Held::Yes(_condition) = hold(condition, Share::Wrapper)
    {
        return wait();
    }
    // SAFETY: the caller holds the mutex, and has it again afterwards.
    unsafe {
        let unlocked = pthread_mutex_unlock(mutex);
        if unlocked != 0 {
            return unlocked;
        }
        pagekeeper_sys::time::pause(Duration::from_millis(1));
        let locked = pthread_mutex_lock(mutex);
        if locked != 0 {
            return locked;
        }
        pthread_testcancel();
    }
    if deadline.is_some_and(|deadline| deadline.has_passed()) {
        libc::ETIMEDOUT
    } else {
        0
    }
}

/// Whether a condition variable or its mutex reaches paged memory.
fn either(condition: *const pthread_cond_t, mutex: *const pthread_mutex_t) -> bool {
    reaches(condition, size_of::<pthread_cond_t>()) || reaches(mutex, size_of::<pthread_mutex_t>())
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_cond_wait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
) -> c_int {
    let real = real!(pthread_cond_wait: (*mut pthread_cond_t, *mut pthread_mutex_t) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        if !either(condition, mutex) {
            return real(condition, mutex);
        }
        wait_on_condition(condition, mutex, None, || real(condition, mutex))
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_cond_timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    moment: *const timespec,
) -> c_int {
    let real = real!(pthread_cond_timedwait: (*mut pthread_cond_t, *mut pthread_mutex_t, *const timespec) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        if !either(condition, mutex) {
            return real(condition, mutex, moment);
        }
        let deadline = Deadline::new(clock_of(condition), moment);
        wait_on_condition(condition, mutex, Some(deadline), || {
            real(condition, mutex, &raw const deadline.at)
        })
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_cond_clockwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    moment: *const timespec,
) -> c_int {
    let real = real!(
        pthread_cond_clockwait: (*mut pthread_cond_t, *mut pthread_mutex_t, clockid_t, *const timespec) -> c_int
    );
    // SAFETY: the caller's promises, passed on.
    unsafe {
        if !either(condition, mutex) {
            return real(condition, mutex, clock, moment);
        }
        let deadline = Deadline::new(clock, moment);
        wait_on_condition(condition, mutex, Some(deadline), || {
            real(condition, mutex, clock, &raw const deadline.at)
        })
    }
}

/// The clock that a condition variable was made with: the second bit of the word of references.
unsafe fn clock_of(condition: *const pthread_cond_t) -> clockid_t {
    const REFERENCES_OFFSET: usize = 36;
    const MONOTONIC: u32 = 2;
    // SAFETY: the caller of the wait promised a condition variable.
    let references = unsafe { *condition.byte_add(REFERENCES_OFFSET).cast::<u32>() };
    if references & MONOTONIC != 0 {
        libc::CLOCK_MONOTONIC
    } else {
        libc::CLOCK_REALTIME
    }
}

macro_rules! briefly {
    ($($name:ident($type:ty);)*) => { $(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name(object: *mut $type) -> c_int {
            let real = real!($name: (*mut $type) -> c_int);
            let _pinned = hold_briefly(object);
            // SAFETY: the caller's promises, passed on.
            unsafe { real(object) }
        }
    )* };
}

briefly! {
    pthread_cond_signal(pthread_cond_t);
    pthread_cond_broadcast(pthread_cond_t);
}

macro_rules! rwlock {
    ($($name:ident by $attempt:ident;)*) => { $(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name(lock: *mut pthread_rwlock_t) -> c_int {
            let real = real!($name: (*mut pthread_rwlock_t) -> c_int);
            // SAFETY: the caller's promises, passed on.
            unsafe {
                if !reaches(lock, size_of::<pthread_rwlock_t>()) {
                    return real(lock);
                }
                take_lock(lock, None, true, libc::EBUSY, || $attempt(lock), || real(lock))
            }
        }
    )* };
}

rwlock! {
    pthread_rwlock_rdlock by pthread_rwlock_tryrdlock;
    pthread_rwlock_wrlock by pthread_rwlock_trywrlock;
}

/// Whether the word at `offset` is not zero: how glibc marks objects shared between processes.
pub(super) unsafe fn is_shared<T>(object: *const T, offset: usize) -> bool {
    // SAFETY: the caller promised such an object.
    unsafe { *object.byte_add(offset).cast::<c_int>() != 0 }
}

macro_rules! wake {
    ($($name:ident($type:ty) shared at $offset:literal;)*) => { $(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name(object: *mut $type) -> c_int {
            let real = real!($name: (*mut $type) -> c_int);
            // SAFETY: the caller's promises, passed on.
            unsafe {
                let reaches = reaches(object, size_of::<$type>());
                let _pinned = (reaches && is_shared(object, $offset)).then(|| hold_briefly(object));
                real(object)
            }
        }
    )* };
}

wake! {
    pthread_rwlock_unlock(pthread_rwlock_t) shared at 28;
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_barrier_wait(
    barrier: *mut pthread_barrier_t,
) -> c_int {
    let real = real!(pthread_barrier_wait: (*mut pthread_barrier_t) -> c_int);
    // The threads that come late must not be kept from coming.
    let _pinned = hold_briefly(barrier);
    // SAFETY: the caller's promises, passed on.
    unsafe { real(barrier) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_once(
    control: *mut pthread_once_t,
    start: Option<unsafe extern "C-unwind" fn()>,
) -> c_int {
    let real =
        real!(pthread_once: (*mut pthread_once_t, Option<unsafe extern "C-unwind" fn()>) -> c_int);
    let _pinned = hold_briefly(control);
    // SAFETY: the caller's promises, passed on.
    unsafe { real(control, start) }
}
