//! Pages held in memory for the kernel. User context.
//!
//! A system call that is given a page that is out fails with `EFAULT`, and one whose buffer leaves half way loses data. So
//! the wrappers of `kernel_touch` bring the pages of a buffer in and pin them for the call: a pinned page is in the
//! mapping and stays there. Pins count, since several threads may pass the same buffer.
//!
//! **Pins may not fill the budget**, or nobody could bring anything in any more. So the pinned pages of a working set,
//! each counted once however often it is pinned, have a ceiling that depends on who asks. Above it the answer is
//! [`PinRefused::Busy`] at once, and never waiting: the wrappers then go on with a bounce buffer, or ask again later.
//!
//! | who | ceiling, of the budget |
//! |---|---|
//! | `VirtualLock` (counted apart, in `change::lock`) | a half |
//! | [`Share::Wrapper`]: wrapped calls, some of which wait; [`Share::Program`]: `with_resident` | a quarter |
//! | [`Share::Brief`]: wrapped calls that wait for nobody, and that others may be waiting for | three eighths |

use core::sync::atomic::{AtomicU64, Ordering};

use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_sys::userfaultfd::UffdFeatures;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::arena::Arena;
use super::change;
use super::entry::{Entry, Kind, PINS_MAX};
use super::extent::ExtentNumber;
pub(crate) use super::fault::Want;
use super::fault::{Answer, bring_in, forbidden};
use super::work_area::HeldArea;
use super::working_set::WorkingSet;
use crate::registry::Reading;

/// Why pages could not be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinRefused {
    /// A page is not committed, or its protection forbids the access: the kernel would answer `EFAULT`.
    Forbidden,
    /// A page's contents could not be brought back: the kernel would answer `EIO`.
    Lost,
    /// The share of the budget that pins may take is used up at this moment.
    Busy,
}

/// Whose pins they are; see the module text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Wrapper,
    Program,
    Brief,
}

/// Counters of pinned pages, found by the working set's address. Two sets that share a counter limit each other a little
/// more than need be, which costs a bounce buffer and nothing else.
static PINNED_PAGES: [AtomicU64; COUNTERS] = [const { AtomicU64::new(0) }; COUNTERS];
const COUNTERS: usize = 64;

/// In a forked child: nothing is pinned.
pub(crate) fn forget_all() {
    for counter in &PINNED_PAGES {
        counter.store(0, Ordering::Relaxed);
    }
}

fn counter_of(set: &WorkingSet) -> &'static AtomicU64 {
    let address = core::ptr::from_ref(set).addr() as u64;
    let index = (address >> 6).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58;
    PINNED_PAGES.get(index as usize).unwrap_or(&PINNED_PAGES[0])
}

impl Share {
    /// Pinned pages of `set` up to which this one may pin more.
    pub(crate) fn most(self, set: &WorkingSet) -> u64 {
        let usable = set
            .frames()
            .limit()
            .saturating_sub(set.frames().headroom())
            .get();
        match self {
            Self::Wrapper | Self::Program => (usable / 4).max(2),
            Self::Brief => (usable * 3 / 8).max(4),
        }
    }
}

/// Pages that one wrapped call pins at once: a small part of the share, so that several threads find room.
pub(crate) fn pages_at_once(set: &WorkingSet) -> u64 {
    const ONE_MIB: u64 = 256;
    (Share::Wrapper.most(set) / 8).clamp(1, ONE_MIB)
}

/// Pages of one inline arena, held in memory until dropped.
#[derive(Debug)]
pub(crate) struct Pinned {
    range: PageRange,
    /// Where its pages are counted.
    counter: &'static AtomicU64,
}

impl Pinned {
    /// Brings in and pins the pages of `range`, which must all lie in one inline arena.
    pub(crate) fn new(range: PageRange, want: Want, share: Share) -> Result<Self, PinRefused> {
        let reading = Reading::begin();
        let arena = reading
            .find_inline(range.start())
            .ok_or(PinRefused::Forbidden)?;
        if !arena.range().covers(range) {
            return Err(PinRefused::Forbidden);
        }
        let counter = counter_of(arena.set());
        let most = share.most(arena.set());
        // When one page is refused, dropping this lets those before it go.
        let mut pinned = Self {
            range: PageRange::new(range.start(), PageCount::ZERO),
            counter,
        };
        let _blocked = SignalsBlocked::new();
        let mut area = None;
        for page in range.pages() {
            let mut place = Place::take(counter, most);
            pin_page(arena, page, want, &mut place, &mut area)?;
            pinned.range = PageRange::between(range.start(), page.plus(PageCount::ONE));
        }
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let reading = Reading::begin();
        for page in self.range.pages() {
            let before = reading.find_inline(page).map(|arena| {
                let unpin = |entry: Entry| {
                    if entry.pins() > 0 {
                        entry.unpinned()
                    } else {
                        entry
                    }
                };
                arena.entry(page).update(unpin).pins()
            });
            // A page that was released meanwhile has no pins any more; its place comes back all the same.
            if before.is_none_or(|pins| pins <= 1) {
                let less = |now: u64| Some(now.saturating_sub(1));
                let _ = self
                    .counter
                    .fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
            }
        }
    }
}

