//! The brake: when first touches outrun the disk, the faults themselves are slowed down.
//!
//! A program may dirty committed pages faster than any disk writes, and no call of its own stands in the way. But
//! a fault that needs a page of a file takes that file's invalidation lock, shared; `fallocate(ZERO_RANGE)` takes
//! it alone, and waits under it for write-back of the pages in its range. So while the brake is on, a thread
//! writes pages of its own in the page file and zeroes them, again and again: faults get through between two
//! rounds, each of which lasts as long as the disk needs, and longer the further the budget is passed. Only faults wait, inside the kernel, as they would for
//! a busy disk; nobody gets an error. On a file system without that lock the brake does nothing.

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use pagekeeper_sys::time::pause;

use super::engine::Core;
use super::on_demand::OnDemand;
use super::page_file::PageFile;
use crate::statistics::Counter;

/// A thread that brakes, and when.
#[derive(Debug, Default)]
pub(super) struct Brake {
    thread: OnDemand,
    files: Mutex<Vec<Arc<PageFile>>>,
    /// Rounds so far.
    pub(super) rounds: Counter,
}

impl Brake {
    /// Brakes faults on `files` until released: each round lasts as long as the disk needs for `pages` pages.
    pub(super) fn apply(&self, core: &Arc<Core>, pages: u64, files: Vec<Arc<PageFile>>) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        let own = Arc::clone(core);
        let body = move || own.balance.brake.run();
        self.thread
            .turn_on(&core.threads, "pagekeeper-brk", pages, body);
    }

    /// Faults go at full speed again.
    pub(super) fn release(&self) {
        self.thread.turn_off();
    }

    pub(super) fn is_on(&self) -> bool {
        self.thread.force() != 0
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.thread.stop();
    }

    fn run(&self) {
        while let Some(force) = self.thread.next() {
            let files = self
                .files
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let braked = files
                .iter()
                .filter(|file| file.brake(force).is_ok())
                .count();
            self.rounds.add(1);
            if braked == 0 {
                // Not possible here (no zeroing, a full disk, a limit): do not spin.
                pause(Duration::from_millis(10));
            }
        }
    }
}
