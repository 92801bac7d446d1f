//! Engines: who answers a page fault, and how committed memory reaches RAM and the page file.
//!
//! The rules (`pagekeeper-model`) say what a page *is*; an engine makes the kernel's mappings agree. One
//! trait, [`Engine`], chosen per reservation:
//!
//! | engine | who answers a fault | kernel touches (system calls, locks) | compressed pool, checksums |
//! |---|---|---|---|
//! | [`mapped`] | the kernel | work | no |
//! | [`inline`] | the faulting thread | need `kernel_touch` | yes |
//! | [`resident`] | the kernel; nothing ever leaves | work | no |
//!
//! A fourth, [`views`], serves no reservations but views of files and sections.
//!
//! A later *message* engine (handler threads answering userfaultfd messages) fits the same trait: it
//! differs from `inline` only in who calls the fault routine.
//!
//! The caller (`space`) holds the space lock around every call that changes a page's state, has asked the
//! model first, and tells the model afterwards. So an engine sees only requests that the rules allow, never two
//! changes at once, but any number of faults at any time.

use std::path::Path;

use pagekeeper_model::Protection;
use pagekeeper_store::page_file::PageFileId;
use pagekeeper_units::{ByteCount, PAGE_SIZE, PageCount, PageNumber, PageRange};

use crate::error::EngineError;
use crate::statistics::EngineStatistics;

pub(crate) mod inline;
mod lateness;
pub(crate) mod mapped;
pub(crate) mod resident;
mod rss;
mod thread;
pub(crate) mod views;

/// Which engine serves a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EngineKind {
    /// The kernel answers faults: right for anything. The default.
    Mapped = 0,
    /// The faulting thread answers faults: compressed pool, checksums, exact budget. For plain data.
    Inline = 1,
    /// Nothing ever leaves RAM: for sanitizers, valgrind and debuggers.
    Resident = 2,
    /// Views of files and sections. Serves no reservations, and is no setting: it is listed in reports, and has its share of
    /// the budget.
    Views = 3,
}

impl EngineKind {
    /// The names that settings use.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("mapped", Self::Mapped),
        ("inline", Self::Inline),
        ("resident", Self::Resident),
    ];

    /// The name that settings and reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Inline => "inline",
            Self::Resident => "resident",
            Self::Views => "views",
        }
    }
}

impl core::str::FromStr for EngineKind {
    type Err = crate::error::SettingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::NAMES
            .into_iter()
            .find(|(name, _)| text.trim().eq_ignore_ascii_case(name))
            .map(|(_, kind)| kind)
            .ok_or_else(|| crate::error::SettingsError::UnknownEngine(text.to_owned()))
    }
}

impl core::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

pub(crate) use pagekeeper_model::Change;

/// How much RAM and page file a space's engines may use; told to each engine when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineBudget {
    /// RAM for this engine's pages.
    pub(crate) ram: PageCount,
}

/// Where a page's contents are right now, as far as the engine can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Residence {
    /// Never touched: reads as zero, costs nothing.
    Untouched,
    /// In the working set.
    Resident,
    /// Left the working set, its contents are not stored elsewhere yet (modified list).
    Modified,
    /// Left the working set, stored elsewhere, its frame not reused yet (standby list).
    Standby,
    /// In the compressed pool (or kept as a repeated word).
    Compressed,
    /// Only in the page file.
    PageFile,
    /// Its contents could not be read back: touching it is an in-page error.
    Lost,
}

/// Reads a page through the mapping, as a debugger does: whatever its protection, and without a signal where nothing is.
pub(crate) type ReadMapping<'read> = &'read dyn Fn(PageNumber, &mut [u8; PAGE_SIZE]) -> bool;

/// What looking at a page's bytes from outside gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peeked {
    /// They are there.
    Done,
    /// The page has no memory.
    NotCommitted,
    /// Its contents could not be brought back.
    Lost,
    /// The kernel does not give them out.
    Unreadable,
}

/// How far pages have left a page file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vacated {
    /// All of the range has been gone through.
    All,
    /// Up to this page: several before it could not be read, and took their time.
    Unreadable(PageNumber),
    /// Up to this page: the other files did not take it.
    Refused(PageNumber),
}

