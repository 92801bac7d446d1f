//! Reading ahead of sequential access to pages that are out.
//!
//! File pieces are mapped without the kernel's own read-ahead (`MADV_RANDOM`): what that does around a random fault
//! may be megabytes, and only we know the budget. So the balancer looks where the page cache has grown since its
//! last look. Random access spreads over all pieces; sequential access fills a run in one. Behind such a run a
//! *stream* begins: its pages are read ahead in a window that is a small part of the budget, and moves on as the
//! reader does, which the page map shows.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use pagekeeper_sys::pagemap::{Entries, Entry};
use pagekeeper_sys::perf;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::book::PieceKey;
use super::engine::Core;
use super::levels::Levels;
use super::page_file::PageFile;
use super::page_set::PIECE_PAGES;
use super::piece::{positions, split};

/// Streams followed at a time.
const STREAMS_MAX: usize = 8;
/// A run of pages in the mapping that long is taken for sequential access.
const RUN_MIN: usize = 24;
/// A stream ends when its reader stood still that long.
const STANDSTILL: Duration = Duration::from_millis(40);
/// How often streams are looked after, and looked for.
const STEP: Duration = Duration::from_micros(500);
const SWEEP_EVERY: Duration = Duration::from_millis(8);
/// With fewer disk faults since the last look there is nothing to look for.
const FAULTS_MIN: u64 = 32;
/// One read request, in pages (1 MiB).
const REQUEST_PAGES: u64 = 256;

/// A reader on its way up.
#[derive(Debug)]
struct Stream {
    /// The first page above those it has touched.
    position: PageNumber,
    /// Read ahead up to here.
    ahead: PageNumber,
    moved_at: Instant,
}

/// The streams.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    streams: Vec<Stream>,
    faults_then: u64,
    swept_at: Option<Instant>,
    sweep_took: Duration,
    pages_since_count: u64,
}

impl ReadAhead {
    /// Pages requested since the cache was last counted.
    pub(super) fn pages_since_count(&self) -> u64 {
        self.pages_since_count
    }

    /// The cache has just been counted.
    pub(super) fn counted(&mut self) {
        self.pages_since_count = 0;
    }

    /// Looks after streams and for new ones. Says when it wants to be called again.
    pub(super) fn step(&mut self, core: &Core, levels: Levels) -> Duration {
        let window = (levels.target / 16).clamp(32, 2048) / self.streams.len().max(1) as u64;
        let window = PageCount::new(window.max(32));
        let mut streams = core::mem::take(&mut self.streams);
        if !streams.is_empty()
            && let Ok(entries) = Entries::open()
        {
            streams.retain_mut(|stream| self.advance(core, levels, &entries, stream, window));
        }
        self.streams = merged(streams);
        let now = Instant::now();
        let due = self
            .swept_at
            .is_none_or(|then| now.duration_since(then) >= SWEEP_EVERY.max(self.sweep_took * 10));
        let mut has_faults = false;
        if due {
            let faults = perf::process_faults().map_or(0, |faults| faults.major);
            has_faults = faults >= self.faults_then + FAULTS_MIN;
            self.faults_then = faults;
            self.swept_at = Some(now);
            if has_faults {
                self.sweep(core);
                self.sweep_took = now.elapsed();
            }
        }
        match (self.streams.is_empty(), has_faults || !due) {
            (false, _) => STEP,
            (true, true) => SWEEP_EVERY,
            (true, false) => SWEEP_EVERY * 4,
        }
    }

    /// Follows a reader and keeps the window before it. Says whether the stream goes on.
    fn advance(
        &mut self,
        core: &Core,
        levels: Levels,
        entries: &Entries,
        stream: &mut Stream,
        window: PageCount,
    ) -> bool {
        let mut words = [Entry::default(); PIECE_PAGES];
        let watched = PageRange::between(stream.position, stream.ahead);
        for part in split(watched) {
            let count = part.count().as_usize();
            let Ok(_) = entries.read(part, &mut words[..count]) else {
                return false;
            };
            if let Some(last) = words[..count].iter().rposition(|word| word.is_present()) {
                stream.position = part.start().plus(PageCount::new(last as u64 + 1));
                stream.moved_at = Instant::now();
            }
        }
        if stream.moved_at.elapsed() > STANDSTILL {
            return false;
        }
        let end = stream.position.plus(window);
        let start = stream.ahead.max(stream.position);
        if PageRange::between(start, end).count().get() * 2 >= window.get() {
            stream.ahead = self.request(core, levels, PageRange::between(start, end));
        }
        true
    }

