//! Every call on real memory, and every refusal that a pager must tell apart. No test takes a
//! signal: where a page is missing the kernel is asked to read it, and answers `EFAULT`.

mod descriptor;

use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber};

use super::*;
use crate::map::{self, Access, Advice, Mapping, Treatment, reserve};
use crate::pagemap::{Categories, Query, Scan, resident_pages};

/// A SIGBUS-mode descriptor with everything that the kernel offers beyond `required`.
fn inline(required: UffdFeatures, optional: UffdFeatures) -> Option<Userfaultfd> {
    let required = required | UffdFeatures::SIGBUS;
    match Userfaultfd::open(required, optional, FaultScope::UserMode) {
        Ok(uffd) => Some(uffd),
        Err(error) => {
            println!("skipped, because {error}");
            None
        }
    }
}

fn arena(uffd: &Userfaultfd, pages: u64, modes: Modes) -> Mapping {
    let memory = reserve(
        PageCount::new(pages),
        Access::READ_WRITE,
        Treatment::NOT_INHERITED,
    )
    .unwrap();
    // SAFETY: Ours; the tests touch only pages that they have filled.
    let calls = unsafe { uffd.register(memory.range(), modes).unwrap() };
    assert!(calls.contains(RangeCalls::COPY | RangeCalls::WAKE));
    memory
}

fn pages(mapping: &Mapping, first: u64, count: u64) -> PageRange {
    PageRange::new(mapping.page(first), PageCount::new(count))
}

/// `count` pages filled with `value`, `value + 1`, …
fn source(count: usize, value: u8) -> Vec<u8> {
    (0..count * PAGE_SIZE)
        .map(|at| value + (at / PAGE_SIZE) as u8)
        .collect()
}

fn copy(uffd: &Userfaultfd, to: PageRange, bytes: &[u8]) -> Progress {
    assert!(bytes.len() >= byte_length(to));
    // SAFETY: The source is long enough; the range is an arena of the test.
    unsafe { uffd.copy(to, bytes.as_ptr(), CopyMode::DO_NOT_WAKE) }
}

fn done(pages: u64, error: Option<Errno>) -> Progress {
    Progress {
        done_bytes: pages * PAGE_SIZE as u64,
        error,
    }
}

/// Lets the kernel read the first byte of a page for us.
fn read_by_kernel(page: PageNumber) -> Result<u8, Errno> {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let argument = [write.as_raw_fd() as usize, page.address() as usize, 1];
    // SAFETY: The kernel reads one byte, or refuses.
    unsafe { raw::call(c::__NR_write, argument)? };
    let mut byte = [0];
    rustix::io::read(&read, &mut byte[..]).unwrap();
    Ok(byte[0])
}

/// Lets the kernel store a byte into a page for us.
fn write_by_kernel(page: PageNumber, value: u8) -> Result<(), Errno> {
    let (read, write) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&write, &[value]).unwrap();
    let argument = [read.as_raw_fd() as usize, page.address() as usize, 1];
    // SAFETY: The kernel writes one byte into an arena of the test, or refuses.
    unsafe { raw::call(c::__NR_read, argument)? };
    Ok(())
}

#[test]
fn missing_pages_are_errors_until_filled() {
    let Some(uffd) = inline(UffdFeatures::empty(), UffdFeatures::empty()) else {
        return;
    };
    let memory = arena(&uffd, 8, Modes::MISSING);
    assert_eq!(read_by_kernel(memory.page(3)), Err(Errno::FAULT));
    assert_eq!(
        copy(&uffd, pages(&memory, 2, 3), &source(3, 40)),
        done(3, None)
    );
    assert_eq!(read_by_kernel(memory.page(3)), Ok(41));
    assert_eq!(read_by_kernel(memory.page(5)), Err(Errno::FAULT));
    // SAFETY: Ours.
    assert_eq!(unsafe { uffd.zero(pages(&memory, 5, 2)) }, done(2, None));
    assert_eq!(read_by_kernel(memory.page(6)), Ok(0));
}

