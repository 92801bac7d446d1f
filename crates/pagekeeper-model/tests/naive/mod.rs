//! The rules once more, page by page in one array, as slowly and plainly as they can be written.
//!
//! Nothing here comes from the model: protections are Windows values, refusals are names, and every answer is found by
//! looking at every page.

pub(crate) mod operations;
mod placeholders;

/// First page of the small world that the tests play in.
pub(crate) const WORLD: u64 = 0x1_0000;
/// Its size in pages.
pub(crate) const PAGES: usize = 3072;
/// Page behind the last that can be reserved.
pub(crate) const TOP: u64 = 0x7_FFFF_FFE0;

/// Arenas that are there from the beginning: first and end page within the world, engine.
/// The first two touch each other.
pub(crate) const ARENAS: [(usize, usize, u8); 3] = [(64, 832, 0), (832, 1344, 0), (1600, 2112, 1)];
/// Foreign mappings within the world. The last touches an arena.
pub(crate) const FOREIGN: [(usize, usize); 3] = [(1400, 1450), (1450, 1460), (2112, 2130)];

#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Page {
    /// Index of the allocation plus one; 0 for none.
    allocation: usize,
    committed: bool,
    protection: u32,
    locked: bool,
}

#[derive(Clone, Copy)]
struct Allocation {
    start: usize,
    end: usize,
    protection: u32,
    role: Role,
}

/// What an allocation has to do with placeholders.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Role {
    None,
    Placeholder,
    Replacement,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Arena {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) engine: u8,
}

