//! A page file that is taken away while one disk or the other fails.

use pagekeeper_sys::disk::Direction;
use pagekeeper_units::PageCount;

use super::*;

const RAM: ByteCount = ByteCount::kib(512);
const DATA: ByteCount = ByteCount::mib(4);
const PAGES: u64 = 1024;

/// The disk cannot read slot `page`.
fn bad_sector(page: u64) -> Fault {
    Fault::FailsAcross {
        direction: Direction::Read,
        offset: page * PAGE_SIZE as u64 + 7,
        errno: Errno::IO,
    }
}

/// A space with its data in the first of two files, and both disks.
fn filled() -> Option<(Space, Reservation, Disk, Disk)> {
    let (space, disks) = on_failing_disks(RAM, ByteCount::mib(16))?;
    let reservation = committed(&space, DATA);
    for page in 0..PAGES {
        write_page(&reservation, page, 1);
    }
    space.trim();
    space.add_page_file(folder().path()).expect("room");
    let mut disks = disks.lock().expect("no panic");
    let (second, _) = disks.pop().expect("opened");
    let (first, _) = disks.pop().expect("opened");
    Some((space, reservation, first, second))
}

fn retire_first(space: &Space) -> PageCount {
    let number = space.page_files()[0].number;
    space.retire_page_file(number).expect("room in the other")
}

/// More bad pages side by side than are tried in one go, and single ones: only they stay, and they go later.
#[test]
fn only_what_cannot_be_read_stays() {
    let Some((space, reservation, first, _)) = filled() else {
        return;
    };
    let bad = [100, 300, 301, 420].into_iter().chain(600..620);
    bad.for_each(|page| first.0.add(bad_sector(page)));
    assert_eq!(retire_first(&space), PageCount::new(24));
    assert!(space.page_files()[0].retiring);
    first.0.heal();
    assert_eq!(retire_first(&space), PageCount::ZERO);
    assert_eq!(space.page_files().len(), 1);
    assert_eq!(space.status().total.lost, 0);
    check(&reservation, 1);
}

/// A page whose bytes are wrong is lost, as if it had been touched, also beside one that cannot be read; the others move.
#[test]
fn a_flipped_bit_does_not_keep_a_page_file() {
    let Some((space, reservation, first, _)) = filled() else {
        return;
    };
    let offset = 200 * PAGE_SIZE as u64 + 99;
    first.0.add(Fault::Flips { offset, mask: 4 });
    first.0.add(bad_sector(201));
    first.0.add(bad_sector(199));
    assert_eq!(retire_first(&space), PageCount::new(2));
    assert_eq!(space.status().total.lost, 1);
    first.0.heal();
    assert_eq!(retire_first(&space), PageCount::ZERO);
    let losses = give_up_lost_pages(&space);
    let lost = (0..PAGES).filter(|page| words(&reservation, *page)[0] == 0);
    assert_eq!((lost.count(), losses.count()), (1, 1));
}

/// The other disk takes nothing for a while: pages stay, the program goes on, and the call may be made again.
#[test]
fn what_no_other_disk_takes_stays() {
    let Some((space, reservation, _, second)) = filled() else {
        return;
    };
    let errno = Errno::IO;
    let direction = Direction::Write;
    let after = 3;
    second.0.add(Fault::FailsAfter {
        direction,
        after,
        errno,
    });
    let left = retire_first(&space);
    assert!(left > PageCount::new(PAGES / 4), "{left:?}");
    let withdrawn = space.status().page_file_withdrawn;
    assert!(withdrawn < ByteCount::mib(12), "{withdrawn:?}");
    second.0.heal();
    wait_until(|| space.status().page_file_withdrawn == ByteCount::ZERO);
    check(&reservation, 1);
    assert_eq!(retire_first(&space), PageCount::ZERO);
    check(&reservation, 1);
}

/// Asked again while the other file is full, it stays on its way out; nothing is promised on its slots.
#[test]
fn a_file_on_its_way_out_stays_on_it() {
    let Some((space, reservation, first, _)) = filled() else {
        return;
    };
    first.0.add(bad_sector(100));
    assert_eq!(retire_first(&space), PageCount::ONE);
    let limit = space.status().commit_limit;
    let rest = space.reserve(ByteCount::mib(64)).build().expect("space");
    let mut size = 0;
    while rest
        .commit(size..size + (64 << 10), Protection::READ_WRITE)
        .is_ok()
    {
        size += 64 << 10;
    }
    for page in 0..size / PAGE_SIZE as u64 {
        write_page(&rest, page, 2);
    }
    assert_eq!(retire_first(&space), PageCount::ONE);
    assert!(space.page_files()[0].retiring);
    assert_eq!(space.status().commit_limit, limit);
    first.0.heal();
    for page in 0..size / PAGE_SIZE as u64 {
        assert!(is_right(&rest, page, 2), "page {page}");
    }
    check(&reservation, 1);
}
