//! Page files that come and go while the program runs.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use core::sync::atomic::{AtomicBool, Ordering};
use std::path::Path;

use pagekeeper::{ByteCount, EngineKind, PageCount, Protection, Reservation, Space};
use support::{
    PAGE, alone, check_page, committed, fork, inline_works, next, seed, wait, write_page,
};

const PAGES: usize = 2_560;
/// At most what a file holds of which nothing but the trial of direct transfers was written.
const TRIED: u64 = 64 << 10;
const DATA: ByteCount = ByteCount::kib(4 * PAGES as u64);

/// A folder on a disk.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").expect("a folder")
}

fn space(engine: EngineKind, ram: ByteCount, places: &[&Path], maximum: ByteCount) -> Space {
    Space::builder()
        .engine(engine)
        .ram(ram)
        .page_file(places)
        .page_file_maximum(maximum)
        .build()
        .expect("a space")
}

fn fill(reservation: &Reservation, salt: u64) {
    for page in 0..PAGES {
        write_page(reservation, page, salt);
    }
}

fn check(reservation: &Reservation, salt: u64) {
    for page in 0..PAGES {
        check_page(reservation, page, salt);
    }
}

/// Bytes of disk space behind the files without a name that this process has open in a folder.
fn space_in(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::read_dir("/proc/self/fd")
        .expect("proc")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = std::fs::read_link(&path).ok()?;
            let lies_there = target.starts_with(folder);
            Some(std::fs::metadata(&path).ok()?.blocks() * 512).filter(|_| lies_there)
        })
        .sum()
}

#[test]
fn a_page_file_is_taken_away_under_a_running_program() {
    if !inline_works() {
        return;
    }
    alone("a_page_file_is_taken_away_under_a_running_program", || {
        let (one, two) = (folder(), folder());
        let places = [one.path(), two.path()];
        let space = space(
            EngineKind::Inline,
            ByteCount::mib(1),
            &places,
            ByteCount::mib(64),
        );
        let quiet = committed(&space, DATA);
        let busy = committed(&space, DATA);
        fill(&quiet, 1);
        fill(&busy, 2);
        // What nobody may touch is moved like the rest.
        let (locked, guarded) = (4096 * 100..4096 * 200, 4096 * 300..4096 * 400);
        quiet
            .protect(locked.clone(), Protection::NO_ACCESS)
            .expect("inside");
        let guard = Protection::READ_WRITE.with_guard();
        quiet.protect(guarded.clone(), guard).expect("inside");
        let before = space.page_files();
        assert!(before[0].used > PageCount::new(PAGES as u64), "{before:?}");
        assert!(space_in(one.path()) > 0);

        let seed = seed();
        let stop = AtomicBool::new(false);
        let salts = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let (busy, stop) = (&busy, &stop);
                    scope.spawn(move || {
                        let mut random = seed ^ (writer as u64 + 1) << 40;
                        let mut salts = vec![2; PAGES];
                        while !stop.load(Ordering::Relaxed) {
                            let page = next(&mut random) as usize % (PAGES / 3) * 3 + writer;
                            check_page(busy, page, salts[page]);
                            if next(&mut random).is_multiple_of(3) {
                                salts[page] += 1;
                                write_page(busy, page, salts[page]);
                            }
                        }
                        salts
                    })
                })
                .collect();
            let left = space
                .retire_page_file(before[0].number)
                .expect("room in the other");
            stop.store(true, Ordering::Relaxed);
            assert_eq!(left, PageCount::ZERO);
            let salts: Vec<_> = writers
                .into_iter()
                .map(|it| it.join().expect("right"))
                .collect();
            salts
        });

        assert_eq!(space_in(one.path()), 0, "its space is free");
        let after = space.page_files();
        assert_eq!(after.len(), 1, "{after:?}");
        assert_eq!(after[0].number, before[1].number);
        assert!(space.status().commit_limit < ByteCount::mib(66).pages().bytes());
        quiet
            .protect(locked, Protection::READ_WRITE)
            .expect("inside");
        quiet
            .protect(guarded, Protection::READ_WRITE)
            .expect("inside");
        check(&quiet, 1);
        for (writer, salts) in salts.iter().enumerate() {
            for page in (writer..PAGES / 3 * 3).step_by(3) {
                check_page(&busy, page, salts[page]);
            }
        }
        // Its number is free for the next.
        let again = space.add_page_file(one.path()).expect("room");
        assert_eq!(again, before[0].number);
    });
}

