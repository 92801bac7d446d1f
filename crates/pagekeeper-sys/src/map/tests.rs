//! Real memory and real refusals.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::*;
use crate::pagemap::resident_pages;

fn fresh(pages: u64) -> Mapping {
    let treatment = Treatment::NO_HUGE_PAGES;
    reserve(PageCount::new(pages), Access::READ_WRITE, treatment).unwrap()
}

fn pages(mapping: &Mapping, first: u64, count: u64) -> PageRange {
    PageRange::new(mapping.page(first), PageCount::new(count))
}

/// Reads and writes through the base pointer; only for pages that are there.
fn store(mapping: &Mapping, page: usize, value: u8) {
    // SAFETY: The callers stay inside mapped, writable pages.
    unsafe { mapping.base().add(page * PAGE_SIZE).write_volatile(value) };
}

fn load(mapping: &Mapping, page: usize) -> u8 {
    // SAFETY: The callers stay inside mapped, readable pages.
    unsafe { mapping.base().add(page * PAGE_SIZE).read_volatile() }
}

/// Whether the kernel can read that page for us: it answers with an error where we would crash.
fn kernel_reads(page: PageNumber) -> Result<(), Errno> {
    let (_read, write) = rustix::pipe::pipe().unwrap();
    // SAFETY: The kernel reads one byte, or refuses.
    unsafe {
        raw::call(
            linux_raw_sys::general::__NR_write,
            [
                std::os::fd::AsRawFd::as_raw_fd(&write) as usize,
                page.address() as usize,
                1,
            ],
        )?;
    }
    Ok(())
}

#[test]
fn nothing_and_too_much_are_refused() {
    let none = Access::NONE;
    let treatment = Treatment::empty();
    let error = |pages| reserve(PageCount::new(pages), none, treatment).unwrap_err();
    assert_eq!(error(0), Errno::INVAL);
    assert_eq!(error(1 << 40), Errno::NOMEM);
    assert_eq!(error(u64::MAX), Errno::NOMEM);
}

#[test]
fn a_terabyte_of_reservation_costs_nothing() {
    let memory = reserve(PageCount::new(1 << 28), Access::NONE, Treatment::NOT_DUMPED).unwrap();
    assert_eq!(memory.len(), 1 << 40);
    let first = pages(&memory, 0, 1 << 18);
    assert_eq!(resident_pages(first), Ok(PageCount::ZERO));
    assert_eq!(kernel_reads(memory.page(77)), Err(Errno::FAULT));
}

#[test]
fn a_taken_address_is_refused_and_untouched() {
    let memory = fresh(4);
    store(&memory, 2, 9);
    let wanted = pages(&memory, 2, 1);
    let error = reserve_at(wanted, Access::READ_WRITE, Treatment::empty()).unwrap_err();
    assert_eq!(error, Errno::EXIST);
    assert_eq!(load(&memory, 2), 9);
    let range = memory.range();
    drop(memory);
    // Another thread may be quicker, so a refusal is no failure of the rule.
    if let Ok(again) = reserve_at(range, Access::READ_WRITE, Treatment::empty()) {
        assert_eq!(again.range(), range);
    }
}

#[test]
fn alignment_is_kept_and_nothing_else_is_held() {
    let alignment = PageCount::new(512);
    let memory = reserve_aligned(
        PageCount::new(7),
        alignment,
        Access::NONE,
        Treatment::HUGE_PAGES,
    )
    .unwrap();
    assert_eq!(memory.range().start().get() % 512, 0);
    assert_eq!(memory.range().count(), PageCount::new(7));
    let odd = reserve_aligned(
        PageCount::ONE,
        PageCount::new(3),
        Access::NONE,
        Treatment::empty(),
    );
    assert_eq!(odd.unwrap_err(), Errno::INVAL);
}

