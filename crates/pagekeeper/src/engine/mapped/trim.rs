//! Taking pages of the file part out: zapped from the mapping, written, dropped.
//!
//! Two stations, so that nobody waits for the disk and used pages get a second chance:
//!
//! 1. *Prepare*: the next pieces in the order of the clock leave the mapping (their pages stay in the page cache,
//!    a touch brings them back by a soft fault) and their writing is started. This is Windows' modified and standby
//!    list, kept by the kernel.
//! 2. *Finish*, oldest first: wait for the write, believe its result, and drop what is clean and has not come back
//!    into the mapping.
//!
//! Write-back errors: the first one stops everything before a page is dropped.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use pagekeeper_sys::Errno;
use pagekeeper_sys::file::WriteOut;
use pagekeeper_sys::pagemap::{Entries, Entry};
use pagekeeper_sys::time::pause;
use pagekeeper_units::{PageCount, PageRange};

use super::book::PieceKey;
use super::engine::Core;
use super::on_demand::OnDemand;
use super::page_file::PageFile;
use super::page_set::PIECE_PAGES;
use super::piece::{Nature, positions, split};

/// Pages that came back leave holes; a piece with more runs than this to drop is dropped in one call all the
/// same (which skips mapped pages, but makes every processor empty its queues).
const RUNS_MAX: usize = 24;

/// Pages that have left the mapping and not yet memory.
#[derive(Debug)]
struct Outgoing {
    key: PieceKey,
    file: Arc<PageFile>,
    range: PageRange,
    offset: u64,
    cached: u64,
    dirty: u64,
}

impl Outgoing {
    fn length(&self) -> u64 {
        self.range.bytes().get()
    }
}

/// The pages on their way out.
#[derive(Debug, Default)]
pub(super) struct Trimmer {
    outgoing: VecDeque<Outgoing>,
    outgoing_pages: u64,
}

impl Trimmer {
    /// Starts the way out of pages until `wanted` are on it, so many pieces have been looked at, or it is late.
    pub(super) fn prepare(
        &mut self,
        core: &Core,
        wanted: u64,
        looks: u64,
        deadline: Instant,
    ) -> Result<(), Errno> {
        for _ in 0..looks {
            if self.outgoing_pages >= wanted || Instant::now() >= deadline {
                break;
            }
            self.take_next(core, unit(wanted))?;
        }
        Ok(())
    }

    /// Drops the pages that have been on their way out longest. `None` when there are none.
    pub(super) fn finish_one(&mut self, core: &Core) -> Result<Option<u64>, Errno> {
        match self.outgoing.pop_front() {
            Some(outgoing) => self.finish(core, &outgoing).map(Some),
            None => Ok(None),
        }
    }

    /// The helper's work while it is on; at its end nothing is on the way out any more.
    fn help(&mut self, core: &Core, thread: &OnDemand) -> Result<(), Errno> {
        while thread.force() != 0 && core.balance.health().is_ok() {
            let levels = core.levels();
            let deadline = Instant::now() + HELPING;
            while Instant::now() < deadline {
                self.prepare(core, levels.batch * 2, 64, deadline)?;
                if self.finish_one(core)?.is_none() {
                    pause(Duration::from_millis(1));
                }
            }
        }
        while self.finish_one(core)?.is_some() {}
        Ok(())
    }

    /// Takes the next pages in clock order out of the mapping and starts writing them.
    fn take_next(&mut self, core: &Core, unit: u64) -> Result<(), Errno> {
        let Some((key, file, range, offset)) = next_of_clock(core, unit) else {
            return Ok(());
        };
        let Some(outgoing) = start(core, key, file, range, offset)? else {
            return Ok(());
        };
        self.outgoing_pages += outgoing.cached;
        self.outgoing.push_back(outgoing);
        Ok(())
    }

