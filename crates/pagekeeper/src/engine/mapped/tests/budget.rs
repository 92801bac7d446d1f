//! The budget: two threads that dirty file pages as fast as they can, a budget that shrinks, figures that fit.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::time::Instant;

use super::*;
use crate::engine::{EngineBudget, Residence};
use crate::error::EngineError;

/// The promised slack, and what a machine that is busy with other tests may add in delays.
const SLACK: u64 = 32 * MIB;
const FOR_BUSY_MACHINES: u64 = 32 * MIB;

/// Largest count of cached pages of the engine's page files while `work` runs, looked up every few ms.
fn peak_during(memory: &Memory, work: impl FnOnce()) -> u64 {
    let done = AtomicBool::new(false);
    let mut peak = 0;
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(memory.engine.core.count_cached().expect("a count").0);
                std::thread::sleep(Duration::from_millis(3));
            }
            peak
        });
        work();
        done.store(true, Ordering::Relaxed);
        peak = sampler.join().expect("a sampler");
    });
    peak
}

#[test]
fn two_threads_that_dirty_fresh_pages_stay_within_budget_and_slack() {
    let (budget, data) = (64 * MIB, 384 * MIB);
    let memory = Memory::of_file(budget, data);
    memory.commit(0, data);
    let peak = peak_during(&memory, || {
        std::thread::scope(|scope| {
            for half in 0..2 {
                let memory = &memory;
                scope.spawn(move || {
                    for page in half * data / 2..(half + 1) * data / 2 {
                        memory.write(page, page ^ 0x5A5A);
                    }
                });
            }
        });
    });
    println!(
        "peak {} MiB over a budget of {} MiB",
        peak.saturating_sub(budget) / MIB,
        budget / MIB
    );
    assert!(peak <= budget + SLACK + FOR_BUSY_MACHINES, "{peak}");
    for page in 0..data {
        assert_eq!(memory.read(page), page ^ 0x5A5A);
    }
    let statistics = memory.engine.statistics();
    assert!(statistics.pages_out.max(statistics.hard_faults) > 0);
}

#[test]
fn random_updates_of_four_times_the_budget_lose_nothing() {
    let (budget, data) = (16 * MIB, 64 * MIB);
    let memory = Memory::of_file(budget, data);
    memory.commit(0, data);
    let mut random = Random::seeded();
    let mut counts = vec![0_u64; data as usize];
    let end = Instant::now() + Duration::from_secs(3);
    let peak = peak_during(&memory, || {
        while Instant::now() < end {
            for _ in 0..64 {
                let page = random.below(data);
                counts[page as usize] += 1;
                memory.write(page, memory.read(page) + 1);
            }
        }
    });
    // Faults on pages that were committed long before wait for nobody: a balancer that gets no processor for longer than some
    // twenty milliseconds is late (docs/engines.md), and here it may be one of many. What must hold always is the data.
    if peak > budget + SLACK {
        println!("the machine was too busy for the budget: {peak} pages");
    }
    for (page, &count) in counts.iter().enumerate() {
        assert_eq!(memory.read(page as u64), count, "page {page}");
    }
}

#[test]
fn a_smaller_budget_takes_pages_out_before_it_returns() {
    let memory = Memory::of_file(128 * MIB, 96 * MIB);
    memory.commit(0, 96 * MIB);
    for page in 0..96 * MIB {
        memory.write(page, page);
    }
    memory.engine.set_budget(EngineBudget {
        ram: PageCount::new(16 * MIB),
    });
    let cached = memory.engine.core.count_cached().unwrap().0;
    assert!(cached <= 16 * MIB + SLACK, "{cached}");
    for page in 0..96 * MIB {
        assert_eq!(memory.read(page), page);
    }
}