#[test]
fn protection_binds_the_kernel_too() {
    let memory = fresh(3);
    store(&memory, 1, 5);
    // SAFETY: Ours; nobody looks at the page while it is closed.
    unsafe { protect(pages(&memory, 1, 1), Access::NONE).unwrap() };
    assert_eq!(kernel_reads(memory.page(1)), Err(Errno::FAULT));
    assert_eq!(kernel_reads(memory.page(2)), Ok(()));
    // SAFETY: As above.
    unsafe { protect(pages(&memory, 1, 1), Access::READ).unwrap() };
    assert_eq!(load(&memory, 1), 5);
    let beyond = PageRange::new(PageNumber::new(1 << 40), PageCount::ONE);
    // SAFETY: Nothing is there.
    assert_eq!(unsafe { protect(beyond, Access::READ) }, Err(Errno::NOMEM));
}

#[test]
fn discarding_gives_zeros_and_memory_back() {
    let memory = fresh(64);
    (0..64).for_each(|page| store(&memory, page, 1));
    assert_eq!(resident_pages(memory.range()), Ok(PageCount::new(64)));
    // SAFETY: Ours.
    unsafe { advise(pages(&memory, 8, 16), Advice::Discard).unwrap() };
    assert_eq!(resident_pages(memory.range()), Ok(PageCount::new(48)));
    assert_eq!((load(&memory, 7), load(&memory, 8)), (1, 0));
}

#[test]
fn advice_for_many_passes_over_what_is_refused() {
    const EVERY: u64 = 3;
    let memory = fresh(EVERY * 200);
    for page in 0..memory.range().count().get() {
        store(&memory, page as usize, 7);
    }
    let chosen: Vec<PageRange> = (0..200)
        .map(|index| pages(&memory, EVERY * index, 2))
        .collect();
    // Advice to drop is refused for what is locked.
    let locked = pages(&memory, EVERY * 70, 1);
    if lock(locked).is_err() {
        return println!("skipped, because no page may be locked");
    }
    // SAFETY: the pages are the test's.
    let taken = unsafe { advise_each(&chosen, Advice::Discard) };
    assert_eq!(taken, PageCount::new(2 * 199));
    for page in 0..memory.range().count().get() {
        let is_dropped = page % EVERY < 2 && page / EVERY != 70;
        // The page behind the locked one: dropped or not, its range was refused.
        if page != EVERY * 70 + 1 {
            let expected = if is_dropped { 0 } else { 7 };
            assert_eq!(load(&memory, page as usize), expected, "page {page}");
        }
    }
    // SAFETY: as above.
    unsafe {
        assert_eq!(advise_each(&[], Advice::Discard), PageCount::ZERO);
        assert_eq!(advise_each(&chosen[..1], Advice::Discard).get(), 2);
    }
    unlock(locked).unwrap();
}

#[test]
fn guard_markers_close_pages_without_new_mappings() {
    let memory = fresh(8);
    (0..8).for_each(|page| store(&memory, page, 3));
    // SAFETY: Ours, and nobody looks at the pages while they are marked.
    unsafe {
        match advise(pages(&memory, 2, 2), Advice::GuardInstall) {
            Err(Errno::INVAL) => return println!("skipped, because this kernel has no markers"),
            other => other.unwrap(),
        }
        assert_eq!(kernel_reads(memory.page(3)), Err(Errno::FAULT));
        assert_eq!(kernel_reads(memory.page(4)), Ok(()));
        advise(pages(&memory, 0, 8), Advice::GuardRemove).unwrap();
    }
    assert_eq!(load(&memory, 3), 0, "markers destroy anonymous contents");
    assert_eq!(load(&memory, 4), 3);
}

#[test]
fn populating_brings_pages_in_and_says_when_it_cannot() {
    let memory = fresh(16);
    // SAFETY: Ours.
    unsafe {
        advise(memory.range(), Advice::PopulateWrite).unwrap();
        assert_eq!(resident_pages(memory.range()), Ok(PageCount::new(16)));
        protect(pages(&memory, 4, 1), Access::READ).unwrap();
        let result = advise(memory.range(), Advice::PopulateWrite);
        assert!(
            matches!(result, Err(Errno::FAULT | Errno::INVAL)),
            "{result:?}"
        );
    }
}

