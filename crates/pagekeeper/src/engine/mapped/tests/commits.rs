//! Commit, decommit, protect: what is seen, what it costs, how many mappings it takes.

use std::time::Instant;

use pagekeeper_model::Protection;

use super::*;

const RW: Protection = Protection::READ_WRITE;

/// The same test for both natures of memory, with and without markers.
fn everywhere(test: impl Fn(Memory)) {
    for markers in [true, false] {
        for share in [0, 100] {
            let mut settings = settings(64 * MIB, share, 256 * MIB);
            settings.switches.markers = markers;
            println!("markers {markers}, anonymous share {share} %");
            test(Memory::new(settings, 32 * MIB));
        }
    }
}

#[test]
fn fresh_pages_read_zero_and_keep_what_is_written() {
    everywhere(|memory| {
        memory.commit(5, 3);
        memory.commit(600, 1500);
        for page in (5..8).chain(600..2100) {
            assert_eq!(memory.read(page), 0);
            memory.write(page, page);
        }
        // Committing again keeps contents.
        memory
            .engine
            .commit(&[
                memory.to(5, 3, Some(RW), Some(RW)),
                memory.to(8, 2, None, Some(RW)),
            ])
            .unwrap();
        assert_eq!((memory.read(7), memory.read(9)), (7, 0));
        for page in 600..2100 {
            assert_eq!(memory.read(page), page);
        }
    });
}

#[test]
fn a_page_decommitted_and_committed_again_reads_zero() {
    everywhere(|memory| {
        memory.commit(0, 2048);
        for page in 0..2048 {
            memory.write(page, !page);
        }
        // Single pages, a run inside a piece, whole pieces.
        for (start, count) in [(3, 1), (5, 1), (100, 200), (512, 512), (1100, 900)] {
            memory.decommit(start, count);
            memory.commit(start, count);
            for page in start..start + count {
                assert_eq!(memory.read(page), 0, "page {page}");
                memory.write(page, !page);
            }
        }
        for page in 0..2048 {
            assert_eq!(memory.read(page), !page, "page {page}");
        }
    });
}

#[test]
fn protections_change_and_contents_stay() {
    everywhere(|memory| {
        memory.commit(0, 64);
        for page in 0..64 {
            memory.write(page, page + 1);
        }
        let states = [
            RW,
            Protection::READ_ONLY,
            Protection::NO_ACCESS,
            RW.with_guard(),
            Protection::EXECUTE_READ,
        ];
        for from in states {
            memory.protect(8, 8, RW, from);
            for to in states {
                memory.protect(8, 8, from, to);
                memory.protect(8, 8, to, from);
            }
            memory.protect(8, 8, from, RW);
            for page in 0..64 {
                assert_eq!(memory.read(page), page + 1, "{from:?}");
                memory.write(page, page + 1);
            }
        }
        // Born without access, then opened: zero.
        let hidden = [Protection::NO_ACCESS, RW.with_guard()];
        for protection in hidden {
            memory
                .engine
                .commit(&[memory.to(100, 4, None, Some(protection))])
                .unwrap();
            memory
                .engine
                .protect(&[memory.to(100, 4, Some(protection), Some(RW))])
                .unwrap();
            assert_eq!(memory.read(102), 0);
            memory.write(102, 9);
            memory.decommit(100, 4);
        }
    });
}

#[test]
fn a_guard_goes_when_it_is_disarmed() {
    everywhere(|memory| {
        memory.commit(0, 4);
        memory.write(2, 7);
        memory.protect(2, 1, RW, RW.with_guard());
        memory
            .engine
            .disarm_guard(memory.pages(2, 1).start(), RW)
            .unwrap();
        assert_eq!(memory.read(2), 7);
        memory.write(2, 8);
    });
}

macro_rules! dies {
    ($($name:ident: $share:expr, $markers:expr, $body:expr;)*) => {$(
        #[test]
        fn $name() {
            dies_of_segv(concat!("commits::", stringify!($name)), || {
                let mut settings = settings(64 * MIB, $share, 256 * MIB);
                settings.switches.markers = $markers;
                let memory = Memory::new(settings, 16 * MIB);
                memory.commit(10, 10);
                memory.write(12, 1);
                let body: fn(&Memory) = $body;
                body(&memory);
            });
        }
    )*};
}

