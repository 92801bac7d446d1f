//! What the program did to managed memory past us: `madvise`, `mprotect`, `munmap` by hand.
//!
//! The table says that a page is there and may be touched; the kernel says otherwise. The fault is answered with "try
//! again", and comes again, for ever. So a page whose faults repeat is looked at, and the answer is one that ends:
//!
//! | what the kernel says | so the program | answer |
//! |---|---|---|
//! | no page there | dropped it (`madvise`): what it held is gone | in-page error, `ENODATA` |
//! | no mapping there | unmapped or moved it | death by SIGSEGV |
//! | page there, and SIGSEGV all the same | protected it (`mprotect`) | the program's own handler, or death by SIGSEGV |
//!
//! Each is said in one line, once. Looking is harmless where nothing is wrong (a page that is thrown out again and again in a
//! tiny budget repeats, too).

use core::num::NonZeroI32;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pagekeeper_sys::Errno;
use pagekeeper_sys::pagemap::{self, Entries};
use pagekeeper_sys::signal;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::arena::Arena;
use super::entry::{Entry, Kind};
use super::extent::ExtentNumber;
use super::fault::Answer;

/// Faults on one page, with no other page of the same place in the table in between, after which it is looked at.
const REPEATS: u64 = 32;

/// Pages that faulted last, each with a count in its lowest eight bits.
static LAST: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

const DROPPED: &str = "pagekeeper: the program dropped pages of managed memory past the library (madvise): \
    what they held is lost; use decommit or discard\n";
const UNMAPPED: &str = "pagekeeper: the program unmapped managed memory past the library (munmap, mremap): use release\n";
const PROTECTED: &str =
    "pagekeeper: the program protected managed memory past the library (mprotect): use protect\n";

/// A fault on `page` was answered with "again": the answer after a look at what may be wrong. On a work area's stack.
pub(crate) fn look(arena: &Arena, page: PageNumber, is_segv: bool) -> Answer {
    if !repeats(page) {
        return Answer::Again;
    }
    let range = PageRange::new(page, PageCount::ONE);
    let mut resident = [0];
    if pagemap::residence(range, &mut resident) == Err(Errno::NOMEM) {
        say_once(&SAID[0], UNMAPPED);
        return Answer::Unmapped;
    }
    let extent = arena.lock_extent(ExtentNumber::of(page));
    let entry = extent.entry(page).load();
    if entry.kind() != Kind::Present || entry.is_busy() {
        return Answer::Again;
    }
    if is_there(range).unwrap_or(resident[0] & 1 != 0) {
        if is_segv {
            say_once(&SAID[1], PROTECTED);
            return Answer::Protected;
        }
        return Answer::Again;
    }
    let before = extent
        .entry(page)
        .update(|entry: Entry| entry.moved_to(Kind::Lost, 0));
    extent.leave_queue_if_empty();
    drop(extent);
    let set = arena.set();
    if before.has_copy() {
        set.forget_slot(before.location());
    }
    set.frames().give(1);
    set.counters().lost.add(1);
    say_once(&SAID[2], DROPPED);
    Answer::Lost(NonZeroI32::new(Errno::NODATA.raw_os_error()))
}

/// Whether the kernel has a page there, in memory or in its own swap. `None` when it does not tell.
fn is_there(page: PageRange) -> Option<bool> {
    let mut words = [pagemap::Entry::default()];
    let entries = Entries::open().ok()?;
    entries.read(page, &mut words).ok()?;
    Some(words[0].is_present() || words[0].is_swapped())
}

/// Counts a fault; whether there were many on this page.
fn repeats(page: PageNumber) -> bool {
    let place = page.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58;
    let Some(last) = LAST.get(place as usize) else {
        return false;
    };
    let before = last.load(Ordering::Relaxed);
    let count = match before >> 8 == page.get() {
        true => (before & 0xFF) + 1,
        false => 1,
    };
    let many = count >= REPEATS;
    let now = page.get() << 8 | if many { 0 } else { count };
    last.store(now, Ordering::Relaxed);
    many
}

static SAID: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

fn say_once(said: &AtomicBool, line: &'static str) {
    if !said.swap(true, Ordering::Relaxed) {
        signal::say(line);
    }
}
