//! The bytes of one page, wherever they are, without bringing it in: for whoever looks from outside.
//!
//! Nothing changes by it: no frame is taken, no page leaves for it, the policy hears nothing.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads staged frames and packed pages under the extent's lock"
)]

use pagekeeper_store::codec::Page;
use pagekeeper_store::pool::PoolRef;
use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_units::PageNumber;

use super::arena::Arena;
use super::entry::{Entry, Kind};
use super::extent::{ExtentNumber, LockedExtent};
use super::repeat;
use super::staging::FrameNumber;
use super::work_area::WorkArea;
use crate::engine::{Peeked, ReadMapping};

/// How often a page that changes is looked at.
const LOOKS: usize = 64;

/// See the module text. User context.
pub(crate) fn peek(
    arena: &Arena,
    page: PageNumber,
    into: &mut Page,
    mapping: ReadMapping<'_>,
) -> Peeked {
    let _blocked = SignalsBlocked::new();
    let mut area = arena.set().areas().take();
    for _ in 0..LOOKS {
        let extent = arena.lock_extent(ExtentNumber::of(page));
        let entry = extent.entry(page).load();
        if entry.is_busy() {
            extent.wait_for_busy_page();
            continue;
        }
        let set = arena.set();
        match entry.kind() {
            Kind::Reserved => return Peeked::NotCommitted,
            Kind::Lost => return Peeked::Lost,
            Kind::Fill => repeat::fill(into, entry.location()),
            // It cannot leave while its extent is locked.
            Kind::Present if mapping(page, into) => {}
            Kind::Present => return Peeked::Unreadable,
            Kind::Staged => {
                let frame = FrameNumber::new(entry.location());
                // SAFETY: the entry names the frame and its extent is locked, so the frame stays.
                into.copy_from_slice(unsafe { set.staging().bytes(frame) });
            }
            Kind::Pool => {
                let object = PoolRef::from_bits(entry.location());
                // SAFETY: the extent is locked and the page's entry names the object, so it stays.
                if unsafe { set.pool().read(object, into) }.is_err() {
                    return Peeked::Lost;
                }
            }
            Kind::File => return read(extent, page, entry, into, &mut area),
        }
        return Peeked::Done;
    }
    Peeked::Unreadable
}

/// A page in the page file: read with the extent unlocked, the page marked busy meanwhile.
fn read(
    extent: LockedExtent<'_>,
    page: PageNumber,
    entry: Entry,
    into: &mut Page,
    area: &mut WorkArea,
) -> Peeked {
    let (arena, number) = (extent.arena(), extent.number());
    extent.entry(page).update(Entry::busy);
    drop(extent);
    let bounce = area.bounce_mut(1);
    let outcome = arena.set().read_slots(entry.location(), bounce);
    into.copy_from_slice(bounce);
    let extent = arena.lock_extent(number);
    extent.entry(page).update(Entry::not_busy);
    extent.wake_waiters();
    match outcome.is_good(0) {
        true => Peeked::Done,
        false => Peeked::Lost,
    }
}
