//! Arenas and the holes in them: where a reservation goes.
//!
//! An *arena* is address space that an engine has mapped in one piece and that the model hands out in slices.
//! A *hole* is a stretch of an arena that no allocation holds. Holes begin at 64 KiB boundaries, because what is reserved
//! must; the rest of a granule behind an allocation's last page belongs to no hole (windows-memory-behaviour.md
//! 3). They end at any page, because a placeholder that was split off may begin there. Holes never cross the edge of an arena, even where two arenas touch: an allocation lies in one arena.
//!
//! Each engine's holes are one tree by address that also knows the largest hole below each node, so that "the lowest
//! hole of at least n pages" is one walk, and so is the highest.

use pagekeeper_units::{HIGHEST_ADDRESS, LOWEST_ADDRESS, PageCount, PageNumber, PageRange};

use crate::EngineTag;
use crate::tree::Tree;

/// Why an arena is not taken in or given up: a mistake of the caller, not of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArenaError {
    /// It holds no page.
    #[error("an arena needs at least one page")]
    Empty,
    /// It does not start at a multiple of 64 KiB.
    #[error("an arena must start at a multiple of 64 KiB, not at {:#x}", .0.address())]
    Misaligned(PageNumber),
    /// It reaches outside what programs may use.
    #[error("an arena at {0:?} leaves the address space of programs")]
    OutOfBounds(PageRange),
    /// It overlaps another.
    #[error("an arena at {0:?} overlaps the one at {1:?}")]
    Overlaps(PageRange, PageRange),
    /// No arena has exactly this range.
    #[error("there is no arena at {0:?}")]
    Unknown(PageRange),
    /// An allocation lies in it.
    #[error("an allocation still lies in the arena at {0:?}")]
    InUse(PageRange),
}

/// An arena and how much lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaInfo {
    /// Its pages.
    pub range: PageRange,
    /// The engine that owns it.
    pub engine: EngineTag,
    /// Allocations in it.
    pub allocations: usize,
}

/// The first page that programs may reserve.
pub(crate) const FIRST_PAGE: u64 = PageNumber::containing(LOWEST_ADDRESS).get();
/// The page behind the last that programs may reserve: the last 64 KiB of user space stay reserved.
pub(crate) const LAST_RESERVABLE_END: u64 = USER_END - 16;
/// The page behind user space.
pub(crate) const USER_END: u64 = PageNumber::containing(HIGHEST_ADDRESS).get() + 1;

/// Every arena of a space, with the holes of each engine.
pub(crate) struct Arenas {
    /// First page of an arena → its slot.
    index: Tree<false>,
    slots: Vec<ArenaInfo>,
    free_slots: Vec<u32>,
    /// One entry for each engine that has arenas: first page of a hole → its length in pages.
    holes: Vec<(EngineTag, Tree<true>)>,
}

impl Arenas {
    pub(crate) const fn new() -> Self {
        Self {
            index: Tree::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            holes: Vec::new(),
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.index.heap_bytes()
            + self.slots.capacity() * size_of::<ArenaInfo>()
            + self.free_slots.capacity() * size_of::<u32>()
            + self
                .holes
                .iter()
                .map(|(_, tree)| tree.heap_bytes())
                .sum::<usize>()
    }

    /// The arena that holds `page`.
    #[inline]
    pub(crate) fn containing(&self, page: u64) -> Option<&ArenaInfo> {
        let (_, slot) = self.index.floor(page)?;
        let arena = &self.slots[slot as usize];
        arena.range.contains(PageNumber::new(page)).then_some(arena)
    }

    /// The lowest arena that ends above `page`.
    pub(crate) fn at_or_after(&self, page: u64) -> Option<&ArenaInfo> {
        if let Some(arena) = self.containing(page) {
            return Some(arena);
        }
        let (_, slot) = self.index.ceiling(page)?;
        Some(&self.slots[slot as usize])
    }

    /// Every arena, upwards.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ArenaInfo> + '_ {
        let mut at = 0;
        core::iter::from_fn(move || {
            let (first, slot) = self.index.ceiling(at)?;
            at = first + 1;
            Some(self.slots[slot as usize])
        })
    }

    fn holes_of(&mut self, engine: EngineTag) -> &mut Tree<true> {
        let at = match self.holes.iter().position(|(tag, _)| *tag == engine) {
            Some(at) => at,
            None => {
                self.holes.push((engine, Tree::new()));
                self.holes.len() - 1
            }
        };
        &mut self.holes[at].1
    }

