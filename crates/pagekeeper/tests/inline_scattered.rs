//! The inline engine under scattered accesses: pages are packed where they lie while other threads read and write beside them.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use pagekeeper::{ByteCount, EngineKind, Reservation};
use support::{PAGE, committed, inline_works, next, seed, space};

const WORDS: usize = PAGE / 8;

/// A word of a page, to be looked at by several threads.
fn word(reservation: &Reservation, page: usize, at: usize) -> &AtomicU64 {
    assert!(page < reservation.pages().count().as_usize() && at < WORDS);
    // SAFETY: the page is committed for as long as the reservation lives, and everybody here uses its words as atomics.
    unsafe {
        &*reservation
            .base()
            .cast::<AtomicU64>()
            .add(page * WORDS + at)
    }
}

/// What a page holds: its number, its age, noise that is as long as `noise` words, and a rest that packs well.
fn write(reservation: &Reservation, page: usize, age: u64, noise: usize) {
    let mut state = (page as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ age;
    word(reservation, page, 0).store(page as u64, Ordering::Relaxed);
    word(reservation, page, 1).store(age, Ordering::Relaxed);
    for at in 2..2 + noise {
        word(reservation, page, at).store(next(&mut state), Ordering::Relaxed);
    }
    for at in 2 + noise..WORDS {
        word(reservation, page, at).store(age ^ 0x2020, Ordering::Relaxed);
    }
}

fn check(reservation: &Reservation, page: usize, age: u64, noise: usize) {
    let mut state = (page as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ age;
    let found = |at| word(reservation, page, at).load(Ordering::Relaxed);
    assert_eq!((found(0), found(1)), (page as u64, age), "page {page}");
    for at in 2..2 + noise {
        assert_eq!(found(at), next(&mut state), "page {page}, word {at}");
    }
    for at in 2 + noise..WORDS {
        assert_eq!(found(at), age ^ 0x2020, "page {page}, word {at}");
    }
}

/// Four threads, each the owner of every fourth page, so that each extent belongs to all: every read finds what was written
/// last, and at the end every word is compared. `noise_of` says how many words of a page do not pack.
fn scatter(noise_of: impl Fn(usize) -> usize + Sync) -> pagekeeper::SpaceStatus {
    const THREADS: usize = 4;
    let space = space(EngineKind::Inline, ByteCount::mib(4));
    let reservation = committed(&space, ByteCount::mib(16));
    let pages = reservation.pages().count().as_usize();
    let ages: Vec<_> = (0..pages).map(|_| AtomicU64::new(0)).collect();
    for page in 0..pages {
        write(&reservation, page, 0, noise_of(page));
    }
    let first = seed();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (reservation, ages, noise_of) = (&reservation, &ages, &noise_of);
            scope.spawn(move || {
                let mut state = first ^ (thread as u64 + 1).wrapping_mul(0x5851_F42D_4C95_7F2D);
                for turn in 0..12_000_u64 {
                    let any = next(&mut state) as usize % pages;
                    assert_eq!(
                        word(reservation, any, 0).load(Ordering::Relaxed),
                        any as u64
                    );
                    let own = any / THREADS * THREADS + thread;
                    let age = ages[own].load(Ordering::Relaxed);
                    check(reservation, own, age, noise_of(own));
                    if turn % 3 == 0 {
                        ages[own].store(turn + 1, Ordering::Relaxed);
                        write(reservation, own, turn + 1, noise_of(own));
                    }
                }
            });
        }
    });
    for (page, age) in ages.iter().enumerate() {
        let age = age.load(Ordering::Relaxed);
        check(&reservation, page, age, noise_of(page));
    }
    let status = space.status();
    assert!(status.total.peak.bytes() <= ByteCount::mib(4), "{status:?}");
    assert_eq!(status.total.lost, 0, "{status:?}");
    status
}

#[test]
fn pages_that_pack_leave_where_they_lie_and_hardly_see_the_disk() {
    if !inline_works() {
        return;
    }
    let total = scatter(|_| 60).total;
    assert!(total.packed_in_place > 10_000, "{total:?}");
    // With a pool of so few blocks, one for a size may be missing at times.
    assert!(total.hard_faults < total.pool_faults / 10, "{total:?}");
}

#[test]
fn where_some_pages_do_not_pack_all_are_right_all_the_same() {
    if !inline_works() {
        return;
    }
    let total = scatter(|page| if page % 5 == 0 { WORDS - 2 } else { 60 }).total;
    assert!(
        total.packed_in_place > 1_000 && total.pages_out > 100,
        "{total:?}"
    );
}

#[test]
fn where_no_page_packs_the_way_is_hardly_tried() {
    if !inline_works() {
        return;
    }
    let total = scatter(|_| WORDS - 2).total;
    assert!(total.pages_out > 1_000, "{total:?}");
    assert_eq!(total.packed_in_place, 0, "{total:?}");
}

