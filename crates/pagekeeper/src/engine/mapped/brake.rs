//! The brake: when first touches outrun the disk, the faults themselves are slowed down.
//!
//! A program may dirty committed pages faster than any disk writes, and no call of its own stands in the way. But
//! a fault that needs a page of a file takes that file's invalidation lock, shared; `fallocate(ZERO_RANGE)` takes
//! it alone, and waits under it for write-back of the pages in its range. So while the brake is on, a thread
//! writes one page of its own in the page file and zeroes it, again and again: faults get through between two
//! rounds, each of which lasts as long as the disk needs. Only faults wait, inside the kernel, as they would for
//! a busy disk; nobody gets an error. On a file system without that lock the brake does nothing.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use pagekeeper_sys::lock::{Event, SignalsBlocked};

use super::engine::Core;
use super::page_file::PageFile;
use crate::statistics::Counter;

/// A thread that brakes, and when.
#[derive(Debug, Default)]
pub(super) struct Brake {
    is_on: AtomicBool,
    is_running: AtomicBool,
    is_stopping: AtomicBool,
    wake: Event,
    files: Mutex<Vec<Arc<PageFile>>>,
    /// Rounds so far.
    pub(super) rounds: Counter,
}

impl Brake {
    /// Brakes faults on `files` until released.
    pub(super) fn apply(&self, core: &Arc<Core>, files: Vec<Arc<PageFile>>) {
        if self.is_on.swap(true, Ordering::AcqRel) {
            return;
        }
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        if !self.is_running.swap(true, Ordering::AcqRel) {
            let core = Arc::clone(core);
            let blocked = SignalsBlocked::new();
            let spawned = std::thread::Builder::new()
                .name("pagekeeper-brk".into())
                .stack_size(64 << 10)
                .spawn(move || core.balance.brake.run());
            drop(blocked);
            if spawned.is_err() {
                self.is_running.store(false, Ordering::Release);
            }
        }
        self.wake.set();
    }

    /// Faults go at full speed again.
    pub(super) fn release(&self) {
        self.is_on.store(false, Ordering::Release);
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.release();
        self.wake.set();
    }

    fn run(&self) {
        while !self.is_stopping.load(Ordering::Acquire) {
            if !self.is_on() {
                self.wake.wait(None);
                continue;
            }
            let files = self
                .files
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let braked = files.iter().filter(|file| file.brake().is_ok()).count();
            self.rounds.add(1);
            if braked == 0 {
                // Not possible here (no zeroing, a full disk, a limit): do not spin.
                self.wake.wait(Some(Duration::from_millis(10)));
            }
        }
    }
}