    /// Starts reading as much of `range` as lies in committed file pages that have been out. Says how far that went.
    fn request(&mut self, core: &Core, levels: Levels, range: PageRange) -> PageNumber {
        let cached = core.balance.cached.load(Ordering::Relaxed) + self.pages_since_count;
        if cached > levels.target || core.balance.brake.is_on() {
            // Reading would make it worse, and wait for the brake.
            return range.start();
        }
        for part in split(range) {
            let found = {
                let book = core.book();
                book.piece(part.start()).and_then(|piece| {
                    let place = piece.nature.place().filter(|_| piece.was_out)?;
                    let (run, is_committed) = piece.committed.runs(positions(part)).next()?;
                    let file = Arc::clone(book.files.file(place).ok()?);
                    is_committed.then(|| (file, place.offset(run.start), run.len() as u64))
                })
            };
            let Some((file, offset, pages)) = found else {
                return part.start();
            };
            self.pages_since_count += pages;
            core.balance.pages_ahead.add(pages);
            if read_in_requests(&file, offset, pages).is_err() || pages < part.count().get() {
                return part.start().plus(PageCount::new(pages));
            }
        }
        range.end()
    }

    /// Looks for pieces that were filled run by run since the last look.
    fn sweep(&mut self, core: &Core) {
        let Ok(entries) = Entries::open() else { return };
        for (key, range, grown) in grown_pieces(core) {
            if self.streams.len() >= STREAMS_MAX {
                return;
            }
            let mut words = [Entry::default(); PIECE_PAGES];
            let Some(words) = words.get_mut(..range.count().as_usize()) else {
                continue;
            };
            if entries.read(range, words).is_err() {
                continue;
            }
            let (end, length) = longest_run(words);
            if length < RUN_MIN || length * 2 < grown as usize {
                continue;
            }
            let position = key.page.plus(PageCount::new(end as u64));
            // A reader that has gone on long ago left full pieces behind: what lies before it must be out.
            let mut next = [Entry::default()];
            let is_front = entries
                .read(PageRange::new(position, PageCount::ONE), &mut next)
                .is_ok()
                && !next[0].is_present();
            let is_known = self.streams.iter().any(|stream| {
                position.get() + 4 * PIECE_PAGES as u64 >= stream.position.get()
                    && position <= stream.ahead
            });
            if is_front && !is_known {
                let moved_at = Instant::now();
                self.streams.push(Stream {
                    position,
                    ahead: position,
                    moved_at,
                });
            }
        }
    }
}

/// Without streams that have caught up with another one.
fn merged(mut streams: Vec<Stream>) -> Vec<Stream> {
    streams.sort_by_key(|stream| stream.position);
    let positions: Vec<_> = streams.iter().map(|stream| stream.position).collect();
    let mut index = 0;
    streams.retain(|stream| {
        index += 1;
        let reach = stream.ahead.plus(PageCount::new(PIECE_PAGES as u64));
        positions.get(index).is_none_or(|&next| next > reach)
    });
    streams
}

/// Reads in requests of a size that no kernel cuts off.
pub(super) fn read_in_requests(
    file: &PageFile,
    offset: u64,
    pages: u64,
) -> Result<(), pagekeeper_sys::Errno> {
    let mut done = 0;
    while done < pages {
        let count = (pages - done).min(REQUEST_PAGES);
        file.prefetch(offset + (done << 12), count << 12)?;
        done += count;
    }
    Ok(())
}

/// Pieces that have been out and of which clearly more is cached than at the last look.
fn grown_pieces(core: &Core) -> Vec<(PieceKey, PageRange, u64)> {
    let pieces: Vec<_> = {
        let book = core.book();
        let been_out = book.pieces().filter(|piece| piece.was_out);
        been_out
            .filter_map(|piece| {
                let place = piece.nature.place()?;
                let file = Arc::clone(book.files.file(place).ok()?);
                let offset = place.offset(positions(piece.range).start);
                Some((
                    super::book::key_of(piece),
                    piece.range,
                    file,
                    offset,
                    piece.cached,
                ))
            })
            .collect()
    };
    let mut grown = Vec::new();
    for (key, range, file, offset, before) in pieces {
        let Ok((cached, _)) = core.cached_in(&file, range, offset) else {
            continue;
        };
        if cached != u64::from(before)
            && let Some(piece) = core.book().piece_by_key(key)
        {
            piece.cached = cached as u32;
        }
        if cached >= u64::from(before) + RUN_MIN as u64 {
            grown.push((key, range, cached - u64::from(before)));
        }
    }
    // The fastest first.
    grown.sort_by_key(|&(_, _, pages)| core::cmp::Reverse(pages));
    grown
}

/// End and length of the longest run of pages in the mapping.
fn longest_run(words: &[Entry]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut length = 0;
    for (index, word) in words.iter().enumerate() {
        length = if word.is_present() { length + 1 } else { 0 };
        if length > best.1 {
            best = (index + 1, length);
        }
    }
    best
}
