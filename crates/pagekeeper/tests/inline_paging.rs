//! The inline engine: data larger than its budget comes back byte by byte, and the budget holds.

// Longer than 500 lines because it is the list of what paging must never do.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use std::os::unix::fs::{FileExt, MetadataExt};

use pagekeeper::{ByteCount, EngineKind, PagedVec, Protection, Residence, Space};
use support::{
    PAGE, alone, check_page, committed, inline_works, next, seed, space, words, write_page,
};

const INLINE: EngineKind = EngineKind::Inline;

#[test]
fn four_times_the_budget_comes_back_byte_by_byte() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(4));
    let reservation = committed(&space, ByteCount::mib(16));
    let pages = reservation.pages().count().as_usize();
    for page in 0..pages {
        write_page(&reservation, page, 1);
    }
    let mut state = seed();
    for _ in 0..20_000 {
        let page = next(&mut state) as usize % pages;
        check_page(&reservation, page, 1);
    }
    for page in 0..pages {
        check_page(&reservation, page, 1);
    }
    let status = space.status();
    assert!(status.total.peak.bytes() <= ByteCount::mib(4), "{status:?}");
    assert!(
        status.total.hard_faults > 0 && status.total.pool_faults > 0,
        "{status:?}"
    );
    assert_eq!(status.total.lost, 0);
}

#[test]
fn a_second_pass_over_unchanged_pages_writes_nothing() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(2));
    let reservation = committed(&space, ByteCount::mib(8));
    let pages = reservation.pages().count().as_usize();
    let mut state = 99;
    for page in 0..pages {
        for word in words(&reservation, page) {
            *word = next(&mut state);
        }
    }
    let read_all = || {
        (0..pages).fold(0_u64, |sum, page| {
            sum.wrapping_add(words(&reservation, page)[7])
        })
    };
    let first = read_all();
    let before = space.status().total;
    assert_eq!(read_all(), first);
    let after = space.status().total;
    let again = after.pages_out - before.pages_out;
    let spared = after.clean_drops - before.clean_drops;
    assert!(
        spared > 1_000 && again < spared / 8,
        "written again {again}, spared {spared}"
    );
}

#[test]
fn what_fits_gets_huge_pages_and_never_sees_the_disk() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(64));
    let reservation = committed(&space, ByteCount::mib(32));
    for page in 0..reservation.pages().count().as_usize() {
        write_page(&reservation, page, 2);
    }
    let status = space.status().total;
    assert_eq!(status.pages_out, 0);
    assert!(
        status.zero_faults <= 16,
        "one fault a huge page: {status:?}"
    );
    // Then it does not fit any more, and the huge pages have to leave piece by piece.
    let more = committed(&space, ByteCount::mib(96));
    for page in 0..more.pages().count().as_usize() {
        write_page(&more, page, 3);
    }
    for page in 0..reservation.pages().count().as_usize() {
        check_page(&reservation, page, 2);
    }
    for page in 0..more.pages().count().as_usize() {
        check_page(&more, page, 3);
    }
    assert!(space.status().total.peak.bytes() <= ByteCount::mib(64));
}

