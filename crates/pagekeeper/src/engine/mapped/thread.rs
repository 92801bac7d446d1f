//! The engine's own threads: deaf to signals, quick to be woken, with descriptors of their own, counted.
//!
//! A thread leaves the program's descriptor table when it starts. So the program's closing and replacing
//! (`close_range`, `dup2`) cannot hit what such a thread has open for a moment (`/proc` files), nor can such a
//! thread ever close a file of the program. Page files are taken from the keeper at their first use, under the
//! number that they have in the program's table.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: two system calls on the own thread: its descriptor table, its time slice"
)]

use core::ffi::c_long;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use pagekeeper_sys::lock::{SignalsBlocked, WaitWord};

unsafe extern "C" {
    /// The C library's system-call function; std links it.
    fn syscall(number: c_long, ...) -> c_long;
}

const SCHED_SETATTR: c_long = 314;
const CLOSE_RANGE: c_long = 436;
const CLOSE_RANGE_UNSHARE: c_long = 2;

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

/// How long the end of the threads is waited for. They end within milliseconds, unless a disk hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The threads of one engine that are alive.
#[derive(Clone, Debug, Default)]
pub(super) struct Threads(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    alive: AtomicU32,
    ended: WaitWord,
}

impl Threads {
    /// Starts a thread that no signal of the program is ever handled on. Says whether that worked.
    pub(super) fn start(
        &self,
        name: &str,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> bool {
        let threads = self.clone();
        threads.0.alive.fetch_add(1, Ordering::AcqRel);
        // The new thread inherits the mask.
        let blocked = SignalsBlocked::new();
        let started = std::thread::Builder::new()
            .name(name.into())
            .stack_size(stack_bytes)
            .spawn(move || {
                leave_the_programs_descriptors();
                ask_for_short_slices();
                body();
                threads.one_less();
            });
        drop(blocked);
        if started.is_err() {
            self.one_less();
        }
        started.is_ok()
    }

    fn one_less(&self) {
        self.0.alive.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.wake_all();
    }

    /// Waits until all have ended, and with them their references to page files.
    pub(super) fn wait_for_end(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.0.ended.current();
            if self.0.alive.load(Ordering::Acquire) == 0 {
                return;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            self.0.ended.wait(ended, Some(left));
        }
    }
}

/// Gives this thread an empty descriptor table of its own. Where that is refused it goes on with the common one.
fn leave_the_programs_descriptors() {
    // SAFETY: Changes this thread's table only, in which nothing of this thread is open yet.
    let _ = unsafe {
        syscall(
            CLOSE_RANGE,
            0 as c_long,
            c_long::from(u32::MAX),
            CLOSE_RANGE_UNSHARE,
        )
    };
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
    let _ = unsafe {
        syscall(
            SCHED_SETATTR,
            0 as c_long,
            &raw const attributes,
            0 as c_long,
        )
    };
}
