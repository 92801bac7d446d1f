//! A heap beside a list of what it should hold: random calls, the bytes of every block compared, the walk and the sums compared.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: writes to and reads from the blocks under test"
)]

use std::collections::BTreeMap;

use pagekeeper_heap::{Entry, Heap, Misuse, OVERHEAD, Options, PlainMemory, Request, ResizeError};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    Allocate {
        size: usize,
        zeroed: bool,
    },
    Aligned {
        size: usize,
        align: u32,
    },
    Free {
        which: usize,
    },
    Resize {
        which: usize,
        size: usize,
        in_place: bool,
    },
    FreeTwice {
        which: usize,
    },
    Compact,
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0_usize..200,
        6 => 0_usize..5000,
        2 => 0_usize..200_000,
        1 => 900_000_usize..1_300_000,
    ]
}

fn calls() -> impl Strategy<Value = Call> {
    prop_oneof![
        10 => (sizes(), any::<bool>()).prop_map(|(size, zeroed)| Call::Allocate { size, zeroed }),
        1 => (0_usize..3000, 4_u32..14).prop_map(|(size, align)| Call::Aligned { size, align }),
        7 => any::<usize>().prop_map(|which| Call::Free { which }),
        4 => (any::<usize>(), sizes(), any::<bool>())
            .prop_map(|(which, size, in_place)| Call::Resize { which, size, in_place }),
        1 => any::<usize>().prop_map(|which| Call::FreeTwice { which }),
        1 => Just(Call::Compact),
    ]
}

/// A block as the model sees it.
struct Held {
    size: usize,
    seed: u8,
}

struct Run {
    heap: Heap<PlainMemory>,
    held: BTreeMap<usize, Held>,
    seed: u8,
}

fn pattern(seed: u8, at: usize) -> u8 {
    (at as u8).wrapping_mul(31) ^ seed ^ (at >> 8) as u8
}

impl Run {
    /// Fills a block that is new.
    fn fill(&mut self, address: usize, size: usize) {
        self.seed = self.seed.wrapping_add(37);
        let seed = self.seed;
        self.held.insert(address, Held { size: 0, seed });
        self.fill_from(address, size, 0);
    }

    /// Fills what was added to a block.
    fn fill_from(&mut self, address: usize, size: usize, from: usize) {
        let seed = self.held[&address].seed;
        let base = std::ptr::with_exposed_provenance_mut::<u8>(address);
        for at in from..size {
            // SAFETY: inside the block.
            unsafe { base.add(at).write(pattern(seed, at)) };
        }
        self.held.insert(address, Held { size, seed });
    }

    fn check(&self, address: usize, upto: usize) {
        let held = &self.held[&address];
        let base = std::ptr::with_exposed_provenance::<u8>(address);
        for at in 0..upto.min(held.size) {
            // SAFETY: inside the block.
            let found = unsafe { base.add(at).read() };
            assert_eq!(found, pattern(held.seed, at), "byte {at} of {address:#x}");
        }
    }

    fn pick(&self, which: usize) -> Option<usize> {
        let keys: Vec<_> = self.held.keys().copied().collect();
        (!keys.is_empty()).then(|| keys[which % keys.len()])
    }

    fn step(&mut self, call: &Call) {
        match *call {
            Call::Allocate { size, zeroed } => {
                let request = if zeroed {
                    Request::ZEROED
                } else {
                    Request::PLAIN
                };
                if let Some(block) = self.heap.allocate(size, request) {
                    let address = block.as_ptr().expose_provenance();
                    assert!(address.is_multiple_of(16) && !self.held.contains_key(&address));
                    if zeroed {
                        // SAFETY: inside the block.
                        let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
                        assert!(bytes.iter().all(|byte| *byte == 0));
                    }
                    self.fill(address, size);
                }
            }
            Call::Aligned { size, align } => {
                if let Some(block) = self.heap.allocate_aligned(size, 1 << align, Request::PLAIN) {
                    let address = block.as_ptr().expose_provenance();
                    assert!(address.is_multiple_of(1 << align));
                    self.fill(address, size);
                }
            }
            Call::Free { which } => {
                if let Some(address) = self.pick(which) {
                    self.free(address);
                }
            }
            Call::FreeTwice { which } => {
                if let Some(address) = self.pick(which) {
                    self.free(address);
                    let pointer = std::ptr::with_exposed_provenance_mut(address);
                    // SAFETY: it is free, and must be refused.
                    let again = unsafe { self.heap.free(pointer, Request::PLAIN) };
                    assert!(again.is_err(), "{address:#x} was freed twice");
                }
            }
            Call::Resize {
                which,
                size,
                in_place,
            } => {
                if let Some(address) = self.pick(which) {
                    self.resize(address, size, in_place);
                }
            }
            Call::Compact => {
                self.heap.compact();
            }
        }
    }