#[test]
fn a_page_that_is_there_stops_a_copy_and_stays() {
    let Some(uffd) = inline(UffdFeatures::empty(), UffdFeatures::empty()) else {
        return;
    };
    let memory = arena(&uffd, 8, Modes::MISSING);
    assert!(copy(&uffd, pages(&memory, 2, 1), &source(1, 99)).is_complete());
    let whole = pages(&memory, 0, 5);
    let bytes = source(5, 1);
    let first = copy(&uffd, whole, &bytes);
    assert_eq!(
        first,
        done(2, Some(Errno::AGAIN)),
        "part was done: ask again"
    );
    let rest = first.rest_of(whole);
    assert_eq!(rest, pages(&memory, 2, 3));
    let second = copy(&uffd, rest, &bytes[2 * PAGE_SIZE..]);
    assert_eq!(second, done(0, Some(Errno::EXIST)));
    assert_eq!(read_by_kernel(memory.page(2)), Ok(99));
    let after = pages(&memory, 3, 2);
    assert!(copy(&uffd, after, &bytes[3 * PAGE_SIZE..]).is_complete());
    assert_eq!(read_by_kernel(memory.page(4)), Ok(5));
    // SAFETY: Ours.
    let zeros = unsafe { uffd.zero(pages(&memory, 4, 2)) };
    assert_eq!(zeros, done(0, Some(Errno::EXIST)));
}

#[test]
fn bad_sources_and_bad_places_are_told_apart() {
    let Some(uffd) = inline(UffdFeatures::empty(), UffdFeatures::empty()) else {
        return;
    };
    let memory = arena(&uffd, 4, Modes::MISSING);
    let closed = reserve(PageCount::ONE, Access::NONE, Treatment::empty()).unwrap();
    // SAFETY: The source cannot be read, which the kernel finds out.
    let unreadable = unsafe { uffd.copy(pages(&memory, 0, 1), closed.base(), CopyMode::empty()) };
    assert_eq!(unreadable, done(0, Some(Errno::FAULT)));
    let elsewhere = reserve(PageCount::ONE, Access::READ_WRITE, Treatment::empty()).unwrap();
    let unregistered = copy(&uffd, elsewhere.range(), &source(1, 1));
    assert_eq!(unregistered, done(0, Some(Errno::NOENT)));
    let stranger = inline(UffdFeatures::empty(), UffdFeatures::empty()).unwrap();
    // SAFETY: Refused: a range belongs to one descriptor.
    let taken = unsafe { stranger.register(memory.range(), Modes::MISSING) };
    assert_eq!(taken, Err(Errno::BUSY));
    let nowhere = PageRange::new(PageNumber::new(1 << 30), PageCount::ONE);
    // SAFETY: Nothing is there.
    let unmapped = unsafe { uffd.register(nowhere, Modes::MISSING) };
    assert!(
        matches!(unmapped, Err(Errno::INVAL | Errno::NOMEM)),
        "{unmapped:?}"
    );
}

#[test]
fn pages_move_out_and_back_without_a_copy() {
    let Some(uffd) = inline(UffdFeatures::MOVE, UffdFeatures::empty()) else {
        return;
    };
    let memory = arena(&uffd, 64, Modes::MISSING | Modes::WRITE_PROTECT);
    let staging = arena(&uffd, 64, Modes::MISSING | Modes::WRITE_PROTECT);
    assert!(copy(&uffd, pages(&memory, 0, 64), &source(64, 1)).is_complete());
    let mode = MoveMode::ALLOW_HOLES | MoveMode::DO_NOT_WAKE;
    // SAFETY: Both ours, no references.
    unsafe {
        let out = uffd.move_pages(staging.page(0), memory.range(), mode);
        assert_eq!(out, done(64, None));
        assert_eq!(read_by_kernel(memory.page(9)), Err(Errno::FAULT));
        assert_eq!(read_by_kernel(staging.page(9)), Ok(10));
        assert_eq!(resident_pages(memory.range()), Ok(PageCount::ZERO));
        let back = uffd.move_pages(memory.page(9), pages(&staging, 9, 3), MoveMode::empty());
        assert_eq!(back, done(3, None));
        assert_eq!(read_by_kernel(memory.page(11)), Ok(12));
        // A hole is an error, or passed over and counted.
        let hole = uffd.move_pages(memory.page(20), pages(&staging, 9, 1), MoveMode::empty());
        assert_eq!(hole, done(0, Some(Errno::NOENT)));
        let holes = uffd.move_pages(memory.page(20), pages(&staging, 9, 4), mode);
        assert_eq!(holes, done(4, None));
        assert_eq!(read_by_kernel(memory.page(23)), Ok(13));
        // A page in the way.
        let taken = uffd.move_pages(memory.page(23), pages(&staging, 14, 1), mode);
        assert_eq!(taken, done(0, Some(Errno::EXIST)));
        // Staging that is not registered here.
        let plain = reserve(PageCount::ONE, Access::READ_WRITE, Treatment::NOT_INHERITED).unwrap();
        let refused = uffd.move_pages(plain.page(0), pages(&staging, 14, 1), mode);
        assert_eq!(refused, done(0, Some(Errno::INVAL)));
    }
    assert_eq!(read_by_kernel(staging.page(14)), Ok(15));
}