dies! {
    an_unopened_piece_is_out_of_reach: 100, true, |memory| { memory.read(3000); };
    a_reserved_page_of_an_anonymous_piece: 100, true, |memory| { memory.read(20); };
    a_reserved_page_of_a_file_piece: 0, true, |memory| { memory.read(9); };
    a_reserved_page_without_markers: 100, false, |memory| { memory.read(9); };
    a_reserved_page_of_a_file_without_markers: 0, false, |memory| { memory.read(20); };
    a_decommitted_page: 100, true, |memory| { memory.decommit(12, 1); memory.read(12); };
    a_decommitted_page_of_a_file_piece: 0, true, |memory| { memory.decommit(12, 1); memory.read(12); };
    a_decommitted_page_without_markers: 0, false, |memory| { memory.decommit(12, 1); memory.read(12); };
    a_decommitted_piece: 0, true, |memory| {
        memory.commit(512, 512); memory.write(600, 1); memory.decommit(512, 512); memory.read(600);
    };
    a_write_to_read_only: 0, true, |memory| {
        memory.protect(12, 1, RW, Protection::READ_ONLY); assert_eq!(memory.read(12), 1); memory.write(12, 2);
    };
    a_read_of_no_access: 100, true, |memory| {
        memory.protect(12, 1, RW, Protection::NO_ACCESS); memory.read(12);
    };
    a_read_of_no_access_in_the_file: 0, true, |memory| {
        memory.protect(12, 1, RW, Protection::NO_ACCESS); memory.read(12);
    };
    a_guard_page: 0, true, |memory| { memory.protect(12, 1, RW, RW.with_guard()); memory.read(12); };
}

#[test]
fn a_million_alternating_commits_cost_a_call_each_and_no_mappings() {
    // Pieces of the page file are committed with their disk space, gaps and all: a million would be 8 GiB of it.
    for (share, count) in [(100, 1_000_000), (0, 100_000)] {
        let ram = if share == 100 { 3 * count } else { 256 * MIB };
        let memory = Memory::new(settings(ram, share, 2 * count + 64 * MIB), 2 * count);
        let calls_before = memory.engine.mapping_calls();
        let start = Instant::now();
        for index in 0..count {
            memory.commit(2 * index, 1);
        }
        let nanoseconds = start.elapsed().as_nanos() as u64 / count;
        let calls = memory.engine.mapping_calls() - calls_before;
        let mappings = mappings_in(memory.arena);
        println!("share {share}: {nanoseconds} ns a commit, {calls} calls, {mappings} mappings");
        assert!(
            calls <= count + count / 32,
            "at most one call each, and a few for each piece: {calls}"
        );
        assert!(mappings < 300, "{mappings}");
        // Each then written and read; the file part in a sample.
        let step = if share == 100 { 1 } else { 37 };
        for index in (0..count).step_by(step) {
            memory.write(2 * index, index);
        }
        for index in (0..count).step_by(step) {
            assert_eq!(memory.read(2 * index), index);
        }
    }
}

#[test]
fn many_runs_decommitted_together_cost_a_call_a_piece() {
    for share in [100, 0] {
        let memory = Memory::new(settings(64 * MIB, share, 64 * MIB), 8 * MIB);
        let alternating = |first: u64| (first..2 * MIB).filter(|page| page % 2 == 0);
        for page in alternating(0) {
            memory.commit(page, 1);
            memory.write(page, page + 1);
        }
        let before = memory.engine.mapping_calls();
        let changes: Vec<Change> = alternating(2)
            .map(|page| memory.to(page, 1, Some(RW), None))
            .collect();
        memory.engine.decommit(&changes);
        assert_eq!(memory.engine.mapping_calls() - before, 1, "share {share}");
        assert_eq!(memory.read(0), 1);
        for page in 2..2 * MIB {
            assert!(!super::failures::is_reachable(&memory, page), "page {page}");
        }
        // What was bridged can be committed, and reads zero.
        memory.commit(1, 5);
        assert_eq!((memory.read(1), memory.read(2), memory.read(4)), (0, 0, 0));
        // The rest goes with its piece.
        let rest = [memory.to(0, 6, Some(RW), None)];
        memory.engine.release(memory.pages(0, 2 * MIB), &rest);
        assert_eq!(
            memory.engine.mapping_calls() - before,
            3,
            "a commit, a closing"
        );
    }
}

