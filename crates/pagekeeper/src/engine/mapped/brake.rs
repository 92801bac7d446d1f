//! The brake: when first touches outrun the disk, the faults themselves are slowed down.
//!
//! A program may dirty committed pages faster than any disk writes, and no call of its own stands in the way. But
//! a fault that needs a page of a file takes that file's invalidation lock, shared; `fallocate(ZERO_RANGE)` takes
//! it alone, and waits under it for write-back of the pages in its range. So while the brake is on, a thread
//! writes pages of its own in the page file and zeroes them, again and again: faults get through between two
//! rounds, each of which lasts as long as the disk needs, and longer the further the budget is passed. Only faults wait, inside the kernel, as they would for
//! a busy disk; nobody gets an error. On a file system without that lock the brake does nothing.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use pagekeeper_sys::lock::Event;

use super::engine::Core;
use super::page_file::PageFile;
use super::thread;
use crate::statistics::Counter;

/// A thread that brakes, and when.
#[derive(Debug, Default)]
pub(super) struct Brake {
    /// How hard: pages that each round writes. 0 while the brake is off.
    force: AtomicU64,
    is_running: AtomicBool,
    is_stopping: AtomicBool,
    wake: Event,
    files: Mutex<Vec<Arc<PageFile>>>,
    /// Rounds so far.
    pub(super) rounds: Counter,
}

impl Brake {
    /// Brakes faults on `files` until released: each round lasts as long as the disk needs for `pages` pages.
    pub(super) fn apply(&self, core: &Arc<Core>, pages: u64, files: Vec<Arc<PageFile>>) {
        if self.force.swap(pages.max(1), Ordering::AcqRel) != 0 {
            return;
        }
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        if !self.is_running.swap(true, Ordering::AcqRel) {
            let core = Arc::clone(core);
            let body = move || core.balance.brake.run();
            if !thread::start("pagekeeper-brk", 64 << 10, body) {
                self.is_running.store(false, Ordering::Release);
            }
        }
        self.wake.set();
    }

    /// Faults go at full speed again.
    pub(super) fn release(&self) {
        self.force.store(0, Ordering::Release);
    }

    pub(super) fn is_on(&self) -> bool {
        self.force.load(Ordering::Acquire) != 0
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
            let force = self.force.load(Ordering::Acquire);
            let braked = files
                .iter()
                .filter(|file| file.brake(force).is_ok())
                .count();
            self.rounds.add(1);
            if braked == 0 {
                // Not possible here (no zeroing, a full disk, a limit): do not spin.
                self.wake.wait(Some(Duration::from_millis(10)));
            }
        }
    }
}
