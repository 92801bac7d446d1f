//! A piece: 2 MiB of an arena that has been opened, and what is known of its pages.
//!
//! An arena is inaccessible until pieces of it are opened, as commits need them. A piece is born with a
//! [`Nature`] that never changes while anything is committed in it:
//!
//! * *anonymous*: ordinary private memory, charged to the anonymous share;
//! * *file*: a shared mapping of a place in the page file, whose space is allocated.
//!
//! Pages of an opened piece that nobody may touch are **fenced**: by a guard marker where the kernel has
//! them, else by `PROT_NONE`. Every page that is not committed is fenced.

use core::ops::Range;

use pagekeeper_model::{BaseProtection, PageState, Protection};
use pagekeeper_sys::map::Access;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::page_set::{PIECE_PAGES, PageSet};

/// Where a piece lies in the page files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Place {
    /// Which page file.
    pub(super) file: u8,
    /// Offset in the file, in pieces of 2 MiB.
    pub(super) slot: u32,
}

impl Place {
    /// Byte offset of page `page` of the piece.
    pub(super) fn offset(self, page: usize) -> u64 {
        (u64::from(self.slot) * PIECE_PAGES as u64 + page as u64) << 12
    }
}

/// What a piece is to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nature {
    /// Private memory.
    Anonymous,
    /// A shared mapping of the page file.
    File(Place),
}

impl Nature {
    pub(super) fn place(self) -> Option<Place> {
        match self {
            Self::Anonymous => None,
            Self::File(place) => Some(place),
        }
    }
}

/// What the pages of a run shall be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// Not committed: fenced, contents dropped.
    Nothing,
    /// Committed and to be reached with this access.
    Open(Access),
    /// Committed, contents kept, but every access is a violation (`PAGE_NOACCESS`, `PAGE_GUARD`).
    Hidden,
}

impl Wanted {
    /// What a page state asks of the kernel's mapping.
    pub(super) fn of(state: PageState) -> Self {
        match state {
            PageState::Reserved => Self::Nothing,
            PageState::Committed(protection) if protection.is_guard() => Self::Hidden,
            PageState::Committed(protection) => {
                let access = access_of(protection);
                if access.is_empty() {
                    Self::Hidden
                } else {
                    Self::Open(access)
                }
            }
        }
    }
}

/// The access that a protection allows, its guard aside. x86-64 cannot execute what it cannot read.
pub(super) fn access_of(protection: Protection) -> Access {
    match protection.base() {
        BaseProtection::NoAccess => Access::NONE,
        BaseProtection::ReadOnly => Access::READ,
        BaseProtection::ReadWrite | BaseProtection::WriteCopy => Access::READ_WRITE,
        BaseProtection::Execute | BaseProtection::ExecuteRead => Access::READ | Access::EXECUTE,
        BaseProtection::ExecuteReadWrite | BaseProtection::ExecuteWriteCopy => {
            Access::READ_WRITE | Access::EXECUTE
        }
    }
}

/// An opened piece.
#[derive(Debug)]
pub(super) struct Piece {
    /// Told apart from any other piece that was or will be at the same address.
    pub(super) number: u64,
    /// The pages: the whole 2 MiB, or what of them lies in the arena.
    pub(super) range: PageRange,
    pub(super) nature: Nature,
    pub(super) committed: PageSet,
    /// Pages that no access reaches, by marker or (without markers) by `PROT_NONE`.
    pub(super) fenced: PageSet,
    /// File pieces: pages whose bytes in the file are not zero although they must read so when the fence
    /// goes.
    pub(super) stale: PageSet,
    /// The kernel's access of each page where it is not read-write throughout.
    access: Option<Box<[u8; PIECE_PAGES]>>,
    /// Pages that `lock` pinned.
    pub(super) locked: PageSet,
    /// File pieces: pages of it have left memory at some time, so there is something to read ahead.
    pub(super) was_out: bool,
    /// In the queue of those that stay open although nothing is in them.
    pub(super) is_kept: bool,
    /// File pieces: pages of it are on their way out.
    pub(super) is_leaving: bool,
    /// File pieces: pages cached when it was last counted.
    pub(super) cached: u32,
    /// File pieces: from which page on victims are looked for next.
    pub(super) hand: u16,
}

impl Piece {
    /// A piece whose mapping has just been made: `open` is committed and reachable, the rest fenced.
    pub(super) fn new(
        number: u64,
        range: PageRange,
        nature: Nature,
        open: Range<usize>,
        fenced_by_access: bool,
    ) -> Self {
        let mut fenced = PageSet::of(positions(range));
        fenced.remove(open.clone());
        let mut piece = Self {
            number,
            range,
            nature,
            committed: PageSet::of(open.clone()),
            fenced,
            stale: PageSet::EMPTY,
            access: None,
            locked: PageSet::EMPTY,
            was_out: false,
            is_kept: false,
            is_leaving: false,
            cached: 0,
            hand: 0,
        };
        if fenced_by_access {
            piece.set_access(positions(range), Access::NONE);
            piece.set_access(open, Access::READ_WRITE);
        }
        piece
    }

