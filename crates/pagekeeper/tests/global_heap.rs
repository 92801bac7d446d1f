//! A program whose whole Rust heap lies in paged memory, with less RAM than it uses.

use std::collections::BTreeMap;

use pagekeeper::{ByteCount, PagedGlobal, Space};

#[global_allocator]
static HEAP: PagedGlobal = PagedGlobal::new(ByteCount::mib(8));

#[test]
fn collections_of_all_kinds_by_several_threads() {
    let heap = HEAP.heap().expect("memory");
    let maps: Vec<BTreeMap<u32, String>> = std::thread::scope(|scope| {
        let build = |thread: u32| {
            scope.spawn(move || {
                (0..20_000_u32)
                    .map(|number| {
                        (
                            number ^ thread,
                            format!("{thread} {number} {}", "x".repeat(number as usize % 200)),
                        )
                    })
                    .collect()
            })
        };
        let threads: Vec<_> = (0..4).map(build).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread"))
            .collect()
    });
    assert!(heap.summary().allocated > 8 << 20, "{:?}", heap.summary());
    for (thread, map) in maps.iter().enumerate() {
        assert_eq!(map.len(), 20_000);
        for (key, text) in map {
            let number = key ^ thread as u32;
            assert!(text.starts_with(&format!("{thread} {number} ")));
            assert!(text.ends_with(&"x".repeat(number as usize % 200)));
        }
    }
    drop(maps);
    assert_eq!(heap.validate(), Ok(()));
}

#[test]
fn a_space_is_used_while_it_allocates_from_another() {
    // What the second space keeps of itself lies in the first one's heap, and blocks come and go in both meanwhile.
    let space = Space::builder()
        .ram(ByteCount::mib(8))
        .build()
        .expect("a space");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..20_u64 {
                    let reservation = space
                        .reserve(ByteCount::mib(2))
                        .committed()
                        .build()
                        .expect("memory");
                    let words: Vec<u64> = (0..30_000).map(|word| word ^ round).collect();
                    assert_eq!(words[29_999], 29_999 ^ round);
                    drop(reservation);
                }
            });
        }
    });
}
