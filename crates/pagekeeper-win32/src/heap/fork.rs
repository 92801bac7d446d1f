//! The table of heaps across `fork`: the forking thread holds its locks, so that the child does not find one held by a thread that is not
//! there. The heaps themselves are the library's affair.

#![allow(unsafe_code, reason = "UNSAFETY: asks libc to be told of forks")]

use std::cell::RefCell;
use std::sync::{MutexGuard, Once};

use super::{movable, table};

/// What the forking thread holds. Dropped in this order, which is the other way round from how it was taken.
struct Held {
    _open: table::Hold,
    _entries: MutexGuard<'static, ()>,
}

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Asks libc to be told, once in a process's life. To be called when the library has done the same: who comes later is told
/// earlier, and these locks are taken before those of heaps.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    // SAFETY: the functions live as long as the program. Refused only without memory: then children may find a lock held.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(Some(before), Some(after), Some(after));
    });
}

unsafe extern "C" fn before() {
    let entries = movable::entries();
    let held = Held {
        _open: table::hold(),
        _entries: entries,
    };
    // In a thread that is about to end there is no place to keep it.
    let _ = HELD.try_with(|place| *place.borrow_mut() = Some(held));
}

unsafe extern "C" fn after() {
    let _ = HELD.try_with(|held| drop(held.borrow_mut().take()));
}
