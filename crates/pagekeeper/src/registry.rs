//! Which arena an address belongs to: asked first thing in every fault, answered without a lock.
//!
//! Holds the arenas of every engine: the inline engine's to answer faults, the others' to recognise access
//! violations as ours.
//!
//! One process has one fault handler, so there is one registry for all spaces. Readers (the handler) announce
//! themselves in a counter and read an immutable sorted table; writers (opening and closing an arena, in user context)
//! publish a new table and free old ones only at a moment when no reader is inside.
//!
//! Wrapped libc calls ask far more often than faults do, and nearly always about memory that is none of ours. So the span
//! of all inline arenas is kept in two words beside the table ([`may_be_inline`]), and the announcement, which all
//! threads write to, is left to those who hit it.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: readers follow a pointer that writers replace"
)]

use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pagekeeper_units::{PageNumber, PageRange};

use crate::engine::inline::arena::Arena;

/// An arena of some engine.
#[derive(Clone)]
pub(crate) struct Registered {
    /// Its address space.
    pub(crate) range: PageRange,
    /// The number of the space that it belongs to.
    pub(crate) space: u64,
    /// The arena itself, where the inline engine serves it.
    pub(crate) inline: Option<Arc<Arena>>,
}

#[derive(Clone, Default)]
struct Table {
    /// Sorted by start; ranges do not overlap.
    arenas: Vec<Registered>,
    /// Parts of inline arenas that something else uses for the time being; sorted as well. Pages of others' arenas need no
    /// entry here: the kernel pages them whoever put what there.
    lent: Vec<Registered>,
}

/// The entry that holds `page`.
fn find_in(sorted: &[Registered], page: PageNumber) -> Option<&Registered> {
    let above = sorted.partition_point(|entry| entry.range.start() <= page);
    let entry = sorted.get(above.checked_sub(1)?)?;
    entry.range.contains(page).then_some(entry)
}

static CURRENT: AtomicPtr<Table> = AtomicPtr::new(core::ptr::null_mut());
static READERS: AtomicUsize = AtomicUsize::new(0);
/// The first page of the lowest inline arena, and the page after the last of the highest; 0 as the end: there is none.
static INLINE_START: AtomicU64 = AtomicU64::new(0);
static INLINE_END: AtomicU64 = AtomicU64::new(0);
static WRITER: Mutex<Graveyard> = Mutex::new(Graveyard { tables: Vec::new() });

struct Graveyard {
    /// Tables that a reader may still be looking at.
    tables: Vec<RetiredTable>,
}

struct RetiredTable(*mut Table);

// SAFETY: a retired table is reachable from here only; it is freed under the writer's lock.
unsafe impl Send for RetiredTable {}

/// A reader's stay: while it lives, no table and no arena found through it is freed.
pub(crate) struct Reading(());

impl Reading {
    #[inline]
    pub(crate) fn begin() -> Self {
        // SeqCst pairs with the writer's: either the writer sees us, or we see its new table.
        READERS.fetch_add(1, Ordering::SeqCst);
        Self(())
    }

    fn table(&self) -> Option<&Table> {
        let table = CURRENT.load(Ordering::SeqCst);
        // SAFETY: a non-null pointer came from Box::into_raw in `change`; it is freed only when READERS was seen at zero
        // after it was replaced, and this stay counts as a reader.
        unsafe { table.as_ref() }
    }

    /// The arena that holds `page`, of whatever engine; of a page that is lent, the space alone.
    #[inline]
    pub(crate) fn find(&self, page: PageNumber) -> Option<&Registered> {
        let table = self.table()?;
        find_in(&table.lent, page).or_else(|| find_in(&table.arenas, page))
    }

    /// The inline arena around `page`, even where that page of it is lent.
    pub(crate) fn owner(&self, page: PageNumber) -> Option<&Arena> {
        find_in(&self.table()?.arenas, page)?.inline.as_deref()
    }

    /// The inline arena that holds `page`.
    #[inline]
    pub(crate) fn find_inline(&self, page: PageNumber) -> Option<&Arena> {
        self.find(page)?.inline.as_deref()
    }

    /// Whether any inline arena has a page in common with `range`.
    pub(crate) fn touches_inline(&self, range: PageRange) -> bool {
        let Some(table) = self.table() else {
            return false;
        };
        let first = table
            .arenas
            .partition_point(|arena| arena.range.end() <= range.start());
        table.arenas[first..]
            .iter()
            .take_while(|arena| arena.range.start() < range.end())
            .any(|arena| arena.inline.is_some())
    }
}

