//! Slots that could not be written: out of use at once, tried again later, made up for meanwhile.
//!
//! A failed write withdraws its whole run, because nobody should wait on the fault path to find out which slot of it is to
//! blame. So the file holds less than was promised. A thread that has time ([`PageFiles::mend`], outside the fault path)
//! grows the files by what is missing, where they may still grow, and tries the withdrawn slots one by one: those that can
//! be written are free again. Of the others, those that the disk fails while it writes others are given up for good; as
//! long as it writes none (no space left, a cable pulled), nothing is concluded and all are tried again, at growing
//! intervals.
//!
//! [`PageFiles::changes`] moves whenever what can be stored changed this way, so that whoever promises can follow.

use core::time::Duration;
use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_sys::time::monotonic_nanoseconds;

use super::PageFileError;
use super::PageFiles;
use super::file::PageFile;
use super::write::blames_the_disk;
use crate::sync::{AtomicBool, AtomicU64, Relaxed};

/// The first look after a failure, and the time between two looks while none of them helps.
const SOON: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(60);

/// Slots tried in one look, over all files.
const TRIED_AT_ONCE: u32 = 256;
/// So many failures in a row end a look: the disk writes nothing at the moment.
const HOPELESS: u32 = 8;

/// When to look again.
#[derive(Debug, Default)]
pub(super) struct Mending {
    /// On the monotonic clock, in nanoseconds; 0 when nothing is withdrawn.
    due: AtomicU64,
    /// What was waited last, in nanoseconds.
    pause: AtomicU64,
    /// Somebody is at it.
    busy: AtomicBool,
    changes: AtomicU64,
}

/// What a look at one file's withdrawn slots found.
#[derive(Default)]
struct Look {
    tried: u32,
    mended: u32,
    /// Slots are left that may be tried again.
    open: bool,
}

impl PageFiles {
    /// Moves whenever a failing disk, or one that recovered, changed what can be stored. For the fault path.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.mending.changes.load(Relaxed)
    }

    /// Slots were withdrawn. For the fault path.
    pub(super) fn note_withdrawn(&self) {
        self.mending.changes.fetch_add(1, Relaxed);
        let soon = monotonic_nanoseconds() + SOON.as_nanos() as u64;
        // A look that is due already stays due then.
        let _ = self.mending.due.compare_exchange(0, soon, Relaxed, Relaxed);
    }

    /// Whether [`PageFiles::mend`] has something to do now. Cheap.
    #[inline]
    pub fn is_mending_due(&self) -> bool {
        let due = self.mending.due.load(Relaxed);
        due != 0 && monotonic_nanoseconds() >= due
    }

    /// Makes up for withdrawn slots and tries them again, if it is time for that; see the module text. Not for the fault
    /// path. Whether what can be stored changed.
    pub fn mend(&self) -> bool {
        if !self.is_mending_due() || self.mending.busy.swap(true, Relaxed) {
            return false;
        }
        self.mending.due.store(0, Relaxed);
        let (mut mended, mut open) = (0, false);
        let mut left = TRIED_AT_ONCE;
        for (_, file) in self.in_order() {
            let look = look(&file, left);
            left = left.saturating_sub(look.tried);
            mended += look.mended;
            open |= look.open;
        }
        let (grown, short) = self.make_up();
        if open || short {
            let before = Duration::from_nanos(self.mending.pause.load(Relaxed));
            let pause = match (mended, left) {
                // The disk is well again, and there is more to mend.
                (TRIED_AT_ONCE, 0) => Duration::ZERO,
                (1.., _) => SOON,
                (0, _) => (before * 2).clamp(SOON, SELDOM),
            };
            self.mending
                .pause
                .store(pause.max(SOON).as_nanos() as u64, Relaxed);
            let next = monotonic_nanoseconds() + pause.as_nanos() as u64;
            self.mending.due.store(next, Relaxed);
        } else {
            self.mending.pause.store(0, Relaxed);
        }
        self.mending.busy.store(false, Relaxed);
        let changed = mended > 0 || grown;
        if changed {
            self.mending.changes.fetch_add(1, Relaxed);
        }
        changed
    }

    /// Grows the files until they hold what is promised: whether they grew, and whether trying again may help.
    fn make_up(&self) -> (bool, bool) {
        let Some(growth) = self.try_growth() else {
            return (false, true);
        };
        if self.usable() >= growth.promised {
            return (false, false);
        }
        match self.ensure(growth.promised) {
            Ok(_) => (true, false),
            Err(PageFileError::MaximumReached { .. } | PageFileError::NoPageFile(_)) => {
                (false, false)
            }
            Err(_) => (false, true),
        }
    }
}

/// Tries the withdrawn slots of a file, at most `most`.
fn look(file: &Arc<PageFile>, most: u32) -> Look {
    let mut look = Look::default();
    let mut failed = [0; TRIED_AT_ONCE as usize];
    let mut failures = 0;
    let mut in_a_row = 0;
    let mut from = 0;
    while let Some(slot) = file.slots.next_withdrawn(from) {
        if look.tried >= most || in_a_row >= HOPELESS {
            break;
        }
        from = slot + 1;
        look.tried += 1;
        match file.try_slot(slot) {
            Ok(()) => {
                file.slots.mend(slot);
                look.mended += 1;
                in_a_row = 0;
            }
            Err(errno) => {
                in_a_row += 1;
                if is_the_slots_own(errno)
                    && let Some(place) = failed.get_mut(failures)
                {
                    *place = slot;
                    failures += 1;
                }
            }
        }
    }
    if look.mended > 0 {
        for slot in failed.iter().take(failures) {
            file.slots.condemn(*slot);
        }
    }
    look.open = file.slots.next_withdrawn(0).is_some();
    look
}

/// Whether an error can be one slot's alone. Space that is missing is not.
fn is_the_slots_own(errno: Errno) -> bool {
    blames_the_disk(errno) && !matches!(errno, Errno::NOSPC | Errno::DQUOT)
}
