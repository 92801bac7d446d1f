//! The brake: who copies pages faster than they can move out is made to wait.
//!
//! Copied pages are the kernel's private memory: nothing but moving them out relieves RAM of them, and that takes longer than
//! making them ([decision 0023](../../../../../docs/decisions/0023-brake-of-views.md)). So while copies have to move out
//! nobody may write to copy-on-write pages. A thread that does faults, is sent to the dispatch of
//! exceptions, finds nothing wrong, and waits there.
//!
//! Shared pages need no brake of ours: taking them out of the page table is faster than bringing them in, and who dirties files
//! faster than disks write is held by the kernel.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use pagekeeper_sys::map::Access;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::book::{Book, View};
use super::modes::Mode;
use super::{Core, kernel};
use crate::statistics::Counter;

/// How long a writer waits before it looks again.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether writers wait.
#[derive(Debug, Default)]
pub(super) struct Brake {
    is_on: AtomicBool,
    /// How often it was applied.
    pub(super) times: Counter,
}

impl Brake {
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }
}

impl Core {
    /// Nobody copies another page until the brake is released.
    pub(super) fn brake(&self) {
        let brake = &self.balance.brake;
        if brake.is_on.swap(true, Ordering::AcqRel) {
            return;
        }
        brake.times.add(1);
        self.book().for_copying_runs(|run, access| {
            // Where that is refused (no more mappings) writers there go on.
            let _ = kernel::protect(run, access.difference(Access::WRITE));
        });
    }

    /// Writers go on.
    pub(super) fn release_brake(&self) {
        if !self.balance.brake.is_on() {
            return;
        }
        self.book().for_copying_runs(|run, access| {
            // Refused: who faults there mends the page by `wait_for_access`.
            let _ = kernel::protect(run, access);
        });
        self.balance.brake.is_on.store(false, Ordering::Release);
        self.balance.turns.wake_all();
    }

    /// An access to a page faulted although nothing is wrong with it: waits until it may go on.
    pub(super) fn wait_for_access(&self, page: PageNumber) {
        let balance = &self.balance;
        let turn = balance.turns.current();
        if balance.brake.is_on() && balance.is_running() {
            balance.wake();
            balance.turns.wait(turn, Some(PATIENCE));
            return;
        }
        let book = self.book();
        let one = PageRange::new(page, PageCount::ONE);
        // With the book nothing is on its way; what is still refused was left so by a call that failed.
        let modes = book.at(page).map(|view| view.modes.inside(one));
        for (run, mode) in modes.into_iter().flatten() {
            let _ = kernel::protect(run, mode.access());
        }
    }
}

impl Book {
    /// Runs whose pages are copied when they are written, and what their protection allows.
    fn for_copying_runs(&self, each: impl Fn(PageRange, Access)) {
        for view in self.views.values() {
            copying_runs(view).for_each(|(run, mode)| each(run, mode.access()));
        }
    }
}

fn copying_runs(view: &View) -> impl Iterator<Item = (PageRange, Mode)> {
    let runs = view.modes.inside(view.range).into_iter();
    // Making a locked page writable would copy it.
    runs.filter(|(_, mode)| {
        mode.is_private && !mode.is_locked && mode.access().contains(Access::WRITE)
    })
}
