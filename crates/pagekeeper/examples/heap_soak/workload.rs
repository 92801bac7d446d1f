//! Blocks of 16 to 4,096 bytes, allocated, resized and freed at random by several threads; every byte is verified.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: writes to and reads from the blocks under test"
)]

use std::time::{Duration, Instant};

use pagekeeper::{Heap, HeapEntry, Space, SpaceStatus};
use pagekeeper_heap::Request;

/// What shall be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many blocks are allocated, by all threads together.
    pub(crate) blocks: u64,
    /// How many live at a time at most, by all threads together.
    pub(crate) live: usize,
    /// How many threads.
    pub(crate) threads: u64,
    /// What the random numbers begin with.
    pub(crate) seed: u64,
}

/// What lives at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// Blocks.
    pub(crate) blocks: u64,
    /// Bytes asked for.
    pub(crate) bytes: u64,
}

/// Small and repeatable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }
}

/// A block, and what its bytes are made from.
#[derive(Clone, Copy)]
struct Block {
    address: usize,
    size: usize,
    seed: u64,
}

impl Block {
    const NONE: Self = Self {
        address: 0,
        size: 0,
        seed: 0,
    };

    fn bytes(&mut self) -> &mut [u8] {
        let start = std::ptr::with_exposed_provenance_mut(self.address);
        // SAFETY: a block of this thread, of that size, written to its end when it came or grew.
        unsafe { std::slice::from_raw_parts_mut(start, self.size) }
    }

    fn word(seed: u64, at: usize) -> [u8; 8] {
        (seed ^ at as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .to_ne_bytes()
    }

    /// Writes from the word that holds `from` on.
    fn fill(&mut self, from: usize) {
        let seed = self.seed;
        for (at, chunk) in self.bytes().chunks_mut(8).enumerate().skip(from / 8) {
            let word = Self::word(seed, at);
            let length = chunk.len();
            chunk.copy_from_slice(&word[..length]);
        }
    }

    /// Compares the first bytes.
    fn verify(&mut self, upto: usize) {
        let (seed, address) = (self.seed, self.address);
        let upto = upto.min(self.size);
        for (at, chunk) in self.bytes()[..upto].chunks(8).enumerate() {
            let word = Self::word(seed, at);
            assert!(
                chunk == &word[..chunk.len()],
                "word {at} of {address:#x} is wrong"
            );
        }
    }
}

/// One thread's part.
fn run_one(heap: &Heap, mut random: Random, blocks: u64, slots: usize) -> Live {
    let heap = heap.blocks();
    let mut held = vec![Block::NONE; slots];
    let mut allocated = 0;
    while allocated < blocks {
        let at = random.below(slots as u64) as usize;
        let block = &mut held[at];
        let size = 16 + random.below(4081) as usize;
        if block.address == 0 {
            let new = heap.allocate(size, Request::PLAIN).expect("memory");
            *block = Block {
                address: new.as_ptr().expose_provenance(),
                size,
                seed: random.next(),
            };
            block.fill(0);
            allocated += 1;
            continue;
        }
        block.verify(usize::MAX);
        let pointer = std::ptr::with_exposed_provenance_mut(block.address);
        if random.below(3) == 0 {
            let old = block.size;
            // SAFETY: this thread's block.
            let moved = unsafe { heap.resize(pointer, size, false, Request::PLAIN) };
            block.address = moved.expect("memory").as_ptr().expose_provenance();
            block.size = size;
            block.verify(old.min(size));
            block.fill(old.min(size));
        } else {
            // SAFETY: this thread's block, and forgotten.
            unsafe { heap.free(pointer, Request::PLAIN) }.expect("a block");
            *block = Block::NONE;
        }
    }
    let mut live = Live::default();
    for block in held.iter_mut().filter(|block| block.address != 0) {
        block.verify(usize::MAX);
        live.blocks += 1;
        live.bytes += block.size as u64;
    }
    live
}

/// Bytes of a space that have frames.
pub(crate) fn in_ram(status: &SpaceStatus) -> u64 {
    let total = &status.total;
    [total.resident, total.modified, total.standby]
        .into_iter()
        .map(|pages| pages.bytes().get())
        .sum()
}

/// After the heap has gone: commit is as it was at once, RAM once the engine's own thread has given back what lay in the page file's cache.
///
/// # Panics
/// Where something stays.
pub(crate) fn check_all_came_back(space: &Space, before: &SpaceStatus) {
    let after = space.status();
    assert_eq!(after.committed, before.committed, "commit came back");
    let (before, begun) = (in_ram(before), Instant::now());
    while in_ram(&space.status()) > before {
        let has_hung = begun.elapsed() > Duration::from_secs(60);
        assert!(!has_hung, "{:?} stay in RAM", space.status().total);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs the load and compares what the heap says with what lives.
///
/// # Panics
/// Where a byte, a count or a sum is wrong.
pub(crate) fn run(heap: &Heap, load: &Load) -> Live {
    let (blocks, slots) = (
        load.blocks / load.threads,
        load.live / load.threads as usize,
    );
    let parts: Vec<Live> = std::thread::scope(|scope| {
        let start = |thread: u64| {
            let random = Random(load.seed ^ (thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            scope.spawn(move || run_one(heap, random, blocks, slots.max(1)))
        };
        let threads: Vec<_> = (0..load.threads).map(start).collect();
        let join =
            |thread: std::thread::ScopedJoinHandle<'_, Live>| thread.join().expect("a thread");
        threads.into_iter().map(join).collect()
    });
    let live = Live {
        blocks: parts.iter().map(|live| live.blocks).sum(),
        bytes: parts.iter().map(|live| live.bytes).sum(),
    };
    let mut walked = Live::default();
    for entry in heap.entries() {
        if let HeapEntry::Busy { size, .. } | HeapEntry::Large { size, .. } = entry {
            walked.blocks += 1;
            walked.bytes += size as u64;
        }
    }
    assert_eq!(walked, live, "what the walk finds is what lives");
    heap.validate().expect("a whole heap");
    live
}
