//! The last station: pages that have left the page table are written, and dropped from the page cache where they have not come
//! back. A thread of its own waits for the disk, so that the one that watches the page table never does.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pagekeeper_sys::Errno;
use pagekeeper_sys::file::{self, WriteOut};
use pagekeeper_sys::lock::Event;
use pagekeeper_units::PageRange;

use super::Core;
use super::look;
use super::slots::SlotRun;
use super::source::Backing;

/// How many units are being written while the oldest is waited for.
const ON_THE_WAY: usize = 8;
/// Pages that came back leave holes; beyond so many runs all of it is dropped in one call, which skips them.
const RUNS_MAX: usize = 24;
/// Dropping pages that nobody holds takes some 30 µs. If it takes this long, somebody does,
const SLOW_DROP: Duration = Duration::from_millis(1);
/// and so many are left to the other thread.
const SLOW_DROPS_PASSED: u32 = 64;

/// What is to be done about the pages of the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilePart {
    /// They may have been changed through the view: to be written, and dropped.
    Written,
    /// To be dropped, and written first only where others changed them.
    Clean,
    /// Nothing: the page cache would not let go of them.
    Held,
}

/// Pages that have left the page table and not yet memory.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) source: Arc<Backing>,
    pub(super) file: FilePart,
    pub(super) range: PageRange,
    /// Where in the file the range begins.
    pub(super) offset: u64,
    /// The file of copied pages, where some of the range moved there, and their slots.
    pub(super) slots: Option<(Arc<Backing>, Vec<SlotRun>)>,
}

/// What waits for the thread.
#[derive(Debug, Default)]
pub(super) struct Finisher {
    waiting: Mutex<VecDeque<Outgoing>>,
    wake: Event,
    /// So many more are not dropped at once: the last one took long.
    slow_drops: AtomicU32,
}

impl Finisher {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Outgoing>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what is clean at once, which needs no disk, and hands the rest over. In a hurry all of it.
    pub(super) fn take_over(&self, mut outgoing: Outgoing, in_a_hurry: bool) {
        if outgoing.file == FilePart::Clean && !in_a_hurry && !self.is_dropping_slow() {
            let started = Instant::now();
            let length = outgoing.range.bytes().get();
            outgoing.file = match forget_clean(&outgoing.source, outgoing.offset, length) {
                true => FilePart::Held,
                false => FilePart::Written,
            };
            if started.elapsed() > SLOW_DROP {
                self.slow_drops.store(SLOW_DROPS_PASSED, Ordering::Relaxed);
            }
        }
        if outgoing.file != FilePart::Held || outgoing.slots.is_some() {
            self.push(outgoing);
        }
    }

    /// Whether dropping had better be left to the other thread: pages that other processes map make the kernel wait for every
    /// processor.
    fn is_dropping_slow(&self) -> bool {
        let less = |now: u32| Some(now.saturating_sub(1));
        self.slow_drops
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok_and(|before| before > 0)
    }

    /// Hands pages over. Those that came back and left again before anybody wrote them wait once: a slow disk makes the queue
    /// no longer than the views.
    pub(super) fn push(&self, outgoing: Outgoing) {
        let mut waiting = self.waiting();
        match waiting
            .iter_mut()
            .find(|other| other.is_same_part(&outgoing))
        {
            // It knows of all slots in use there now.
            Some(same) => {
                let is_written = same.file == FilePart::Written;
                *same = outgoing;
                if is_written {
                    same.file = FilePart::Written;
                }
            }
            None => waiting.push_back(outgoing),
        }
        drop(waiting);
        self.wake.set();
    }

    /// Lets the thread see that it is to end.
    pub(super) fn stop(&self) {
        self.wake.set();
    }

    /// The thread, until it is stopped. What is left then is the kernel's to write.
    pub(super) fn run(&self, core: &Core) {
        let mut started: VecDeque<Outgoing> = VecDeque::new();
        while !core.balance.is_stopping() {
            let next = self.waiting().pop_front();
            match next {
                Some(outgoing) => {
                    outgoing.start();
                    started.push_back(outgoing);
                    if started.len() <= ON_THE_WAY {
                        continue;
                    }
                }
                None if started.is_empty() => {
                    self.wake.wait(None);
                    continue;
                }
                None => {}
            }
            if let Some(oldest) = started.pop_front() {
                core.balance.note_finish(oldest.finish());
            }
        }
    }
}

impl Outgoing {
    fn is_same_part(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
            && (self.range, self.offset) == (other.range, other.offset)
    }

    /// Starts writing. What goes wrong is heard of at the end.
    pub(super) fn start(&self) {
        if self.file == FilePart::Written {
            start_one(&self.source, self.offset, self.range.bytes().get());
        }
        for (file, run) in self.slot_runs() {
            start_one(file, run.offset(), run.bytes());
        }
    }

