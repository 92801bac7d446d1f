//! A thread that is started when it is first needed and then waits to be turned on again.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pagekeeper_sys::lock::Event;

use crate::engine::thread::Threads;

/// Turned on and off by the balancer; works while it is on.
#[derive(Debug, Default)]
pub(super) struct OnDemand {
    /// How hard to work; 0 is off.
    force: AtomicU64,
    is_running: AtomicBool,
    is_stopping: AtomicBool,
    wake: Event,
}

impl OnDemand {
    /// Turns it on, or changes its force (at least 1). `body` is the thread's life, which calls
    /// [`OnDemand::next`]; it is used when there is no thread yet.
    pub(super) fn turn_on(
        &self,
        threads: &Threads,
        name: &str,
        force: u64,
        body: impl FnOnce() + Send + 'static,
    ) {
        if self.force.swap(force.max(1), Ordering::AcqRel) != 0 {
            return;
        }
        let first = !self.is_running.swap(true, Ordering::AcqRel);
        if first && !threads.start(name, 128 << 10, body) {
            self.is_running.store(false, Ordering::Release);
            self.turn_off();
        }
        self.wake.set();
    }

    pub(super) fn turn_off(&self) {
        self.force.store(0, Ordering::Release);
    }

    /// 0 while it is off.
    pub(super) fn force(&self) -> u64 {
        self.force.load(Ordering::Acquire)
    }

    /// Ends the thread, soon.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.turn_off();
        self.wake.set();
    }

    /// For the thread: waits until it is on and says how hard to work; `None` at the end.
    pub(super) fn next(&self) -> Option<u64> {
        loop {
            if self.is_stopping.load(Ordering::Acquire) {
                return None;
            }
            match self.force() {
                0 => self.wake.wait(None),
                force => return Some(force),
            };
        }
    }
}
