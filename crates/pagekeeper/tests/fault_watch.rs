//! Which pages come in, by which instruction, on which thread: with every engine, each in a process of its own.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use std::collections::BTreeMap;

use pagekeeper::fault_watch::{self, CAPACITY, Coverage, FaultWatchError, WatchedFault};
use pagekeeper::{ByteCount, EngineKind, PageNumber, Reservation};
use support::{PAGE, child_engine, committed, in_child, inline_works, space, words};

/// Runs `body` with each engine whose faults can be watched, in a process of its own: this test, named `name`, again.
fn with_every_engine(name: &str, body: impl Fn(EngineKind)) {
    if let Some(engine) = child_engine() {
        // The kernel may put pages together into a huge one at any moment: those come in without a fault.
        // SAFETY: says only that.
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
        return body(engine);
    }
    for (_, engine) in EngineKind::NAMES {
        if engine == EngineKind::Inline && !inline_works() {
            continue;
        }
        if engine != EngineKind::Inline
            && let Ok(Coverage::InlineOnly { reason }) = fault_watch::start()
        {
            println!("skipped with {engine}, because {reason}");
            continue;
        }
        let (status, text) = in_child(engine, name);
        assert!(status.success(), "{engine}: {text}");
    }
}

/// The records of one reservation: page, counted from its base, and record.
fn of(reservation: &Reservation, records: &[WatchedFault]) -> BTreeMap<u64, WatchedFault> {
    let pages = reservation.pages();
    let mut found = BTreeMap::new();
    for record in records {
        let page = PageNumber::containing(record.address);
        if pages.contains(page) {
            let twice = found.insert(page.since(pages.start()).get(), *record);
            assert_eq!(twice, None, "page {page:?} came in twice");
        }
    }
    found
}

fn touch(reservation: &Reservation, pages: impl IntoIterator<Item = usize>) {
    for page in pages {
        words(reservation, page)[9] = 1;
    }
}

fn this_thread() -> u32 {
    // SAFETY: asks for a number.
    unsafe { libc::gettid() as u32 }
}

#[test]
fn touched_pages_are_told_once_with_their_thread() {
    with_every_engine("touched_pages_are_told_once_with_their_thread", |engine| {
        let space = space(engine, ByteCount::mib(64));
        let memory = committed(&space, ByteCount::mib(1));
        assert_eq!(
            fault_watch::take(9).unwrap_err(),
            FaultWatchError::NotStarted
        );
        touch(&memory, [200]);
        fault_watch::start().expect("nobody else watches");
        touch(&memory, [3, 70]);
        let other = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                touch(&memory, [140]);
                this_thread()
            });
            other.join().expect("touches")
        });
        let records = fault_watch::take(CAPACITY).expect("there are");
        let found = of(&memory, &records);
        let address = |page: usize| memory.base() as u64 + (page * PAGE + 72) as u64;
        for (page, thread) in [(3, this_thread()), (70, this_thread()), (140, other)] {
            let record = found.get(&(page as u64));
            let record = record.unwrap_or_else(|| panic!("page {page} is not in {found:x?}"));
            assert_eq!(record.address, address(page));
            assert_eq!(record.thread, thread);
            assert!(record.instruction != 0 && !record.read_disk, "{record:x?}");
        }
        assert!(!found.contains_key(&200), "that was before");
        // Taken is gone, and what is in does not come in again.
        touch(&memory, [3, 70, 140]);
        let again = fault_watch::take(CAPACITY).expect("watching");
        assert_eq!(of(&memory, &again), BTreeMap::new());
        // What went out comes in again.
        if engine == EngineKind::Inline {
            space.trim_at(address(3), 1);
            touch(&memory, [3]);
            let back = fault_watch::take(CAPACITY).expect("watching");
            assert!(of(&memory, &back).contains_key(&3));
        }
        fault_watch::stop().expect("nobody else watches");
        assert_eq!(
            fault_watch::take(9).unwrap_err(),
            FaultWatchError::NotStarted
        );
    });
}

#[test]
fn a_small_buffer_gets_nothing_and_loses_nothing() {
    with_every_engine("a_small_buffer_gets_nothing_and_loses_nothing", |engine| {
        let space = space(engine, ByteCount::mib(64));
        let memory = committed(&space, ByteCount::mib(1));
        fault_watch::start().expect("nobody else watches");
        touch(&memory, 0..100);
        let refused = fault_watch::take(99).unwrap_err();
        let FaultWatchError::TooMany { records } = refused else {
            panic!("{refused}");
        };
        assert!(records >= 100);
        touch(&memory, 150..160);
        let all = fault_watch::take(CAPACITY * 2).expect("there are");
        let found = of(&memory, &all);
        assert!(
            (0..100)
                .chain(150..160)
                .all(|page| found.contains_key(&page))
        );
    });
}

#[test]
fn a_full_buffer_takes_no_more_until_it_is_emptied() {
    with_every_engine(
        "a_full_buffer_takes_no_more_until_it_is_emptied",
        |engine| {
            let space = space(engine, ByteCount::mib(256));
            let memory = committed(&space, ByteCount::mib(160));
            let pages = memory.pages().count().as_usize();
            fault_watch::start().expect("nobody else watches");
            std::thread::scope(|scope| {
                for half in 0..2 {
                    let memory = &memory;
                    scope.spawn(move || touch(memory, (0..pages).skip(half).step_by(2)));
                }
            });
            let records = fault_watch::take(usize::MAX).expect("there are");
            println!("{} records of {pages} pages", records.len());
            assert!(records.len() <= 2 * CAPACITY);
            if engine == EngineKind::Inline {
                assert_eq!(records.len(), CAPACITY, "as many as fit");
            }
            assert!(records.iter().all(|record| record.instruction != 0));
            of(&memory, &records);
            let fresh = committed(&space, ByteCount::mib(1));
            touch(&fresh, [5]);
            let after = fault_watch::take(CAPACITY).expect("watching");
            assert!(of(&fresh, &after).contains_key(&5), "there is room again");
        },
    );
}