#[test]
fn moving_leaves_an_empty_source() {
    let memory = fresh(8);
    (0..4).for_each(|page| store(&memory, page, 10 + page as u8));
    // SAFETY: Both ours, no references.
    unsafe { move_leaving_empty(pages(&memory, 0, 4), pages(&memory, 4, 4)).unwrap() };
    assert_eq!(
        (load(&memory, 0), load(&memory, 4), load(&memory, 7)),
        (0, 10, 13)
    );
    // SAFETY: As above.
    let unequal = unsafe { move_leaving_empty(pages(&memory, 0, 2), pages(&memory, 4, 3)) };
    assert_eq!(unequal, Err(Errno::INVAL));
}

#[test]
fn moving_over_takes_the_mapping_along() {
    let memory = fresh(2);
    store(&memory, 0, 21);
    let (from, to) = (pages(&memory, 0, 1), pages(&memory, 1, 1));
    // The hole that is left may be somebody else's at once, so it is given away before.
    let _ = memory.into_range();
    // SAFETY: Both ours, no references; afterwards only the second page is.
    let memory = unsafe {
        move_over(from, to).unwrap();
        Mapping::from_range(to)
    };
    assert_eq!(load(&memory, 0), 21);
}

#[test]
fn a_file_takes_the_place_of_memory_and_gives_it_back() {
    let file = crate::file::create_in_folder(&std::env::temp_dir())
        .unwrap()
        .file;
    rustix::fs::ftruncate(&file, 2 * PAGE_SIZE as u64).unwrap();
    rustix::io::pwrite(&file, b"x", PAGE_SIZE as u64).unwrap();
    let memory = fresh(4);
    store(&memory, 3, 7);
    // SAFETY: Ours, no references.
    unsafe { map_file_shared_over(pages(&memory, 1, 2), &file, 0, Access::READ_WRITE).unwrap() };
    assert_eq!((load(&memory, 2), load(&memory, 3)), (b'x', 7));
    store(&memory, 1, b'y');
    let mut byte = [0];
    rustix::io::pread(&file, &mut byte[..], 0).unwrap();
    assert_eq!(byte, *b"y");
    // SAFETY: Ours, no references.
    unsafe { reserve_over(pages(&memory, 1, 2), Access::READ_WRITE, Treatment::empty()).unwrap() };
    assert_eq!(load(&memory, 2), 0);
    let odd = map_file(PageCount::ONE, &file, 5, Access::READ).unwrap_err();
    assert_eq!(odd, Errno::INVAL);
}

#[test]
fn locking_is_bounded_for_ordinary_users() {
    let memory = fresh(16);
    lock(memory.range()).unwrap();
    assert_eq!(resident_pages(memory.range()), Ok(PageCount::new(16)));
    // SAFETY: Ours.
    let dropped = unsafe { advise(memory.range(), Advice::Discard) };
    assert_eq!(dropped, Err(Errno::INVAL), "locked pages stay");
    unlock(memory.range()).unwrap();
    let limit = crate::rlimit::locked_memory_bytes();
    if rustix::process::geteuid().is_root() || limit > 1 << 30 {
        return println!("skipped the refusal, because this user may lock any amount");
    }
    let much = fresh(limit / PAGE_SIZE as u64 + 1);
    assert!(matches!(
        lock(much.range()),
        Err(Errno::NOMEM | Errno::PERM)
    ));
}

#[test]
fn dropping_and_shrinking_unmap_and_giving_away_does_not() {
    let mut memory = fresh(8);
    let whole = memory.range();
    let kept = pages(&memory, 2, 3);
    memory.shrink_to(kept).unwrap();
    assert_eq!(memory.range(), kept);
    assert_eq!(memory.shrink_to(whole), Err(Errno::INVAL));
    let range = memory.into_range();
    assert_eq!(resident_pages(range), Ok(PageCount::ZERO));
    // SAFETY: Given away above, so ours.
    drop(unsafe { Mapping::from_range(range) });
}