    fn free(&mut self, address: usize) {
        self.check(address, usize::MAX);
        let pointer = std::ptr::with_exposed_provenance_mut(address);
        assert_eq!(self.heap.validate_block(pointer), Ok(()));
        // SAFETY: the model forgets it.
        unsafe { self.heap.free(pointer, Request::PLAIN) }.expect("a block");
        self.held.remove(&address);
    }

    fn resize(&mut self, address: usize, size: usize, in_place: bool) {
        let pointer = std::ptr::with_exposed_provenance_mut(address);
        let old = self.held[&address].size;
        // SAFETY: only the model has it.
        match unsafe { self.heap.resize(pointer, size, in_place, Request::ZEROED) } {
            Ok(moved) => {
                let to = moved.as_ptr().expose_provenance();
                assert!(to == address || !in_place);
                let held = self.held.remove(&address).expect("held");
                self.held.insert(to, held);
                self.check(to, size);
                for at in old..size {
                    // SAFETY: inside the block.
                    assert_eq!(unsafe { moved.add(at).read() }, 0, "added byte {at}");
                }
                self.fill_from(to, size, old.min(size));
            }
            Err(error) => {
                assert_eq!(error, ResizeError::NoMemory);
                assert!(!in_place || size > old, "shrinking in place always works");
                self.check(address, usize::MAX);
            }
        }
    }

    fn compare(&self) {
        assert_eq!(self.heap.validate(), Ok(()));
        let (mut after, mut seen, mut bytes) = (None, BTreeMap::new(), 0);
        while let Some(entry) = self.heap.walk(after).expect("a whole heap") {
            if let Entry::Busy {
                address,
                size,
                overhead,
                ..
            } = entry
            {
                seen.insert(address, size);
                bytes += size + overhead;
            }
            if let Entry::Large { address, size, .. } = entry {
                seen.insert(address, size);
                bytes += size + (address & 0xFFF).max(0x40);
            }
            after = Some(entry.cursor());
        }
        let held: BTreeMap<_, _> = self
            .held
            .iter()
            .map(|(at, held)| (*at, held.size))
            .collect();
        assert_eq!(seen, held);
        assert_eq!(self.heap.summary().allocated, bytes as u64);
        for (&address, held) in &self.held {
            let pointer = std::ptr::with_exposed_provenance(address);
            assert_eq!(self.heap.size(pointer), Ok(held.size));
            self.check(address, usize::MAX);
        }
    }
}

fn run(calls: &[Call], maximum: usize, limit: usize, front_end: bool) {
    let options = Options {
        initial: 0,
        maximum,
    };
    let heap = Heap::new(PlainMemory::with_limit(limit), &options).expect("memory");
    if front_end {
        heap.use_front_end();
    }
    let mut run = Run {
        heap,
        held: BTreeMap::new(),
        seed: 0,
    };
    for (number, call) in calls.iter().enumerate() {
        run.step(call);
        if number.is_multiple_of(97) {
            run.compare();
        }
    }
    run.compare();
    let all: Vec<_> = run.held.keys().copied().collect();
    for address in all {
        run.free(address);
    }
    run.compare();
    run.heap.compact();
    run.compare();
    assert_eq!(run.heap.summary().allocated, 0);
    // What is left is the first segment.
    let (summary, memory) = (run.heap.summary(), run.heap.memory());
    assert_eq!(summary.committed, memory.committed() as u64);
    assert_eq!(summary.reserved, memory.reserved() as u64);
    assert!(memory.committed() < 128 << 10, "{summary:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_growing_heap_holds_what_the_model_holds(
        list in prop::collection::vec(calls(), 1..700), front_end in any::<bool>()
    ) {
        run(&list, 0, usize::MAX, front_end);
    }

    #[test]
    fn a_fixed_heap_refuses_and_stays_whole(
        list in prop::collection::vec(calls(), 1..500), maximum in 1_usize..3_000_000, front_end in any::<bool>()
    ) {
        run(&list, maximum, usize::MAX, front_end);
    }

    #[test]
    fn running_out_of_commit_loses_nothing(
        list in prop::collection::vec(calls(), 1..500), limit in 0x2000_usize..4_000_000
    ) {
        run(&list, 0, limit, false);
    }
}