/// A place under the ceiling, given back unless it was used for a page.
struct Place {
    counter: &'static AtomicU64,
    taken: bool,
}

impl Place {
    fn take(counter: &'static AtomicU64, most: u64) -> Self {
        let more = |now| (now < most).then_some(now + 1);
        let taken = counter.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
        Self {
            counter,
            taken: taken.is_ok(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.taken {
            self.counter.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Pins one page, which needs a place unless somebody else has it pinned already. `area` is taken when a page has to be
/// brought in, and kept for the next.
fn pin_page<'arena>(
    arena: &'arena Arena,
    page: PageNumber,
    want: Want,
    place: &mut Place,
    area: &mut Option<HeldArea<'arena>>,
) -> Result<(), PinRefused> {
    let may_pin = |entry: Entry, has_place: bool| match entry.pins() {
        0 => has_place,
        pins => pins < PINS_MAX,
    };
    loop {
        let has_place = place.taken;
        let entry = arena.entry(page).load();
        if forbidden(entry, want).is_some() {
            return Err(PinRefused::Forbidden);
        }
        if !may_pin(entry, has_place) {
            return Err(PinRefused::Busy);
        }
        let extent = arena.lock_extent(ExtentNumber::of(page));
        let result = extent.entry(page).try_update(|entry| {
            let here = entry.kind() == Kind::Present && !entry.is_busy();
            (here && forbidden(entry, want).is_none() && may_pin(entry, has_place))
                .then(|| entry.pinned())
        });
        // A write through the kernel is not seen by us: the copy in the page file may be outdated from now on. It is
        // compared before it is believed, so it may stay.
        drop(extent);
        match result {
            Ok(before) => {
                if before.pins() == 0 {
                    place.taken = false;
                }
                // Without moving, an eviction that was given up may leave a page write-protected. The program's own
                // write would be mended by the fault handler; the kernel's would fail.
                let moves = arena
                    .set()
                    .userfaultfd()
                    .features()
                    .contains(UffdFeatures::MOVE);
                if want == Want::Write && !moves {
                    change::lift_write_protection(arena, page);
                }
                return Ok(());
            }
            Err(entry) if entry.kind() == Kind::Present && !entry.is_busy() => {}
            Err(_) => bring(arena, page, want, area)?,
        }
    }
}

/// One try to bring a page in.
fn bring<'arena>(
    arena: &'arena Arena,
    page: PageNumber,
    want: Want,
    area: &mut Option<HeldArea<'arena>>,
) -> Result<(), PinRefused> {
    let area = area.get_or_insert_with(|| arena.set().areas().take());
    match bring_in(arena, page, want, area) {
        Answer::Again => Ok(()),
        Answer::Lost(_) => Err(PinRefused::Lost),
        Answer::Violation | Answer::Guard | Answer::Unmapped | Answer::Protected => {
            Err(PinRefused::Forbidden)
        }
    }
}

/// What is known of the first pages of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// So many pages lie in no inline arena: the kernel can be trusted with them.
    Foreign(PageCount),
    /// So many pages lie in one inline arena and allow the access; one call may pin `at_once` of them.
    Inline {
        /// Pages.
        count: PageCount,
        /// Pages that one call may pin.
        at_once: u64,
    },
    /// The first page lies in an inline arena and forbids the access.
    Forbidden,
}

/// Looks at the first pages of `range`, which is not empty.
pub(crate) fn first_stretch(range: PageRange, want: Want) -> Stretch {
    let reading = Reading::begin();
    let Some(arena) = reading.find_inline(range.start()) else {
        let foreign = range
            .pages()
            .take_while(|page| reading.find_inline(*page).is_none());
        // Long foreign ranges are looked at in steps; the caller asks again for the rest.
        return Stretch::Foreign(PageCount::new(foreign.take(1 << 14).count() as u64));
    };
    let inside = range.intersection(arena.range());
    let allowed = |page: &PageNumber| forbidden(arena.entry(*page).load(), want).is_none();
    match inside.pages().take(1 << 12).take_while(allowed).count() as u64 {
        0 => Stretch::Forbidden,
        count => Stretch::Inline {
            count: PageCount::new(count),
            at_once: pages_at_once(arena.set()),
        },
    }
}

/// Brings the inline pages of `range` in once, so that what is forbidden or lost shows before anything is done.
/// Nothing is pinned: the program's own access will bring a page in again that has left meanwhile.
pub(crate) fn admit(range: PageRange, want: Want) -> Result<(), PinRefused> {
    let reading = Reading::begin();
    let _blocked = SignalsBlocked::new();
    for page in range.pages() {
        let Some(arena) = reading.find_inline(page) else {
            continue;
        };
        let entry = arena.entry(page).load();
        if forbidden(entry, want).is_some() {
            return Err(PinRefused::Forbidden);
        }
        if entry.kind() != Kind::Present || entry.is_busy() {
            bring(arena, page, want, &mut None)?;
        }
    }
    Ok(())
}