#[test]
fn a_growing_array_costs_a_call_a_commit() {
    let memory = Memory::anonymous(64 * MIB);
    let before = memory.engine.mapping_calls();
    for page in 0..64 * MIB {
        memory.commit(page, 1);
        memory.write(page, page);
    }
    let calls = memory.engine.mapping_calls() - before;
    assert!(calls <= 64 * MIB + 64 * MIB / 100, "{calls}");
    assert_eq!(mappings_in(memory.arena), 1);
}

#[test]
fn whole_pieces_cost_a_constant_few_calls_and_get_huge_pages() {
    let memory = Memory::anonymous(64 * MIB);
    let before = memory.engine.mapping_calls();
    memory.commit(0, 64 * MIB);
    assert!(memory.engine.mapping_calls() - before <= 2);
    memory.decommit(0, 64 * MIB);
    assert!(memory.engine.mapping_calls() - before <= 4);
    let file = Memory::of_file(64 * MIB, 64 * MIB);
    let before = file.engine.mapping_calls();
    file.commit(0, 64 * MIB);
    assert!(
        file.engine.mapping_calls() - before <= 8,
        "{}",
        file.engine.mapping_calls() - before
    );
}

/// One page in every fourth piece: each would be a mapping, and a gap another.
#[test]
fn near_the_mapping_limit_larger_pieces_are_opened() {
    const LIMIT: u64 = 80;
    const RUNS: u64 = 120;
    let piece = 2 * MIB;
    for share in [100, 0] {
        let ram = if share == 100 { 2048 * MIB } else { 64 * MIB };
        let memory = Memory::new(settings(ram, share, 1536 * MIB), 8 * RUNS * piece);
        memory.engine.core.book().mapping_limit = LIMIT;
        let page = |run: u64| 4 * run * piece + 7;
        for run in 0..RUNS {
            memory.commit(page(run), 1);
            memory.write(page(run), run + 1);
        }
        let mappings = mappings_in(memory.arena) as u64;
        println!("share {share}: {mappings} mappings for {RUNS} runs");
        assert!(mappings < LIMIT, "{mappings}");
        for run in 0..RUNS {
            assert_eq!(memory.read(page(run)), run + 1);
            // Opened along, not committed.
            assert!(!super::failures::is_reachable(&memory, page(run) + piece));
        }
        // What was opened along can be committed like anything else.
        memory.commit(page(RUNS - 1) + piece, 2);
        assert_eq!(memory.read(page(RUNS - 1) + piece), 0);
        // And goes with the rest.
        let all: Vec<Change> = (0..RUNS)
            .map(|run| memory.to(page(run), 1, Some(RW), None))
            .chain([memory.to(page(RUNS - 1) + piece, 2, Some(RW), None)])
            .collect();
        memory.engine.release(memory.arena, &all);
        assert_eq!(memory.engine.core.book().pieces().count(), 0);
        assert_eq!(mappings_in(memory.arena), 1);
    }
}

/// A piece that is kept open, empty, goes when its share is wanted: also by a commit that reaches into it.
#[test]
fn a_commit_that_closes_a_piece_of_its_own_opens_it_again() {
    let piece = 2 * MIB;
    // A share of four pieces.
    let memory = Memory::new(settings(16 * MIB, 50, 64 * MIB), 16 * piece);
    for index in [0, 1, 2, 4] {
        memory.commit(index * piece, 1);
        memory.write(index * piece, index + 1);
    }
    memory.decommit(4 * piece, 1);
    memory.commit(4 * piece + 5, 2 * piece);
    for page in [4 * piece + 5, 5 * piece - 1, 5 * piece, 6 * piece + 4] {
        assert!(super::failures::is_reachable(&memory, page), "page {page}");
        assert_eq!(memory.read(page), 0);
        memory.write(page, page);
    }
    assert!(!super::failures::is_reachable(&memory, 4 * piece));
    for index in [0, 1, 2] {
        assert_eq!(memory.read(index * piece), index + 1);
    }
}