#[test]
fn everything_goes_in_one_stroke() {
    static BEFORE: PlainMemory = PlainMemory::with_limit(usize::MAX);
    struct Lent;
    // SAFETY: passes on to memory that keeps the promise.
    unsafe impl pagekeeper_heap::Memory for Lent {
        fn reserve(&self, size: usize) -> Option<usize> {
            BEFORE.reserve(size)
        }
        fn commit(&self, address: usize, size: usize) -> bool {
            BEFORE.commit(address, size)
        }
        unsafe fn decommit(&self, address: usize, size: usize) -> bool {
            // SAFETY: the caller's promise.
            unsafe { BEFORE.decommit(address, size) }
        }
        unsafe fn release(&self, address: usize, size: usize) {
            // SAFETY: the caller's promise.
            unsafe { BEFORE.release(address, size) };
        }
    }
    let heap = Heap::new(Lent, &Options::default()).expect("memory");
    for number in 0..20_000_usize {
        heap.allocate(number % 3000, Request::PLAIN)
            .expect("memory");
    }
    heap.allocate(5 << 20, Request::PLAIN).expect("memory");
    assert!(BEFORE.reserved() > 30 << 20);
    drop(heap);
    assert_eq!(BEFORE.reserved(), 0);
}

#[test]
fn pointers_that_are_no_blocks_are_refused() {
    let heap = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
    let other = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
    for front_end in [false, true] {
        if front_end {
            heap.use_front_end();
            other.use_front_end();
        }
        let block = heap.allocate(100, Request::PLAIN).expect("memory").as_ptr();
        let large = heap
            .allocate(2 << 20, Request::PLAIN)
            .expect("memory")
            .as_ptr();
        let foreign = other
            .allocate(100, Request::PLAIN)
            .expect("memory")
            .as_ptr();
        let mut on_the_stack = [0_u8; 64];
        // SAFETY: none of them is freed: each is refused.
        unsafe {
            for (pointer, wanted) in [
                (foreign, Misuse::Foreign),
                (on_the_stack.as_mut_ptr(), Misuse::Foreign),
                (std::ptr::null_mut(), Misuse::Foreign),
                (std::ptr::without_provenance_mut(16), Misuse::Foreign),
                (
                    std::ptr::without_provenance_mut(usize::MAX - 15),
                    Misuse::Foreign,
                ),
                (block.wrapping_add(16), Misuse::NoBlock),
                (block.wrapping_add(1), Misuse::NoBlock),
                (block.wrapping_sub(OVERHEAD), Misuse::NoBlock),
                (large.wrapping_add(16), Misuse::NoBlock),
                (large.wrapping_add(1 << 20), Misuse::Foreign),
            ] {
                assert_eq!(
                    heap.free(pointer, Request::PLAIN),
                    Err(wanted),
                    "{pointer:?}"
                );
                assert_eq!(heap.size(pointer), Err(wanted), "{pointer:?}");
                assert_eq!(heap.validate_block(pointer), Err(wanted), "{pointer:?}");
            }
            for pointer in [block, large] {
                assert_eq!(heap.free(pointer, Request::PLAIN), Ok(()));
                assert!(heap.free(pointer, Request::PLAIN).is_err());
                assert!(heap.size(pointer).is_err());
            }
            assert_eq!(other.free(foreign, Request::PLAIN), Ok(()));
        }
        assert_eq!(heap.validate(), Ok(()));
        assert_eq!(other.validate(), Ok(()));
    }
}

