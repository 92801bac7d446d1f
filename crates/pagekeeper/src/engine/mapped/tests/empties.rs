//! Pieces with nothing in them: how many stay open, and for what they go.

use pagekeeper_model::Protection;

use super::*;
use crate::engine::EngineBudget;

const RW: Protection = Protection::READ_WRITE;

/// Pieces of `memory` that are open.
fn open(memory: &Memory) -> u64 {
    memory.engine.core.book().pieces().count() as u64
}

/// A space of 64 pieces, all of them ordinary memory, that keeps the first `count` open with nothing in them.
fn with_empties(count: u64) -> Memory {
    let piece = 2 * MIB;
    let memory = Memory::new(settings(64 * piece, 100, 64 * MIB), 64 * piece);
    (0..count).for_each(|index| memory.commit(index * piece, 1));
    (0..count).for_each(|index| memory.decommit(index * piece, 1));
    assert_eq!(open(&memory), count);
    memory
}

/// Pages here and there, again and again: pieces of ordinary memory stay open, empty, as many as the budget has room for, and then a
/// commit is one call. When more is wanted than the share holds, the oldest of them go.
#[test]
fn empty_pieces_stay_open_as_long_as_nobody_wants_their_room() {
    let piece = 2 * MIB;
    let ram = 64 * piece;
    let memory = Memory::new(settings(ram, 100, 64 * MIB), 128 * piece);
    for index in 0..32 {
        memory.commit(index * piece, 1);
        memory.write(index * piece, index + 1);
    }
    (0..32).for_each(|index| memory.decommit(index * piece, 1));
    assert_eq!(open(&memory), 32);
    let before = memory.engine.mapping_calls();
    for index in 0..32 {
        assert!(!super::failures::is_reachable(&memory, index * piece));
        memory.commit(index * piece, 1);
        assert_eq!(memory.read(index * piece), 0);
    }
    assert_eq!(memory.engine.mapping_calls() - before, 32);
    // Half of them are empty; all but those that are not are wanted by one commit.
    (0..16).for_each(|index| memory.decommit(2 * index * piece, 1));
    memory.commit(64 * piece, 48 * piece);
    assert_eq!(open(&memory), 64);
    let book = memory.engine.core.book();
    assert_eq!(book.account.anonymous_charged, ram);
    drop(book);
    // Releasing a large allocation leaves none in it.
    memory.decommit(64 * piece, 1);
    let all = memory.to(64 * piece + 1, 48 * piece - 1, Some(RW), None);
    memory
        .engine
        .release(memory.pages(64 * piece, 48 * piece), &[all]);
    assert_eq!(open(&memory), 16);
}

/// A full page file takes back what empty pieces of it hold, and no process keeps more pieces than an eighth of its mappings.
#[test]
fn empty_pieces_leave_the_page_file_and_the_mappings_to_others() {
    let piece = 2 * MIB;
    // A page file of eight pieces, all memory in it.
    let memory = Memory::new(settings(16 * MIB, 0, 8 * piece), 16 * piece);
    (0..8).for_each(|index| memory.commit(index * piece, 1));
    (0..8).for_each(|index| memory.decommit(index * piece, 1));
    assert_eq!(open(&memory), 8);
    memory.commit(8 * piece, 8 * piece);
    assert_eq!(open(&memory), 8);

    // Sixteen mappings allow one piece, two spaces eight each: the least.
    let spaces: Vec<Memory> = (0..2)
        .map(|_| Memory::new(settings(64 * piece, 100, 64 * MIB), 64 * piece))
        .collect();
    for memory in &spaces {
        memory.engine.core.book().mapping_limit = 16 * 12;
        (0..32).for_each(|index| memory.commit(index * piece, 1));
        (0..32).for_each(|index| memory.decommit(index * piece, 1));
    }
    let (first, second) = (open(&spaces[0]), open(&spaces[1]));
    // Other tests of this process keep some as well.
    assert!((8..=12).contains(&first), "{first}");
    assert_eq!(second, 8);
}

/// What stands open without need is not what a program's commit is refused for.
#[test]
fn empty_pieces_go_before_the_mapping_limit_refuses() {
    let piece = 2 * MIB;
    let memory = with_empties(24);
    memory.commit(5 * piece, 1);
    memory.write(5 * piece, 5);
    memory.engine.core.kernel.refuse_after(0);
    // Into a closed piece, and into one that is kept open and goes now.
    let changes = [
        memory.to(7 * piece, 1, None, Some(RW)),
        memory.to(40 * piece, 1, None, Some(RW)),
    ];
    memory.engine.commit(&changes).unwrap();
    assert_eq!(open(&memory), 3);
    for index in [7, 40] {
        assert_eq!(memory.read(index * piece), 0);
        memory.write(index * piece, index);
    }
    assert_eq!(memory.read(5 * piece), 5);
    // With none to close it is refused, and nothing has changed.
    memory.engine.core.kernel.refuse_after(0);
    let refused = memory
        .engine
        .commit(&[memory.to(50 * piece, 1, None, Some(RW))]);
    assert!(refused.is_err());
    assert_eq!(open(&memory), 3);
    assert!(!super::failures::is_reachable(&memory, 50 * piece));
}

#[test]
fn a_smaller_budget_closes_empty_pieces() {
    let piece = 2 * MIB;
    let memory = with_empties(40);
    memory.commit(0, 1);
    memory.write(0, 7);
    memory.engine.set_budget(EngineBudget {
        ram: PageCount::new(10 * piece),
    });
    assert!(open(&memory) <= 10, "{}", open(&memory));
    assert_eq!(memory.read(0), 7);
    let book = memory.engine.core.book();
    assert!(book.account.anonymous_charged <= 10 * piece);
}

/// An allocation that goes takes its pieces with it, and they do not count as kept any more.
#[test]
fn a_released_allocation_leaves_no_entry_behind() {
    let piece = 2 * MIB;
    let memory = with_empties(32);
    let before = memory.engine.core.book().empties_count();
    assert_eq!(before, 32);
    memory.engine.release(memory.pages(0, 30 * piece), &[]);
    assert_eq!(open(&memory), 2);
    assert_eq!(memory.engine.core.book().empties_count(), 2);
    memory.commit(3 * piece, 1);
    assert_eq!(memory.read(3 * piece), 0);
}