#[test]
fn pages_shared_with_a_child_are_busy() {
    let Some(uffd) = inline(UffdFeatures::MOVE, UffdFeatures::empty()) else {
        return;
    };
    let memory = reserve(PageCount::new(2), Access::READ_WRITE, Treatment::empty()).unwrap();
    let staging = arena(&uffd, 2, Modes::MISSING);
    // SAFETY: Ours.
    unsafe { memory.base().write_volatile(6) };
    // SAFETY: The child only waits for a byte and ends by the bare system call.
    unsafe {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let child = raw::call(c::__NR_fork, []).unwrap();
        if child == 0 {
            let _ = raw::call(c::__NR_close, [write.as_raw_fd() as usize]);
            let mut byte = [0];
            let _ = rustix::io::read(&read, &mut byte[..]);
            let _ = raw::call(c::__NR_exit_group, [0]);
        }
        let result = uffd.move_pages(staging.page(0), pages(&memory, 0, 1), MoveMode::empty());
        drop(write);
        let mut status = 0_i32;
        let _ = raw::call(c::__NR_wait4, [child, (&raw mut status) as usize, 0, 0]);
        assert_eq!(result, done(0, Some(Errno::BUSY)));
    }
}

#[test]
fn synchronous_protection_refuses_the_kernels_writes() {
    let wanted = UffdFeatures::PAGEFAULT_FLAG_WP;
    let Some(uffd) = inline(wanted, UffdFeatures::empty()) else {
        return;
    };
    let memory = arena(&uffd, 4, Modes::MISSING | Modes::WRITE_PROTECT);
    let bytes = source(4, 60);
    // SAFETY: The source is long enough; the range is ours.
    let progress = unsafe {
        uffd.copy(
            pages(&memory, 0, 2),
            bytes.as_ptr(),
            CopyMode::WRITE_PROTECTED,
        )
    };
    assert_eq!(progress, done(2, None));
    assert!(copy(&uffd, pages(&memory, 2, 1), &bytes).is_complete());
    assert_eq!(write_by_kernel(memory.page(1), 3), Err(Errno::FAULT));
    assert_eq!(write_by_kernel(memory.page(2), 3), Ok(()));
    // SAFETY: Ours.
    unsafe {
        uffd.write_protect(pages(&memory, 0, 2), false).unwrap();
        assert_eq!(write_by_kernel(memory.page(1), 3), Ok(()));
        uffd.write_protect(pages(&memory, 1, 1), true).unwrap();
    }
    assert_eq!(write_by_kernel(memory.page(1), 4), Err(Errno::FAULT));
    assert_eq!(read_by_kernel(memory.page(1)), Ok(3));
    let only_missing = arena(&uffd, 1, Modes::MISSING);
    // SAFETY: Ours; refused.
    let refused = unsafe { uffd.write_protect(only_missing.range(), true) };
    assert!(
        matches!(refused, Err(Errno::NOENT | Errno::INVAL)),
        "{refused:?}"
    );
}