/// The kernel writes to pages that a call holds, and to locked ones, while everything around them is packed: it must never meet a
/// protection that packing put there.
#[test]
fn pages_that_are_held_or_locked_can_be_written_by_the_kernel_all_the_time() {
    use std::os::unix::fs::FileExt;
    if !inline_works() {
        return;
    }
    let space = space(EngineKind::Inline, ByteCount::mib(4));
    let reservation = committed(&space, ByteCount::mib(16));
    let pages = reservation.pages().count().as_usize();
    for page in 0..pages {
        write(&reservation, page, 0, 60);
    }
    // Every 256th page is locked, sixteen in all; the page after it is read into by a wrapped call.
    let locked: Vec<_> = (0..pages).step_by(256).collect();
    for page in &locked {
        reservation
            .lock((page * PAGE) as u64..((page + 1) * PAGE) as u64)
            .expect("room for it");
    }
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let path = folder.path().join("bytes");
    std::fs::write(&path, [0x5A; 2 * PAGE]).expect("written");
    let file = std::fs::File::open(&path).expect("open");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2_u64 {
            let (reservation, stop) = (&reservation, &stop);
            scope.spawn(move || {
                let mut state = seed() ^ (thread + 1);
                while !stop.load(Ordering::Relaxed) {
                    let page = next(&mut state) as usize % pages;
                    if page % 256 > 1 {
                        check(reservation, page, 0, 60);
                    }
                }
            });
        }
        let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
        let mut rounds = 0_u64;
        while std::time::Instant::now() < end {
            for page in &locked {
                let address = reservation.base().wrapping_add(page * PAGE);
                // SAFETY: two committed pages that only this thread uses.
                let both = unsafe { std::slice::from_raw_parts_mut(address, 2 * PAGE) };
                both[PAGE..].fill(0);
                file.read_exact_at(both, 0).expect("the kernel may write");
                assert!(both.iter().all(|byte| *byte == 0x5A));
                // A bare system call into the locked one.
                // SAFETY: as above; the page is locked, so it is in memory.
                let read = unsafe { bare_read(&file, address, PAGE) };
                assert_eq!(read, PAGE as isize);
                rounds += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        println!("{rounds} rounds");
    });
    let total = space.status().total;
    assert!(total.packed_in_place > 1_000, "{total:?}");
}

/// `pread64` past every wrapper.
///
/// # Safety
/// `address` has `length` bytes that nobody else uses.
unsafe fn bare_read(file: &std::fs::File, address: *mut u8, length: usize) -> isize {
    use std::os::fd::AsRawFd;
    let mut result = 17_isize;
    // SAFETY: `pread64(descriptor, address, length, 0)`; the caller's promise covers the bytes.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") file.as_raw_fd(),
            in("rsi") address,
            in("rdx") length,
            in("r10") 0,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// Discarded pages leave nothing behind that keeps later ones from leaving: pages that nobody touches any more go, others stay.
#[test]
fn pages_that_came_after_many_discarded_ones_can_leave() {
    const EXTENT: usize = 64 * PAGE;
    const EXTENTS: usize = 8192;
    const COLD: usize = 800;
    const HOT: usize = 2000;
    if !inline_works() {
        return;
    }
    let space = space(EngineKind::Inline, ByteCount::mib(4));
    let size = ByteCount::new((EXTENTS * EXTENT) as u64);
    let reservation = space.reserve(size).build().expect("address space");
    let page_of = |extent: usize| {
        let start = (extent * EXTENT) as u64;
        start..start + PAGE as u64
    };
    let touch = |extent: usize| word(&reservation, extent * 64, 0).fetch_add(1, Ordering::Relaxed);
    for extent in 0..EXTENTS {
        let rights = pagekeeper::Protection::READ_WRITE;
        reservation.commit(page_of(extent), rights).expect("a page");
    }
    for extent in 0..EXTENTS - COLD - HOT {
        touch(extent);
        reservation.discard(page_of(extent)).expect("discarded");
    }
    let cold = EXTENTS - COLD - HOT..EXTENTS - HOT;
    cold.clone().for_each(|extent| {
        touch(extent);
    });
    for _ in 0..10 {
        (EXTENTS - HOT..EXTENTS).for_each(|extent| {
            touch(extent);
        });
    }
    let still_there = cold
        .clone()
        .filter(|extent| {
            let found = reservation.residence(page_of(*extent));
            found
                .iter()
                .any(|(_, residence)| *residence == pagekeeper::Residence::Resident)
        })
        .count();
    assert!(still_there < COLD / 4, "{still_there} of {COLD}");
    assert!(cold.clone().all(|extent| touch(extent) == 1));
}
