//! One allocation: what one reserve call made.

use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::page_map::PageMap;
use crate::{EngineTag, PageState, Protection, Refusal, RegionType};

const _: () = assert!(size_of::<Option<Allocation>>() == 64);

/// Byte of a locked page in [`Locked::map`].
const LOCKED: u8 = 1;

/// What an allocation is made of: private memory, or a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum AllocationKind {
    /// What a reserve call made (`MEM_PRIVATE`).
    #[default]
    Private,
    /// A view of a section without a file (`MEM_MAPPED`).
    MemoryView,
    /// A view of a file (`MEM_MAPPED`).
    FileView,
    /// A view of an image (`MEM_IMAGE`).
    ImageView,
}

impl AllocationKind {
    /// Whether it is a view of any kind.
    #[inline]
    pub const fn is_view(self) -> bool {
        !matches!(self, Self::Private)
    }

    /// `Type`, as a query shows it.
    pub const fn region_type(self) -> RegionType {
        match self {
            Self::Private => RegionType::Private,
            Self::MemoryView | Self::FileView => RegionType::Mapped,
            Self::ImageView => RegionType::Image,
        }
    }
}

/// What an allocation has to do with placeholders: address space that is kept for one thing after another (`MEM_RESERVE_PLACEHOLDER`).
/// Says nothing of what replaced one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PlaceholderRole {
    /// Nothing.
    #[default]
    None,
    /// It is one: reserved, NOACCESS, and nothing can be committed in it until it is replaced.
    Placeholder,
    /// It replaced one, and can be turned back into it.
    Replacement,
}

/// What the outside sees of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationInfo {
    /// Its pages; it starts at a multiple of 64 KiB, or, where placeholders were split, at any page.
    pub range: PageRange,
    /// `AllocationProtect`: the protection it was reserved with. Never changes.
    pub protection: Protection,
    /// The engine that serves it.
    pub engine: EngineTag,
    /// Whether it was made with `MEM_WRITE_WATCH`.
    pub write_watch: bool,
    /// What it is made of.
    pub kind: AllocationKind,
    /// What it has to do with placeholders.
    pub placeholder: PlaceholderRole,
    /// How many of its pages are charged against the commit limit: the committed ones; of a view, those that are promised a
    /// private copy.
    pub committed: PageCount,
    /// How many of its pages are locked.
    pub locked: PageCount,
}

/// Which pages of an allocation are locked. Apart from the states, because a lock splits no region, and on the
/// heap, because few allocations have any.
struct Locked {
    map: PageMap,
    pages: u64,
}

/// Its states, its counters and what was fixed at its creation. One cache line: a look-up among a million is a
/// matter of cache misses.
#[repr(align(64))]
pub(crate) struct Allocation {
    pub(crate) map: PageMap,
    locked: Option<Box<Locked>>,
    pub(crate) committed: u64,
    pub(crate) protection: Protection,
    pub(crate) engine: EngineTag,
    pub(crate) write_watch: bool,
    pub(crate) kind: AllocationKind,
    pub(crate) placeholder: PlaceholderRole,
}

impl Allocation {
    /// A view; `charged` of its pages are promised a private copy.
    pub(crate) fn view(
        range: PageRange,
        state: PageState,
        protection: Protection,
        engine: EngineTag,
        (kind, charged): (AllocationKind, PageCount),
    ) -> Self {
        Self {
            kind,
            committed: charged.get(),
            ..Self::new(range, state, protection, engine, false)
        }
    }

    /// What a page gets when `protection` is asked for it.
    #[inline]
    pub(crate) fn accepted(&self, protection: Protection) -> Result<Protection, Refusal> {
        let protection = match self.kind {
            AllocationKind::Private => {
                protection.check_private()?;
                protection
            }
            AllocationKind::ImageView => {
                protection.copied_on_write().check_view(self.protection)?
            }
            AllocationKind::MemoryView | AllocationKind::FileView => {
                protection.check_view(self.protection)?
            }
        };
        Ok(protection.in_allocation(self.protection))
    }

    pub(crate) fn new(
        range: PageRange,
        state: PageState,
        protection: Protection,
        engine: EngineTag,
        write_watch: bool,
    ) -> Self {
        Self {
            map: PageMap::uniform(range, state.to_byte()),
            locked: None,
            committed: if state.is_committed() {
                range.count().get()
            } else {
                0
            },
            protection,
            engine,
            write_watch,
            kind: AllocationKind::Private,
            placeholder: PlaceholderRole::None,
        }
    }

