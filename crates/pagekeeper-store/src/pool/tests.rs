//! The pool against a map of what was put in: alone, from many threads, short of RAM, while drained.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: each test thread owns the objects that it reads"
)]

use std::collections::HashMap;
use std::sync::Mutex;

use pagekeeper_units::PAGE_SIZE;
use proptest::prelude::*;

use super::*;
use crate::codec::{CodecScratch, Compressed, Damaged, Page, compress};
use crate::sync::AtomicU32;
use crate::testing::{Rng, Texture};

/// A budget of so many pages.
struct Budget {
    left: AtomicU32,
    total: u32,
}

impl Budget {
    fn new(pages: u32) -> Self {
        Self {
            left: AtomicU32::new(pages),
            total: pages,
        }
    }

    fn taken_bytes(&self) -> u64 {
        u64::from(self.total - self.left.load(Relaxed)) * PAGE_SIZE as u64
    }
}

impl FrameSource for Budget {
    fn take(&self, pages: u32) -> bool {
        self.left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(pages))
            .is_ok()
    }

    fn give(&self, pages: u32) {
        let before = self.left.fetch_add(pages, Relaxed);
        assert!(before + pages <= self.total, "more given back than taken");
    }
}

fn pool(mib: u64) -> Pool {
    Pool::new(ByteCount::mib(mib)).unwrap()
}

fn read(pool: &Pool, object: PoolRef) -> Result<Page, Damaged> {
    let mut page = [0; PAGE_SIZE];
    // SAFETY: The test owns the object.
    unsafe { pool.read(object, &mut page) }.map(|()| page)
}

/// A page that packs, and its packed form.
fn packed_page(rng: &mut Rng, scratch: &mut CodecScratch) -> (Page, Vec<u8>) {
    loop {
        let texture = Texture::ALL[rng.below(Texture::ALL.len() as u64) as usize];
        let page = rng.page(texture);
        if let Compressed::Packed(packed) = compress(&page, scratch) {
            return (page, packed.to_vec());
        }
    }
}

#[test]
fn what_goes_in_comes_out_until_it_is_removed() {
    let (mut rng, mut scratch) = (Rng::from_env(), CodecScratch::new());
    let (pool, budget) = (pool(4), Budget::new(1024));
    let (page, packed) = packed_page(&mut rng, &mut scratch);
    let object = pool.insert(&packed, PageNumber::new(77), &budget).unwrap();
    assert_eq!(read(&pool, object).unwrap(), page);
    assert_eq!(pool.owner(object), Some(PageNumber::new(77)));
    assert_eq!(budget.taken_bytes(), 32 << 10);
    assert!(pool.remove(object, &budget));
    assert!(!pool.remove(object, &budget), "twice");
    assert_eq!(read(&pool, object), Err(Damaged));
    assert_eq!(pool.owner(object), None);
    assert_eq!(pool.usage().objects, 0);
}

#[test]
fn names_of_nothing_are_harmless() {
    let (pool, budget) = (pool(1), Budget::new(1024));
    let object = pool.insert(&[1; 100], PageNumber::new(1), &budget).unwrap();
    let mut rng = Rng::from_env();
    for _ in 0..10_000 {
        let name = PoolRef::from_bits(rng.next() as u32 >> rng.below(30));
        if name != object {
            assert_eq!(read(&pool, name), Err(Damaged));
            assert!(!pool.remove(name, &budget));
        }
    }
    assert!(pool.remove(object, &budget));
}

#[test]
fn lengths_that_are_none_are_refused() {
    let (pool, budget) = (pool(1), Budget::new(1024));
    assert_eq!(pool.insert(&[], PageNumber::new(1), &budget), None);
    assert_eq!(
        pool.insert(&[0; PACKED_MAX + 1], PageNumber::new(1), &budget),
        None
    );
    assert!(
        pool.insert(&[0; PACKED_MAX], PageNumber::new(1), &budget)
            .is_some()
    );
    assert!(Pool::new(ByteCount::new(32767)).is_err());
}

