//! Semaphores in paged memory: as the locks of [`super::locks`], with other ways of saying things.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::c_int;

use libc::{clockid_t, sem_t, timespec};

use super::locks::{Deadline, hold_briefly, is_shared, take_lock};
use super::reach::{fail, reaches};
use super::real::{errno, set_errno};
use super::wrap::{real, rows};

rows! { "locks";
    sem_wait: "the semaphore, while waiting";
    sem_timedwait: "the semaphore, while waiting";
    sem_clockwait: "the semaphore, while waiting";
    sem_post: "the semaphore, where the kernel looks at it";
}

/// Where glibc marks a semaphore as shared between processes.
const SHARED_OFFSET: usize = 8;

/// Waits for a semaphore, whose functions return -1 and set errno.
unsafe fn take_semaphore(
    semaphore: *mut sem_t,
    deadline: Option<Deadline>,
    wait: impl Fn() -> c_int,
) -> c_int {
    // SAFETY: the caller's semaphore.
    let attempt = || unsafe {
        if libc::sem_trywait(semaphore) == 0 {
            0
        } else {
            errno()
        }
    };
    let before = errno();
    let result = take_lock(semaphore, deadline, true, libc::EAGAIN, attempt, || {
        set_errno(before);
        if wait() == 0 { 0 } else { errno() }
    });
    if result == 0 {
        set_errno(before);
        return 0;
    }
    fail(result)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_wait(semaphore: *mut sem_t) -> c_int {
    let real = real!(sem_wait: (*mut sem_t) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        if !reaches(semaphore, size_of::<sem_t>()) {
            return real(semaphore);
        }
        take_semaphore(semaphore, None, || real(semaphore))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_timedwait(semaphore: *mut sem_t, moment: *const timespec) -> c_int {
    let real = real!(sem_timedwait: (*mut sem_t, *const timespec) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        if !reaches(semaphore, size_of::<sem_t>()) {
            return real(semaphore, moment);
        }
        let deadline = Deadline::new(libc::CLOCK_REALTIME, moment);
        take_semaphore(semaphore, Some(deadline), || {
            real(semaphore, &raw const deadline.at)
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_clockwait(
    semaphore: *mut sem_t,
    clock: clockid_t,
    moment: *const timespec,
) -> c_int {
    let real = real!(sem_clockwait: (*mut sem_t, clockid_t, *const timespec) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        if !reaches(semaphore, size_of::<sem_t>()) {
            return real(semaphore, clock, moment);
        }
        let deadline = Deadline::new(clock, moment);
        take_semaphore(semaphore, Some(deadline), || {
            real(semaphore, clock, &raw const deadline.at)
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sem_post(semaphore: *mut sem_t) -> c_int {
    let real = real!(sem_post: (*mut sem_t) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        let reaches = reaches(semaphore, size_of::<sem_t>());
        let _pinned =
            (reaches && is_shared(semaphore, SHARED_OFFSET)).then(|| hold_briefly(semaphore));
        real(semaphore)
    }
}
