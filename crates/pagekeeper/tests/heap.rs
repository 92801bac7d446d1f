//! Heaps in paged memory: a load by one, two and eight threads, in RAM and with a quarter of it, and everything given back.
//!
//! The same at full size: `cargo run --release -p pagekeeper --example heap_soak`.

#[path = "../examples/heap_soak/workload.rs"]
mod workload;

use allocator_api2::vec::Vec as HeapVec;
use pagekeeper::{ByteCount, EngineKind, Heap, HeapEntry, Settings, Space};
use workload::{Load, check_all_came_back, run};

fn seed() -> u64 {
    let seed = std::env::var("PAGEKEEPER_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0x5EED);
    println!("PAGEKEEPER_SEED={seed}");
    seed
}

fn space(ram: ByteCount) -> Space {
    Settings::default().ram(ram).build().expect("a space")
}

#[test]
fn blocks_stay_whole_in_ram_and_with_a_quarter_of_it() {
    // About 6,000 blocks of 2 KiB live: 12 MiB and more.
    for (ram, threads) in [(64, 1), (64, 2), (64, 8), (4, 1), (4, 8)] {
        let space = space(ByteCount::mib(ram));
        let before = space.status();
        let heap = Heap::new(&space).expect("a heap");
        let load = Load {
            blocks: 12_000,
            live: 12_000,
            threads,
            seed: seed() + threads,
        };
        let live = run(&heap, &load);
        assert!(live.bytes > 9 << 20, "{live:?}");
        drop(heap);
        check_all_came_back(&space, &before);
    }
}

#[test]
fn freed_memory_is_given_back_before_the_heap_goes() {
    let space = space(ByteCount::mib(64));
    let heap = Heap::new(&space).expect("a heap");
    let empty = space.status().committed.get();
    let mut blocks = HeapVec::new_in(heap.clone());
    for number in 0..3_000_u32 {
        let mut block = HeapVec::new_in(heap.clone());
        block.resize(10_000, number as u8);
        blocks.push(block);
    }
    let full = space.status().committed.get();
    assert!(full - empty > 28 << 20);
    drop(blocks);
    let after = space.status().committed.get();
    assert!(after - empty < 6 << 20, "{after} of {full}");
    heap.compact();
    let compact = space.status().committed.get();
    assert!(compact <= empty + (128 << 10), "{compact} of {empty}");
    assert_eq!(heap.summary().allocated, 0);
}

#[test]
fn every_engine_and_size_works() {
    let space = space(ByteCount::mib(32));
    for engine in [EngineKind::Mapped, EngineKind::Resident, EngineKind::Inline] {
        let built = Heap::builder(&space)
            .engine(engine)
            .initial(ByteCount::kib(100))
            .build();
        let heap = match built {
            Ok(heap) => heap,
            Err(error) => {
                println!("skipped, because {error}");
                continue;
            }
        };
        let mut numbers = HeapVec::new_in(heap.clone());
        numbers.extend(0..500_000_u64);
        assert!(
            numbers
                .iter()
                .enumerate()
                .all(|(at, number)| at as u64 == *number)
        );
        let large = heap
            .entries()
            .filter(|entry| matches!(entry, HeapEntry::Large { .. }));
        assert_eq!(large.count(), 1);
        assert_eq!(heap.validate(), Ok(()));
    }
}

#[test]
fn what_cannot_be_had_is_refused_with_a_reason() {
    let space = space(ByteCount::mib(32));
    let error = Heap::builder(&space)
        .initial(ByteCount::tib(100))
        .build()
        .expect_err("too large");
    assert!(error.to_string().contains("no free range"), "{error}");
    let heap = Heap::builder(&space)
        .maximum(ByteCount::kib(256))
        .build()
        .expect("a heap");
    let mut bytes = HeapVec::<u8, _>::new_in(heap.clone());
    assert!(bytes.try_reserve(300 << 10).is_err());
    assert!(bytes.try_reserve(200 << 10).is_ok());
}