#[test]
fn the_budget_is_asked_block_by_block_and_gets_everything_back() {
    let (pool, budget) = (pool(8), Budget::new(64));
    let mut objects = Vec::new();
    while let Some(object) = pool.insert(&[7; 2000], PageNumber::new(3), &budget) {
        objects.push(object);
        assert_eq!(pool.usage().resident_bytes, budget.taken_bytes());
    }
    // 64 pages are 8 blocks of 16 objects.
    assert_eq!(objects.len(), 128);
    assert_eq!(budget.left.load(Relaxed), 0);
    for object in objects.drain(..) {
        assert!(pool.remove(object, &budget));
        assert_eq!(pool.usage().resident_bytes, budget.taken_bytes());
    }
    // A few empty blocks are kept, and go when asked.
    let kept = pool.usage().cached_bytes;
    assert_eq!(kept, (4 * 32) << 10);
    assert_eq!(
        u64::from(pool.give_back_cached(&budget)) * PAGE_SIZE as u64,
        kept
    );
    assert_eq!(budget.taken_bytes(), 0);
    assert_eq!(pool.usage(), PoolUsage::default());
    assert!(
        pool.area.resident_bytes() < 64 << 10,
        "the kernel has the memory back"
    );
}

#[test]
fn without_ram_a_larger_class_takes_it() {
    let (pool, budget) = (pool(1), Budget::new(8));
    let large = pool
        .insert(&[1; 3000], PageNumber::new(1), &budget)
        .unwrap();
    // Nine places of 3,272 bytes are left in the only block.
    let small: Vec<_> = (0..9)
        .map(|_| pool.insert(&[2; 100], PageNumber::new(2), &budget).unwrap())
        .collect();
    assert_eq!(pool.insert(&[2; 100], PageNumber::new(2), &budget), None);
    assert_eq!(pool.usage().packed_bytes, 3000 + 900);
    for object in small.into_iter().chain([large]) {
        assert!(pool.remove(object, &budget));
    }
    assert_eq!(pool.usage().packed_bytes, 0);
}

#[test]
fn the_pool_itself_may_be_full() {
    let (pool, budget) = (Pool::new(ByteCount::kib(64)).unwrap(), Budget::new(1024));
    let mut count = 0;
    while pool
        .insert(&[1; 3000], PageNumber::new(1), &budget)
        .is_some()
    {
        count += 1;
    }
    assert_eq!(count, 20);
    assert_eq!(budget.taken_bytes(), 64 << 10);
}

#[test]
fn a_used_block_starts_clean_in_another_class() {
    let (mut rng, mut scratch) = (Rng::from_env(), CodecScratch::new());
    let (pool, budget) = (pool(8), Budget::new(8));
    for _ in 0..200 {
        let (page, packed) = packed_page(&mut rng, &mut scratch);
        let object = pool.insert(&packed, PageNumber::new(9), &budget).unwrap();
        assert_eq!(read(&pool, object).unwrap(), page);
        let mut list = DrainList::new();
        let block = pool.drain_oldest(&mut list).unwrap();
        assert_eq!(
            list.objects(),
            [PoolObject {
                owner: PageNumber::new(9),
                object
            }]
        );
        pool.end_drain(block);
        assert!(pool.remove(object, &budget));
    }
}

