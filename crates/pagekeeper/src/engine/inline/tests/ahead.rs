//! Runs that were read ahead: used where they are still what the page file holds, and nowhere else.

use pagekeeper_units::PageNumber;

use super::*;
use crate::engine::inline::arena::Arena;
use crate::engine::inline::entry::Kind;
use crate::registry::Reading;

const PAGES: u64 = 16;

fn page(reservation: &Reservation, number: u64) -> PageNumber {
    PageNumber::containing(reservation.base() as u64).plus(pagekeeper_units::PageCount::new(number))
}

/// The first slot of a run of the first pages that lie side by side in the page file.
fn first_slot(arena: &Arena, reservation: &Reservation) -> u32 {
    let entry = |number| arena.entry(page(reservation, number)).load();
    let first = entry(0);
    for number in 0..PAGES {
        assert_eq!(entry(number).kind(), Kind::File, "page {number} is out");
        assert_eq!(
            u64::from(entry(number).location()),
            u64::from(first.location()) + number
        );
    }
    first.location()
}

/// A space whose first pages are out, and whoever looks at its arena.
fn with_pages_out(test: impl FnOnce(&Space, &Reservation, &Arena)) {
    let Some(space) = built(settings(ByteCount::mib(4), ByteCount::mib(32))) else {
        return;
    };
    let reservation = committed(&space, ByteCount::mib(16));
    for number in 0..reservation.pages().count().get() {
        write_page(&reservation, number, 1);
    }
    let reading = Reading::begin();
    let arena = reading
        .find_inline(page(&reservation, 0))
        .expect("an inline arena");
    test(&space, &reservation, arena);
}

fn bytes_of(salt: u64) -> Vec<u8> {
    let words = (0..PAGES).flat_map(|number| (0..512).map(move |at| word(number, salt, at)));
    words.flat_map(u64::to_ne_bytes).collect()
}

#[test]
fn a_run_that_is_what_the_page_file_holds_is_used() {
    with_pages_out(|space, reservation, arena| {
        let slot = first_slot(arena, reservation);
        arena.set().ahead().pretend_read(slot, &bytes_of(1));
        let before = space.status().total.pages_ahead;
        assert!(is_right(reservation, 0, 1));
        assert_eq!(space.status().total.pages_ahead - before, 1);
    });
}

#[test]
fn a_run_that_is_not_what_the_page_file_holds_any_more_is_not_used() {
    with_pages_out(|space, reservation, arena| {
        let slot = first_slot(arena, reservation);
        arena.set().ahead().pretend_read(slot, &bytes_of(2));
        let before = space.status().total.pages_ahead;
        assert!(
            is_right(reservation, 0, 1),
            "neither stale bytes nor a loss"
        );
        assert_eq!(space.status().total.pages_ahead, before);
        assert!(
            arena.set().ahead().take(slot, 1).is_none(),
            "the buffer is free again"
        );
        check(reservation, 1);
        assert_eq!(space.status().total.lost, 0);
    });
}
