//! The balancer: one thread a working set that keeps frames free before anybody has to wait for them.
//!
//! It sleeps until a fault finds more frames in use than the high watermark, then works down to the low one: oldest
//! standby frames first, else the next victims; then it fills the standby list again, and moves the oldest packed pages
//! to the page file when the pool stands at its limit. All signals are blocked in it for good.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use pagekeeper_store::pool::DrainList;
use pagekeeper_sys::Errno;
use pagekeeper_sys::lock::SignalsBlocked;

use super::out::{Evicted, RECYCLED_AT_ONCE};
use super::staging::List;
use super::work_area::WorkArea;
use super::working_set::WorkingSet;
use crate::error::EngineError;
use crate::inside;

/// How long it sleeps at most: long, because faults wake it; not for ever, so that a missed one costs little.
const NAP: Duration = Duration::from_millis(500);

/// Stack of the thread in bytes.
const STACK_BYTES: usize = 256 << 10;

/// Starts the thread.
pub(crate) fn start(set: &Arc<WorkingSet>) -> Result<JoinHandle<()>, EngineError> {
    let weak = Arc::downgrade(set);
    // Blocked before the thread exists, so that it never runs with signals open.
    let _blocked = SignalsBlocked::new();
    std::thread::Builder::new()
        .name("pk-balance".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            inside::stay();
            run(&weak)
        })
        .map_err(|error| EngineError::Kernel {
            call: "clone",
            errno: Errno::from_io_error(&error).unwrap_or(Errno::AGAIN),
        })
}

fn run(set: &Weak<WorkingSet>) {
    let mut drain = DrainList::new();
    while let Some(set) = set.upgrade() {
        if set.stop.load(core::sync::atomic::Ordering::Acquire) {
            return;
        }
        set.wake_balancer.wait(Some(NAP));
        super::descriptor::hold(set.userfaultfd());
        let mut area = set.areas().take();
        set.files().mend();
        set.ahead().start_if_wanted(&set);
        while step(&set, &mut area, &mut drain) {
            set.files().mend();
            set.ahead().start_if_wanted(&set);
            if set.stop.load(core::sync::atomic::Ordering::Acquire) {
                return;
            }
        }
        if set.files().is_mending_due() {
            // A disk that is well again is mended without a pause.
            set.wake_balancer.set();
        }
    }
}

/// One piece of work; whether there was any.
fn step(set: &WorkingSet, area: &mut WorkArea, drain: &mut DrainList) -> bool {
    let marks = set.marks();
    let used = set.frames().used();
    if set.frames().excess() > 0 || used > marks.low {
        return free_some(set, area) || set.make_room(area) || set.spill(area, drain);
    }
    if set.pool_is_full() && set.spill(area, drain) {
        return true;
    }
    // Only where memory is nearly used up is it worth sorting out who may have to leave.
    let nearly = marks.low.get() - (marks.high - marks.low).get();
    if used.get() > nearly && set.staging().count(List::Standby) < set.standby_wanted() {
        return match set.evict_next(set.batch(), area) {
            Some(Evicted::Staged(slot)) => set.clean_and(slot, area, false),
            Some(Evicted::Gone) => true,
            None => false,
        };
    }
    false
}

/// Frees frames in bulk: evicts and cleans until enough slots stand by, then recycles the oldest together.
fn free_some(set: &WorkingSet, area: &mut WorkArea) -> bool {
    let enough = set.standby_wanted() + RECYCLED_AT_ONCE;
    if set.staging().count(List::Standby) < enough {
        // Faults that find no frames recycle what stands by themselves, so this never keeps them waiting.
        match set.next_out(area) {
            Some(Evicted::Staged(slot)) => return set.clean_and(slot, area, false),
            Some(Evicted::Gone) => return true,
            None => {}
        }
    }
    set.recycle_standby(RECYCLED_AT_ONCE)
}