#[test]
fn tables_of_every_width_cost_what_is_touched() {
    let table = ZeroedTable::<AtomicU64>::new(1 << 34).unwrap();
    assert_eq!(table.len(), 1 << 34);
    assert_eq!(table[(1 << 34) - 1].load(Ordering::Relaxed), 0);
    let small = ZeroedTable::<AtomicU8>::new(3 * PAGE_SIZE).unwrap();
    small[5].store(1, Ordering::Relaxed);
    small[PAGE_SIZE * 2].store(1, Ordering::Relaxed);
    assert_eq!(small.resident_bytes(), 2 * PAGE_SIZE as u64);
    assert!(ZeroedTable::<AtomicU16>::new(usize::MAX).is_err());
    assert!(ZeroedTable::<AtomicU32>::new(usize::MAX / 4).is_err());
    assert!(ZeroedTable::<AtomicU32>::new(0).unwrap().is_empty());
}

#[test]
fn discarding_cells_clears_exactly_the_range() {
    let length = 5 * PAGE_SIZE / 2;
    for (start, end) in [
        (0, 10),
        (3, 2048),
        (2000, 6200),
        (2048, 4096),
        (5, usize::MAX),
        (9, 9),
    ] {
        let table = ZeroedTable::<AtomicU16>::new(length).unwrap();
        table
            .iter()
            .for_each(|cell| cell.store(7, Ordering::Relaxed));
        table.discard(start..end);
        for (index, cell) in table.iter().enumerate() {
            let wanted = if (start..end).contains(&index) { 0 } else { 7 };
            assert_eq!(
                cell.load(Ordering::Relaxed),
                wanted,
                "{start}..{end} at {index}"
            );
        }
    }
}

#[test]
fn shared_bytes_check_their_bounds() {
    let area = SharedBytes::new(PageCount::new(2), Treatment::empty(), Purpose::Buffers).unwrap();
    let mut two = [0; 2];
    area.copy_in(PAGE_SIZE - 1, &[1, 2]).unwrap();
    area.copy_out(PAGE_SIZE - 1, &mut two).unwrap();
    assert_eq!(two, [1, 2]);
    assert_eq!(area.copy_in(2 * PAGE_SIZE - 1, &two), Err(OutOfRange));
    assert_eq!(area.copy_out(usize::MAX, &mut two), Err(OutOfRange));
    area.copy_in(2 * PAGE_SIZE, &[]).unwrap();
    // SAFETY: Nobody else has the area.
    unsafe {
        assert_eq!(area.slice(PAGE_SIZE - 1..PAGE_SIZE + 1), Ok(&[1, 2][..]));
        area.slice_mut(0..1).unwrap()[0] = 9;
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        let reversed = area.slice(5..4);
        assert_eq!(reversed, Err(OutOfRange));
        area.discard(PAGE_SIZE - 1..2 * PAGE_SIZE).unwrap();
    }
    assert_eq!(area.resident_bytes(), PAGE_SIZE as u64);
    area.copy_out(PAGE_SIZE - 1, &mut two).unwrap();
    assert_eq!(two, [1, 0], "only the whole page was dropped");
}

#[test]
fn slots_have_one_owner_at_a_time() {
    let pool = SlotPool::new(70, PageCount::ONE).unwrap();
    assert_eq!(pool.count(), 70);
    let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(all.len(), 70);
    let mut indices: Vec<_> = all.iter().map(Slot::index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..70).collect::<Vec<_>>());
    drop(all);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..2000 {
                    // Four threads and 70 slots: never empty.
                    let mut slot = pool.take().unwrap();
                    slot.fill(thread);
                    if round % 16 == 0 {
                        std::thread::yield_now();
                    }
                    assert!(slot.iter().all(|&byte| byte == thread));
                }
            });
        }
    });
    assert_eq!(SlotPool::new(0, PageCount::ONE).unwrap_err(), Errno::INVAL);
    assert_eq!(
        SlotPool::new(1025, PageCount::ONE).unwrap_err(),
        Errno::INVAL
    );
}
