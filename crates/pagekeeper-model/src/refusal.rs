//! Why an operation is refused: one variant per reason.
//!
//! Windows numbers live in one table in `pagekeeper-win32`; the reasons here are fine enough to fill it. The
//! text behind each variant's name says which number windows-memory-behaviour.md gives.

use pagekeeper_units::{HIGHEST_ADDRESS, LOWEST_ADDRESS, PageCount, PageNumber, PageRange};

use crate::{EngineTag, Protection};

/// Why the rules refuse an operation. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The size is zero (87).
    #[error("the size is zero: give at least one byte")]
    SizeZero,
    /// A size was given where the whole allocation is released (87).
    #[error("a release takes the whole allocation: give size 0, not {size}")]
    SizeNotZero {
        /// The size that was given, in bytes.
        size: u64,
    },
    /// A non-NULL address below the lowest that a program may use (87).
    #[error(
        "address {address:#x} lies below {:#x}, the lowest that a program may use",
        LOWEST_ADDRESS
    )]
    AddressTooLow {
        /// The address.
        address: u64,
    },
    /// An address above the highest that a program may use (87).
    #[error(
        "address {address:#x} lies above {:#x}, the highest that a program may use",
        HIGHEST_ADDRESS
    )]
    AddressTooHigh {
        /// The address.
        address: u64,
    },
    /// Address plus size runs past the end of user space, or the size is larger than all of it (87).
    #[error("{size} bytes at {address:#x} run past the end of the address space: ask for less")]
    EndsPastAddressSpace {
        /// The address, 0 for "anywhere".
        address: u64,
        /// The size in bytes.
        size: u64,
    },
    /// The protection value is malformed (87).
    #[error(
        "{value:#x} is not a page protection: give one base value and modifiers that go with it"
    )]
    ProtectionInvalid {
        /// The `PAGE_*` value.
        value: u32,
    },
    /// A write-copy protection for private memory (87).
    #[error("{protection} is for views of files and sections: use READWRITE for private memory")]
    ProtectionNotForPrivate {
        /// The protection.
        protection: Protection,
    },
    /// Decommit and release in one call, which strict mode refuses (87).
    #[error("decommit and release exclude each other in strict mode: release alone gives both")]
    DecommitWithRelease,
    /// A page of the wanted range belongs to an allocation (487).
    #[error("the range is taken: an allocation begins at {:#x}", allocation.address())]
    ConflictingAddresses {
        /// The lowest allocation in the way.
        allocation: PageNumber,
    },
    /// The wanted range begins or ends inside an arena but does not lie in it (487).
    #[error(
        "the range crosses the edge of an arena at {arena:?}: choose a range inside or outside it"
    )]
    CrossesArena {
        /// The arena.
        arena: PageRange,
    },
    /// The wanted range lies in an arena of another engine (487).
    #[error("the range lies in address space of another engine (tag {})", engine.0)]
    ArenaOfOtherEngine {
        /// The engine that owns the address space there.
        engine: EngineTag,
    },
    /// No hole is large enough (8, after the caller opened an arena and tried again).
    #[error("no free range of {pages:?} is left: release something or ask for less")]
    NoHole {
        /// How many pages were wanted.
        pages: PageCount,
    },
    /// The address belongs to no allocation (487).
    #[error("nothing is allocated at {address:#x}: reserve it first")]
    NotAllocated {
        /// The address.
        address: u64,
    },
    /// A range that begins in an allocation runs out of it (487 for commit, protect and reset).
    #[error("the range leaves its allocation {allocation:?}: stay inside one allocation")]
    LeavesAllocation {
        /// The allocation.
        allocation: PageRange,
    },
    /// A decommit runs past the end of the allocation (87).
    #[error("the decommit runs past the end of its allocation {allocation:?}: give a smaller size")]
    DecommitPastEnd {
        /// The allocation.
        allocation: PageRange,
    },
    /// Size 0 with an address that is not in the allocation's first page (487).
    #[error("size 0 means the whole allocation: give its base {:#x}", base.address())]
    NotAtBase {
        /// The allocation's base.
        base: PageNumber,
    },
    /// A page that must be committed is only reserved (487).
    #[error("the page at {:#x} is reserved, not committed: commit it first", page.address())]
    NotCommitted {
        /// The lowest such page.
        page: PageNumber,
    },
    /// The commit limit leaves no room (1455).
    #[error(
        "committing {wanted:?} would exceed the commit limit, {available:?} are left: decommit something, \
             or raise the RAM budget or the page file's maximum"
    )]
    CommitmentLimit {
        /// What was asked for.
        wanted: PageCount,
        /// What is left.
        available: PageCount,
    },
    /// A placeholder with another protection than NOACCESS, committed, or watched (87).
    #[error(
        "a placeholder is NOACCESS, reserved only and not watched, not {protection}: say what it shall be when it is replaced"
    )]
    PlaceholderProtected {
        /// The protection.
        protection: Protection,
    },
    /// The pages belong to a placeholder, which holds nothing (487).
    #[error("a placeholder lies at {:#x}: replace it first", base.address())]
    IsPlaceholder {
        /// Its first page.
        base: PageNumber,
    },
    /// The allocation is no placeholder, or (where that would do) never replaced one (487).
    #[error("the allocation at {:#x} has nothing to do with placeholders", base.address())]
    NotPlaceholder {
        /// Its first page.
        base: PageNumber,
    },
    /// A placeholder is replaced by exactly its own pages, and merged as a whole (487).
    #[error(
        "the range is not exactly that of the placeholder at {placeholder:?}: split it before, or give all of it"
    )]
    NotWholePlaceholder {
        /// The placeholder.
        placeholder: PageRange,
    },
    /// A view of an image in the place of a placeholder (87).
    #[error(
        "images are not mapped in the place of placeholders: use a view of a file or of memory"
    )]
    ImageInPlaceholder,
    /// A split that would leave everything as it is, or a merge of one (487).
    #[error(
        "{placeholder:?} is one placeholder already: give a part of it to split, or more than it to merge"
    )]
    OnePlaceholder {
        /// The placeholder.
        placeholder: PageRange,
    },
    /// A page to be locked is free, reserved or no-access (998).
    #[error("the page at {:#x} cannot be accessed: commit it with a protection that allows reading", page.address())]
    NotAccessible {
        /// The lowest such page.
        page: PageNumber,
    },
    /// A page to be locked is an armed guard page (0x80000001); the caller disarms it as an access would.
    #[error("the page at {:#x} is a guard page; it is disarmed now, try again", page.address())]
    GuardPage {
        /// The page.
        page: PageNumber,
    },
    /// More pages would be locked than the minimum working set allows (1453).
    #[error(
        "locking {wanted:?} more needs a larger minimum working set: {available:?} may still be locked"
    )]
    WorkingSetQuota {
        /// Pages that would be locked in addition.
        wanted: PageCount,
        /// Pages that may still be locked.
        available: PageCount,
    },
    /// A page to be unlocked is not locked (158); such pages leave the working set.
    #[error("the page at {:#x} is not locked", page.address())]
    NotLocked {
        /// The lowest such page.
        page: PageNumber,
    },
    /// An address or size that must be a multiple of the page size is not (87).
    #[error("address {address:#x} and size {size} must be multiples of 4096")]
    NotPageAligned {
        /// The address.
        address: u64,
        /// The size in bytes.
        size: u64,
    },
    /// A range whose writes are asked for does not lie in one allocation made with `MEM_WRITE_WATCH` (87).
    #[error("the range at {address:#x} does not lie in one reservation that watches writes")]
    NotWatched {
        /// The address.
        address: u64,
    },
    /// A page that lies in no window for physical pages, or a frame that cannot be mapped there (87).
    #[error(
        "the page at {address:#x} lies in no window for physical pages, or the frame is not to be had"
    )]
    NotPhysical {
        /// The address.
        address: u64,
    },
    /// An operation that a window for physical pages does not allow (87).
    #[error(
        "the page at {address:#x} lies in a window for physical pages: only frames can be mapped there"
    )]
    InWindow {
        /// The address.
        address: u64,
    },
    /// A discard needs read-write pages (87).
    #[error("the page at {:#x} is {protection}: only READWRITE pages can be discarded", page.address())]
    NotReadWrite {
        /// The lowest such page.
        page: PageNumber,
        /// Its protection.
        protection: Protection,
    },
    /// A view's offset or address is not a multiple of 64 KiB (1132).
    #[error("{value:#x} is not a multiple of 64 KiB: views begin at such offsets and addresses")]
    ViewMisaligned {
        /// The offset or address.
        value: u64,
    },
    /// The address lies in no view (487).
    #[error("there is no view at {address:#x}: only what was mapped can be unmapped or flushed")]
    NotAView {
        /// The address.
        address: u64,
    },
    /// An operation on private memory met a view (87).
    #[error("the page at {:#x} belongs to a view: unmap it, it cannot be freed or discarded", view.address())]
    IsView {
        /// The view's first page.
        view: PageNumber,
    },
    /// A protection that allows more than the view does (87).
    #[error("{protection} allows more than the view, which was mapped {view}")]
    ProtectionNotForView {
        /// The protection.
        protection: Protection,
        /// The view's.
        view: Protection,
    },
    /// A commit inside of a view of a file or an image (5).
    #[error("the page at {:#x} belongs to a view of a file, whose pages are all there: protect it instead", page.address())]
    CommitInFile {
        /// The first page.
        page: PageNumber,
    },
    /// A reset inside of a view of a file (1224).
    #[error("the page at {:#x} belongs to a view of a file: its contents cannot be given up", page.address())]
    ResetInFile {
        /// The first page.
        page: PageNumber,
    },
    /// A protection that no section can have (87).
    #[error(
        "{protection} is no protection for a section: use READONLY, READWRITE, WRITECOPY or one with EXECUTE_"
    )]
    ProtectionNotForSection {
        /// The protection.
        protection: Protection,
    },
    /// A view that would allow more than its section (5).
    #[error("a {view} view allows more than its section, which is {section}")]
    SectionForbids {
        /// The view's protection.
        view: Protection,
        /// The section's.
        section: Protection,
    },
    /// A view that reaches outside of its section (5).
    #[error("{size} bytes from {offset} on reach past the section's end at {section}")]
    OutsideSection {
        /// Where the view would begin, in bytes.
        offset: u64,
        /// Its size in bytes, 0 for "to the end".
        size: u64,
        /// The section's size in bytes.
        section: u64,
    },
    /// A section of an empty file, without a size (1006).
    #[error("the file is empty: give the section a size, or write to the file first")]
    FileEmpty,
    /// A section that is larger than its file, which it may not extend, or larger than any file (8).
    #[error("a section of {size} bytes is too large: {limit} bytes are possible")]
    SectionTooLarge {
        /// The size in bytes.
        size: u64,
        /// The largest possible, in bytes.
        limit: u64,
    },
    /// No section has the name (2).
    #[error("no section of that name is open in any process of this user")]
    NoSuchName,
    /// A name that no section can have (87).
    #[error(
        "not a name for a section: 1 to 260 characters, Local\\ or Global\\ in front, no other backslash"
    )]
    NameInvalid,
    /// An empty list of ranges (87).
    #[error("no ranges were given: give at least one")]
    NoRanges,
    /// Working-set limits that contradict each other, or lie outside what is allowed (87).
    #[error(
        "working-set limits of {minimum:?} to {maximum:?} are not possible: the minimum must be above zero \
             and not above the maximum, and the maximum within {least:?} to {most:?}"
    )]
    WorkingSetLimits {
        /// The minimum that was asked for.
        minimum: PageCount,
        /// The maximum that was asked for.
        maximum: PageCount,
        /// The smallest maximum.
        least: PageCount,
        /// The largest maximum.
        most: PageCount,
    },
    /// Enable and disable of one bound together, or an unknown flag (87).
    #[error("working-set flags {flags:#x}: each bound can be made hard or soft, not both")]
    WorkingSetFlags {
        /// The flags.
        flags: u32,
    },
}