#[test]
fn decommitted_pages_come_back_as_zeros_and_everything_is_returned() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(1));
    let reservation = committed(&space, ByteCount::mib(4));
    let pages = reservation.pages().count().as_usize();
    for page in 0..pages {
        write_page(&reservation, page, 4);
    }
    let odd = |page: usize| (page as u64 * PAGE as u64)..(page as u64 + 1) * PAGE as u64;
    for page in (1..pages).step_by(2) {
        reservation.decommit(odd(page)).expect("inside");
    }
    for page in (1..pages).step_by(2) {
        reservation
            .commit(odd(page), Protection::READ_WRITE)
            .expect("room");
        assert!(
            words(&reservation, page).iter().all(|word| *word == 0),
            "page {page}"
        );
    }
    for page in (0..pages).step_by(2) {
        check_page(&reservation, page, 4);
    }
    drop(reservation);
    assert_eq!(space.status().committed, ByteCount::ZERO);
    // Staged frames whose pages are gone stay until their slot is recycled; what the balancer has in hand at this moment
    // is neither here nor there.
    let mut looks = 0;
    loop {
        let total = space.status().total;
        let left = [total.compressed, total.page_file, total.resident];
        if left.iter().all(|pages| pages.get() == 0) {
            break;
        }
        looks += 1;
        assert!(looks < 12_000, "{total:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn trimmed_pages_come_back_by_soft_faults() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(16));
    let reservation = committed(&space, ByteCount::mib(1));
    for page in 0..256 {
        write_page(&reservation, page, 5);
    }
    reservation.trim(..);
    let out = reservation.residence(..);
    assert!(
        out.iter()
            .all(|(_, residence)| *residence != Residence::Resident),
        "{out:?}"
    );
    // Everything fits, so no slot is promised: what does not pack stays on the modified list.
    let listed = [Residence::Standby, Residence::Modified];
    assert!(
        out.iter().any(|(_, residence)| listed.contains(residence)),
        "{out:?}"
    );
    for page in 0..256 {
        check_page(&reservation, page, 5);
    }
    assert!(space.status().total.soft_faults > 0);
}

#[test]
fn locked_pages_stay_when_everything_else_has_to_go() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(2));
    let reservation = committed(&space, ByteCount::mib(8));
    for page in 0..16 {
        write_page(&reservation, page, 6);
    }
    reservation
        .lock(0..16 * PAGE as u64)
        .expect("sixteen pages");
    for page in 16..2048 {
        write_page(&reservation, page, 6);
    }
    let runs = reservation.residence(0..16 * PAGE as u64);
    assert!(
        runs.iter()
            .all(|(_, residence)| *residence == Residence::Resident),
        "{runs:?}"
    );
    reservation
        .unlock(0..16 * PAGE as u64)
        .expect("locked before");
    assert!(
        reservation.unlock(0..PAGE as u64).is_err(),
        "not locked any more"
    );
    for page in 0..2048 {
        check_page(&reservation, page, 6);
    }
}

#[test]
fn an_own_budget_and_another_space_take_nothing_from_each_other() {
    if !inline_works() {
        return;
    }
    let space_one = space(INLINE, ByteCount::mib(8));
    let space_two = space(INLINE, ByteCount::mib(2));
    let own = space_one
        .reserve(ByteCount::mib(8))
        .own_budget(ByteCount::mib(2))
        .build()
        .expect("a quarter of the space's budget");
    own.commit(.., Protection::READ_WRITE).expect("room");
    let calm = committed(&space_one, ByteCount::mib(4));
    let other = committed(&space_two, ByteCount::mib(8));
    for page in 0..1024 {
        write_page(&calm, page, 7);
    }
    let resident_before = calm.residence(..);
    for page in 0..2048 {
        write_page(&own, page, 8);
        write_page(&other, page, 9);
    }
    // The calm one fits into what is left of its space's budget, so nothing of it may have left.
    assert_eq!(calm.residence(..), resident_before);
    assert!(
        resident_before
            .iter()
            .all(|(_, residence)| *residence == Residence::Resident)
    );
    for page in 0..2048 {
        check_page(&own, page, 8);
        check_page(&other, page, 9);
    }
    for (_, figures) in space_one.status().engines {
        assert!(figures.peak <= figures.budget, "{figures:?}");
    }
    drop(own);
    assert_eq!(
        space_one.status().engines.len(),
        1,
        "its engine goes with it"
    );
}

#[test]
fn commit_to_the_limit_is_a_promise_and_one_page_more_is_refused() {
    if !inline_works() {
        return;
    }
    let space = Space::builder()
        .ram(ByteCount::mib(4))
        .engine(INLINE)
        .page_file_maximum(ByteCount::mib(8))
        .build()
        .expect("a space");
    let limit = space.status().commit_limit;
    let reservation = space
        .reserve(ByteCount::gib(1))
        .build()
        .expect("address space");
    reservation
        .commit(..limit.get(), Protection::READ_WRITE)
        .expect("the limit is a promise");
    let refused = reservation.commit(limit.get()..limit.get() + 1, Protection::READ_WRITE);
    assert!(refused.expect_err("one page too many").is_out_of_memory());
    let pages = limit.pages().as_usize();
    let mut state = seed();
    let start = state;
    for page in 0..pages {
        for word in words(&reservation, page) {
            *word = next(&mut state);
        }
    }
    state = start;
    for page in 0..pages {
        for word in words(&reservation, page) {
            assert_eq!(*word, next(&mut state), "page {page}");
        }
    }
}