impl Drop for Reading {
    #[inline]
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether there is any inline arena in the process.
#[inline]
pub(crate) fn has_inline() -> bool {
    INLINE_END.load(Ordering::Relaxed) != 0
}

/// Whether `range` touches the span of the inline arenas: the wrapped calls' first question, answered by two loads.
///
/// A page of a live arena is always found. Whoever uses an address in an arena got it from `insert`'s caller, so these loads
/// come after the stores made there; and each bound that is stored as long as the arena is in the table lies on the
/// right side of it. So it does not matter that the two are not read at one moment, nor that the span grows or shrinks
/// for other arenas meanwhile.
#[inline]
pub(crate) fn may_be_inline(range: PageRange) -> bool {
    range.start().get() < INLINE_END.load(Ordering::Relaxed)
        && range.end().get() > INLINE_START.load(Ordering::Relaxed)
}

/// Enters an arena.
pub(crate) fn insert(arena: Registered) {
    change(|table| insert_in(&mut table.arenas, arena));
}

fn insert_in(sorted: &mut Vec<Registered>, entry: Registered) {
    let at = sorted.partition_point(|other| other.range.start() < entry.range.start());
    sorted.insert(at, entry);
}

/// A part of an inline arena is used by something else of the same space: its faults are not the inline engine's.
pub(crate) fn lend(part: Registered) {
    change(|table| {
        table.lent.retain(|other| other.range != part.range);
        insert_in(&mut table.lent, part);
    });
}

/// The part is the inline engine's again.
pub(crate) fn take_back(range: PageRange) {
    change(|table| table.lent.retain(|other| other.range != range));
}

/// Takes an arena out. It goes as soon as no fault looks at any arena: at once, as a rule, else at a later call here
/// or of [`sweep_retired`].
pub(crate) fn remove(range: PageRange) {
    change(|table| {
        table.arenas.retain(|arena| arena.range != range);
        table.lent.retain(|part| !range.covers(part.range));
    });
    for look in 0..LOOKS {
        if sweep_retired() {
            return;
        }
        if look < LOOKS / 2 {
            std::thread::yield_now();
        } else {
            // A reader that has no processor needs one before it can leave. What is kept keeps a descriptor too.
            std::thread::sleep(core::time::Duration::from_millis(1));
        }
    }
}

/// In a forked child: the parent's arenas are not here, and nobody reads any more. Nothing is freed, because freeing an arena
/// would unmap addresses that are somebody else's by now.
pub(crate) fn forget_all() {
    CURRENT.store(core::ptr::null_mut(), Ordering::SeqCst);
    READERS.store(0, Ordering::SeqCst);
    publish_span(&[]);
    if let Ok(mut graveyard) = WRITER.try_lock() {
        graveyard.tables.clear();
    }
}

/// Keeps the registry as it is across a fork, so that the child finds its lock free.
pub(crate) fn hold() -> impl Sized {
    WRITER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a removal looks for a moment without faults before it leaves the rest for later.
const LOOKS: usize = 40;

/// Frees what was taken out, if no fault looks at any arena now; whether nothing is left to be freed.
pub(crate) fn sweep_retired() -> bool {
    let mut graveyard = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    sweep(&mut graveyard);
    graveyard.tables.is_empty()
}

fn change(edit: impl FnOnce(&mut Table)) {
    let mut graveyard = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    let old = CURRENT.load(Ordering::Acquire);
    // SAFETY: only writers free tables, and this one holds the writers' lock.
    let mut table = unsafe { old.as_ref() }.cloned().unwrap_or_default();
    edit(&mut table);
    publish_span(&table.arenas);
    let new = if table.arenas.is_empty() {
        core::ptr::null_mut()
    } else {
        Box::into_raw(Box::new(table))
    };
    CURRENT.store(new, Ordering::SeqCst);
    if !old.is_null() {
        graveyard.tables.push(RetiredTable(old));
    }
    sweep(&mut graveyard);
}

/// Stores the span of the inline arenas of a new table (sorted). Under the writers' lock.
fn publish_span(arenas: &[Registered]) {
    let mut inline = arenas.iter().filter(|arena| arena.inline.is_some());
    let first = inline.next();
    let last = inline.next_back().or(first);
    let start = first.map_or(0, |arena| arena.range.start().get());
    let end = last.map_or(0, |arena| arena.range.end().get());
    INLINE_START.store(start, Ordering::SeqCst);
    INLINE_END.store(end, Ordering::SeqCst);
}

fn sweep(graveyard: &mut Graveyard) {
    if READERS.load(Ordering::SeqCst) != 0 {
        return;
    }
    for table in graveyard.tables.drain(..) {
        // SAFETY: the table was replaced before READERS was seen at zero, so no reader holds it, and no later reader
        // can find it.
        drop(unsafe { Box::from_raw(table.0) });
    }
}