#[test]
fn asynchronous_protection_is_a_write_watch() {
    let wanted = UffdFeatures::WP_ASYNC | UffdFeatures::WP_UNPOPULATED;
    let Some(uffd) = inline(wanted, UffdFeatures::empty()) else {
        return;
    };
    let Ok(scan) = Scan::open() else {
        return println!("skipped, because nothing can scan");
    };
    let memory = reserve(
        PageCount::new(16),
        Access::READ_WRITE,
        Treatment::NO_HUGE_PAGES,
    )
    .unwrap();
    let query = Query::new()
        .all_of(Categories::WATCHED | Categories::WRITTEN)
        .report(Categories::WRITTEN)
        .protect_matching();
    let written = || {
        let mut found = Vec::new();
        scan.walk(memory.range(), query, |range, categories| {
            assert_eq!(categories, Categories::WRITTEN);
            found.extend(range.pages().map(|page| page.get() - memory.page(0).get()));
        })
        .map(|()| found)
    };
    assert_eq!(
        written(),
        Err(Errno::PERM),
        "not registered: cannot be watched"
    );
    // SAFETY: Ours; with asynchronous protection no access ever fails.
    unsafe {
        let calls = uffd.register(memory.range(), Modes::WRITE_PROTECT).unwrap();
        assert!(calls.contains(RangeCalls::WRITE_PROTECT));
        uffd.write_protect(memory.range(), true).unwrap();
        memory.base().add(3 * PAGE_SIZE).write_volatile(1);
        memory.base().add(7 * PAGE_SIZE).write_volatile(1);
    }
    write_by_kernel(memory.page(8), 1).unwrap();
    assert_eq!(written(), Ok(vec![3, 7, 8]));
    assert_eq!(written(), Ok(vec![]), "reading the watch resets it");
    // SAFETY: Ours.
    unsafe { memory.base().add(7 * PAGE_SIZE).write_volatile(2) };
    assert_eq!(written(), Ok(vec![7]));
}

#[test]
fn poisoned_pages_fail_and_can_be_filled_after_all() {
    let Some(uffd) = inline(UffdFeatures::POISON, UffdFeatures::empty()) else {
        return;
    };
    let memory = arena(&uffd, 4, Modes::MISSING);
    // SAFETY: Ours.
    unsafe {
        assert_eq!(uffd.poison(pages(&memory, 1, 2)), done(2, None));
        let read = read_by_kernel(memory.page(1));
        assert!(
            matches!(read, Err(Errno::FAULT | Errno::HWPOISON)),
            "{read:?}"
        );
        assert_eq!(
            uffd.poison(pages(&memory, 1, 1)),
            done(0, Some(Errno::EXIST))
        );
    }
    assert_eq!(
        copy(&uffd, pages(&memory, 1, 1), &source(1, 8)),
        done(1, None)
    );
    assert_eq!(read_by_kernel(memory.page(1)), Ok(8));
}

#[test]
fn minor_faults_are_answered_from_the_page_cache() {
    let Some(uffd) = inline(UffdFeatures::MINOR_SHMEM, UffdFeatures::empty()) else {
        return;
    };
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file = rustix::fs::memfd_create("pk-test", flags).unwrap();
    rustix::fs::ftruncate(&file, 4 * PAGE_SIZE as u64).unwrap();
    rustix::io::pwrite(&file, b"m", 2 * PAGE_SIZE as u64).unwrap();
    let memory = map::map_file(PageCount::new(4), &file, 0, Access::READ_WRITE).unwrap();
    // SAFETY: Ours; the kernel is asked first about every page.
    unsafe {
        let calls = uffd.register(memory.range(), Modes::MINOR).unwrap();
        assert!(calls.contains(RangeCalls::CONTINUE));
        assert_eq!(read_by_kernel(memory.page(2)), Err(Errno::FAULT));
        assert_eq!(uffd.continue_faults(pages(&memory, 2, 1)), done(1, None));
        assert_eq!(read_by_kernel(memory.page(2)), Ok(b'm'));
        assert_eq!(
            uffd.continue_faults(pages(&memory, 2, 1)),
            done(0, Some(Errno::EXIST))
        );
        assert_eq!(
            uffd.continue_faults(pages(&memory, 3, 1)),
            done(0, Some(Errno::FAULT))
        );
    }
}