#[test]
fn at_the_limit_many_threads_still_find_slots_for_what_leaves() {
    if !inline_works() {
        return;
    }
    let space = Space::builder()
        .ram(ByteCount::mib(2))
        .engine(INLINE)
        .page_file_maximum(ByteCount::mib(6))
        .build()
        .expect("a space");
    let limit = space.status().commit_limit;
    let reservation = committed(&space, limit);
    let pages = limit.pages().as_usize();
    let seed = seed();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let reservation = &reservation;
            scope.spawn(move || {
                let mut state = seed ^ ((thread as u64 + 1) * 0x9E37_79B9);
                // Incompressible, and every page different in every round.
                for round in 0..3_u64 {
                    for page in (thread..pages).step_by(4) {
                        for (at, word) in words(reservation, page).iter_mut().enumerate() {
                            *word = (page as u64 ^ round << 40 ^ (at as u64) << 20)
                                .wrapping_mul(seed | 1);
                        }
                    }
                    for _ in 0..500 {
                        let page = next(&mut state) as usize % (pages / 4) * 4 + thread;
                        for (at, word) in words(reservation, page).iter().enumerate() {
                            let expected = (page as u64 ^ round << 40 ^ (at as u64) << 20)
                                .wrapping_mul(seed | 1);
                            assert_eq!(*word, expected, "page {page}");
                        }
                    }
                }
            });
        }
    });
    assert_eq!(space.status().total.lost, 0);
}

#[test]
fn a_million_alternating_commits_need_no_mapping_each() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(64));
    let count = 100_000_usize;
    let reservation = space
        .reserve(ByteCount::new(count as u64 * 2 * PAGE as u64))
        .build()
        .expect("room");
    for index in 0..count {
        let offset = index as u64 * 2 * PAGE as u64;
        reservation
            .commit(offset..offset + 1, Protection::READ_WRITE)
            .expect("room");
        words(&reservation, index * 2)[5] = index as u64;
    }
    for index in 0..count {
        assert_eq!(words(&reservation, index * 2)[5], index as u64);
    }
    let mappings = std::fs::read_to_string("/proc/self/maps")
        .expect("a map")
        .lines()
        .count();
    assert!(mappings < 2_000, "{mappings} mappings");
}

#[test]
fn a_budget_that_shrinks_is_kept_and_one_that_grows_is_used() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(16));
    let reservation = committed(&space, ByteCount::mib(12));
    for page in 0..3072 {
        write_page(&reservation, page, 10);
    }
    space.set_ram(ByteCount::mib(3)).expect("enough");
    let total = space.status().total;
    let in_ram = total.resident + total.modified + total.standby;
    assert!(
        in_ram.bytes().get() + total.pool.get() <= ByteCount::mib(3).get(),
        "{total:?}"
    );
    for page in 0..3072 {
        check_page(&reservation, page, 10);
    }
    assert!(
        space.set_ram(ByteCount::kib(100)).is_err(),
        "below the minimum"
    );
    space.set_ram(ByteCount::mib(16)).expect("more");
    for page in 0..3072 {
        check_page(&reservation, page, 10);
    }
}

#[test]
fn damaged_bytes_in_the_page_file_are_an_in_page_error_and_never_other_data() {
    use pagekeeper::{ExceptionKind, Handled};
    // In a process of its own: it damages every page file that it finds open.
    const TEST: &str = "damaged_bytes_in_the_page_file_are_an_in_page_error_and_never_other_data";
    alone(TEST, || {
        let space = space(INLINE, ByteCount::kib(512));
        let reservation = committed(&space, ByteCount::mib(4));
        let mut state = 4711;
        for page in 0..1024 {
            words(&reservation, page)[0] = page as u64;
            for word in &mut words(&reservation, page)[1..] {
                *word = next(&mut state);
            }
        }
        // Every page file that this process has open gets its bytes flipped, through a descriptor of our own.
        let mut flipped = 0;
        let mut seen = std::collections::HashSet::new();
        for entry in std::fs::read_dir("/proc/self/fd")
            .expect("descriptors")
            .flatten()
        {
            let Ok(target) = std::fs::read_link(entry.path()) else {
                continue;
            };
            if !target.to_string_lossy().ends_with("(deleted)") {
                continue;
            }
            let Ok(file) = std::fs::File::options()
                .read(true)
                .write(true)
                .open(entry.path())
            else {
                continue;
            };
            let metadata = file.metadata().expect("open");
            // A file may be open twice; flipping twice would mend it.
            if !metadata.is_file() || !seen.insert(metadata.ino()) {
                continue;
            }
            let length = metadata.len();
            for slot in 0..length / PAGE as u64 {
                let mut byte = [0];
                let at = slot * PAGE as u64 + 1000;
                file.read_exact_at(&mut byte, at).expect("readable");
                file.write_all_at(&[byte[0] ^ 0x40], at).expect("writable");
                flipped += 1;
            }
            file.sync_all().expect("written");
        }
        assert!(flipped > 100, "the page file was found");
        let lost = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = lost.clone();
        let by_fault = space.clone();
        space.on_exception(move |exception| {
            if let ExceptionKind::InPageError(None) = exception.kind {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let page = exception.address & !0xFFF;
                // What is lost can only be given up.
                // SAFETY: the page is read word by word, through no reference that outlives the fault.
                unsafe { by_fault.decommit_at(page, 1) }.expect("committed");
                by_fault
                    .commit_at(page, 1, Protection::READ_WRITE)
                    .expect("room");
                return Handled::Retry;
            }
            Handled::Pass
        });
        let mut zeros = 0;
        for page in 0..1024 {
            match words(&reservation, page)[0] {
                0 if page != 0 => zeros += 1,
                number => assert_eq!(number, page as u64, "wrong data"),
            }
        }
        let lost = lost.load(std::sync::atomic::Ordering::Relaxed);
        assert!(lost > 100, "{lost} in-page errors");
        assert!(zeros <= lost, "only what was reported is gone");
    });
}