#[test]
fn a_page_file_that_is_needed_stays() {
    if !inline_works() {
        return;
    }
    let (one, two) = (folder(), folder());
    let ram = ByteCount::mib(1);
    let only = space(EngineKind::Inline, ram, &[one.path()], ByteCount::mib(32));
    let reservation = committed(&only, DATA);
    fill(&reservation, 1);
    let number = only.page_files()[0].number;
    let refused = only
        .retire_page_file(number)
        .expect_err("it is the only one")
        .to_string();
    assert!(refused.contains("page file"), "{refused}");
    assert!(!only.page_files()[0].retiring);
    check(&reservation, 1);

    // The other one is too small for what is committed.
    let space = space(
        EngineKind::Inline,
        ram,
        &[two.path(), one.path()],
        ByteCount::mib(8),
    );
    let reservation = committed(&space, DATA);
    fill(&reservation, 2);
    let refused = space.retire_page_file(0).expect_err("10 MiB in 9");
    println!("{refused}");
    assert!(!space.page_files()[0].retiring);
    fill(&reservation, 3);
    check(&reservation, 3);
    // With one more it goes.
    space.add_page_file(one.path()).expect("room");
    assert_eq!(space.retire_page_file(0).expect("room"), PageCount::ZERO);
    check(&reservation, 3);
    for unknown in [0, 3, 15, 16, usize::MAX] {
        let error = space
            .retire_page_file(unknown)
            .expect_err("there is none")
            .to_string();
        assert!(error.contains(&unknown.to_string()), "{error}");
    }
}

/// Two at once for the same file, beside one that adds it again and again: each says so or is done, and no byte is lost.
#[test]
fn two_take_the_same_file_away() {
    if !inline_works() {
        return;
    }
    let (one, two) = (folder(), folder());
    let places = [one.path(), two.path()];
    let space = space(
        EngineKind::Inline,
        ByteCount::mib(1),
        &places,
        ByteCount::mib(32),
    );
    let reservation = committed(&space, DATA);
    fill(&reservation, 1);
    for round in 0..6 {
        let number = space.page_files()[0].number;
        let retire = || space.retire_page_file(number);
        let results = std::thread::scope(|scope| {
            let other = scope.spawn(retire);
            [retire(), other.join().expect("no panic")]
        });
        assert!(results.iter().any(|result| result.is_ok()), "{results:?}");
        for result in results.into_iter().flatten() {
            assert_eq!(result, PageCount::ZERO);
        }
        assert_eq!(space.page_files().len(), 1);
        check(&reservation, 1);
        let place = if round % 2 == 0 { &one } else { &two };
        space.add_page_file(place.path()).expect("room");
    }
}

/// Second copies of what is in RAM give way: the data itself fits into the other file just so.
#[test]
fn copies_do_not_keep_a_page_file() {
    if !inline_works() {
        return;
    }
    let (one, two) = (folder(), folder());
    let places = [one.path(), two.path()];
    let ram = ByteCount::mib(4);
    let space = space(EngineKind::Inline, ram, &places, ByteCount::mib(12));
    let size = ByteCount::kib(4 * (PAGES as u64 + 512));
    let reservation = space.reserve(size).committed().build().expect("room");
    let pages = PAGES + 512;
    for page in 0..pages {
        write_page(&reservation, page, 1);
    }
    for _ in 0..3 {
        // Pages that come in unchanged keep their slots.
        for page in 0..pages {
            check_page(&reservation, page, 1);
        }
    }
    assert_eq!(space.retire_page_file(0).expect("room"), PageCount::ZERO);
    for page in 0..pages {
        check_page(&reservation, page, 1);
    }
}

