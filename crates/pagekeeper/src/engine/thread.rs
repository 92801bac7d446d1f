//! The engine's own threads: deaf to signals, quick to be woken, with descriptors of their own, counted.
//!
//! A thread leaves the program's descriptor table when it starts. So the program's closing and replacing
//! (`close_range`, `dup2`) cannot hit what such a thread has open for a moment (`/proc` files), nor can such a
//! thread ever close a file of the program. Page files are taken from the keeper at their first use, under the
//! number that they have in the program's table.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use crate::inside;
use pagekeeper_sys::descriptor::apart;
use pagekeeper_sys::lock::{SignalsBlocked, WaitWord};
use pagekeeper_sys::thread;

/// Before threads that dirty pages as fast as they can, not after their slice: the shortest that the kernel takes.
const SLICE: Duration = Duration::from_micros(100);

/// How long the end of the threads is waited for. They end within milliseconds, unless a disk hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The threads of one engine that are alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    alive: AtomicU32,
    ended: WaitWord,
}

impl Threads {
    /// Starts a thread that no signal of the program is ever handled on. Says whether that worked.
    pub(crate) fn start(
        &self,
        name: &str,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> bool {
        let body = self.counted(body);
        // The new thread inherits the mask.
        let blocked = SignalsBlocked::new();
        let started = std::thread::Builder::new()
            .name(name.into())
            .stack_size(stack_bytes)
            .spawn(move || {
                inside::stay();
                // Where that is refused, the thread goes on without.
                let _ = thread::leave_descriptor_table();
                body();
            });
        drop(blocked);
        if started.is_err() {
            self.one_less();
        }
        started.is_ok()
    }

    /// The same for a thread that has the files that are apart from the program's.
    pub(crate) fn start_apart(
        &self,
        name: &'static str,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> bool {
        let body = self.counted(body);
        let started = apart::start(name, stack_bytes, move || {
            inside::stay();
            body();
        });
        if !started {
            self.one_less();
        }
        started
    }

    /// What a thread does that is counted from now on.
    fn counted(&self, body: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
        let threads = self.clone();
        threads.0.alive.fetch_add(1, Ordering::AcqRel);
        move || {
            // Where that is refused, the thread goes on without.
            let _ = thread::ask_to_run_soon(SLICE);
            body();
            threads.one_less();
        }
    }

    fn one_less(&self) {
        self.0.alive.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.wake_all();
    }

    /// Waits until all have ended, and with them their references to page files.
    pub(crate) fn wait_for_end(&self) {
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
