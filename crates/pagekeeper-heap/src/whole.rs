//! What concerns a heap as a whole: locking it, giving memory back, sums; stopping all threads' fast ways for a while.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reaches all shards while they are stopped"
)]

use crate::OVERHEAD;
use crate::core::Core;
use crate::header::Header;
use crate::heap::Heap;
use crate::memory::Memory;
use crate::request::{Request, Summary};

impl<M: Memory> Heap<M> {
    /// Locks the heap for this thread: others wait. Recursive. Windows: `HeapLock`.
    pub fn lock(&self) {
        if self.gate.lock() {
            self.memory.barrier();
            self.shards.wait(None);
            // Whoever came in before the gate was closed goes out.
            drop(self.core());
            self.gate.rest();
        }
    }

    /// Undoes one [`Heap::lock`]; false when this thread has not locked it. Windows: `HeapUnlock`.
    pub fn unlock(&self) -> bool {
        self.gate.unlock()
    }

    /// Gives back all pages that no block needs; the largest block that could be had without more memory. Windows: `HeapCompact`.
    pub fn compact(&self) -> usize {
        let Some(mut core) = self.enter(Request::PLAIN) else {
            return 0;
        };
        let largest = core.bins.largest();
        self.empty_shards(&mut core);
        let largest = largest.max(core.bins.largest());
        core.give_all_back(&self.memory);
        (largest as usize * crate::classes::UNIT).saturating_sub(OVERHEAD)
    }

    /// Sums over the heap. Windows: `HeapSummary`.
    pub fn summary(&self) -> Summary {
        let core = self.core();
        let cached: usize = self.with_shards_stopped(&core, |core| {
            let bytes = |block| self.seal.read(block).map_or(0, Header::bytes);
            // SAFETY: the core's lock is held and the shards are stopped.
            let in_shards = unsafe { self.shards.all() };
            let in_shards: usize = in_shards
                .flat_map(|(_, pair)| pair.blocks())
                .map(bytes)
                .sum();
            in_shards + core.magazines.blocks().map(bytes).sum::<usize>()
        });
        let in_segments =
            |segment: &crate::segment::Segment| segment.top - OVERHEAD - segment.first;
        let blocks: usize = core.segments.iter().map(in_segments).sum();
        let reserved: usize = core.segments.iter().map(|segment| segment.size).sum();
        let mut summary = Summary {
            allocated: blocks.saturating_sub(core.free + cached) as u64,
            committed: core.committed as u64,
            reserved: reserved as u64,
            most_reserved: 0,
        };
        for large in core.large.iter() {
            summary.allocated += (large.size() + large.overhead()) as u64;
            summary.committed += large.committed() as u64;
            summary.reserved += large.reserved() as u64;
        }
        summary.most_reserved = summary.reserved;
        summary
    }

    /// Runs while no thread is on its fast way. The core's lock is held.
    pub(crate) fn with_shards_stopped<T>(&self, core: &Core, run: impl FnOnce(&Core) -> T) -> T {
        self.stop_shards(None);
        let result = run(core);
        self.gate.go();
        result
    }

    /// Closes the gate and waits for all threads but the spared one. The core's lock is held.
    pub(crate) fn stop_shards(&self, spared: Option<usize>) {
        let at_rest = self.gate.is_at_rest();
        self.gate.stop();
        if !at_rest {
            self.memory.barrier();
        }
        self.shards.wait(spared);
    }

    /// Puts all blocks in magazines back into the bins.
    pub(crate) fn empty_shards(&self, core: &mut Core) {
        self.stop_shards(None);
        // SAFETY: the core's lock is held and the shards are stopped.
        for (_, pair) in unsafe { self.shards.all() } {
            for magazine in [pair.loaded, pair.spare] {
                // SAFETY: as above.
                if let Some(magazine) = unsafe { magazine.as_mut() } {
                    core.spill(&self.memory, magazine);
                }
            }
        }
        core.spill_full(&self.memory);
        self.gate.go();
    }
}