/// Runs that a scan will want next are read before it asks; pages among them that change, leave and are written anew meanwhile
/// must not come back as they were.
#[test]
fn a_scan_sees_every_change_made_ahead_of_it() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(6));
    let reservation = committed(&space, ByteCount::mib(24));
    let pages = reservation.pages().count().as_usize();
    let mut versions = vec![0_u64; pages];
    let mut state = seed();
    for page in 0..pages {
        for word in words(&reservation, page) {
            *word = next(&mut state);
        }
        words(&reservation, page)[9] = 0;
    }
    for pass in 0..12 {
        for page in 0..pages {
            assert_eq!(
                words(&reservation, page)[9],
                versions[page],
                "page {page}, pass {pass}"
            );
            if page % 16 == 0 {
                // Somewhere in the runs that are on their way.
                let ahead = (page + 32 + next(&mut state) as usize % 220) % pages;
                versions[ahead] += 1;
                words(&reservation, ahead)[9] = versions[ahead];
            }
            if page % 61 == 0 {
                space.trim();
            }
        }
    }
    let status = space.status().total;
    println!(
        "{} pages came from runs that were read ahead",
        status.pages_ahead
    );
    assert_eq!(status.lost, 0);
}

#[test]
fn prefetched_pages_are_there_before_they_are_touched() {
    if !inline_works() {
        return;
    }
    let space = space(INLINE, ByteCount::mib(4));
    let reservation = committed(&space, ByteCount::mib(16));
    let mut state = 31;
    for page in 0..4096 {
        for word in words(&reservation, page) {
            *word = next(&mut state);
        }
        words(&reservation, page)[0] = page as u64;
    }
    // Every sixteenth page of the part that left first: scattered over the page file.
    let wanted: Vec<usize> = (0..1024).step_by(16).collect();
    let entries: Vec<(u64, u64)> = wanted
        .iter()
        .map(|page| (reservation.base() as u64 + (page * PAGE) as u64, 1))
        .collect();
    space.prefetch_at(&entries).expect("a hint");
    let before = space.status().total.hard_faults;
    for page in &wanted {
        assert_eq!(words(&reservation, *page)[0], *page as u64);
    }
    let faults = space.status().total.hard_faults - before;
    assert!(
        faults <= wanted.len() as u64 / 8,
        "{faults} of {} were read again",
        wanted.len()
    );
    reservation.prefetch(..).expect("far more than fits");
    for page in 0..4096 {
        assert_eq!(words(&reservation, page)[0], page as u64);
    }
}

#[test]
fn a_paged_vector_grows_without_moving() {
    let space = Space::builder()
        .ram(ByteCount::mib(2))
        .engine(EngineKind::Inline)
        .build();
    let Ok(space) = space else { return };
    let mut vector = PagedVec::<[u32; 3]>::with_capacity(&space, 1 << 24).expect("address space");
    let base = vector.as_ptr();
    for number in 0..700_000_u32 {
        vector.push([number, number ^ 7, !number]).expect("room");
    }
    assert_eq!(vector.as_ptr(), base);
    for (number, element) in (0_u32..).zip(vector.iter()) {
        assert_eq!(*element, [number, number ^ 7, !number]);
    }
    vector.truncate(10);
    vector.resize_zeroed(100_000).expect("room");
    assert_eq!(vector[9], [9, 9 ^ 7, !9]);
    assert!(vector[10..].iter().all(|element| *element == [0; 3]));
}
