//! Calls that fail half way leave everything as it was; what is counted goes back to what it was.

use super::*;
use crate::engine::inline::arena::REFUSE_EXECUTABLE_AFTER;

fn small() -> Option<(Space, Reservation)> {
    match settings(ByteCount::mib(2), ByteCount::mib(64)).build() {
        Ok(space) => {
            let reservation = space.reserve(ByteCount::mib(32)).build().expect("space");
            Some((space, reservation))
        }
        Err(error) => {
            println!("skipped, because {error}");
            None
        }
    }
}

/// The kernel's rights in the mappings that have a byte of the reservation's first mebibyte.
fn rights(reservation: &Reservation) -> Vec<String> {
    let start = reservation.base() as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").expect("there");
    maps.lines()
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            let from = u64::from_str_radix(from, 16).ok()?;
            let to = u64::from_str_radix(to, 16).ok()?;
            (from < start + (1 << 20) && to > start).then(|| rest[..4].to_owned())
        })
        .collect()
}

#[test]
fn execution_that_is_refused_half_way_is_taken_back() {
    let Some((_space, reservation)) = small() else {
        return;
    };
    let page = PAGE_SIZE as u64;
    let at = |index: u64| index * page..(index + 1) * page;
    reservation
        .commit(..3 * page, Protection::READ_WRITE)
        .expect("room");
    reservation
        .protect(at(1), Protection::READ_ONLY)
        .expect("committed");
    for index in [0, 2] {
        write_page(&reservation, index, 1);
    }
    for after in 0..3 {
        REFUSE_EXECUTABLE_AFTER.set(Some(after));
        let refused = reservation.protect(..3 * page, Protection::EXECUTE_READ);
        REFUSE_EXECUTABLE_AFTER.set(None);
        refused.expect_err("no more mappings");
        assert!(
            rights(&reservation).iter().all(|rights| rights == "rw-p"),
            "{after}"
        );
        // The rights are those of before, page by page.
        write_page(&reservation, 0, 2 + after as u64);
        write_page(&reservation, 2, 2 + after as u64);
        let info = reservation.query(page).expect("ours");
        assert_eq!(
            info.state,
            crate::RegionState::Committed(Protection::READ_ONLY)
        );
    }
    reservation
        .protect(..3 * page, Protection::EXECUTE_READ)
        .expect("possible now");
    assert!(
        rights(&reservation)
            .iter()
            .any(|rights| rights == "r-xp" || rights == "rwxp")
    );
}

#[test]
fn a_run_that_stays_pinned_undoes_those_before_it() {
    let Some((_space, reservation)) = small() else {
        return;
    };
    let page = PAGE_SIZE as u64;
    // Three runs, so that the pinned page is in the last.
    reservation
        .commit(..3 * page, Protection::READ_WRITE)
        .expect("room");
    let middle = page..2 * page;
    reservation
        .protect(middle, Protection::READ_ONLY)
        .expect("committed");
    write_page(&reservation, 0, 1);
    write_page(&reservation, 2, 1);
    // SAFETY: committed and readable for as long as the slice is used.
    let pinned = unsafe {
        std::slice::from_raw_parts(reservation.base().wrapping_add(2 * PAGE_SIZE), PAGE_SIZE)
    };
    crate::with_resident(pinned, |_| {
        let refused = reservation.protect(..3 * page, Protection::NO_ACCESS);
        refused.expect_err("pinned");
    })
    .expect("room for a pin");
    // All of them can be used as before.
    assert!(is_right(&reservation, 0, 1) && is_right(&reservation, 2, 1));
    write_page(&reservation, 0, 2);
    assert!(words(&reservation, 1).iter().all(|word| *word == 0));
    reservation
        .protect(..3 * page, Protection::NO_ACCESS)
        .expect("nothing is pinned");
}

