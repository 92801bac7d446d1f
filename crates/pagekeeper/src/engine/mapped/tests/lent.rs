//! Pages that something else uses for the time being: nothing that the engine does to the pieces around them reaches them, and
//! they come back as what the record says.

use pagekeeper_sys::map::{Access, Treatment, reserve_over};

use super::failures::is_reachable;
use super::*;

const PATTERN: u64 = 0x5A17;

/// What a view would be: memory that the engine knows nothing of.
fn use_otherwise(memory: &Memory, start: u64, count: u64) {
    let range = memory.pages(start, count);
    memory.engine.lend(range);
    // SAFETY: nothing is committed there, and the engine leaves it alone.
    unsafe { reserve_over(range, Access::READ_WRITE, Treatment::empty()) }.expect("memory");
    for page in start..start + count {
        memory.write(page, PATTERN ^ page);
    }
}

fn end_the_use(memory: &Memory, start: u64, count: u64) {
    // SAFETY: the test's own memory, which it wants no more.
    unsafe { reserve_over(memory.pages(start, count), Access::NONE, Treatment::empty()) }
        .expect("memory");
}

fn check_use(memory: &Memory, start: u64, count: u64) {
    for page in start..start + count {
        assert_eq!(memory.read(page), PATTERN ^ page, "page {page}");
    }
}

/// Without markers and with them, private and in the page file, whether the piece was open before or not.
fn every_kind(mut test: impl FnMut(Memory, bool)) {
    for (markers, share, was_open) in [
        (true, 100, true),
        (true, 0, true),
        (false, 100, true),
        (false, 0, true),
        (true, 0, false),
        (false, 100, false),
    ] {
        let mut settings = settings(16 * MIB, share, 64 * MIB);
        settings.switches.markers = markers;
        test(Memory::new(settings, 16 * MIB), was_open);
    }
}

#[test]
fn no_call_reaches_what_is_lent() {
    every_kind(|memory, was_open| {
        if was_open {
            memory.commit(600, 20);
            memory.write(610, 1);
        }
        use_otherwise(&memory, 700, 100);
        if !was_open {
            memory.commit(600, 20);
        }
        // A run around it in three pieces, its fences, its rights, its way out and back.
        memory.commit(520, 180);
        memory.commit(800, 1400);
        memory.write(810, 2);
        memory.protect(801, 5, Protection::READ_WRITE, Protection::READ_ONLY);
        memory.engine.trim(memory.pages(512, 1600));
        memory.engine.discard(memory.pages(900, 20));
        check_use(&memory, 700, 100);
        assert_eq!(memory.read(810), 2);
        // All pieces close; then the one around it opens again.
        memory.decommit(600, 20);
        memory.decommit(520, 180);
        memory.decommit(800, 1400);
        memory.engine.release(memory.arena, &[]);
        check_use(&memory, 700, 100);
        memory.commit(690, 10);
        assert_eq!(memory.read(699), 0);
        check_use(&memory, 700, 100);
        if memory.engine.core.book().file_pieces == 0 {
            let resident = memory.engine.statistics().resident.get();
            assert!(resident < 90, "{resident} pages: what is lent was counted");
        }
        end_the_use(&memory, 700, 100);
        memory
            .engine
            .take_back(memory.pages(700, 100))
            .expect("the kernel gives it");
    });
}

#[test]
fn what_comes_back_is_reserved_and_can_be_committed() {
    every_kind(|memory, was_open| {
        for calls in 0..6 {
            if was_open {
                memory.commit(600, 20);
                memory.write(610, 7);
            }
            use_otherwise(&memory, 700, 100);
            memory.commit(800, 20);
            end_the_use(&memory, 700, 100);
            let range = memory.pages(700, 100);
            memory.engine.core.kernel.refuse_after(calls);
            let refused = memory.engine.take_back(range).is_err();
            memory.engine.core.kernel.refuse_after(-1);
            assert!(!is_reachable(&memory, 700) && !is_reachable(&memory, 799));
            if refused {
                memory.engine.take_back(range).expect("now it is granted");
            }
            assert!(!is_reachable(&memory, 700) && !is_reachable(&memory, 799));
            memory.commit(700, 100);
            for page in 700..800 {
                assert_eq!(memory.read(page), 0, "page {page} is not fresh");
                memory.write(page, page);
            }
            memory.engine.trim(memory.pages(600, 300));
            for page in 700..800 {
                assert_eq!(memory.read(page), page);
            }
            if was_open {
                assert_eq!(memory.read(610), 7);
            }
            memory.decommit(700, 100);
            assert!(!is_reachable(&memory, 750));
            memory.decommit(800, 20);
            if was_open {
                memory.decommit(600, 20);
            }
        }
    });
}
