//! The locks of C11 (`<threads.h>`), which glibc makes of those of pthreads without asking anybody: where they lie in
//! paged memory, they go the way of [`super::locks`].

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::c_int;

use libc::{pthread_cond_t, pthread_mutex_t, pthread_once_t, timespec};

use super::locks;
use super::reach::reaches;
use super::wrap::{real, rows, size_behind};

rows! { "locks";
    mtx_lock: "as `pthread_mutex_lock`";
    mtx_timedlock: "as `pthread_mutex_timedlock`";
    mtx_trylock: "as `pthread_mutex_trylock`";
    mtx_unlock: "as `pthread_mutex_unlock`";
    cnd_wait: "as `pthread_cond_wait`";
    cnd_timedwait: "as `pthread_cond_timedwait`";
    cnd_signal: "as `pthread_cond_signal`";
    cnd_broadcast: "as `pthread_cond_broadcast`";
    call_once: "as `pthread_once`";
}

/// An error number of pthreads in the words of C11.
const fn in_c11(number: c_int) -> c_int {
    match number {
        // thrd_success, thrd_busy, thrd_nomem, thrd_timedout, thrd_error
        0 => 0,
        libc::EBUSY => 1,
        libc::ENOMEM => 3,
        libc::ETIMEDOUT => 4,
        _ => 2,
    }
}

/// Functions whose object, the first argument or what is named after `or`, decides; and what they are in pthreads.
macro_rules! c11 {
    ($(fn $name:ident($first:ident: $first_type:ty $(, $other:ident: $other_type:ty)*) $(or $also:ident)? as $plain:ident;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($first: $first_type $(, $other: $other_type)*) -> c_int {
            let real = real!($name: ($first_type $(, $other_type)*) -> c_int);
            // SAFETY: the caller's promises, passed on; glibc's C11 types are those of pthreads.
            unsafe {
                if reaches($first, size_behind($first)) $(|| reaches($also, size_behind($also)))? {
                    in_c11(locks::$plain($first $(, $other)*))
                } else {
                    real($first $(, $other)*)
                }
            }
        }
    )* };
}

c11! {
    fn mtx_lock(mutex: *mut pthread_mutex_t) as pthread_mutex_lock;
    fn mtx_timedlock(mutex: *mut pthread_mutex_t, moment: *const timespec) or moment as pthread_mutex_timedlock;
    fn mtx_trylock(mutex: *mut pthread_mutex_t) as pthread_mutex_trylock;
    fn mtx_unlock(mutex: *mut pthread_mutex_t) as pthread_mutex_unlock;
    fn cnd_wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) or mutex as pthread_cond_wait;
    fn cnd_timedwait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, moment: *const timespec) or mutex as pthread_cond_timedwait;
    fn cnd_signal(condition: *mut pthread_cond_t) as pthread_cond_signal;
    fn cnd_broadcast(condition: *mut pthread_cond_t) as pthread_cond_broadcast;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn call_once(
    control: *mut pthread_once_t,
    start: Option<unsafe extern "C-unwind" fn()>,
) {
    // SAFETY: the caller's promises; what glibc's own does.
    unsafe { locks::pthread_once(control, start) };
}