    /// Waits for the writing and drops what has not come back.
    ///
    /// # Errors
    /// Something could not be written: then nothing of that file is dropped, now or later.
    pub(super) fn finish(&self) -> Result<(), Errno> {
        let length = self.range.bytes().get();
        let mut result = match self.file {
            FilePart::Written => wait_for(&self.source, self.offset, length),
            FilePart::Clean if !is_clean(&self.source, self.offset, length) => {
                wait_for(&self.source, self.offset, length)
            }
            FilePart::Clean | FilePart::Held => self.source.failure().map_or(Ok(()), Err),
        };
        if result.is_ok() && self.file != FilePart::Held {
            for run in absent(self.range) {
                let skipped = run.start().since(self.range.start()).bytes().get();
                forget(&self.source, self.offset + skipped, run.bytes().get());
            }
        }
        for (file, run) in self.slot_runs() {
            match wait_for(file, run.offset(), run.bytes()) {
                Ok(()) => forget(file, run.offset(), run.bytes()),
                Err(errno) => result = result.and(Err(errno)),
            }
        }
        result
    }

    fn slot_runs(&self) -> impl Iterator<Item = (&Backing, SlotRun)> {
        let slots = self.slots.iter();
        slots.flat_map(|(file, runs)| runs.iter().map(move |run| (file.as_ref(), *run)))
    }
}

fn start_one(source: &Backing, offset: u64, length: u64) {
    let _ = source.with(move |file| file::write_out(file, offset, length, WriteOut::Start));
}

fn wait_for(source: &Backing, offset: u64, length: u64) -> Result<(), Errno> {
    let written =
        source.with(move |file| file::write_out(file, offset, length, WriteOut::AndWait))?;
    if let Err(errno) = written {
        source.fail(errno);
    }
    source.failure().map_or(Ok(()), Err)
}

/// Whether the page cache holds nothing of a part of a file that is still to be written, and all that was written before went well.
fn is_clean_here(source: &Backing, file: BorrowedFd<'_>, offset: u64, length: u64) -> bool {
    if let Err(errno) = file::write_error(file) {
        source.fail(errno);
    }
    match file::cache_state(file, offset, length) {
        Ok(state) => state.dirty_pages == 0 && state.writeback_pages == 0,
        // Somebody else's file that is only read here. What is dirty is not dropped, and an error was looked for.
        Err(Errno::PERM) => true,
        // A kernel that does not say (before 6.5) is asked to write, which is quick where there is nothing.
        Err(_) => false,
    }
}

fn is_clean(source: &Arc<Backing>, offset: u64, length: u64) -> bool {
    let own = Arc::clone(source);
    let clean = source.with(move |file| is_clean_here(&own, file, offset, length));
    clean.unwrap_or(false)
}

/// Drops a part of a file that is clean. Where it is not, `false`: then it is to be written.
fn forget_clean(source: &Arc<Backing>, offset: u64, length: u64) -> bool {
    let own = Arc::clone(source);
    let forgotten = source.with(move |file| {
        let is_clean = is_clean_here(&own, file, offset, length);
        if is_clean && own.failure().is_none() {
            let _ = file::forget(file, offset, length);
        }
        is_clean
    });
    forgotten.unwrap_or(false)
}

fn forget(source: &Backing, offset: u64, length: u64) {
    let _ = source.with(move |file| file::forget(file, offset, length));
}

/// The runs of pages that have not come back. Everything where that cannot be known or would be many.
fn absent(range: PageRange) -> Vec<PageRange> {
    let mut there = Vec::new();
    let looked = look::visit(range, |part, _| look::join(&mut there, part));
    if looked.is_err() || there.len() > RUNS_MAX {
        return vec![range];
    }
    look::without(range, &there)
}

#[cfg(test)]
mod tests {
    use pagekeeper_sys::descriptor::apart::ApartDescriptor;
    use pagekeeper_units::{PageCount, PageNumber};

    use super::*;

    fn outgoing(source: &Arc<Backing>) -> Outgoing {
        Outgoing {
            source: Arc::clone(source),
            file: FilePart::Written,
            range: PageRange::new(PageNumber::new(16), PageCount::new(4)),
            offset: 0,
            slots: None,
        }
    }

    fn source() -> Arc<Backing> {
        let file = file::create_in_memory("finish").unwrap();
        file::truncate(&file, 16_384).unwrap();
        Arc::new(Backing::new(ApartDescriptor::adopt(file).unwrap()))
    }

    #[test]
    fn pages_that_leave_twice_before_they_are_written_wait_once() {
        let finisher = Finisher::default();
        let (one, two) = (source(), source());
        for _ in 0..3 {
            finisher.push(outgoing(&one));
            finisher.push(outgoing(&two));
        }
        assert_eq!(finisher.waiting().len(), 2);
        let slots = vec![SlotRun { first: 3, count: 1 }];
        let mut later = outgoing(&one);
        later.slots = Some((Arc::clone(&two), slots));
        finisher.push(later);
        let waiting = finisher.waiting();
        assert_eq!(waiting.len(), 2);
        assert!(waiting[0].slots.is_some(), "the later one knows the slots");
    }

    #[test]
    fn a_file_that_could_not_be_written_fails_alone_and_for_good() {
        let (bad, good) = (source(), source());
        assert_eq!(outgoing(&bad).finish(), Ok(()));
        bad.fail(Errno::IO);
        bad.fail(Errno::NOSPC);
        assert_eq!(outgoing(&bad).finish(), Err(Errno::IO), "the first error");
        assert_eq!(outgoing(&good).finish(), Ok(()));
        let mut both = outgoing(&good);
        let slots = vec![SlotRun { first: 0, count: 1 }];
        both.slots = Some((Arc::clone(&bad), slots));
        assert_eq!(both.finish(), Err(Errno::IO));
        assert_eq!(outgoing(&good).finish(), Ok(()));
    }
}
