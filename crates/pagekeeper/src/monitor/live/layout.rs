//! What lies where in the file. A reader of another version reads nothing but magic and version.

use pagekeeper_units::{PAGE_SIZE, PageCount};

/// What the file is called: `/memfd:pagekeeper-live` in `/proc/PID/fd`.
pub(super) const NAME: &str = "pagekeeper-live";

/// The first word: "PKLV".
pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"PKLV");
/// Moves whenever anything here or in [`super::record`] changes.
pub(super) const VERSION: u32 = 3;

/// Words of the first page, by their numbers.
pub(super) mod word {
    pub(in super::super) const MAGIC: usize = 0;
    pub(in super::super) const VERSION: usize = 1;
    /// The process that the file tells of. A forked child has the descriptor too, but it is not its file.
    pub(in super::super) const OWNER: usize = 2;
    /// Moved on by readers that want something; the publisher sleeps on it.
    pub(in super::super) const TICKET: usize = 3;
    /// What is wanted: [`super::FIGURES`], [`super::REGIONS`], [`super::ONE_PAGE`].
    pub(in super::super) const WANTED: usize = 4;
    /// The last ticket that was answered; readers sleep on it.
    pub(in super::super) const ANSWERED: usize = 5;
    /// Odd while the publisher writes figures or regions.
    pub(in super::super) const SEQUENCE: usize = 6;
    /// Bytes of the figures and of the regions.
    pub(in super::super) const FIGURE_BYTES: usize = 7;
    pub(in super::super) const REGION_BYTES: usize = 8;
    /// The request for one page, of the reader that has the file's lock: what is asked, and the address (low, high).
    pub(in super::super) const REQUEST: usize = 9;
    pub(in super::super) const ADDRESS: usize = 10;
    /// The bytes of the answer.
    pub(in super::super) const ANSWER_BYTES: usize = 12;
    /// The number of the request, and of the one that was answered last: a request need not wait for regions that are being
    /// listed.
    pub(in super::super) const ASKED: usize = 13;
    pub(in super::super) const TOLD: usize = 14;
    /// Moves while regions are being listed, which may take long.
    pub(in super::super) const BEAT: usize = 15;
}

/// Bits of what is wanted.
pub(super) const FIGURES: u32 = 1;
pub(super) const REGIONS: u32 = 2;
pub(super) const ONE_PAGE: u32 = 4;

/// Requests: where the page of an address is; what it holds.
pub(super) const WHERE: u32 = 1;
pub(super) const READ: u32 = 2;

/// Figures lie here, and have so much room.
pub(super) const FIGURES_AT: usize = PAGE_SIZE;
pub(super) const FIGURES_ROOM: usize = 15 * PAGE_SIZE;
/// The answer to a request for one page.
pub(super) const ANSWER_AT: usize = FIGURES_AT + FIGURES_ROOM;
pub(super) const ANSWER_ROOM: usize = 2 * PAGE_SIZE;
/// Regions lie here.
pub(super) const REGIONS_AT: usize = ANSWER_AT + ANSWER_ROOM;

/// Regions that are told one by one; more are told together.
pub(super) const MOST_REGIONS: usize = 1 << 16;
/// Stretches of address space that are told: more have their neighbours told with them.
pub(super) const MOST_RANGES: usize = 1 << 14;
/// Mappings of the library's own that are told, and bytes for names of sections.
pub(super) const MOST_HELD: usize = 1024;
pub(super) const NAMES_ROOM: usize = 1 << 16;
pub(super) const REGIONS_ROOM: usize = MOST_REGIONS * super::record::REGION_BYTES
    + (MOST_RANGES + 8) * 16
    + MOST_HELD * 24
    + NAMES_ROOM;

/// The whole file.
pub(super) const PAGES: PageCount =
    PageCount::new(((REGIONS_AT + REGIONS_ROOM) / PAGE_SIZE + 1) as u64);