    /// A placeholder.
    pub(crate) fn placeholder(range: PageRange, engine: EngineTag) -> Self {
        let empty = Self::new(
            range,
            PageState::Reserved,
            Protection::NO_ACCESS,
            engine,
            false,
        );
        empty.with_role(PlaceholderRole::Placeholder)
    }

    pub(crate) fn with_role(self, placeholder: PlaceholderRole) -> Self {
        Self {
            placeholder,
            ..self
        }
    }

    #[inline]
    pub(crate) fn is_placeholder(&self) -> bool {
        self.placeholder == PlaceholderRole::Placeholder
    }

    /// Refuses a placeholder, in which nothing can be committed or decommitted.
    #[inline]
    pub(crate) fn check_usable(&self) -> Result<(), Refusal> {
        if self.is_placeholder() {
            return Err(Refusal::IsPlaceholder {
                base: self.range().start(),
            });
        }
        Ok(())
    }

    /// The allocation that a part of it would be, with the states and locks of its pages.
    pub(crate) fn part(&self, range: PageRange) -> Self {
        let mut part = Self::new(
            range,
            PageState::Reserved,
            self.protection,
            self.engine,
            self.write_watch,
        )
        .with_role(self.placeholder);
        let (from, to) = (range.start().get(), range.end().get());
        self.map.visit(from, to, |from, to, byte| {
            part.map.set(from, to, byte);
            if PageState::from_byte(byte).is_committed() {
                part.committed += to - from;
            }
            true
        });
        self.visit_locked(range, |from, to, locked| {
            let run = PageRange::between(PageNumber::new(from), PageNumber::new(to));
            part.set_locked(run, locked);
            true
        });
        part
    }

    #[inline]
    pub(crate) fn range(&self) -> PageRange {
        self.map.range()
    }

    pub(crate) fn info(&self) -> AllocationInfo {
        AllocationInfo {
            range: self.range(),
            protection: self.protection,
            engine: self.engine,
            write_watch: self.write_watch,
            kind: self.kind,
            placeholder: self.placeholder,
            committed: PageCount::new(self.committed),
            locked: PageCount::new(self.locked()),
        }
    }

    /// Locked pages in the whole allocation.
    #[inline]
    pub(crate) fn locked(&self) -> u64 {
        self.locked.as_ref().map_or(0, |locked| locked.pages)
    }

    /// Calls `visit` with each run of locked or not locked pages in `range`, upwards, until it answers `false`.
    pub(crate) fn visit_locked(
        &self,
        range: PageRange,
        mut visit: impl FnMut(u64, u64, bool) -> bool,
    ) {
        let (from, to) = (range.start().get(), range.end().get());
        match &self.locked {
            None => {
                visit(from, to, false);
            }
            Some(locked) => {
                locked
                    .map
                    .visit(from, to, |from, to, state| visit(from, to, state == LOCKED));
            }
        }
    }

    /// How many pages of `range` are locked.
    pub(crate) fn locked_in(&self, range: PageRange) -> u64 {
        let mut count = 0;
        if self.locked.is_some() {
            self.visit_locked(range, |from, to, locked| {
                count += if locked { to - from } else { 0 };
                true
            });
        }
        count
    }

    /// Marks `range` locked or not; returns how many pages changed.
    pub(crate) fn set_locked(&mut self, range: PageRange, locked: bool) -> u64 {
        if !locked && self.locked.is_none() {
            return 0;
        }
        let before = self.locked_in(range);
        let whole = self.range();
        let record = self.locked.get_or_insert_with(|| {
            Box::new(Locked {
                map: PageMap::uniform(whole, 0),
                pages: 0,
            })
        });
        record
            .map
            .set(range.start().get(), range.end().get(), u8::from(locked));
        let changed = if locked {
            range.count().get() - before
        } else {
            before
        };
        if locked {
            record.pages += changed;
        } else {
            record.pages -= changed;
        }
        if record.pages == 0 {
            self.locked = None;
        }
        changed
    }

    /// Heap memory in bytes, without the allocation itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        let locked = self.locked.as_ref();
        self.map.heap_bytes()
            + locked.map_or(0, |locked| size_of::<Locked>() + locked.map.heap_bytes())
    }
}
