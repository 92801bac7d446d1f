//! A page file on a disk that fails, forgets and lies: an in-page error for the pages concerned, everything else goes on.

use std::time::{Duration, Instant};

use pagekeeper_sys::disk::Direction;

use super::*;
use crate::Degraded;

const RAM: ByteCount = ByteCount::kib(512);
const DATA: ByteCount = ByteCount::mib(4);
const PAGES: u64 = 1024;

/// Four megabytes written, most of them out.
fn filled() -> Option<(Space, Reservation, Disk, std::fs::File)> {
    let (space, disk, file) = on_failing_disk(RAM, ByteCount::mib(16))?;
    let reservation = committed(&space, DATA);
    for page in 0..PAGES {
        write_page(&reservation, page, 1);
    }
    space.trim();
    Some((space, reservation, disk, file))
}

/// Reads everything; how many pages were given up. Everything else must be right. A page that was given up while it was
/// being written has zeros up to there.
fn pages_given_up(reservation: &Reservation) -> u64 {
    let mut given_up = 0;
    for page in 0..PAGES {
        let found = words(reservation, page);
        let zeros = found.iter().take_while(|word| **word == 0).count();
        given_up += u64::from(zeros > 0);
        let rest = found.iter().enumerate().skip(zeros);
        for (at, found) in rest {
            assert_eq!(*found, word(page, 1, at), "page {page}, word {at}");
        }
    }
    given_up
}

#[test]
fn a_bad_sector_is_an_in_page_error_of_its_page_only() {
    let Some((space, reservation, disk, _)) = filled() else {
        return;
    };
    let losses = give_up_lost_pages(&space);
    let errno = Errno::IO;
    disk.0.add(Fault::FailsAcross {
        direction: Direction::Read,
        offset: 300 * PAGE_SIZE as u64 + 7,
        errno,
    });
    let zeros = pages_given_up(&reservation);
    assert_eq!((zeros, losses.count()), (1, 1));
    assert_eq!(losses.errno(), Some(errno.raw_os_error()));
}

#[test]
fn a_disk_that_answers_again_gives_everything_back() {
    let Some((space, reservation, disk, _)) = filled() else {
        return;
    };
    disk.0.add(Fault::FailsAfter {
        direction: Direction::Read,
        after: 40,
        errno: Errno::IO,
    });
    let errors = Arc::new(AtomicU64::new(0));
    let (counted, mended) = (Arc::clone(&errors), disk.clone());
    space.on_exception(move |exception| {
        assert!(matches!(
            exception.kind,
            ExceptionKind::InPageError(Some(_))
        ));
        counted.fetch_add(1, Ordering::Relaxed);
        mended.0.heal();
        Handled::Retry
    });
    check(&reservation, 1);
    assert_eq!(errors.load(Ordering::Relaxed), 1);
    assert_eq!(space.status().total.lost, 0);
}

#[test]
fn a_flipped_bit_is_an_in_page_error_without_a_number() {
    let Some((space, reservation, disk, _)) = filled() else {
        return;
    };
    let losses = give_up_lost_pages(&space);
    let offset = 200 * PAGE_SIZE as u64 + 99;
    disk.0.add(Fault::Flips { offset, mask: 4 });
    let zeros = pages_given_up(&reservation);
    assert_eq!((zeros, losses.count(), losses.errno()), (1, 1, None));
    assert_eq!(space.status().total.lost, 1);
}

#[test]
fn a_page_file_that_was_cut_short_fails_behind_the_cut_only() {
    let Some((space, reservation, _disk, file)) = filled() else {
        return;
    };
    let losses = give_up_lost_pages(&space);
    // Reads across the end return short.
    file.set_len(500 * PAGE_SIZE as u64 + 100).expect("cut");
    let zeros = pages_given_up(&reservation);
    assert!(zeros == losses.count() && zeros > 100, "{zeros} pages");
    assert!(zeros < PAGES - 400, "{zeros} pages");
    assert_eq!(losses.errno(), Some(Errno::NODATA.raw_os_error()));
}

#[test]
fn writes_that_never_happened_are_in_page_errors_and_never_old_data() {
    let Some((space, disk, _)) = on_failing_disk(RAM, ByteCount::mib(16)) else {
        return;
    };
    let reservation = committed(&space, DATA);
    let losses = give_up_lost_pages(&space);
    disk.0.add(Fault::LosesWritesAfter { after: 5 });
    for page in 0..PAGES {
        write_page(&reservation, page, 1);
    }
    let zeros = pages_given_up(&reservation);
    // One that was lost while it was being written may be lost again.
    assert!(zeros > 100 && zeros <= losses.count(), "{zeros} pages");
}