    /// Waits for the write and drops what can be dropped. Says how many pages that were.
    fn finish(&mut self, core: &Core, outgoing: &Outgoing) -> Result<u64, Errno> {
        self.outgoing_pages -= outgoing.cached;
        finish(core, outgoing)
    }
}

/// A second thread that trims while the file part is over its target. Taking a page out costs nearly half of
/// what dirtying it costs, and where processors are scarce each thread gets an equal share: one thread
/// against two that dirty pages would lose.
#[derive(Debug, Default)]
pub(super) struct Helper {
    thread: OnDemand,
}

/// How long the helper works between two looks at whether it is still needed.
const HELPING: Duration = Duration::from_millis(4);

impl Helper {
    pub(super) fn turn_on(&self, core: &Arc<Core>) {
        let own = Arc::clone(core);
        self.thread
            .turn_on(&core.threads, "pagekeeper-trm", 1, move || {
                own.balance.helper.run(&own)
            });
    }

    pub(super) fn turn_off(&self) {
        self.thread.turn_off();
    }

    pub(super) fn stop(&self) {
        self.thread.stop();
    }

    fn run(&self, core: &Core) {
        let mut trimmer = Trimmer::default();
        while self.thread.next().is_some() {
            if let Err(errno) = trimmer.help(core, &self.thread) {
                core.balance.fail(errno);
            }
        }
    }
}

/// How often [`next_of_clock`] comes past all pieces, when so many pages are wanted on their way out at once.
pub(super) fn looks_at_all(core: &Core, wanted: u64) -> u64 {
    core.book().clock.len() as u64 * PIECE_PAGES as u64 / unit(wanted) + 1
}

/// Addresses looked at in one step: a piece, or less where only a few pages are wanted on their way out at once.
fn unit(wanted: u64) -> u64 {
    (wanted / 4)
        .next_power_of_two()
        .clamp(64, PIECE_PAGES as u64)
}

/// The next pages in clock order, unless they are locked or gone.
fn next_of_clock(core: &Core, unit: u64) -> Option<(PieceKey, Arc<PageFile>, PageRange, u64)> {
    let mut book = core.book();
    let key = book.clock.pop_front()?;
    let piece = book.piece_by_key(key)?;
    let hand = u64::from(piece.hand) % piece.range.count().get();
    let start = piece.range.start().plus(PageCount::new(hand));
    let end = start.plus(PageCount::new(unit)).min(piece.range.end());
    let range = PageRange::between(start, end);
    let is_through = end == piece.range.end();
    piece.hand = if is_through { 0 } else { (hand + unit) as u16 };
    let place = piece.nature.place();
    let is_locked = piece.is_leaving || piece.locked.touches(&positions(range));
    if is_through {
        book.clock.push_back(key);
    } else {
        book.clock.push_front(key);
    }
    let place = place.filter(|_| !is_locked)?;
    let file = Arc::clone(book.files.file(place).ok()?);
    Some((key, file, range, place.offset(positions(range).start)))
}

/// Zaps cached pages and starts their writing. `None` when nothing is cached there, or the piece is gone.
fn start(
    core: &Core,
    key: PieceKey,
    file: Arc<PageFile>,
    range: PageRange,
    offset: u64,
) -> Result<Option<Outgoing>, Errno> {
    let length = range.bytes().get();
    let (cached, dirty) = core.cached_in(&file, range, offset)?;
    if cached == 0 {
        return Ok(None);
    }
    {
        // Under the mutex, because at another time the same addresses may be private memory.
        let mut book = core.book();
        let is_file = book
            .piece_by_key(key)
            .is_some_and(|piece| piece.nature != Nature::Anonymous && piece.range.covers(range));
        if !is_file || core.kernel.zap(range).is_err() {
            return Ok(None);
        }
        if let Some(piece) = book.piece_by_key(key) {
            piece.was_out = true;
            piece.is_leaving = true;
        }
    }
    if dirty > 0 {
        core.write(&file, offset, length, WriteOut::Start)?;
        core.balance.pages_out.add(dirty);
    }
    Ok(Some(Outgoing {
        key,
        file,
        range,
        offset,
        cached,
        dirty,
    }))
}

