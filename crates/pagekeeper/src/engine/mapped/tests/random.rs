//! Random operations from four threads against a shadow copy, with hardly any anonymous share.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use pagekeeper_model::Protection;

use super::failures::is_reachable;
use super::*;

const PAGES: u64 = 24 * MIB;

/// What each page is and holds.
#[derive(Clone, Copy, Default)]
struct Shadow {
    protection: Option<Protection>,
    value: u64,
}

fn seconds() -> u64 {
    let text = std::env::var("PAGEKEEPER_SOAK_SECONDS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Each thread owns every fourth 61-page stripe, so pieces are shared and pages are not. The lock stands
/// for the space's: changes come one at a time, touches at any time.
fn run(memory: &Memory, lock: &Mutex<()>, thread: u64, seed: u64, end: Instant) {
    const STRIPE: u64 = 61;
    const STATES: [Protection; 4] = [
        Protection::READ_WRITE,
        Protection::READ_ONLY,
        Protection::NO_ACCESS,
        Protection::EXECUTE_READ_WRITE,
    ];
    let mut random = Random::of(seed ^ (thread << 32));
    let mut shadow = vec![Shadow::default(); PAGES as usize];
    let stripes = PAGES / STRIPE / 4;
    while Instant::now() < end {
        let first = (random.below(stripes) * 4 + thread) * STRIPE;
        let start = first + random.below(STRIPE);
        let count = 1 + random.below(first + STRIPE - start);
        let count = if random.below(2) == 0 { 1 } else { count };
        let action = random.below(10);
        let after = STATES[(random.below(8).min(3)) as usize];
        // Runs of equal states, as the model would plan them.
        let mut changes = Vec::new();
        for page in start..start + count {
            let before = shadow[page as usize].protection;
            let wanted = match action {
                0..=2 => Some(after),
                3 | 4 => None,
                5 => before.map(|_| after),
                _ => before,
            };
            if before != wanted {
                changes.push(memory.to(page, 1, before, wanted));
            }
        }
        if action <= 5 && !changes.is_empty() {
            let _space = lock.lock().expect("no panic before");
            match action {
                0..=2 => memory.engine.commit(&changes).expect("commit"),
                3 | 4 => memory.engine.decommit(&changes),
                _ => memory.engine.protect(&changes).expect("protect"),
            }
            for page in start..start + count {
                let page = &mut shadow[page as usize];
                match action {
                    0..=2 => page.protection = Some(after),
                    3 | 4 => *page = Shadow::default(),
                    _ => page.protection = page.protection.map(|_| after),
                }
            }
        }
        if random.below(200) == 0 {
            memory.engine.trim(memory.pages(start, count));
        }
        for page in start..start + count {
            touch(memory, &mut shadow[page as usize], page, &mut random);
        }
    }
    for page in 0..PAGES {
        let found = shadow[page as usize];
        if found
            .protection
            .is_some_and(|protection| protection != Protection::NO_ACCESS)
        {
            assert_eq!(memory.read(page), found.value, "page {page}");
        }
    }
}

fn touch(memory: &Memory, shadow: &mut Shadow, page: u64, random: &mut Random) {
    match shadow.protection {
        Some(Protection::NO_ACCESS) | None => {
            if random.below(50) == 0 {
                assert!(
                    !is_reachable(memory, page),
                    "page {page} must be out of reach"
                );
            }
        }
        Some(protection) => {
            assert_eq!(
                memory.read(page),
                shadow.value,
                "page {page}, {protection:?}"
            );
            if protection != Protection::READ_ONLY && random.below(2) == 0 {
                shadow.value = random.next();
                memory.write(page, shadow.value);
            }
        }
    }
}

#[test]
fn four_threads_of_random_operations_agree_with_their_shadows() {
    let seed = Random::seeded().next();
    for markers in [true, false] {
        let mut settings = settings(6 * MIB, 20, PAGES + 64 * MIB);
        settings.switches.markers = markers;
        let memory = Memory::new(settings, PAGES);
        let lock = Mutex::new(());
        let end = Instant::now() + Duration::from_secs(seconds());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (memory, lock) = (&memory, &lock);
                scope.spawn(move || run(memory, lock, thread, seed, end));
            }
        });
        memory.engine.health().expect("health");
        let book = memory.engine.core.book();
        let committed: u64 = book.pieces().map(|piece| piece.committed.count()).sum();
        let account = &book.account;
        assert_eq!(
            committed,
            account.anonymous_committed + account.file_committed
        );
    }
}