#[test]
fn draining_goes_from_the_oldest_block_on_and_stops_filling_it() {
    let (pool, budget) = (pool(8), Budget::new(1024));
    let owner = PageNumber::new;
    let objects: Vec<_> = (0..48)
        .map(|n| pool.insert(&[1; 2000], owner(n), &budget).unwrap())
        .collect();
    let mut list = DrainList::new();
    let first = pool.drain_oldest(&mut list).unwrap();
    let listed: Vec<_> = list
        .objects()
        .iter()
        .map(|entry| entry.owner.get())
        .collect();
    assert_eq!(listed, (0..16).collect::<Vec<_>>());
    // A hole in it is not filled while it is being drained.
    assert!(pool.remove(objects[0], &budget));
    let later = pool.insert(&[1; 2000], owner(100), &budget).unwrap();
    assert_ne!(later, objects[0]);
    // The next one is the next oldest; the third, the last filled.
    let second = pool.drain_oldest(&mut list).unwrap();
    assert_eq!(list.objects()[0].owner, owner(16));
    let third = pool.drain_oldest(&mut list).unwrap();
    assert_eq!(list.objects()[0].owner, owner(32));
    let fourth = pool.drain_oldest(&mut list).unwrap();
    assert_eq!(list.objects()[0].owner, owner(100));
    assert_eq!(pool.drain_oldest(&mut list), None, "all are being drained");
    assert!(list.objects().is_empty());
    pool.end_drain(first);
    // Its hole is open again.
    assert_eq!(
        pool.insert(&[1; 2000], owner(200), &budget),
        Some(objects[0])
    );
    for object in &objects[16..32] {
        assert!(pool.remove(*object, &budget));
    }
    for block in [second, third, fourth] {
        pool.end_drain(block);
    }
    assert!(pool.drain_oldest(&mut list).is_some());
}

/// Many threads, each with objects of its own, against a map; one more thread drains.
#[test]
fn many_threads_keep_their_objects() {
    let (pool, budget) = (pool(8), Budget::new(2048));
    let drained = Mutex::new(0);
    let seeds = Rng::from_env();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (pool, budget) = (&pool, &budget);
            let mut rng = Rng::new(seeds.clone().next() ^ thread << 32);
            scope.spawn(move || {
                let mut scratch = CodecScratch::new();
                let pages: Vec<_> = (0..32)
                    .map(|_| packed_page(&mut rng, &mut scratch))
                    .collect();
                let mut mine: HashMap<u64, (PoolRef, usize)> = HashMap::new();
                for round in 0..15_000 {
                    let owner = thread << 32 | rng.below(700);
                    match mine.remove(&owner) {
                        Some((object, page)) => {
                            assert_eq!(pool.owner(object), Some(PageNumber::new(owner)));
                            if round % 4 == 0 {
                                assert!(read(pool, object).unwrap() == pages[page].0, "{owner:#x}");
                            }
                            assert!(pool.remove(object, budget));
                        }
                        None => {
                            let page = rng.below(32) as usize;
                            let owner_page = PageNumber::new(owner);
                            if let Some(object) = pool.insert(&pages[page].1, owner_page, budget) {
                                mine.insert(owner, (object, page));
                            }
                        }
                    }
                }
                for (owner, (object, page)) in mine {
                    assert!(read(pool, object).unwrap() == pages[page].0, "{owner:#x}");
                    assert!(pool.remove(object, budget));
                }
            });
        }
        let (pool, drained) = (&pool, &drained);
        scope.spawn(move || {
            let mut list = DrainList::new();
            for _ in 0..3000 {
                if let Some(block) = pool.drain_oldest(&mut list) {
                    let known = |entry: &PoolObject| entry.owner.get() >> 32 < 4;
                    assert!(
                        list.objects().iter().all(known),
                        "a header that nobody wrote"
                    );
                    *drained.lock().unwrap() += list.objects().len();
                    std::thread::yield_now();
                    pool.end_drain(block);
                }
            }
        });
    });
    println!("{} objects listed meanwhile", drained.lock().unwrap());
    assert_eq!(pool.usage().objects, 0);
    assert_eq!(pool.usage().packed_bytes, 0);
    pool.give_back_cached(&budget);
    assert_eq!(budget.taken_bytes(), 0);
}

