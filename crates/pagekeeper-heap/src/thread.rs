//! Small numbers for threads, used again when a thread has ended: a shard belongs to a number.

use core::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// The calling thread's number, if it has one already.
pub(crate) fn number_so_far() -> Option<usize> {
    Some(NUMBER.get()).filter(|number| *number < MOST)
}

/// Keeps the numbers as they are while the process forks.
#[derive(Debug)]
pub(crate) struct Hold(MutexGuard<'static, [bool; MOST]>);

impl Hold {
    /// The calling thread asks for no number until it lets go.
    pub(crate) fn new() -> Self {
        number();
        Self(TAKEN.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// In the child: only the calling thread is there.
    pub(crate) fn forget_the_vanished(&mut self) {
        *self.0 = [false; MOST];
        if let Some(slot) = number_so_far().and_then(|own| self.0.get_mut(own)) {
            *slot = true;
        }
    }
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
