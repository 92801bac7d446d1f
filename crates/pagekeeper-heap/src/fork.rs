//! Standing still while the process forks.
//!
//! A child has a copy of the heap's locks and marks, but only the thread that forked: what another one held at that moment would be held
//! for ever. So the forking thread takes everything first, as C libraries do with their own heaps: nobody is on a fast way, nobody
//! has the core.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: keeps locks of a heap together with the heap"
)]

use std::sync::{Arc, MutexGuard};

use crate::core::Core;
use crate::gate::Holder;
use crate::heap::Heap;
use crate::memory::Memory;
use crate::thread;

/// Heaps that stand still, from before a fork until after it. Dropping it lets them go on, in the parent and in the child.
///
/// ```
/// use std::sync::Arc;
/// use pagekeeper_heap::{Heap, Options, PlainMemory, Request, Still};
/// let heap = Arc::new(Heap::new(PlainMemory::default(), &Options::default()).expect("memory"));
/// let still = Still::new(vec![Arc::clone(&heap)]);
/// // Here the process forks; the child says `still.forget_the_vanished()`.
/// drop(still);
/// assert!(heap.allocate(100, Request::PLAIN).is_some());
/// ```
pub struct Still<M: Memory + 'static> {
    // Dropped in this order.
    numbers: thread::Hold,
    heaps: Vec<Stopped<M>>,
}

struct Stopped<M: Memory + 'static> {
    holder: Option<MutexGuard<'static, Holder>>,
    core: Option<MutexGuard<'static, Core>>,
    heap: Arc<Heap<M>>,
}

impl<M: Memory> Still<M> {
    /// Stops heaps. Waits until no other thread is at work in one of them; a program that has locked a heap keeps its lock.
    ///
    /// Whoever stops several at once must be the only one to do so, and hold no lock that a heap's memory takes.
    pub fn new(heaps: Vec<Arc<Heap<M>>>) -> Self {
        let heaps = heaps.into_iter().map(Stopped::new).collect();
        Self {
            numbers: thread::Hold::new(),
            heaps,
        }
    }

    /// In the child, before it lets go: other threads are not there, so none has locked a heap, and their numbers are free.
    pub fn forget_the_vanished(&mut self) {
        self.numbers.forget_the_vanished();
        for stopped in &mut self.heaps {
            if let Some(holder) = &mut stopped.holder {
                stopped.heap.gate.forget_the_vanished(holder);
            }
        }
    }
}

impl<M: Memory> Stopped<M> {
    fn new(heap: Arc<Heap<M>>) -> Self {
        // SAFETY: the guards below go before the heap that this value keeps, whose place does not change.
        let kept: &'static Heap<M> = unsafe { &*Arc::as_ptr(&heap) };
        let core = kept.core();
        // A signal's handler that forks may have broken into this thread's own fast way, which must not wait for itself.
        kept.stop_shards(thread::number_so_far());
        let holder = kept.gate.holder();
        Self {
            holder: Some(holder),
            core: Some(core),
            heap,
        }
    }
}

impl<M: Memory> Drop for Stopped<M> {
    fn drop(&mut self) {
        self.holder = None;
        self.heap.gate.go();
        self.core = None;
    }
}