#[test]
fn unregistered_and_replaced_ranges_read_as_zeros() {
    let Some(uffd) = inline(UffdFeatures::empty(), UffdFeatures::empty()) else {
        return;
    };
    let memory = arena(&uffd, 4, Modes::MISSING);
    // SAFETY: Ours; nothing was paged out of it.
    unsafe {
        map::reserve_over(pages(&memory, 3, 1), Access::READ_WRITE, Treatment::empty()).unwrap();
        assert_eq!(
            read_by_kernel(memory.page(3)),
            Ok(0),
            "a new mapping is not registered"
        );
        uffd.unregister(pages(&memory, 0, 3)).unwrap();
    }
    assert_eq!(read_by_kernel(memory.page(0)), Ok(0));
}

/// Both ways to take an extent out: contents arrive, holes stay holes, the source faults.
#[test]
fn extents_leave_by_either_twin() {
    let Some(uffd) = inline(UffdFeatures::PAGEFAULT_FLAG_WP, UffdFeatures::MOVE) else {
        return;
    };
    let all = crate::probe::Features::get();
    let without = crate::probe::Switches::all_on().without(crate::probe::Feature::Move);
    assert_eq!(taker(&all.clone().with(without)).name(), "mremap");
    let mut takers: Vec<&dyn TakeOut> = vec![&ByRemap];
    if uffd.features().contains(UffdFeatures::MOVE) {
        takers.push(&ByMove);
    }
    for taker in takers {
        let modes = Modes::MISSING | Modes::WRITE_PROTECT;
        let memory = arena(&uffd, 128, modes);
        let staging = if taker.staging_is_registered() {
            arena(&uffd, 128, modes)
        } else {
            reserve(
                PageCount::new(128),
                Access::READ_WRITE,
                Treatment::NOT_INHERITED,
            )
            .unwrap()
        };
        let extent = pages(&memory, 64, 64);
        for round in 0..3_u8 {
            for hole in [0, 7, 63] {
                let filled = pages(&memory, 64 + hole, 1);
                assert!(copy(&uffd, filled, &source(1, 100 + round)).is_complete());
            }
            // SAFETY: Both ours, no references.
            let progress = unsafe { taker.take_out(&uffd, extent, staging.page(64)) };
            assert_eq!(progress, done(64, None), "{}", taker.name());
            for index in 0..64 {
                let gone = read_by_kernel(memory.page(64 + index));
                assert_eq!(gone, Err(Errno::FAULT), "{} page {index}", taker.name());
            }
            assert_eq!(read_by_kernel(staging.page(64 + 7)), Ok(100 + round));
            // Back in by a copy, out of the staging area itself.
            let from = staging.base().wrapping_add((64 + 7) * PAGE_SIZE);
            // SAFETY: A staged page of ours, into an arena of ours.
            let back = unsafe { uffd.copy(pages(&memory, 71, 1), from, CopyMode::empty()) };
            assert!(back.is_complete());
            assert_eq!(read_by_kernel(memory.page(71)), Ok(100 + round));
            // The next round starts with everything empty.
            for range in [pages(&memory, 71, 1), pages(&staging, 64, 64)] {
                // SAFETY: Ours.
                unsafe { map::advise(range, Advice::Discard).unwrap() };
            }
        }
    }
}

/// A moved-away mapping takes no registration along: staging reads as plain memory.
#[test]
fn remapped_staging_is_plain_memory() {
    let Some(uffd) = inline(UffdFeatures::empty(), UffdFeatures::empty()) else {
        return;
    };
    let memory = arena(&uffd, 4, Modes::MISSING);
    let staging = reserve(
        PageCount::new(4),
        Access::READ_WRITE,
        Treatment::NOT_INHERITED,
    )
    .unwrap();
    assert!(copy(&uffd, pages(&memory, 1, 1), &source(1, 5)).is_complete());
    // SAFETY: Both ours, no references.
    unsafe { map::move_leaving_empty(memory.range(), staging.range()).unwrap() };
    assert_eq!(read_by_kernel(staging.page(1)), Ok(5));
    assert_eq!(read_by_kernel(staging.page(2)), Ok(0), "not registered");
    assert_eq!(
        read_by_kernel(memory.page(1)),
        Err(Errno::FAULT),
        "still registered"
    );
}