#[test]
fn expected_extents_are_counted_up_and_down() {
    let Some((space, reservation)) = small() else {
        return;
    };
    let expected = || {
        let reading = crate::registry::Reading::begin();
        let arena = reading
            .find_inline(reservation.pages().start())
            .expect("inline");
        arena.set().expected_extents()
    };
    let page = PAGE_SIZE as u64;
    assert_eq!(expected(), 0);
    for _ in 0..3 {
        reservation
            .commit(..64 * page, Protection::READ_WRITE)
            .expect("room");
        reservation
            .commit(63 * page..65 * page, Protection::READ_WRITE)
            .expect("room");
        // One page of every second extent.
        for extent in (2..100).step_by(2) {
            let at = extent * 64 * page;
            reservation
                .commit(at..at + 1, Protection::READ_WRITE)
                .expect("room");
            write_page(&reservation, extent * 64, 1);
        }
        assert_eq!(expected(), 2 + 49);
        reservation.decommit(..10 * page).expect("ours");
        assert_eq!(expected(), 2 + 49);
        for index in 10..64 {
            reservation
                .decommit(index * page..(index + 1) * page)
                .expect("ours");
        }
        assert_eq!(expected(), 1 + 49);
        reservation.decommit(..).expect("ours");
        assert_eq!(expected(), 0);
    }
    drop(space);
}

#[test]
fn low_memory_is_told_once_and_again_after_it_was_better() {
    let Some((space, reservation)) = small() else {
        return;
    };
    let told = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&told);
    space.on_low_memory(Some(Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    })));
    let limit = space.status().commit_limit.get();
    let large = space.reserve(ByteCount::mib(128)).build().expect("space");
    let wait_for = |count| {
        let start = std::time::Instant::now();
        while told.load(Ordering::Relaxed) < count {
            assert!(start.elapsed().as_secs() < 20, "never told");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    for round in 1..3 {
        large
            .commit(..limit / 2, Protection::READ_WRITE)
            .expect("room");
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(told.load(Ordering::Relaxed), round - 1, "half is not low");
        large
            .commit(..limit / 100 * 95, Protection::READ_WRITE)
            .expect("room");
        wait_for(round);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(told.load(Ordering::Relaxed), round, "once");
        large.decommit(..).expect("ours");
        std::thread::sleep(std::time::Duration::from_millis(1500));
    }
    drop(reservation);
}

#[test]
fn address_space_of_ours_that_nobody_uses_gives_way() {
    for engine in [EngineKind::Inline, EngineKind::Mapped] {
        let space = match settings(ByteCount::mib(16), ByteCount::mib(16))
            .engine(engine)
            .build()
        {
            Ok(space) => space,
            Err(error) => {
                println!("skipped, because {error}");
                continue;
            }
        };
        // Opens an arena, of which both are slices; neither lies at its edge in the end.
        let edge = space.reserve(ByteCount::mib(1)).build().expect("space");
        let first = space.reserve(ByteCount::mib(1)).build().expect("space");
        drop(edge);
        let arena = {
            let core = space.shared().core();
            let arena = core.model.arena_at(first.pages().start());
            arena.expect("there").range
        };
        let half = 64 << 10;
        let end = arena.address() + arena.bytes().get();
        let edges = [(arena.address() - half, arena.address()), (end, end + half)];
        let Some((from, to)) = edges.into_iter().find(|(from, to)| is_free(*from, *to)) else {
            println!("skipped, because something lies at either edge");
            continue;
        };
        let below = if to == arena.address() {
            from
        } else {
            from - half
        };
        let across = || space.reserve(ByteCount::kib(128)).at(below).build();
        let refused = across().expect_err("another reservation lies in it");
        assert!(
            matches!(refused.refusal(), Some(crate::Refusal::CrossesArena { .. })),
            "{refused}"
        );
        drop(first);
        let reservation = across().expect("nobody uses the arena");
        assert_eq!(reservation.base() as u64, below);
        reservation
            .commit(.., Protection::READ_WRITE)
            .expect("room");
        for page in 0..32 {
            write_page(&reservation, page, 1);
        }
        check(&reservation, 1);
        // And one of the other engine, in the same place.
        drop(reservation);
        let again = space.reserve(ByteCount::mib(1)).build().expect("space");
        let at = again.base() as u64;
        drop(again);
        let other = match engine {
            EngineKind::Inline => EngineKind::Mapped,
            _ => EngineKind::Inline,
        };
        let there = space
            .reserve(ByteCount::kib(64))
            .at(at)
            .engine(other)
            .build();
        assert_eq!(there.expect("nobody uses the arena").base() as u64, at);
    }
}

/// Whether no mapping has a byte of a range.
fn is_free(start: u64, end: u64) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("there");
    let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
    !maps.lines().any(|line| {
        let range = line
            .split_once(' ')
            .and_then(|(range, _)| range.split_once('-'));
        range.is_some_and(|(from, to)| number(from) < end && number(to) > start)
    })
}
