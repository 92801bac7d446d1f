//! Small numbers for threads, used again when a thread has ended: a shard belongs to a number.

use core::cell::Cell;
use std::sync::{Mutex, PoisonError};

/// Threads beyond these take the heap's lock each time.
pub(crate) const MOST: usize = 128;
const NONE: usize = usize::MAX;
const UNKNOWN: usize = usize::MAX - 1;

static TAKEN: Mutex<[bool; MOST]> = Mutex::new([false; MOST]);

thread_local! {
    // Constant and without a destructor: the fast way reads it and nothing else.
    static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    static GIVE_BACK: GiveBack = const { GiveBack(Cell::new(NONE)) };
    static MARK: Cell<u8> = const { Cell::new(0) };
}

/// Gives the number back when the thread ends.
struct GiveBack(Cell<usize>);

impl Drop for GiveBack {
    fn drop(&mut self) {
        // What the thread frees from here on takes the lock.
        NUMBER.set(NONE);
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = taken.get_mut(self.0.get()) {
            *slot = false;
        }
    }
}

/// The calling thread's number; [`MOST`] or more for a thread that has none.
#[inline]
pub(crate) fn number() -> usize {
    match NUMBER.get() {
        UNKNOWN => take(),
        number => number,
    }
}

#[cold]
fn take() -> usize {
    // Taking one may allocate in a program whose global allocator this is: that one goes without.
    NUMBER.set(NONE);
    let found = {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let found = taken.iter().position(|slot| !slot);
        if let Some(slot) = found.and_then(|at| taken.get_mut(at)) {
            *slot = true;
        }
        found
    };
    let Some(number) = found else {
        return NONE;
    };
    if GIVE_BACK
        .try_with(|give_back| give_back.0.set(number))
        .is_ok()
    {
        NUMBER.set(number);
        return number;
    }
    // The thread is ending already.
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = taken.get_mut(number) {
        *slot = false;
    }
    NONE
}

/// Something that only this thread has while it lives.
pub(crate) fn identity() -> usize {
    MARK.with(|mark| core::ptr::from_ref(mark).addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_come_again() {
        let own = number();
        assert_eq!(number(), own);
        let (other, identity_there) = std::thread::spawn(|| (number(), identity()))
            .join()
            .expect("a thread");
        assert_ne!(own, other);
        assert_ne!(identity(), identity_there);
        for _ in 0..3 * MOST {
            let number = std::thread::spawn(number).join().expect("a thread");
            assert!(number < MOST);
        }
    }
}