#[test]
fn overruns_are_found_and_do_no_harm_to_others() {
    for past in [1_usize, 4, 12, 16, 28] {
        let heap = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
        let blocks: Vec<_> = (0..10)
            .map(|_| heap.allocate(60, Request::PLAIN).expect("memory"))
            .collect();
        assert_eq!(heap.validate(), Ok(()));
        // SAFETY: inside the heap's memory; that is the point.
        unsafe { blocks[4].as_ptr().add(60).write_bytes(0x41, past) };
        assert!(heap.validate().is_err(), "{past} bytes past the end");
        assert!(heap.validate_block(blocks[4].as_ptr()).is_err());
        // The heap goes on with everything else.
        for (number, block) in blocks.iter().enumerate() {
            // SAFETY: freed once each.
            let freed = unsafe { heap.free(block.as_ptr(), Request::PLAIN) };
            assert!(freed.is_ok() || number == 5, "{number} after {past} bytes");
        }
        for _ in 0..100 {
            let block = heap.allocate(200, Request::PLAIN).expect("memory");
            // SAFETY: inside the block.
            unsafe { block.write_bytes(7, 200) };
        }
    }
}

#[test]
fn writing_to_freed_memory_breaks_a_list_at_most() {
    let heap = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
    let blocks: Vec<_> = (0..40)
        .map(|_| heap.allocate(20_000, Request::PLAIN).expect("memory"))
        .collect();
    for block in blocks.iter().step_by(2) {
        // SAFETY: freed, then written to, which is the misuse under test.
        unsafe {
            heap.free(block.as_ptr(), Request::PLAIN).expect("a block");
            block.as_ptr().write_bytes(0x55, 16);
        }
    }
    assert!(heap.validate().is_err());
    for size in (0..100_000).step_by(777) {
        let block = heap.allocate(size, Request::PLAIN).expect("memory");
        // SAFETY: inside the block.
        unsafe { block.write_bytes(9, size) };
    }
    assert!(heap.is_damaged());
}

#[test]
fn large_blocks_cannot_grow_back_in_place() {
    let heap = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
    let block = heap
        .allocate(2 << 20, Request::PLAIN)
        .expect("memory")
        .as_ptr();
    assert_eq!(block.addr() % 0x1000, 0x40);
    // SAFETY: the only user.
    unsafe {
        let committed = heap.summary().committed;
        assert!(heap.resize(block, 1000, true, Request::PLAIN).is_ok());
        assert!(heap.summary().committed <= committed - (2 << 20) + 0x1000);
        let back = heap.resize(block, 2 << 20, true, Request::PLAIN);
        assert_eq!(back, Err(ResizeError::NoMemory));
        assert_eq!(heap.size(block), Ok(1000));
        // An ordinary one can.
        let block = heap
            .allocate(100_000, Request::PLAIN)
            .expect("memory")
            .as_ptr();
        assert!(heap.resize(block, 10, true, Request::PLAIN).is_ok());
        assert!(heap.resize(block, 100_000, true, Request::PLAIN).is_ok());
    }
}

#[test]
fn fixed_heaps_have_the_room_that_windows_heaps_have() {
    let options = Options {
        initial: 0,
        maximum: 0x4_0000,
    };
    let heap = Heap::new(PlainMemory::default(), &options).expect("memory");
    assert!(heap.allocate(0x3_FA00, Request::PLAIN).is_none());
    assert!(heap.allocate(0x3_F400, Request::PLAIN).is_some());
    let options = Options {
        initial: 0,
        maximum: 8 << 20,
    };
    let heap = Heap::new(PlainMemory::default(), &options).expect("memory");
    assert!(heap.allocate(1 << 20, Request::PLAIN).is_none());
    assert!(heap.allocate(0xF_E000, Request::PLAIN).is_some());
}

#[test]
fn the_front_end_is_on_after_eighteen_live_blocks_of_one_size() {
    let heap = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
    for number in 1..=18 {
        assert!(!heap.has_front_end(), "{number}");
        heap.allocate(100, Request::PLAIN).expect("memory");
    }
    assert!(heap.has_front_end());
}