/// How much RAM is not packed bytes, after random insertions and removals of realistic sizes.
#[test]
fn fragmentation_stays_small() {
    let (mut rng, mut scratch) = (Rng::from_env(), CodecScratch::new());
    let (pool, budget) = (pool(256), Budget::new(65_536));
    let packed: Vec<_> = (0..256)
        .map(|_| {
            // Sizes spread around 1,100 bytes, as heaps of programs pack.
            let (_, packed) = packed_page(&mut rng, &mut scratch);
            let length = (300 + rng.below(800) + rng.below(900)) as usize;
            packed.into_iter().cycle().take(length).collect::<Vec<_>>()
        })
        .collect();
    let mut objects = Vec::new();
    let insert = |objects: &mut Vec<PoolRef>, rng: &mut Rng| {
        let bytes = &packed[rng.below(256) as usize];
        objects.push(pool.insert(bytes, PageNumber::new(1), &budget).unwrap());
    };
    for _ in 0..20_000 {
        insert(&mut objects, &mut rng);
    }
    let waste = |pool: &Pool| {
        let usage = pool.usage();
        (1.0 - usage.packed_bytes as f64 / usage.resident_bytes as f64) * 100.0
    };
    let filled = waste(&pool);
    for _ in 0..200_000 {
        let victim = rng.below(objects.len() as u64) as usize;
        assert!(pool.remove(objects.swap_remove(victim), &budget));
        insert(&mut objects, &mut rng);
    }
    let steady = waste(&pool);
    for _ in 0..10_000 {
        let victim = rng.below(objects.len() as u64) as usize;
        assert!(pool.remove(objects.swap_remove(victim), &budget));
    }
    let halved = waste(&pool);
    for _ in 0..100_000 {
        let victim = rng.below(objects.len() as u64) as usize;
        assert!(pool.remove(objects.swap_remove(victim), &budget));
        insert(&mut objects, &mut rng);
    }
    let settled = waste(&pool);
    println!(
        "waste: {filled:.1} % filled, {steady:.1} % after churn, {halved:.1} % right after half \
         was removed at random, {settled:.1} % after churn at half"
    );
    assert!(filled < 8.0 && steady < 15.0 && settled < 25.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any sequence of insertions and removals, with a tight budget, against a map.
    #[test]
    fn the_pool_behaves_like_a_map(
        steps in proptest::collection::vec((0u64..40, 1usize..=PACKED_MAX, any::<bool>()), 1..400),
        pages in 8u32..200,
    ) {
        let (pool, budget) = (pool(1), Budget::new(pages));
        let mut model: HashMap<u64, (PoolRef, u64)> = HashMap::new();
        let mut list = DrainList::new();
        for (owner, length, drain) in steps {
            if let Some((object, length)) = model.remove(&owner) {
                let bytes = pool.usage().packed_bytes;
                prop_assert_eq!(pool.owner(object), Some(PageNumber::new(owner)));
                prop_assert!(pool.remove(object, &budget));
                prop_assert_eq!(pool.usage().packed_bytes, bytes - length);
            } else if let Some(object) =
                pool.insert(&vec![owner as u8; length], PageNumber::new(owner), &budget)
            {
                prop_assert!(model.values().all(|&(other, _)| other != object));
                model.insert(owner, (object, length as u64));
            }
            if drain && let Some(block) = pool.drain_oldest(&mut list) {
                for entry in list.objects() {
                    prop_assert_eq!(model.get(&entry.owner.get()).map(|m| m.0), Some(entry.object));
                }
                pool.end_drain(block);
            }
            prop_assert_eq!(pool.usage().objects, model.len() as u64);
            prop_assert_eq!(pool.usage().resident_bytes, budget.taken_bytes());
        }
        for (object, _) in model.into_values() {
            prop_assert!(pool.remove(object, &budget));
        }
        pool.give_back_cached(&budget);
        prop_assert_eq!(budget.taken_bytes(), 0);
    }
}
