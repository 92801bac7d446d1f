//! Several threads on one heap: each its own blocks, blocks handed over, the heap locked, walked and checked meanwhile.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: writes to and reads from the blocks under test"
)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use pagekeeper_heap::{Entry, Heap, Options, PlainMemory, Request};

/// Small and repeatable.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn seed() -> u64 {
    let seed = std::env::var("PAGEKEEPER_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0x5EED_1234_u64);
    println!("PAGEKEEPER_SEED={seed}");
    seed
}

/// Writes the block's address into its ends.
fn stamp(address: usize, size: usize) {
    let base = std::ptr::with_exposed_provenance_mut::<u8>(address);
    let mark = (address >> 4) as u8;
    // SAFETY: inside the block.
    unsafe {
        base.write(mark);
        base.add(size - 1).write(mark);
    }
}

fn check(address: usize, size: usize) {
    let base = std::ptr::with_exposed_provenance::<u8>(address);
    let mark = (address >> 4) as u8;
    // SAFETY: inside the block.
    assert!(unsafe { base.read() == mark && base.add(size - 1).read() == mark });
}

fn free(heap: &Heap<PlainMemory>, address: usize, request: Request) {
    let pointer = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: each block is freed once.
    unsafe { heap.free(pointer, request) }.expect("a block");
}

#[test]
fn blocks_stay_whole_while_threads_allocate_free_lock_walk_and_validate() {
    let heap = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
    let seed = seed();
    let live = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (heap, live) = (&heap, &live);
            scope.spawn(move || {
                let mut random = Random(seed ^ (thread + 1) << 32);
                let mut held = Vec::new();
                let request = Request {
                    impatient: thread % 2 == 1,
                    ..Request::PLAIN
                };
                for round in 0..30_000 {
                    if held.len() < 300 && random.below(2) == 0 {
                        let most = if random.below(50) == 0 { 300_000 } else { 2000 };
                        let size = 1 + random.below(most) as usize;
                        let Some(block) = heap.allocate(size, request) else {
                            assert!(request.impatient);
                            continue;
                        };
                        let address = block.as_ptr().expose_provenance();
                        stamp(address, size);
                        held.push((address, size));
                    } else if !held.is_empty() {
                        let at = random.below(held.len() as u64) as usize;
                        let (address, size) = held.swap_remove(at);
                        check(address, size);
                        free(heap, address, request);
                    }
                    if thread == 0 && round % 1000 == 0 {
                        assert_eq!(heap.validate(), Ok(()));
                    }
                    if thread == 1 && round % 1500 == 0 {
                        heap.compact();
                    }
                    if thread == 2 && round % 900 == 0 {
                        heap.lock();
                        let (mut after, mut busy) = (None, 0);
                        while let Some(entry) = heap.walk(after).expect("a whole heap") {
                            busy += usize::from(matches!(entry, Entry::Busy { .. }));
                            after = Some(entry.cursor());
                        }
                        assert!(busy >= held.len());
                        assert!(heap.unlock() && !heap.unlock());
                    }
                }
                live.fetch_add(held.len(), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(heap.validate(), Ok(()));
    let (mut after, mut busy) = (None, 0);
    while let Some(entry) = heap.walk(after).expect("a whole heap") {
        busy += usize::from(matches!(entry, Entry::Busy { .. }));
        after = Some(entry.cursor());
    }
    assert_eq!(busy, live.load(Ordering::Relaxed));
}

#[test]
fn blocks_may_be_freed_by_another_thread() {
    let heap = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
    let (send, receive) = mpsc::sync_channel::<(usize, usize)>(1000);
    std::thread::scope(|scope| {
        let heap = &heap;
        scope.spawn(move || {
            for number in 0..100_000_usize {
                let size = 1 + number % 700;
                let block = heap.allocate(size, Request::PLAIN).expect("memory");
                let address = block.as_ptr().expose_provenance();
                stamp(address, size);
                send.send((address, size)).expect("a receiver");
            }
        });
        for (address, size) in receive {
            check(address, size);
            free(heap, address, Request::PLAIN);
        }
    });
    assert_eq!(heap.validate(), Ok(()));
    assert_eq!(heap.summary().allocated, 0);
    assert!(heap.summary().committed < 8 << 20);
}

#[test]
fn a_locked_heap_makes_others_wait_unless_they_ask_not_to() {
    for front_end in [false, true] {
        let heap = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
        if front_end {
            heap.use_front_end();
        }
        let warm = heap.allocate(100, Request::PLAIN).expect("memory");
        let got_through = AtomicBool::new(false);
        heap.lock();
        heap.lock();
        std::thread::scope(|scope| {
            let (heap, got_through) = (&heap, &got_through);
            let (send, started) = mpsc::channel();
            let waiting = scope.spawn(move || {
                let unserialised = Request {
                    serialised: false,
                    ..Request::PLAIN
                };
                heap.allocate(100, unserialised).expect("memory");
                let impatient = Request {
                    impatient: true,
                    ..Request::PLAIN
                };
                assert!(heap.allocate(100, impatient).is_none());
                send.send(()).expect("a receiver");
                heap.allocate(100, Request::PLAIN).expect("memory");
                got_through.store(true, Ordering::SeqCst);
            });
            started.recv().expect("a sender");
            // The owner gets on.
            heap.allocate(100, Request::PLAIN).expect("memory");
            assert!(heap.unlock());
            for _ in 0..100 {
                std::thread::yield_now();
                assert!(!got_through.load(Ordering::SeqCst));
            }
            assert!(heap.unlock());
            waiting.join().expect("the other thread");
        });
        assert!(got_through.load(Ordering::SeqCst) && !heap.unlock());
        free(&heap, warm.as_ptr().expose_provenance(), Request::PLAIN);
        assert_eq!(heap.validate(), Ok(()));
    }
}
