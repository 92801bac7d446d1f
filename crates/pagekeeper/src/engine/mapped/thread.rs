//! Starting the engine's own threads: deaf to signals, quick to be woken.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: one system call that reads a struct of ours"
)]

use core::ffi::c_long;

use pagekeeper_sys::lock::SignalsBlocked;

unsafe extern "C" {
    /// The C library's system-call function; std links it.
    fn syscall(number: c_long, ...) -> c_long;
}

const SCHED_SETATTR: c_long = 314;

/// The kernel's `struct sched_attr`, first version.
#[repr(C)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// A time slice in nanoseconds, the shortest that the kernel takes.
const SLICE: u64 = 100_000;

/// Starts a thread that no signal of the program is ever handled on. Says whether that worked.
pub(super) fn start(name: &str, stack_bytes: usize, body: impl FnOnce() + Send + 'static) -> bool {
    // The new thread inherits the mask.
    let blocked = SignalsBlocked::new();
    let started = std::thread::Builder::new()
        .name(name.into())
        .stack_size(stack_bytes)
        .spawn(move || {
            ask_for_short_slices();
            body();
        });
    drop(blocked);
    started.is_ok()
}

/// Asks for short time slices (6.12; no privilege): when the thread wakes up it then runs before threads that
/// dirty pages as fast as they can, instead of after their slice. Without that it only runs later.
fn ask_for_short_slices() {
    let attributes = SchedulingAttributes {
        size: size_of::<SchedulingAttributes>() as u32,
        policy: 0,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime: SLICE,
        deadline: 0,
        period: 0,
    };
    // SAFETY: The kernel reads the struct, whose size is in it.
    let _ = unsafe { syscall(SCHED_SETATTR, 0, &raw const attributes, 0) };
}