fn finish(core: &Core, outgoing: &Outgoing) -> Result<u64, Errno> {
    let length = outgoing.length();
    core.write(&outgoing.file, outgoing.offset, length, WriteOut::AndWait)?;
    if outgoing.dirty == 0 {
        core.balance.clean_drops.add(outgoing.cached);
    }
    let runs = absent_runs(outgoing.range);
    let is_same = core.book().piece_by_key(outgoing.key).is_some_and(|piece| {
        piece.is_leaving = false;
        true
    });
    let all = 0..outgoing.range.count().as_usize();
    let whole = core::slice::from_ref(&all);
    let runs = match &runs {
        Some(runs) if is_same && runs.len() <= RUNS_MAX => runs.as_slice(),
        _ => whole,
    };
    for run in runs {
        let offset = outgoing.offset + ((run.start as u64) << 12);
        outgoing.file.forget(offset, (run.len() as u64) << 12)?;
    }
    let (left, _) = core.cached_in(&outgoing.file, outgoing.range, outgoing.offset)?;
    Ok(outgoing.cached.saturating_sub(left))
}

/// The runs of pages that are not in the mapping. `None` where the page map cannot be read.
fn absent_runs(range: PageRange) -> Option<Vec<core::ops::Range<usize>>> {
    let count = range.count().as_usize();
    let mut entries = [Entry::default(); PIECE_PAGES];
    let entries = entries.get_mut(..count)?;
    Entries::open().ok()?.read(range, entries).ok()?;
    let mut runs = Vec::new();
    let mut at = 0;
    while at < count {
        let is_present = entries[at].is_present();
        let start = at;
        while at < count && entries[at].is_present() == is_present {
            at += 1;
        }
        if !is_present {
            runs.push(start..at);
        }
    }
    Some(runs)
}

impl Core {
    /// Writes out. The first error of the kernel, now or from any earlier write-back, comes out here.
    fn write(&self, file: &PageFile, offset: u64, length: u64, how: WriteOut) -> Result<(), Errno> {
        #[cfg(test)]
        {
            let injected = self
                .balance
                .injected
                .load(core::sync::atomic::Ordering::Relaxed);
            if injected != 0 {
                return Err(Errno::from_raw_os_error(injected));
            }
        }
        file.write_out(offset, length, how)
    }

    /// Cached and unwritten pages of a part of a file that is mapped at `range`.
    pub(super) fn cached_in(
        &self,
        file: &PageFile,
        range: PageRange,
        offset: u64,
    ) -> Result<(u64, u64), Errno> {
        if self.switches.cachestat {
            match file.cached(offset, range.bytes().get()) {
                Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {}
                other => return other,
            }
        }
        let cached = pagekeeper_sys::pagemap::resident_pages(range).map_or(0, PageCount::get);
        Ok((cached, cached))
    }

    /// Takes the file pages of `range` out of memory now, as far as they can be written.
    pub(super) fn trim_range(&self, range: PageRange) {
        if self.balance.health().is_err() {
            return;
        }
        for part in split(range) {
            let found = {
                let book = self.book();
                book.piece(part.start()).and_then(|piece| {
                    let place = piece.nature.place()?;
                    let is_locked = piece.locked.touches(&positions(part));
                    let file = Arc::clone(book.files.file(place).ok().filter(|_| !is_locked)?);
                    let offset = place.offset(positions(part).start);
                    Some((super::book::key_of(piece), file, offset))
                })
            };
            let Some((key, file, offset)) = found else {
                continue;
            };
            let result = start(self, key, file, part, offset)
                .and_then(|outgoing| outgoing.map_or(Ok(0), |outgoing| finish(self, &outgoing)));
            if let Err(errno) = result {
                self.balance.fail(errno);
                return;
            }
        }
    }
}