/// Every engine that pages: what was refused for want of room succeeds with one more file.
#[test]
fn a_page_file_is_added_when_there_is_no_room() {
    for engine in [EngineKind::Inline, EngineKind::Mapped] {
        if engine == EngineKind::Inline && !inline_works() {
            continue;
        }
        let (one, two) = (folder(), folder());
        let ram = ByteCount::mib(4);
        let space = space(engine, ram, &[one.path()], ByteCount::mib(8));
        let reservation = space.reserve(ByteCount::mib(16)).build().expect("space");
        assert!(reservation.commit(.., Protection::READ_WRITE).is_err());
        let limit = space.status().commit_limit;
        space.add_page_file(two.path()).expect("room");
        assert_eq!(space.status().commit_limit.get() - limit.get(), 8 << 20);
        reservation
            .commit(.., Protection::READ_WRITE)
            .expect("room now");
        for page in 0..4096 {
            write_page(&reservation, page, 5);
        }
        assert!(
            space_in(two.path()) > TRIED,
            "{engine}: the new file is used"
        );
        for page in 0..4096 {
            check_page(&reservation, page, 5);
        }
    }
}

/// Memory that is mapped from a file stays there; what comes later goes elsewhere.
#[test]
fn the_mapped_engine_leaves_a_page_file_as_its_pages_are_decommitted() {
    let (one, two) = (folder(), folder());
    let places = [one.path(), two.path()];
    let space = space(
        EngineKind::Mapped,
        ByteCount::mib(4),
        &places,
        ByteCount::mib(64),
    );
    let first = committed(&space, DATA);
    fill(&first, 1);
    assert!(space_in(one.path()) > TRIED && space_in(two.path()) <= TRIED);
    let left = space.retire_page_file(0).expect("room in the other");
    assert!(left >= PageCount::new(512), "{left:?}");
    let before = space_in(one.path());
    let second = committed(&space, DATA);
    fill(&second, 2);
    assert!(space_in(two.path()) > TRIED);
    // Writing pages back may split the file system's own records, which count as space of the file.
    let (now, more) = (space_in(one.path()), 1 << 20);
    assert!(now < before + more, "{before} bytes, then {now}");
    check(&first, 1);
    check(&second, 2);
    drop(first);
    // The balancer gives the space back.
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while space_in(one.path()) >= 2 * PAGE as u64 * 512 {
        assert!(
            std::time::Instant::now() < give_up,
            "{}",
            space_in(one.path())
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    check(&second, 2);
}

/// Beside commits that let files grow, reservations with budgets of their own, and forked children that have copies of everything.
#[test]
fn page_files_come_and_go_beside_commits_own_budgets_and_forks() {
    if !inline_works() {
        return;
    }
    let name = "page_files_come_and_go_beside_commits_own_budgets_and_forks";
    alone(name, || {
        let (one, two) = (folder(), folder());
        let places = [one.path(), two.path()];
        let space = Space::builder()
            .engine(EngineKind::Inline)
            .ram(ByteCount::mib(3))
            .page_file(places)
            .page_file_maximum(ByteCount::mib(96))
            .fork_copies(true)
            .build()
            .expect("a space");
        let shared = committed(&space, DATA);
        let own = space.reserve(DATA).own_budget(ByteCount::mib(1));
        let own = own.committed().build().expect("room");
        let growing = space.reserve(ByteCount::mib(48)).build().expect("space");
        fill(&shared, 1);
        fill(&own, 2);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let committer = scope.spawn(|| {
                let mut salt = 3;
                while !stop.load(Ordering::Relaxed) {
                    growing
                        .commit(.., Protection::READ_WRITE)
                        .expect("below the limit of either file");
                    for page in (0..12_288).step_by(97) {
                        write_page(&growing, page, salt);
                    }
                    for page in (0..12_288).step_by(97) {
                        check_page(&growing, page, salt);
                    }
                    growing.decommit(..).expect("inside");
                    salt += 1;
                }
            });
            for round in 0..4 {
                let number = space.page_files()[0].number;
                let children: Vec<_> = std::thread::scope(|scope| {
                    let retiring = scope.spawn(|| space.retire_page_file(number));
                    let children = (0..2).map(|_| {
                        fork(|| {
                            check(&shared, 1);
                            check(&own, 2);
                        })
                    });
                    let children = children.collect();
                    let left = retiring.join().expect("no panic").expect("room");
                    assert_eq!(left, PageCount::ZERO, "round {round}");
                    children
                });
                children.into_iter().for_each(wait);
                let place = if round % 2 == 0 { &one } else { &two };
                assert_eq!(space_in(place.path()), 0, "its space is free");
                space.add_page_file(place.path()).expect("room");
            }
            stop.store(true, Ordering::Relaxed);
            committer.join().expect("right");
        });
        check(&shared, 1);
        check(&own, 2);
    });
}
