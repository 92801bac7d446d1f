//! The inline engine: cases that once went wrong.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use pagekeeper::{ByteCount, EngineKind, Protection, Refusal, Reservation, Space};
use support::{
    PAGE, alone, check_page, committed, inline_works, next, seed, space, words, write_page,
};

const INLINE: EngineKind = EngineKind::Inline;

const fn bytes(page: u64) -> core::ops::Range<u64> {
    page * PAGE as u64..(page + 1) * PAGE as u64
}

/// Reservations at addresses of their own make arenas of 64 KiB, of which four lie in one extent.
#[test]
fn neighbours_in_one_extent_keep_to_themselves() {
    if !inline_works() {
        return;
    }
    let one = space(INLINE, ByteCount::mib(1));
    let two = space(INLINE, ByteCount::mib(1));
    let at = 0x0700_0000_0000_u64;
    let neighbours: Vec<_> = (0..8)
        .map(|place| {
            let space = if place % 2 == 0 { &one } else { &two };
            let reservation = space.reserve(ByteCount::kib(64)).at(at + place * 65_536);
            reservation.committed().build().expect("free")
        })
        .collect();
    for (place, reservation) in neighbours.iter().enumerate() {
        for page in 0..16 {
            write_page(reservation, page, place as u64);
        }
    }
    for space in [&one, &two] {
        space.trim();
        let load = committed(space, ByteCount::mib(4));
        for page in 0..1024 {
            write_page(&load, page, 99);
        }
    }
    for (place, reservation) in neighbours.iter().enumerate() {
        for page in 0..16 {
            check_page(reservation, page, place as u64);
        }
    }
}

/// Decommits the first pages and commits them again: they are zeros.
fn are_zeros_when_committed_anew(reservation: &Reservation, pages: usize) {
    let range = ..(pages * PAGE) as u64;
    reservation.decommit(range).expect("inside");
    reservation
        .commit(range, Protection::READ_WRITE)
        .expect("room");
    for page in 0..pages {
        assert!(
            words(reservation, page).iter().all(|word| *word == 0),
            "page {page}"
        );
    }
}

/// A plain `mlock` of a part: such pages cannot be moved out, and what is copied instead cannot be dropped by plain advice.
#[test]
fn pages_that_are_locked_past_us_leave_all_the_same() {
    alone("pages_that_are_locked_past_us_leave_all_the_same", || {
        let space = space(INLINE, ByteCount::mib(1));
        let reservation = committed(&space, ByteCount::mib(2));
        for page in 0..20 {
            write_page(&reservation, page, 1);
        }
        // SAFETY: our own pages; refused for an ordinary user with little room, which is told.
        if unsafe { libc::mlock(reservation.base().cast(), 20 * PAGE) } != 0 {
            println!("skipped, because mlock is refused");
            return;
        }
        for page in 20..512 {
            write_page(&reservation, page, 2);
        }
        space.trim();
        for page in 0..512 {
            check_page(&reservation, page, if page < 20 { 1 } else { 2 });
        }
        space.trim();
        are_zeros_when_committed_anew(&reservation, 20);
        assert!(space.status().total.peak.bytes() <= ByteCount::mib(1));
    });
}

#[test]
fn locked_memory_is_dropped_all_the_same() {
    alone("locked_memory_is_dropped_all_the_same", || {
        let space = space(INLINE, ByteCount::mib(1));
        let reservation = committed(&space, ByteCount::mib(2));
        for page in 0..20 {
            write_page(&reservation, page, 1);
        }
        // SAFETY: locks this process's memory; refused for an ordinary user with little room, which is told.
        if unsafe { libc::mlockall(libc::MCL_CURRENT) } != 0 {
            println!("skipped, because mlockall is refused");
            return;
        }
        are_zeros_when_committed_anew(&reservation, 20);
        for page in 0..512 {
            write_page(&reservation, page, 2);
        }
        for page in 0..512 {
            check_page(&reservation, page, 2);
        }
        assert!(space.status().total.peak.bytes() <= ByteCount::mib(1));
        // SAFETY: from now on everything new would be locked and filled.
        assert_eq!(unsafe { libc::mlockall(libc::MCL_FUTURE) }, 0);
        let refused = Space::builder()
            .ram(ByteCount::mib(1))
            .engine(INLINE)
            .build();
        assert!(
            refused
                .err()
                .is_some_and(|error| error.to_string().contains("mlockall"))
        );
        // SAFETY: undoes it.
        unsafe { libc::munlockall() };
    });
}

