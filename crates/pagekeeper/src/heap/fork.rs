//! Heaps across `fork`: the forking thread stops all of them first, so that the child finds no lock and no mark of a thread that is not
//! there. Whether the child has the blocks, too, is the space's affair (`fork_copies`).

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pagekeeper_heap::Still;

use super::{HeapBlocks, HeapMemory};
use crate::inside::Inside;

/// All heaps of the process.
static HEAPS: Mutex<Vec<Weak<HeapBlocks>>> = Mutex::new(Vec::new());

/// What the forking thread holds.
struct Held {
    // Dropped in this order. What the forking thread allocates meanwhile must not come from a heap that stands still.
    still: Still<HeapMemory>,
    _heaps: MutexGuard<'static, Vec<Weak<HeapBlocks>>>,
    _inside: Inside,
}

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// A heap that forks have to look after.
pub(super) fn enter(heap: &Arc<HeapBlocks>) {
    // The list must not come from a heap that may be waiting for the list.
    let _inside = Inside::enter();
    let mut heaps = HEAPS.lock().unwrap_or_else(PoisonError::into_inner);
    heaps.retain(|heap| heap.strong_count() != 0);
    heaps.push(Arc::downgrade(heap));
}

/// Before a fork, and before any lock of a space is taken: a heap calls its space with its own lock held.
pub(crate) fn before() {
    let inside = Inside::enter();
    let heaps = HEAPS.lock().unwrap_or_else(PoisonError::into_inner);
    let still = Still::new(heaps.iter().filter_map(Weak::upgrade).collect());
    let held = Held {
        still,
        _heaps: heaps,
        _inside: inside,
    };
    // In a thread that is about to end there is no place to keep it: the locks go, and a child must not use its heaps.
    let _ = HELD.try_with(|place| *place.borrow_mut() = Some(held));
}

fn take_held() -> Option<Held> {
    HELD.try_with(|held| held.borrow_mut().take())
        .ok()
        .flatten()
}

/// After it, in the parent, without any lock of a space.
pub(crate) fn after_in_parent() {
    drop(take_held());
}

/// After it, in the child, where spaces that are copied have come back.
pub(crate) fn after_in_child() {
    if let Some(mut held) = take_held() {
        held.still.forget_the_vanished();
    }
}