/// Larger pieces are opened as long as there is room for them: then single ones.
#[test]
fn what_is_opened_along_makes_room_where_that_is_wanted() {
    for share in [100, 0] {
        let piece = 2 * MIB;
        let ram = if share == 100 { 64 * MIB } else { 16 * MIB };
        let memory = Memory::new(settings(ram, share, 64 * MIB), 96 * piece);
        // What is opened along lies in the same 32 pieces by address, and where the arena lies is the kernel's choice.
        let start = memory.arena.start().get();
        let base = start.next_multiple_of(32 * piece) - start;
        memory.engine.core.book().mapping_limit = 2;
        memory.commit(base, 1);
        memory.commit(base + 12 * piece, 1);
        // Eight with the first, and the other 24 with the second: all that there is room for.
        let open = memory.engine.core.book().pieces().count();
        assert_eq!(open, 32);
        // All of the share, or of the file, for pages that are wanted.
        memory.write(base, 5);
        memory.decommit(base + 12 * piece, 1);
        memory.commit(base + 32 * piece, 30 * piece);
        for page in [0, 32 * piece, 62 * piece - 1] {
            assert_eq!(memory.read(base + page), if page == 0 { 5 } else { 0 });
        }
    }
}

#[test]
fn the_share_decides_at_birth_and_comes_back() {
    let memory = Memory::new(settings(16 * MIB, 50, 256 * MIB), 64 * MIB);
    memory.commit(0, 8 * MIB);
    assert!(!memory.engine.is_in_page_file(memory.pages(0, 1).start()));
    memory.commit(16 * MIB, 1);
    assert!(
        memory
            .engine
            .is_in_page_file(memory.pages(16 * MIB, 1).start())
    );
    memory.decommit(0, 2 * MIB);
    memory.commit(32 * MIB, 10);
    assert!(
        !memory
            .engine
            .is_in_page_file(memory.pages(32 * MIB, 1).start())
    );
    assert_eq!(memory.engine.statistics().page_file, PageCount::new(512));
    memory.engine.release(
        memory.pages(0, 64 * MIB),
        &[
            memory.to(2 * MIB, 6 * MIB, Some(RW), None),
            memory.to(16 * MIB, 1, Some(RW), None),
            memory.to(32 * MIB, 10, Some(RW), None),
        ],
    );
    // The file's space goes back in the background.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while memory.engine.statistics().page_file != PageCount::ZERO {
        assert!(std::time::Instant::now() < end, "the space comes back");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(mappings_in(memory.arena), 1, "all is as it was");
}

#[test]
fn what_fits_the_share_touches_no_disk() {
    let memory = Memory::new(settings(64 * MIB, 50, 256 * MIB), 32 * MIB);
    memory.commit(0, 32 * MIB);
    for page in 0..32 * MIB {
        memory.write(page, page);
    }
    assert_eq!(memory.engine.statistics().page_file, PageCount::ZERO);
    assert!(
        memory.engine.core.book().files.open().next().is_none(),
        "no page file was made"
    );
}

#[test]
fn arenas_at_an_address_keep_to_it_and_refuse_what_is_taken() {
    let engine = MappedEngine::new(settings(64 * MIB, 50, 64 * MIB)).unwrap();
    let at = PageNumber::containing(0x3F00_0001_0000);
    let count = PageCount::new(1000);
    let arena = engine.open_arena(Some(at), count).unwrap();
    assert_eq!(arena, PageRange::new(at, count));
    let taken = engine.open_arena(Some(at.plus(PageCount::new(16))), count);
    assert_eq!(taken, Err(crate::error::EngineError::AddressTaken));
    // Two arenas that meet inside 2 MiB have pieces of their own.
    let next = engine.open_arena(Some(arena.end()), count).unwrap();
    let both = [
        Memory {
            engine: engine.clone(),
            arena,
        },
        Memory {
            engine,
            arena: next,
        },
    ];
    for memory in &both {
        memory.commit(0, 1000);
        memory.write(0, 1);
        memory.write(999, 2);
    }
    assert_eq!((both[0].read(999), both[1].read(0)), (2, 1));
}