/// What every engine does. See the module text for who holds which lock.
pub(crate) trait Engine: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> EngineKind;

    /// Makes address space of the engine: `at` exactly (refused when anything lies there), or `pages` pages
    /// wherever the kernel likes, 64 KiB aligned (2 MiB aligned where large enough). Nothing in it is
    /// committed. Fewer pages than asked are never given.
    fn open_arena(
        &self,
        at: Option<PageNumber>,
        pages: PageCount,
    ) -> Result<PageRange, EngineError>;

    /// Gives an arena back to the kernel. No allocation lies in it any more.
    fn close_arena(&self, arena: PageRange);

    /// A view is about to take the place of a placeholder in an arena of this engine: until [`Engine::take_back`] the engine
    /// leaves these pages, none of which is committed, alone, and answers for no access to them.
    fn lend(&self, range: PageRange);

    /// The pages of one [`Engine::lend`], whose use has ended, are the engine's again, reserved. On an error they are still
    /// lent, and out of reach; to be called again before anything is committed there.
    fn take_back(&self, range: PageRange) -> Result<(), EngineError>;

    /// Carries out a commit (or recommit): each run becomes committed with its new protection; pages that were
    /// reserved read as zero, pages that were committed keep their contents. All or nothing.
    fn commit(&self, changes: &[Change]) -> Result<(), EngineError>;

    /// Carries out a decommit: contents are dropped, the pages become inaccessible. Cannot fail.
    fn decommit(&self, changes: &[Change]);

    /// Carries out a protection change. All or nothing; contents stay.
    fn protect(&self, changes: &[Change]) -> Result<(), EngineError>;

    /// A whole allocation goes: `committed` are its committed runs, to be decommitted; afterwards nothing of the
    /// allocation is left and the range may be handed out again. Cannot fail.
    fn release(&self, allocation: PageRange, committed: &[Change]);

    /// A guard page was hit and has been disarmed in the model: let the page be used under `remaining`.
    fn disarm_guard(&self, page: PageNumber, remaining: Protection) -> Result<(), EngineError>;

    /// Brings pages into RAM and keeps them there until unlocked (`VirtualLock`).
    fn lock(&self, range: PageRange) -> Result<(), EngineError>;

    /// Undoes [`Engine::lock`].
    fn unlock(&self, range: PageRange);

    /// Starts bringing pages in (`PrefetchVirtualMemory`); returns when the reads are done or refused. A hint.
    fn prefetch(&self, range: PageRange);

    /// The contents are of no interest any more (`DiscardVirtualMemory`, `MEM_RESET`): old bytes or zeros.
    fn discard(&self, range: PageRange);

    /// Takes pages out of the working set now (`EmptyWorkingSet`, `VirtualUnlock` of an unlocked page).
    /// Contents stay.
    fn trim(&self, range: PageRange);

    /// One more place for page files that the engine makes itself; the least preferred one.
    fn add_page_file(&self, _place: &Path) {}

    /// Of the page files that the engine makes itself, one in this place takes nothing new from now on.
    fn retire_page_file(&self, _place: &Path) {}

    /// Pages that have to stay in such files in this place until they are decommitted.
    fn pages_in_retired(&self, _place: &Path) -> PageCount {
        PageCount::ZERO
    }

    /// Committed pages of `range` that lie in this page file of the space go to others, as far as they can.
    fn leave_page_file(&self, _range: PageRange, _file: PageFileId) -> Vacated {
        Vacated::All
    }

    /// What is on its way to the page files arrives there, as far as it can; what stands by and is stored in this one goes there.
    fn store_staged(&self, _file: PageFileId) {}

    /// Where each page of `range` is, in runs, upwards. The answer may be out of date at once.
    fn residence(&self, range: PageRange, visit: &mut dyn FnMut(PageRange, Residence));

    /// What the section is called that a page shows; `None` where it has no name, or is none.
    fn name_at(&self, _page: PageNumber) -> Option<String> {
        None
    }

    /// The bytes of a committed page, wherever they are, with as little change as possible. Without the space lock.
    fn peek(
        &self,
        page: PageNumber,
        into: &mut [u8; PAGE_SIZE],
        mapping: ReadMapping<'_>,
    ) -> Peeked {
        match mapping(page, into) {
            true => Peeked::Done,
            false => Peeked::Unreadable,
        }
    }

    /// Whether the engine can still tell right from wrong, or why not (first failed write-back, lost descriptor).
    fn health(&self) -> Result<(), EngineError>;

    /// A new budget. Shrinking takes pages out before it returns, as far as that is possible.
    fn set_budget(&self, budget: EngineBudget);

    /// Pages that cannot leave RAM whatever the budget: its share of a common budget does not fall below them.
    fn unmovable(&self) -> PageCount {
        PageCount::ZERO
    }

    /// Bytes of RAM that the engine's own tables and buffers use.
    fn overhead(&self) -> ByteCount;

    /// Counters since the start.
    fn statistics(&self) -> EngineStatistics;
}