impl<M: Memory> core::fmt::Debug for Still<M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Still")
            .field("heaps", &self.heaps.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::classes::class_served;
    use crate::header::{Header, State};
    use crate::{Options, PlainMemory, Request};

    fn heap() -> Arc<Heap<PlainMemory>> {
        // Whole pieces from the beginning: blocks there take the fast way.
        let options = Options {
            initial: 1 << 20,
            maximum: 0,
        };
        let heap = Heap::new(PlainMemory::default(), &options).expect("memory");
        heap.use_front_end();
        Arc::new(heap)
    }

    /// What a child that hangs, or dies, does not live to say.
    fn use_all(heap: &Heap<PlainMemory>) {
        heap.lock();
        assert_eq!(heap.validate(), Ok(()));
        assert!(heap.summary().committed > 0);
        assert!(heap.unlock());
        let block = heap.allocate(100, Request::PLAIN).expect("memory");
        // SAFETY: the block is nobody's.
        unsafe { heap.free(block.as_ptr(), Request::PLAIN) }.expect("a block");
        heap.compact();
        assert_eq!(heap.validate(), Ok(()));
    }

    /// Forks with the heap standing still; how the child ended.
    fn fork(heap: &Arc<Heap<PlainMemory>>, forked: &AtomicBool) -> i32 {
        let mut still = Still::new(vec![Arc::clone(heap)]);
        forked.store(true, Ordering::SeqCst);
        // SAFETY: the child uses the heap and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: a child that hangs is ended.
            unsafe { libc::alarm(30) };
            still.forget_the_vanished();
            drop(still);
            let body = std::panic::AssertUnwindSafe(|| {
                use_all(heap);
                // A new thread has a number and a shard.
                std::thread::scope(|scope| scope.spawn(|| use_all(heap)).join().is_ok())
            });
            let was_well = std::panic::catch_unwind(body).unwrap_or(false);
            // SAFETY: ends the child without the harness.
            unsafe { libc::_exit(i32::from(!was_well)) };
        }
        drop(still);
        let mut status = -1;
        // SAFETY: our own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        status
    }

    #[test]
    fn a_fork_waits_for_a_thread_on_its_fast_way() {
        let heap = heap();
        let forked = AtomicBool::new(false);
        let (entered, has_entered) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let (heap, forked) = (&heap, &forked);
            let held = scope.spawn(move || {
                let block = heap.allocate(100, Request::PLAIN).expect("memory");
                let (block, header) = heap
                    .look(block.as_ptr().addr())
                    .expect("a block")
                    .expect("a small one");
                let mark = || {
                    entered.send(()).expect("a receiver");
                    may_go.recv().expect("a sender");
                    heap.seal
                        .write(block, Header::new(header.units, State::Cached));
                };
                let class = class_served(header.units);
                assert!(heap.shards.push(&heap.gate, class, block, mark));
            });
            has_entered.recv().expect("a sender");
            let forker = scope.spawn(move || fork(heap, forked));
            for _ in 0..200 {
                std::thread::yield_now();
                assert!(!forked.load(Ordering::SeqCst));
            }
            go.send(()).expect("a receiver");
            assert_eq!(forker.join().expect("a thread"), 0, "the child was content");
            held.join().expect("a thread");
        });
        use_all(&heap);
    }

    #[test]
    fn a_child_is_not_kept_out_by_a_thread_that_is_not_there() {
        let heap = heap();
        let (locked, is_locked) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let heap = &heap;
            scope.spawn(move || {
                heap.lock();
                locked.send(()).expect("a receiver");
                may_go.recv().expect("a sender");
                assert!(heap.unlock());
            });
            is_locked.recv().expect("a sender");
            assert_eq!(fork(heap, &AtomicBool::new(false)), 0);
            go.send(()).expect("a receiver");
        });
        // The forking thread's own lock stays its own, in the child too.
        heap.lock();
        assert_eq!(fork_locked(&heap), 0);
        assert!(heap.unlock() && !heap.unlock());
        use_all(&heap);
    }

    fn fork_locked(heap: &Arc<Heap<PlainMemory>>) -> i32 {
        let mut still = Still::new(vec![Arc::clone(heap)]);
        // SAFETY: the child unlocks the heap and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: a child that hangs is ended.
            unsafe { libc::alarm(30) };
            still.forget_the_vanished();
            drop(still);
            let was_locked = heap.unlock() && !heap.unlock();
            // SAFETY: ends the child without the harness.
            unsafe { libc::_exit(i32::from(!was_locked)) };
        }
        drop(still);
        let mut status = -1;
        // SAFETY: our own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        status
    }
}