#[test]
fn trim_prefetch_and_residence_agree() {
    let memory = Memory::of_file(64 * MIB, 8 * MIB);
    memory.commit(0, 600);
    for page in 0..600 {
        memory.write(page, page);
    }
    let where_is = |page: u64| {
        let mut found = Vec::new();
        memory
            .engine
            .residence(memory.pages(page, 1), &mut |_, residence| {
                found.push(residence)
            });
        assert_eq!(found.len(), 1);
        found[0]
    };
    assert_eq!(where_is(5), Residence::Resident);
    assert_eq!(where_is(601), Residence::Untouched);
    memory.engine.trim(memory.pages(0, 600));
    assert_eq!(where_is(5), Residence::PageFile);
    assert_eq!(
        memory.engine.core.count_cached().unwrap().0,
        0,
        "all of it left memory"
    );
    memory.engine.prefetch(memory.pages(0, 300));
    assert_eq!(where_is(5), Residence::Resident);
    assert_eq!(where_is(599), Residence::PageFile);
    for page in 0..600 {
        assert_eq!(memory.read(page), page);
    }
    let mut runs = Vec::new();
    memory
        .engine
        .residence(memory.pages(0, 700), &mut |range, what| {
            runs.push((range.count().get(), what))
        });
    assert_eq!(
        runs,
        [(600, Residence::Resident), (100, Residence::Untouched)]
    );
}

#[test]
fn discarded_pages_are_old_or_zero_and_hold_what_is_written_next() {
    for share in [0, 100] {
        let memory = Memory::new(settings(64 * MIB, share, 64 * MIB), 4 * MIB);
        memory.commit(0, 1024);
        for page in 0..1024 {
            memory.write(page, page + 1);
        }
        memory.engine.discard(memory.pages(0, 1000));
        for page in 0..1000 {
            assert!([0, page + 1].contains(&memory.read(page)));
            memory.write(page, page + 2);
        }
        memory.engine.trim(memory.pages(0, 1024));
        for page in 0..1024 {
            assert_eq!(memory.read(page), page + if page < 1000 { 2 } else { 1 });
        }
    }
}

#[test]
fn locked_pages_stay_and_too_many_are_refused() {
    let memory = Memory::of_file(16 * MIB, 16 * MIB);
    memory.commit(0, 16 * MIB);
    let too_many = memory.pages(0, 14 * MIB);
    assert_eq!(
        memory.engine.lock(too_many),
        Err(EngineError::LockedTooMuch)
    );
    // A small lock is within every ordinary user's limit.
    memory.engine.lock(memory.pages(10, 8)).unwrap();
    memory.write(12, 7);
    memory.engine.trim(memory.pages(0, 512));
    let mut found = Vec::new();
    memory
        .engine
        .residence(memory.pages(10, 8), &mut |range, what| {
            found.push((range.count().get(), what))
        });
    assert_eq!(found, [(8, Residence::Resident)]);
    memory.engine.unlock(memory.pages(10, 8));
    memory.engine.trim(memory.pages(0, 512));
    assert_eq!(memory.read(12), 7);
    // A locked page that is decommitted is unlocked, and reads zero when committed again.
    memory.engine.lock(memory.pages(10, 8)).unwrap();
    memory.decommit(12, 1);
    memory.commit(12, 1);
    assert_eq!(memory.read(12), 0);
}

#[test]
fn two_engines_with_two_page_files_do_not_meet() {
    let one = Memory::of_file(16 * MIB, 48 * MIB);
    let two = Memory::of_file(16 * MIB, 48 * MIB);
    std::thread::scope(|scope| {
        for (memory, salt) in [(&one, 1_u64), (&two, 2)] {
            scope.spawn(move || {
                memory.commit(0, 48 * MIB);
                for page in 0..48 * MIB {
                    memory.write(page, page << 8 | salt);
                }
            });
        }
    });
    for page in 0..48 * MIB {
        assert_eq!((one.read(page) & 3, two.read(page) & 3), (1, 2));
    }
    drop(one);
    assert_eq!(two.read(7), 7 << 8 | 2);
}

#[test]
fn an_engine_below_its_minimum_is_refused_in_one_line() {
    let error = MappedEngine::new(settings(1023, 50, 0)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("below its minimum") && !text.contains('\n'),
        "{text}"
    );
    assert!(MappedEngine::new(settings(1024, 101, 0)).is_err());
    let minimum = Memory::of_file(MappedEngine::MINIMUM_RAM.get(), 16 * MIB);
    minimum.commit(0, 16 * MIB);
    for page in 0..16 * MIB {
        minimum.write(page, page);
    }
    for page in 0..16 * MIB {
        assert_eq!(minimum.read(page), page);
    }
}