    /// The kernel's access of a page, leaving a marker aside.
    pub(super) fn access(&self, page: usize) -> Access {
        self.access.as_ref().map_or(Access::READ_WRITE, |all| {
            Access::from_bits_truncate(u32::from(all[page]))
        })
    }

    /// Whether no page has another access than read-write, markers left aside.
    pub(super) fn is_read_write_throughout(&self) -> bool {
        self.access.is_none()
    }

    pub(super) fn set_access(&mut self, pages: Range<usize>, access: Access) {
        if pages.is_empty() || (self.access.is_none() && access == Access::READ_WRITE) {
            return;
        }
        let plain = Access::READ_WRITE.bits() as u8;
        let all = self
            .access
            .get_or_insert_with(|| Box::new([plain; PIECE_PAGES]));
        all[pages].fill(access.bits() as u8);
        if access == Access::READ_WRITE && all.iter().all(|&bits| bits == plain) {
            self.access = None;
        }
    }

    /// Bytes that this record takes.
    pub(super) fn record_bytes(&self) -> u64 {
        let access = if self.access.is_some() {
            PIECE_PAGES
        } else {
            0
        };
        (size_of::<Self>() + access) as u64
    }

    /// The pages at `positions`.
    pub(super) fn pages(&self, positions: Range<usize>) -> PageRange {
        let base = self.range.start().get() & !(PIECE_PAGES as u64 - 1);
        PageRange::between(
            PageNumber::new(base + positions.start as u64),
            PageNumber::new(base + positions.end as u64),
        )
    }
}

/// The positions in its piece that `range`, which lies in one piece, takes.
pub(super) fn positions(range: PageRange) -> Range<usize> {
    let start = range.start().get() as usize % PIECE_PAGES;
    start..start + range.count().as_usize()
}

/// The number of the 2 MiB of address space that `page` lies in.
pub(super) fn piece_number(page: PageNumber) -> u64 {
    page.get() / PIECE_PAGES as u64
}

/// The part of `range` in each 2 MiB, upwards.
pub(super) fn split(range: PageRange) -> impl Iterator<Item = PageRange> {
    let mut start = range.start();
    core::iter::from_fn(move || {
        if start >= range.end() {
            return None;
        }
        let boundary = PageNumber::new((piece_number(start) + 1) * PIECE_PAGES as u64);
        let part = PageRange::between(start, boundary.min(range.end()));
        start = part.end();
        Some(part)
    })
}

/// One page.
pub(super) fn single(page: PageNumber) -> PageRange {
    PageRange::new(page, PageCount::ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_split_at_2_mib() {
        let range = PageRange::new(PageNumber::new(500), PageCount::new(600));
        let parts: Vec<_> = split(range)
            .map(|part| (part.start().get(), part.count().get()))
            .collect();
        assert_eq!(parts, [(500, 12), (512, 512), (1024, 76)]);
        assert_eq!(
            positions(PageRange::new(PageNumber::new(1024), PageCount::new(512))),
            0..512
        );
    }

    #[test]
    fn guards_and_no_access_are_hidden_the_rest_is_open() {
        let wanted = |protection| Wanted::of(PageState::Committed(protection));
        assert_eq!(Wanted::of(PageState::Reserved), Wanted::Nothing);
        assert_eq!(wanted(Protection::NO_ACCESS), Wanted::Hidden);
        assert_eq!(wanted(Protection::READ_WRITE.with_guard()), Wanted::Hidden);
        assert_eq!(wanted(Protection::READ_ONLY), Wanted::Open(Access::READ));
        assert_eq!(
            wanted(Protection::EXECUTE),
            Wanted::Open(Access::READ | Access::EXECUTE)
        );
        let all = Access::READ_WRITE | Access::EXECUTE;
        assert_eq!(wanted(Protection::EXECUTE_READ_WRITE), Wanted::Open(all));
    }

    #[test]
    fn the_access_record_goes_when_all_is_plain_again() {
        let range = PageRange::new(PageNumber::new(1024), PageCount::new(512));
        let mut piece = Piece::new(1, range, Nature::Anonymous, 0..512, false);
        let plain = piece.record_bytes();
        piece.set_access(3..5, Access::READ);
        assert_eq!(piece.access(4), Access::READ);
        assert_eq!(piece.access(5), Access::READ_WRITE);
        assert!(piece.record_bytes() > plain);
        piece.set_access(3..5, Access::READ_WRITE);
        assert_eq!(piece.record_bytes(), plain);
    }
}
