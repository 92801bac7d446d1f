//! Waiting for descriptors. Masks that a call takes for its own time never block SIGBUS and SIGSEGV: the pager needs them.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::c_int;

use libc::{epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

use super::reach::{ErrnoKept, fail, reaches_filled};
use super::scratch::StandIns;
use super::signals::Mask;
use super::wrap::{real, rows, touch};

/// More entries than any process has descriptors.
const ENTRIES_MOST: usize = 1 << 20;

rows! { "polling";
    poll: "the entries";
    ppoll: "the entries, the time, the mask";
    select: "the sets, the time";
    pselect: "the sets, the time, the mask";
    epoll_ctl: "the event";
    epoll_wait: "the events";
    epoll_pwait: "the events, the mask";
    epoll_pwait2: "the events, the time, the mask";
}

fn entries(count: nfds_t) -> usize {
    (count as usize).min(ENTRIES_MOST) * size_of::<pollfd>()
}

/// Bytes of a set that the kernel looks at.
fn set_bytes(count: c_int) -> usize {
    usize::try_from(count)
        .unwrap_or(0)
        .min(ENTRIES_MOST)
        .div_ceil(64)
        * 8
}

fn events(count: c_int) -> usize {
    usize::try_from(count).unwrap_or(0).min(ENTRIES_MOST) * size_of::<epoll_event>()
}

touch! { fn poll(all: *mut pollfd, count: nfds_t, time: c_int) -> c_int { fill all[entries(count)] } }
touch! { fn select(count: c_int, reading: *mut fd_set, writing: *mut fd_set, failing: *mut fd_set, time: *mut timeval) -> c_int {
    fill reading[set_bytes(count)], fill writing[set_bytes(count)], fill failing[set_bytes(count)], fill time
} }
touch! { fn epoll_ctl(epoll: c_int, what: c_int, descriptor: c_int, event: *mut epoll_event) -> c_int { read event } }
touch! { fn epoll_wait(epoll: c_int, all: *mut epoll_event, count: c_int, time: c_int) -> c_int { fill all[events(count)] } }

/// Stand-ins for a call with a mask: the buffers named, each `(pointer, bytes)`; then the call with the mask filtered.
macro_rules! with_mask {
    ($mask:ident, [$($what:ident: $length:expr),*], $call:expr) => {{
        let mut stand_ins = StandIns::new();
        $(
            let length: usize = $length;
            let $what = if reaches_filled($what, length) {
                match stand_ins.output($what.cast_mut().cast(), length) {
                    Ok(at) => at as _,
                    Err(number) => return fail(number),
                }
            } else {
                $what
            };
        )*
        let filtered = Mask::filtered($mask);
        let $mask = filtered.as_ptr();
        let result = $call($($what,)* $mask);
        let _kept = ErrnoKept::new();
        stand_ins.copy_back();
        result
    }};
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn ppoll(
    all: *mut pollfd,
    count: nfds_t,
    time: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let real = real!(ppoll: (*mut pollfd, nfds_t, *const timespec, *const sigset_t) -> c_int);
    let all = all.cast_const();
    // SAFETY: the caller's promises, passed on with stand-ins. The time is written by no one, copied all the same.
    unsafe {
        let time_copy = super::signals::copied(time);
        let time = time_copy
            .as_ref()
            .map_or(core::ptr::null(), core::ptr::from_ref);
        with_mask!(mask, [all: entries(count)], |all: *const pollfd, mask| real(all.cast_mut(), count, time, mask))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pselect(
    count: c_int,
    reading: *mut fd_set,
    writing: *mut fd_set,
    failing: *mut fd_set,
    time: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let real = real!(pselect: (c_int, *mut fd_set, *mut fd_set, *mut fd_set, *const timespec, *const sigset_t) -> c_int);
    let (reading, writing, failing) = (
        reading.cast_const(),
        writing.cast_const(),
        failing.cast_const(),
    );
    // SAFETY: the caller's promises, passed on with stand-ins.
    unsafe {
        let time_copy = super::signals::copied(time);
        let time = time_copy
            .as_ref()
            .map_or(core::ptr::null(), core::ptr::from_ref);
        let bytes = set_bytes(count);
        with_mask!(
            mask,
            [reading: bytes, writing: bytes, failing: bytes],
            |reading: *const fd_set, writing: *const fd_set, failing: *const fd_set, mask| real(
                count,
                reading.cast_mut(),
                writing.cast_mut(),
                failing.cast_mut(),
                time,
                mask
            )
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_pwait(
    epoll: c_int,
    all: *mut epoll_event,
    count: c_int,
    time: c_int,
    mask: *const sigset_t,
) -> c_int {
    let real =
        real!(epoll_pwait: (c_int, *mut epoll_event, c_int, c_int, *const sigset_t) -> c_int);
    let all = all.cast_const();
    // SAFETY: the caller's promises, passed on with stand-ins.
    unsafe {
        with_mask!(mask, [all: events(count)], |all: *const epoll_event, mask| real(
            epoll,
            all.cast_mut(),
            count,
            time,
            mask
        ))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_pwait2(
    epoll: c_int,
    all: *mut epoll_event,
    count: c_int,
    time: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let real = real!(epoll_pwait2: (c_int, *mut epoll_event, c_int, *const timespec, *const sigset_t) -> c_int);
    let all = all.cast_const();
    // SAFETY: the caller's promises, passed on with stand-ins.
    unsafe {
        let time_copy = super::signals::copied(time);
        let time = time_copy
            .as_ref()
            .map_or(core::ptr::null(), core::ptr::from_ref);
        with_mask!(mask, [all: events(count)], |all: *const epoll_event, mask| real(
            epoll,
            all.cast_mut(),
            count,
            time,
            mask
        ))
    }
}
