//! The watcher: a thread that lets the budget follow a control group's limit that is lowered, and tells of low memory.
//!
//! At the start and once a second: if the group's limit leaves less than budget, slack and 64 MiB of room, the budget shrinks; if the
//! limit is raised again, it grows back up to what was set.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use pagekeeper_sys::cgroup::MemoryGroup;
use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_sys::signal::{self, MaskChange, SignalSet};
use pagekeeper_units::{ByteCount, PageCount};

use super::{Shared, Space};
use crate::error::{Error, SettingsError};
use crate::inside;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// What a control group must leave beside the budget: our slack, and 64 MiB for the rest of the process.
const ROOM: ByteCount = ByteCount::mib(32 + 64);
/// Of the commit limit, what is left when memory counts as low.
const LOW_PERCENT: u64 = 10;

type LowMemoryCallback = Arc<dyn Fn() + Send + Sync>;

/// The low-memory callback and whether it has been told.
#[derive(Default)]
pub(crate) struct LowMemory {
    callback: Mutex<Option<LowMemoryCallback>>,
    told: Mutex<bool>,
}

/// The thread's handle.
pub(crate) struct Watcher {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Watcher {
    pub(crate) fn stop(self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        // The space may go from inside the watcher, when it holds the last reference for a moment.
        if self.thread.thread().id() != std::thread::current().id() {
            let _ = self.thread.join();
        }
    }
}

impl Space {
    /// Registers a callback that is called, on a thread of ours, when less than a tenth of the commit limit is left;
    /// again after it was better in between. One callback a space; `None` takes it away.
    ///
    /// Windows: `CreateMemoryResourceNotification(LowMemoryResourceNotification)`.
    pub fn on_low_memory(&self, callback: Option<Arc<dyn Fn() + Send + Sync>>) {
        let low = &self.shared().low_memory;
        *low.callback.lock().unwrap_or_else(PoisonError::into_inner) = callback;
        *low.told.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.shared().start_watching();
    }
}

impl Shared {
    /// Starts the thread if it is not running. Without it the budget stays as it is, which is what a process without
    /// room for a thread gets.
    pub(crate) fn start_watching(self: &Arc<Self>) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if watcher.is_some() {
            return;
        }
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let weak = Arc::downgrade(self);
        let stop_in_thread = Arc::clone(&stop);
        let group = self.settings.memory_group();
        let blocked = SignalsBlocked::new();
        let thread = std::thread::Builder::new()
            .name("pk-watch".to_owned())
            .stack_size(128 << 10)
            .spawn(move || {
                inside::stay();
                run(&weak, &stop_in_thread, group)
            });
        drop(blocked);
        if let Ok(thread) = thread {
            *watcher = Some(Watcher { stop, thread });
        }
    }

    /// Lets the budget follow the limit of the control group, as `limit_of` reads it.
    pub(super) fn follow_group(
        &self,
        group: Option<&MemoryGroup>,
        limit_of: impl FnOnce(&MemoryGroup) -> Option<u64>,
    ) {
        if let Some(group) = group.filter(|_| self.settings.follow_control_group) {
            let limit = limit_of(group).unwrap_or(u64::MAX);
            let set = PageCount::new(self.wanted_ram.load(Ordering::Relaxed)).bytes();
            let bearable = ByteCount::new(limit.saturating_sub(ROOM.get()));
            let wanted = set.min(bearable).pages();
            let now = self.core().ledger.ram();
            if wanted != now
                && let Err(Error::Settings(SettingsError::BudgetTooSmall { least, .. })) =
                    self.set_ram(wanted)
                && least.pages() < now
            {
                // Below the engines' minimum there is nothing smaller to go to.
                let _ = self.set_ram(least.pages());
            }
        }
    }

    fn look(&self, group: Option<&MemoryGroup>) {
        self.follow_group(group, limit_read_apart);
        let available = {
            let mut core = self.core();
            if core.ledger.follow_use() {
                core.refresh_limit();
            }
            let account = core.model.commit_account();
            (account.available(), account.limit())
        };
        self.tell_of_low_memory(available.0, available.1);
    }

    fn tell_of_low_memory(&self, available: PageCount, limit: PageCount) {
        let low = available.get() * 100 < limit.get() * LOW_PERCENT;
        let mut told = self
            .low_memory
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let tell = low && !*told;
        *told = low;
        drop(told);
        if tell {
            let callback = self
                .low_memory
                .callback
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Some(callback) = callback {
                callback();
            }
        }
    }
}

/// The group's limit, read by a thread with a descriptor table of its own: whatever the program closes or replaces meanwhile
/// (`close_range`, `dup2`) is not a file of ours, nor what we close a file of the program's. The watcher itself cannot leave the
/// program's table, since a smaller budget moves pages to the page files.
fn limit_read_apart(group: &MemoryGroup) -> Option<u64> {
    let read = || {
        inside::stay();
        let _ = pagekeeper_sys::thread::leave_descriptor_table();
        group.limit_bytes()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("pk-limit".to_owned())
            .stack_size(64 << 10);
        match thread.spawn_scoped(scope, read) {
            Ok(thread) => thread.join().unwrap_or_default(),
            Err(_) => group.limit_bytes(),
        }
    })
}

fn run(shared: &Weak<Shared>, stop: &(Mutex<bool>, Condvar), group: Option<MemoryGroup>) {
    // The program's callbacks run here and may touch paged memory: faults must reach the handler, nothing else.
    signal::virtual_sigprocmask(MaskChange::Unblock, Some(SignalSet::FAULTS));
    loop {
        {
            let stopped = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = stop
                .1
                .wait_timeout_while(stopped, INTERVAL, |stopped| !*stopped);
            let (stopped, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if *stopped {
                return;
            }
        }
        crate::registry::sweep_retired();
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.look(group.as_ref());
    }
}