#[test]
fn single_failed_writes_lose_nothing_and_lower_the_promise() {
    let Some((space, disk, _)) = on_failing_disk(RAM, ByteCount::mib(8)) else {
        return;
    };
    let whole = space.status().commit_limit;
    let reservation = committed(&space, DATA);
    for after in [0, 3, 9, 11, 40] {
        disk.0.add(Fault::FailsOnce {
            direction: Direction::Write,
            after,
            errno: Errno::IO,
        });
    }
    for page in 0..PAGES {
        write_page(&reservation, page, 1);
    }
    let status = space.status();
    let withdrawn = status.page_file_withdrawn;
    let seen = status.commit_limit.get() + withdrawn.get();
    assert_eq!(seen, whole.get(), "{status:?}");
    if withdrawn != ByteCount::ZERO {
        let degraded = Degraded::Withdrawn { size: withdrawn };
        assert!(status.degraded.contains(&degraded), "{status:?}");
    }
    check(&reservation, 1);
    // The slots could be written after all: they come back.
    wait_until(|| space.status().page_file_withdrawn == ByteCount::ZERO);
    assert_eq!(space.status().commit_limit, whole);
    assert_eq!(space.status().degraded, []);
    check(&reservation, 1);
}

/// No space left, or nothing can be written at all: for each the disk recovers in the end.
#[test]
fn a_disk_that_writes_nothing_is_an_error_within_seconds_and_loses_nothing() {
    for (fault, number) in [
        (Fault::EndsAt { offset: 0 }, Errno::NOSPC),
        (
            Fault::FailsAfter {
                direction: Direction::Write,
                after: 4,
                errno: Errno::IO,
            },
            Errno::IO,
        ),
    ] {
        let Some((space, disk, _)) = on_failing_disk(RAM, ByteCount::mib(8)) else {
            return;
        };
        let whole = space.status().commit_limit;
        let reservation = committed(&space, DATA);
        disk.0.add(fault);
        let errors = Arc::new(Mutex::new(Vec::new()));
        let (noted, mended, of_space) = (Arc::clone(&errors), disk.clone(), space.clone());
        space.on_exception(move |exception| {
            let status = of_space.status();
            noted.lock().unwrap().push((exception.kind, status));
            mended.0.heal();
            Handled::Retry
        });
        let start = Instant::now();
        for page in 0..PAGES {
            write_page(&reservation, page, 2);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "a stall");
        check(&reservation, 2);
        let errors = errors.lock().unwrap();
        let (kind, status) = errors.first().expect("the fault was reported");
        let raw = Some(number.raw_os_error());
        assert_eq!(*kind, ExceptionKind::InPageError(raw));
        assert!(
            status.page_file_withdrawn >= ByteCount::kib(256),
            "{status:?}"
        );
        assert!(status.commit_limit < whole);
        assert!(status.degraded.contains(&Degraded::WriteFailed(number)));
        let uncovered = |it: &Degraded| matches!(it, Degraded::Uncovered { .. });
        assert!(status.degraded.iter().any(uncovered), "{status:?}");
        // Meanwhile nothing new was promised that could not be kept.
        wait_until(|| space.status().degraded.is_empty());
        assert_eq!(space.status().commit_limit, whole);
    }
}

#[test]
fn what_the_disk_cannot_keep_any_more_is_not_promised_again() {
    let Some((space, disk, _)) = on_failing_disk(RAM, ByteCount::mib(8)) else {
        return;
    };
    let whole = space.status().commit_limit;
    let first = committed(&space, ByteCount::mib(2));
    disk.0.add(Fault::EndsAt { offset: 0 });
    let pages = first.pages().count().get();
    let mended = disk.clone();
    space.on_exception(move |_| {
        mended.0.heal();
        mended.0.add(Fault::EndsAt {
            offset: (3 << 20) + 4096,
        });
        Handled::Retry
    });
    for page in 0..pages {
        write_page(&first, page, 3);
    }
    wait_until(|| space.status().page_file_withdrawn < ByteCount::mib(7));
    let limit = space.status().commit_limit;
    assert!(limit < whole);
    let second = space.reserve(ByteCount::mib(8)).build().expect("space");
    let refused = second
        .commit(..limit.get(), Protection::READ_WRITE)
        .expect_err("more than can be kept");
    assert!(refused.is_out_of_memory(), "{refused}");
    check(&first, 3);
}

#[test]
fn threads_go_on_while_the_disk_fails_now_and_then() {
    let Some((space, disk, _)) = on_failing_disk(ByteCount::mib(1), ByteCount::mib(16)) else {
        return;
    };
    let reservation = committed(&space, DATA);
    for page in 0..PAGES {
        write_page(&reservation, page, 0);
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let reservation = &reservation;
            scope.spawn(move || {
                for round in 0..6 {
                    for page in (thread..PAGES).step_by(4) {
                        assert!(is_right(reservation, page, round), "page {page}");
                        write_page(reservation, page, round + 1);
                    }
                }
            });
        }
        let (disk, stop) = (&disk, &stop);
        let mischief = scope.spawn(move || {
            let mut after = 3;
            while !stop.load(Ordering::Relaxed) {
                for (direction, errno) in [
                    (Direction::Write, Errno::IO),
                    (Direction::Write, Errno::NOSPC),
                ] {
                    disk.0.add(Fault::FailsOnce {
                        direction,
                        after,
                        errno,
                    });
                }
                // Once only: a read is tried a second time.
                disk.0.add(Fault::FailsOnce {
                    direction: Direction::Read,
                    after: 7 * after,
                    errno: Errno::IO,
                });
                after = after % 23 + 5;
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        std::thread::sleep(Duration::from_secs(2));
        stop.store(true, Ordering::Relaxed);
        mischief.join().expect("no panic");
        disk.0.heal();
    });
    check(&reservation, 6);
    assert!(space.status().total.lost == 0);
}
