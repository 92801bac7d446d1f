//! Stopping the fast ways of all threads.
//!
//! A thread on its fast way says so in its shard, then looks at the gate; whoever closes the gate makes all threads pass a
//! barrier, then waits until no shard is in use. With [`crate::Memory::barrier`] the closing side pays for both; without, each
//! fast way has a fence.
//!
//! Two reasons close it: the heap itself for a while (`STOPPED`, with the core's lock held), and a program that locks the heap
//! (`LOCKED`), whose thread alone then gets on, and always by the core's lock.

use core::sync::atomic::{AtomicU32, Ordering, compiler_fence, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::thread;

const STOPPED: u32 = 1;
const LOCKED: u32 = 2;
/// Locked, and every thread has passed the barrier since and been waited for.
const AT_REST: u32 = 4;

#[derive(Debug)]
pub(crate) struct Gate {
    closed: AtomicU32,
    holder: Mutex<Holder>,
    opened: Condvar,
    /// Whether the closing side brings the barriers.
    has_barrier: bool,
}

/// The thread that has locked the heap, and how often.
#[derive(Debug)]
pub(crate) struct Holder {
    thread: usize,
    depth: u64,
}

impl Gate {
    pub(crate) const fn new(has_barrier: bool) -> Self {
        Self {
            closed: AtomicU32::new(0),
            holder: Mutex::new(Holder {
                thread: 0,
                depth: 0,
            }),
            opened: Condvar::new(),
            has_barrier,
        }
    }

    /// Whether a thread whose shard is marked as in use may go on.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        if self.has_barrier {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
        self.closed.load(Ordering::Relaxed) == 0
    }

    /// Closes it for a while. The caller holds the core's lock, passes the barrier and waits for the shards.
    pub(crate) fn stop(&self) {
        self.closed.fetch_or(STOPPED, Ordering::SeqCst);
    }

    pub(crate) fn go(&self) {
        self.closed.fetch_and(!STOPPED, Ordering::Release);
    }

    /// Whether another thread has locked the heap.
    pub(crate) fn is_locked_by_another(&self) -> bool {
        if self.closed.load(Ordering::Acquire) & LOCKED == 0 {
            return false;
        }
        let holder = self.holder();
        holder.depth != 0 && holder.thread != thread::identity()
    }

    /// Waits until no other thread has locked the heap.
    pub(crate) fn wait(&self) {
        drop(self.holder_when_free(thread::identity()));
    }

    /// The holder, once that is nobody else than `me`.
    fn holder_when_free(&self, me: usize) -> MutexGuard<'_, Holder> {
        let mut holder = self.holder();
        while holder.depth != 0 && holder.thread != me {
            holder = self
                .opened
                .wait(holder)
                .unwrap_or_else(PoisonError::into_inner);
        }
        holder
    }

    /// Locks the heap for this thread; whether it was not locked by it before.
    pub(crate) fn lock(&self) -> bool {
        let me = thread::identity();
        let mut holder = self.holder_when_free(me);
        holder.thread = me;
        holder.depth += 1;
        let is_first = holder.depth == 1;
        if is_first {
            self.closed.fetch_or(LOCKED, Ordering::SeqCst);
        }
        is_first
    }

    /// Undoes one `lock`; false when this thread has not locked the heap.
    pub(crate) fn unlock(&self) -> bool {
        let mut holder = self.holder();
        if holder.depth == 0 || holder.thread != thread::identity() {
            return false;
        }
        holder.depth -= 1;
        if holder.depth == 0 {
            self.closed
                .fetch_and(!(LOCKED | AT_REST), Ordering::Release);
            self.opened.notify_all();
        }
        true
    }

    /// The thread that has locked the heap has passed the barrier and waited for the shards.
    pub(crate) fn rest(&self) {
        self.closed.fetch_or(AT_REST, Ordering::Release);
    }

    /// Whether all shards are at rest already, because a program has locked the heap. That it is about to is not enough: a
    /// thread may be on its fast way still, unseen until the barrier.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.closed.load(Ordering::Acquire) & AT_REST != 0
    }

    /// In a forked child: a thread that is not there has not locked the heap either.
    pub(crate) fn forget_the_vanished(&self, holder: &mut Holder) {
        if holder.depth != 0 && holder.thread != thread::identity() {
            holder.depth = 0;
            self.closed
                .fetch_and(!(LOCKED | AT_REST), Ordering::Release);
        }
    }

    pub(crate) fn holder(&self) -> MutexGuard<'_, Holder> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