#[test]
fn extents_that_emptied_do_not_fill_the_queue() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::kib(256));
    let reservation = space
        .reserve(ByteCount::gib(4))
        .build()
        .expect("address space");
    let extent = 64;
    for round in 0..1500 {
        let page = round * extent;
        reservation
            .commit(bytes(page), Protection::READ_WRITE)
            .expect("room");
        write_page(&reservation, page as usize, 1);
        reservation.decommit(bytes(page)).expect("inside");
    }
    for round in 0..600 {
        let page = round * extent;
        reservation
            .commit(bytes(page), Protection::READ_WRITE)
            .expect("room");
        write_page(&reservation, page as usize, 2);
    }
    for round in 0..600 {
        check_page(&reservation, (round * extent) as usize, 2);
    }
}

#[test]
fn without_a_page_file_what_is_promised_can_be_used() {
    if !inline_works() {
        return;
    }
    let builder = Space::builder()
        .ram(ByteCount::kib(256))
        .engine(INLINE)
        .no_page_file();
    let space = builder.build().expect("a space");
    let limit = space.status().commit_limit;
    let reservation = committed(&space, limit);
    let pages = limit.pages().as_usize();
    let mut state = seed();
    let start = state;
    for page in 0..pages {
        for word in words(&reservation, page) {
            *word = next(&mut state);
        }
    }
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            let (reservation, space) = (&reservation, &space);
            scope.spawn(move || {
                for round in 0..200 {
                    let mut state = start;
                    for page in 0..pages {
                        let right = words(reservation, page)
                            .iter()
                            .fold(true, |right, word| right & (*word == next(&mut state)));
                        assert!(right, "page {page}");
                    }
                    if round % 10 == thread {
                        space.trim();
                    }
                }
            });
        }
    });
}

#[test]
fn locks_that_end_by_decommit_are_forgotten() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::kib(512));
    let reservation = committed(&space, ByteCount::mib(1));
    for _ in 0..100 {
        reservation.lock(bytes(0)).expect("one page");
        reservation.decommit(bytes(0)).expect("inside");
        reservation
            .commit(bytes(0), Protection::READ_WRITE)
            .expect("room");
    }
    for _ in 0..100 {
        reservation.lock(bytes(1)).expect("one page");
        reservation
            .protect(bytes(1), Protection::NO_ACCESS)
            .expect("committed");
        reservation
            .protect(bytes(1), Protection::READ_WRITE)
            .expect("committed");
        let _ = reservation.unlock(bytes(1));
    }
}

#[test]
fn releases_do_not_wait_for_other_threads_faults() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(1));
    let busy = committed(&space, ByteCount::mib(8));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (busy, stop) = (&busy, &stop);
            scope.spawn(move || {
                let mut state = thread + 7;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let page = (next(&mut state) as usize % 512) * 4 + thread as usize;
                    words(busy, page)[0] += 1;
                }
            });
        }
        for round in 0..200_u64 {
            let at = 0x0710_0000_0000 + round * 65_536;
            let small = space.reserve(ByteCount::kib(64)).at(at).committed().build();
            let small = small.expect("free");
            write_page(&small, 3, round);
            check_page(&small, 3, round);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn held_memory_can_be_given_to_bare_system_calls() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(1));
    let reservation = committed(&space, ByteCount::mib(4));
    for page in 0..1024 {
        write_page(&reservation, page, 1);
    }
    reservation.trim(bytes(3));
    let mut pipe = [0; 2];
    // SAFETY: two descriptors are written to the array.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let written = reservation.with_resident(bytes(3), |address, length| {
        // SAFETY: the memory is committed and held; the bare call goes past any wrapper.
        unsafe { libc::syscall(libc::SYS_write, pipe[1], address, length) }
    });
    assert_eq!(written.expect("one page"), PAGE as i64);
    let read = reservation.with_resident(bytes(700), |address, length| {
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_read, pipe[0], address, length) }
    });
    assert_eq!(read.expect("one page"), PAGE as i64);
    assert_eq!(words(&reservation, 700), words(&reservation, 3));
    let too_much = reservation.with_resident(.., |_, _| ());
    assert!(too_much.is_err(), "four times the budget");
    reservation.decommit(bytes(9)).expect("inside");
    let refused = reservation.with_resident(bytes(9), |_, _| ());
    assert!(
        matches!(
            refused.expect_err("not committed").refusal(),
            Some(Refusal::NotAccessible { .. })
        ),
        "not committed"
    );
    // Held for writing where that may be, else for reading.
    reservation
        .protect(bytes(3), Protection::READ_ONLY)
        .expect("committed");
    reservation.trim(bytes(3));
    let written = reservation.with_resident(bytes(3), |address, length| {
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_write, pipe[1], address, length) }
    });
    assert_eq!(written.expect("readable"), PAGE as i64);
    let past = reservation.with_resident(bytes(1024), |_, _| ());
    assert!(
        matches!(
            past.expect_err("past the end").refusal(),
            Some(Refusal::LeavesAllocation { .. })
        ),
        "past the end"
    );
}