    pub(crate) fn add(&mut self, range: PageRange, engine: EngineTag) -> Result<(), ArenaError> {
        if range.is_empty() {
            return Err(ArenaError::Empty);
        }
        let (start, end) = (range.start().get(), range.end().get());
        if range.start().round_down_to_granule() != range.start() {
            return Err(ArenaError::Misaligned(range.start()));
        }
        if start < FIRST_PAGE || end > LAST_RESERVABLE_END {
            return Err(ArenaError::OutOfBounds(range));
        }
        if let Some(other) = self.at_or_after(start)
            && other.range.overlaps(range)
        {
            return Err(ArenaError::Overlaps(range, other.range));
        }
        let info = ArenaInfo {
            range,
            engine,
            allocations: 0,
        };
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.slots[slot as usize] = info;
                slot
            }
            None => {
                self.slots.push(info);
                (self.slots.len() - 1) as u32
            }
        };
        self.index.insert(start, u64::from(slot));
        self.holes_of(engine).insert(start, end - start);
        Ok(())
    }

    pub(crate) fn remove(&mut self, range: PageRange) -> Result<(), ArenaError> {
        let start = range.start().get();
        let slot = self.index.get(start).ok_or(ArenaError::Unknown(range))?;
        let arena = self.slots[slot as usize];
        if arena.range != range {
            return Err(ArenaError::Unknown(range));
        }
        if arena.allocations != 0 {
            return Err(ArenaError::InUse(range));
        }
        self.index.remove(start);
        self.free_slots.push(slot as u32);
        self.holes_of(arena.engine).remove(start);
        Ok(())
    }

    /// Where `pages` pages go: the lowest place, or the highest with `top_down`.
    #[inline]
    pub(crate) fn find_place(
        &self,
        engine: EngineTag,
        pages: PageCount,
        top_down: bool,
    ) -> Option<PageNumber> {
        let (_, holes) = self.holes.iter().find(|(tag, _)| *tag == engine)?;
        let pages = pages.get();
        if !top_down {
            return holes
                .first_at_least(pages)
                .map(|(first, _)| PageNumber::new(first));
        }
        let (first, length) = holes.last_at_least(pages)?;
        Some(PageNumber::new(first + length - pages).round_down_to_granule())
    }

    /// The arena slot around `page`; the caller knows that there is one.
    fn slot_around(&self, page: u64) -> Option<usize> {
        let (_, slot) = self.index.floor(page)?;
        Some(slot as usize)
    }

    /// Takes `range` out of the hole that holds it.
    pub(crate) fn occupy(&mut self, range: PageRange) {
        let (start, end) = (range.start().get(), range.end().round_up_to_granule().get());
        let Some(slot) = self.slot_around(start) else {
            return;
        };
        self.slots[slot].allocations += 1;
        let engine = self.slots[slot].engine;
        let holes = self.holes_of(engine);
        let Some((first, length)) = holes.floor(start) else {
            return;
        };
        let hole_end = first + length;
        debug_assert!(range.end().get() <= hole_end, "occupied space was not free");
        match (first < start, end < hole_end) {
            (false, false) => {
                holes.remove(first);
            }
            (false, true) => {
                holes.rekey(first, end, hole_end - end);
            }
            (true, behind) => {
                holes.insert(first, start - first);
                if behind {
                    holes.insert(end, hole_end - end);
                }
            }
        }
    }

    /// In the arena around `page`, `before` allocations have become `after` without changing what is free.
    pub(crate) fn recount(&mut self, page: PageNumber, before: usize, after: usize) {
        if let Some(slot) = self.slot_around(page.get()) {
            let arena = &mut self.slots[slot];
            arena.allocations = arena.allocations + after - before;
        }
    }

    /// Gives `range` back; returns the arena when it is empty now. `next` is where the next allocation begins if the range
    /// ends inside a granule.
    pub(crate) fn vacate(&mut self, range: PageRange, next: Option<u64>) -> Option<PageRange> {
        let slot = self.slot_around(range.start().get())?;
        let arena = &mut self.slots[slot];
        arena.allocations -= 1;
        let (arena, engine, left) = (arena.range, arena.engine, arena.allocations);
        let (low, high) = (arena.start().get(), arena.end().get());
        let (start, end) = (range.start().get(), range.end().get());
        // Free from `end` on: up to `limit`, or as far as the hole goes that begins with the next granule.
        let (limit, next_granule) = (
            next.map_or(high, |next| next.min(high)),
            range.end().round_up_to_granule().get(),
        );
        let holes = self.holes_of(engine);
        // Holes that touch are joined, but never across the edge of the arena.
        let below = match holes.floor(start) {
            Some((first, length)) if first + length == start && first >= low => Some(first),
            _ => None,
        };
        let above = if next_granule < limit {
            holes.get(next_granule)
        } else {
            None
        };
        let free_end = match above {
            Some(length) => next_granule + length,
            None if end < next_granule => limit.min(next_granule),
            None => end,
        };
        // Where nothing is free below, or only the rest of a granule.
        let first = below.unwrap_or(range.start().round_up_to_granule().get());
        match (below, above) {
            (_, None) if first < free_end => holes.insert(first, free_end - first),
            // Pages inside one granule, in which something else lies.
            (_, None) => {}
            (None, Some(_)) if first == next_granule => {}
            (None, Some(_)) => {
                holes.rekey(next_granule, first, free_end - first);
            }
            (Some(_), Some(_)) => {
                holes.remove(next_granule);
                holes.insert(first, free_end - first);
            }
        }
        (left == 0).then_some(arena)
    }
}