/// What a query answers: end page, allocation base and protection, `State`, `Protect`.
pub(crate) type Region = (u64, Option<(u64, u32)>, &'static str, u32);

pub(crate) struct Naive {
    pub(crate) pages: Vec<Page>,
    allocations: Vec<Allocation>,
    pub(crate) arenas: Vec<Arena>,
    pub(crate) limit: u64,
    pub(crate) peak: u64,
}

type Outcome<T> = Result<T, &'static str>;

/// Whether private memory takes the value; else the refusal's name.
pub(crate) fn check_protection(value: u32) -> Outcome<()> {
    let bases = [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80];
    let base = value & 0xFF;
    let modifiers = value & 0x700;
    let targets_invalid = value & 0x4000_0000 != 0;
    let valid = bases.contains(&base)
        && value & !0x4000_07FF == 0
        && matches!(modifiers, 0 | 0x100 | 0x200 | 0x400)
        && !(modifiers != 0 && base == 1)
        && !(targets_invalid && base < 0x10);
    match (valid, base) {
        (false, _) => Err("ProtectionInvalid"),
        (true, 8 | 0x80) => Err("ProtectionNotForPrivate"),
        (true, _) => Ok(()),
    }
}

impl Naive {
    pub(crate) fn new(limit: u64) -> Self {
        let arenas = ARENAS.map(|(start, end, engine)| Arena { start, end, engine });
        Self {
            pages: vec![Page::default(); PAGES],
            allocations: Vec::new(),
            arenas: arenas.to_vec(),
            limit,
            peak: 0,
        }
    }

    fn count(&self, what: impl Fn(&Page) -> bool) -> u64 {
        self.pages.iter().filter(|page| what(page)).count() as u64
    }

    pub(crate) fn committed(&self) -> u64 {
        self.count(|page| page.committed)
    }

    pub(crate) fn reserved(&self) -> u64 {
        self.count(|page| page.allocation != 0)
    }

    pub(crate) fn locked(&self) -> u64 {
        self.count(|page| page.locked)
    }

    fn check_charge(&mut self, pages: u64) -> Outcome<()> {
        let charged = self.committed() + pages;
        if pages > 0 && charged > self.limit {
            return Err("CommitmentLimit");
        }
        Ok(())
    }

    fn note_peak(&mut self) {
        self.peak = self.peak.max(self.committed());
    }

    /// The first page from `place` up that is allocated (or locked), or `place` itself when none is.
    pub(crate) fn next_allocated(&self, place: usize, locked: bool) -> usize {
        let wanted = |page: &usize| {
            let page = self.page(*page);
            if locked {
                page.locked
            } else {
                page.allocation != 0
            }
        };
        (place..PAGES - 720).find(wanted).unwrap_or(place)
    }

    /// The pages that the bytes touch, within the world; the tests stay inside it.
    fn touched(address: u64, size: u64) -> Outcome<(usize, usize)> {
        if size == 0 {
            return Err("SizeZero");
        }
        let first = address / 4096 - WORLD;
        let end = (address + size).div_ceil(4096) - WORLD;
        Ok((first as usize, end as usize))
    }

    fn page(&self, page: usize) -> Page {
        self.pages.get(page).copied().unwrap_or_default()
    }

    /// The allocation around `page`, or the name of the refusal.
    fn allocation(&self, page: usize) -> Outcome<Allocation> {
        match self.page(page).allocation {
            0 => Err("NotAllocated"),
            number => Ok(self.allocations[number - 1]),
        }
    }

    fn is_free(&self, start: usize, end: usize) -> bool {
        (start..end).all(|page| self.page(page).allocation == 0)
    }

    /// The start of a new allocation that the rules allow, and whether it needs an arena of its own.
    pub(crate) fn place(
        &mut self,
        at: Option<u64>,
        size: u64,
        engine: u8,
        top_down: bool,
        commit: bool,
    ) -> Outcome<(usize, usize, bool)> {
        let (start, end, own_arena) = match at {
            None => {
                if size == 0 {
                    return Err("SizeZero");
                }
                let pages = size.div_ceil(4096) as usize;
                if commit {
                    // Before the search: no arena is opened for what cannot be granted.
                    self.check_charge(pages as u64)?;
                }
                let mut starts: Vec<usize> = (0..PAGES).step_by(16).collect();
                if top_down {
                    starts.reverse();
                }
                let fits = |&start: &usize| {
                    let inside = |arena: &Arena| {
                        arena.engine == engine && arena.start <= start && start + pages <= arena.end
                    };
                    self.arenas.iter().any(inside) && self.is_free(start, start + pages)
                };
                let start = starts.into_iter().find(fits).ok_or("NoHole")?;
                (start, start + pages, false)
            }
            Some(address) => {
                let (first, end) = Self::touched(address, size)?;
                let start = first / 16 * 16;
                if !self.is_free(start, end) {
                    return Err("ConflictingAddresses");
                }
                let in_the_way = |arena: &&Arena| arena.start < end && start < arena.end;
                match self
                    .arenas
                    .iter()
                    .filter(in_the_way)
                    .min_by_key(|arena| arena.start)
                {
                    None => (start, end, true),
                    Some(arena) if arena.engine != engine => return Err("ArenaOfOtherEngine"),
                    Some(arena) if arena.start <= start && end <= arena.end => (start, end, false),
                    Some(_) => return Err("CrossesArena"),
                }
            }
        };
        if commit {
            self.check_charge((end - start) as u64)?;
        }
        Ok((start, end, own_arena))
    }

    pub(crate) fn reserve(
        &mut self,
        start: usize,
        end: usize,
        protection: u32,
        commit: bool,
        role: Role,
    ) {
        let protection = protection & 0x7FF;
        self.allocations.push(Allocation {
            start,
            end,
            protection,
            role,
        });
        let allocation = self.allocations.len();
        for page in &mut self.pages[start..end] {
            *page = Page {
                allocation,
                committed: commit,
                protection,
                locked: false,
            };
        }
        self.note_peak();
    }

    /// What a page of `allocation` gets when `asked` for: the cache modifiers are the allocation's.
    fn granted(allocation: Allocation, asked: u32) -> u32 {
        (asked & 0x1FF) | (allocation.protection & 0x600)
    }

    pub(crate) fn commit(&mut self, address: u64, size: u64, protection: u32) -> Outcome<u64> {
        let (first, end) = Self::touched(address, size)?;
        check_protection(protection)?;
        let allocation = self.allocation(first)?;
        if end > allocation.end {
            return Err("LeavesAllocation");
        }
        if allocation.role == Role::Placeholder {
            return Err("IsPlaceholder");
        }
        let new = self.pages[first..end]
            .iter()
            .filter(|page| !page.committed)
            .count() as u64;
        self.check_charge(new)?;
        for page in &mut self.pages[first..end] {
            page.committed = true;
            page.protection = Self::granted(allocation, protection);
        }
        self.note_peak();
        Ok(new)
    }

    pub(crate) fn decommit(&mut self, address: u64, size: u64) -> Outcome<u64> {
        let (first, end) = Self::touched(address, size.max(1))?;
        let allocation = self.allocation(first)?;
        if allocation.role == Role::Placeholder {
            return Err("IsPlaceholder");
        }
        let (first, end) = match size {
            0 if first == allocation.start => (first, allocation.end),
            0 => return Err("NotAtBase"),
            _ => (first, end),
        };
        if end > allocation.end {
            return Err("DecommitPastEnd");
        }
        let before = self.committed();
        for page in &mut self.pages[first..end] {
            *page = Page {
                allocation: page.allocation,
                ..Page::default()
            };
        }
        Ok(before - self.committed())
    }

    /// Frees an allocation; an arena of its own goes with it.
    pub(crate) fn release(&mut self, address: u64, size: u64) -> Outcome<()> {
        if size != 0 {
            return Err("SizeNotZero");
        }
        let page = (address / 4096 - WORLD) as usize;
        let allocation = self.allocation(page)?;
        if page != allocation.start {
            return Err("NotAtBase");
        }
        self.pages[allocation.start..allocation.end].fill(Page::default());
        self.arenas.retain(|arena| {
            ARENAS.contains(&(arena.start, arena.end, arena.engine))
                || (arena.start, arena.end) != (allocation.start, allocation.end)
        });
        Ok(())
    }

    pub(crate) fn protect(&mut self, address: u64, size: u64, protection: u32) -> Outcome<u32> {
        let (first, end) = Self::touched(address, size)?;
        check_protection(protection)?;
        let allocation = self.allocation(first)?;
        if end > allocation.end {
            return Err("LeavesAllocation");
        }
        if allocation.role == Role::Placeholder {
            return Err("IsPlaceholder");
        }
        if self.pages[first..end].iter().any(|page| !page.committed) {
            return Err("NotCommitted");
        }
        let old = self.pages[first].protection;
        for page in &mut self.pages[first..end] {
            page.protection = Self::granted(allocation, protection);
        }
        Ok(old)
    }

    /// An access of one byte: disarms a guard, as the exception's dispatcher does.
    pub(crate) fn touch(&mut self, address: u64, write: bool) -> &'static str {
        let number = (address / 4096 - WORLD) as usize;
        let page = self.page(number);
        if page.allocation == 0 {
            let managed = self
                .arenas
                .iter()
                .any(|a| a.start <= number && number < a.end);
            return if managed {
                "AccessViolation"
            } else {
                "Foreign"
            };
        }
        if page.protection & 0x100 != 0 && page.committed {
            self.pages[number].protection &= !0x100;
            return "Guard";
        }
        let base = page.protection & 0xFF;
        let allowed = if write {
            matches!(base, 4 | 0x40)
        } else {
            base != 1
        };
        if page.committed && allowed {
            "Ok"
        } else {
            "AccessViolation"
        }
    }

    pub(crate) fn lock(&mut self, address: u64, size: u64, lockable: u64) -> Outcome<()> {
        let (first, end) = Self::touched(address, size)?;
        let number = self.page(first).allocation;
        for page in first..end {
            let state = self.page(page);
            if number == 0 || state.allocation != number || !state.committed {
                return Err("NotAccessible");
            }
            if state.protection & 0x100 != 0 {
                self.pages[page].protection &= !0x100;
                return Err("GuardPage");
            }
            if state.protection & 0xFF == 1 {
                return Err("NotAccessible");
            }
        }
        let new = self.pages[first..end]
            .iter()
            .filter(|page| !page.locked)
            .count() as u64;
        if self.locked() + new > lockable && new > 0 {
            return Err("WorkingSetQuota");
        }
        self.pages[first..end]
            .iter_mut()
            .for_each(|page| page.locked = true);
        Ok(())
    }

    pub(crate) fn unlock(&mut self, address: u64, size: u64) -> Outcome<()> {
        let (first, end) = Self::touched(address, size)?;
        let number = self.page(first).allocation;
        let locked = |page| self.page(page).locked && self.page(page).allocation == number;
        if !(first..end).all(locked) {
            return Err("NotLocked");
        }
        self.pages[first..end]
            .iter_mut()
            .for_each(|page| page.locked = false);
        Ok(())
    }

    pub(crate) fn discard(&self, address: u64, size: u64) -> Outcome<()> {
        if !address.is_multiple_of(4096) || !size.is_multiple_of(4096) {
            return Err("NotPageAligned");
        }
        let (first, end) = Self::touched(address, size)?;
        if end > self.allocation(first)?.end {
            return Err("LeavesAllocation");
        }
        for page in &self.pages[first..end] {
            if !page.committed {
                return Err("NotCommitted");
            }
            if page.protection & 0x1FF != 4 {
                return Err("NotReadWrite");
            }
        }
        Ok(())
    }

    /// How many committed pages lie wholly inside the bytes.
    pub(crate) fn reset(&self, address: u64, size: u64) -> Outcome<u64> {
        let (first, end) = Self::touched(address, size)?;
        if end > self.allocation(first)?.end {
            return Err("LeavesAllocation");
        }
        let whole = address.div_ceil(4096)..(address + size) / 4096;
        Ok(whole
            .filter(|page| self.page((page - WORLD) as usize).committed)
            .count() as u64)
    }

    /// What every page looks like to a query; equal neighbours are one region.
    fn look(&self, page: usize) -> (Option<(u64, u32)>, &'static str, u32) {
        let state = self.page(page);
        if let Ok(allocation) = self.allocation(page) {
            let base = Some((WORLD + allocation.start as u64, allocation.protection));
            return match state.committed {
                true => (base, "Committed", state.protection),
                false => (base, "Reserved", 0),
            };
        }
        let foreign = FOREIGN
            .iter()
            .find(|(start, end)| (*start..*end).contains(&page));
        match foreign {
            Some((start, _)) => (Some((WORLD + *start as u64, 4)), "Committed", 4),
            None => (None, "Free", 1),
        }
    }

    pub(crate) fn query(&self, address: u64) -> Region {
        let page = (address / 4096 - WORLD) as usize;
        let look = self.look(page);
        let end = (page..PAGES).find(|&other| self.look(other) != look);
        let end = end.map_or(TOP, |end| WORLD + end as u64);
        (end, look.0, look.1, look.2)
    }
}
