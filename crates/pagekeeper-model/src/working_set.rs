//! Working-set limits (`SetProcessWorkingSetSizeEx`).
//!
//! Source: windows-memory-behaviour.md 10.1 and 10.2.

use pagekeeper_units::{PAGE_SIZE, PageCount};

use crate::Refusal;

bitflags::bitflags! {
    /// Which bounds are hard (`QUOTA_LIMITS_HARDWS_...`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct WorkingSetFlags: u32 {
        /// The set never falls below the minimum.
        const MIN_ENABLE = 1;
        /// The minimum is soft.
        const MIN_DISABLE = 2;
        /// The set never exceeds the maximum.
        const MAX_ENABLE = 4;
        /// The maximum is soft.
        const MAX_DISABLE = 8;
    }
}

/// What a call that sets the limits comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkingSetChange {
    /// Both sizes were -1: take every page that is not locked out of the working set. Limits stay.
    Trim,
    /// The limits are new.
    Limits,
}

/// Minimum and maximum of a working set, each hard or soft, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingSetLimits {
    minimum: PageCount,
    maximum: PageCount,
    hard_minimum: bool,
    hard_maximum: bool,
}

/// A minimum below this is raised to it.
const LEAST_MINIMUM: PageCount = PageCount::new(20);
/// The smallest maximum.
const LEAST_MAXIMUM: PageCount = PageCount::new(13);
/// The maximum must leave this many of the available pages to others.
const LEFT_TO_OTHERS: PageCount = PageCount::new(512);
/// Pages of the minimum that cannot be locked.
const LOCK_OVERHEAD: PageCount = PageCount::new(8);
/// The size that stands for "trim".
const TRIM: u64 = u64::MAX;

impl WorkingSetLimits {
    /// 50 and 345 pages, both soft.
    pub const DEFAULT: Self = Self {
        minimum: PageCount::new(50),
        maximum: PageCount::new(345),
        hard_minimum: false,
        hard_maximum: false,
    };

    /// The minimum.
    pub const fn minimum(&self) -> PageCount {
        self.minimum
    }

    /// The maximum.
    pub const fn maximum(&self) -> PageCount {
        self.maximum
    }

    /// Whether the set may never fall below the minimum.
    pub const fn has_hard_minimum(&self) -> bool {
        self.hard_minimum
    }

    /// Whether the set may never exceed the maximum.
    pub const fn has_hard_maximum(&self) -> bool {
        self.hard_maximum
    }

    /// The flags in force, as `GetProcessWorkingSetSizeEx` returns them.
    pub const fn flags(&self) -> WorkingSetFlags {
        let minimum = if self.hard_minimum {
            WorkingSetFlags::MIN_ENABLE
        } else {
            WorkingSetFlags::MIN_DISABLE
        };
        minimum.union(if self.hard_maximum {
            WorkingSetFlags::MAX_ENABLE
        } else {
            WorkingSetFlags::MAX_DISABLE
        })
    }

    /// How many pages may be locked in all: the minimum less a small overhead.
    pub const fn lockable(&self) -> PageCount {
        self.minimum.saturating_sub(LOCK_OVERHEAD)
    }

    /// Sets the limits from sizes in bytes, which are kept as whole pages (rounded down); a minimum below 20 pages is raised to 20.
    /// Both sizes -1 change nothing and ask for a trim. `flags` says which bounds become hard or soft; a bound that it
    /// does not name stays. `available` is what the machine (or the budget) could give, in pages.
    ///
    /// # Errors
    /// [`Refusal::WorkingSetFlags`] for unknown or contradicting flags; [`Refusal::WorkingSetLimits`] for a
    /// minimum of 0 or above the maximum, one size -1, a maximum below 13 pages or not below `available` less 512.
    pub fn set(
        &mut self,
        minimum_bytes: u64,
        maximum_bytes: u64,
        flags: u32,
        available: PageCount,
    ) -> Result<WorkingSetChange, Refusal> {
        let known = parse_flags(flags)?;
        if minimum_bytes == TRIM && maximum_bytes == TRIM {
            return Ok(WorkingSetChange::Trim);
        }
        let asked = whole_pages(minimum_bytes);
        let minimum = asked.max(LEAST_MINIMUM);
        let maximum = whole_pages(maximum_bytes);
        let most = available
            .saturating_sub(LEFT_TO_OTHERS)
            .saturating_sub(PageCount::ONE)
            .max(LEAST_MINIMUM);
        let one_is_trim = minimum_bytes == TRIM || maximum_bytes == TRIM;
        if minimum_bytes == 0
            || one_is_trim
            || minimum > maximum
            || maximum < LEAST_MAXIMUM
            || maximum > most
        {
            let least = LEAST_MAXIMUM;
            return Err(Refusal::WorkingSetLimits {
                minimum: asked,
                maximum,
                least,
                most,
            });
        }
        self.minimum = minimum;
        self.maximum = maximum;
        if known.intersects(WorkingSetFlags::MIN_ENABLE | WorkingSetFlags::MIN_DISABLE) {
            self.hard_minimum = known.contains(WorkingSetFlags::MIN_ENABLE);
        }
        if known.intersects(WorkingSetFlags::MAX_ENABLE | WorkingSetFlags::MAX_DISABLE) {
            self.hard_maximum = known.contains(WorkingSetFlags::MAX_ENABLE);
        }
        Ok(WorkingSetChange::Limits)
    }
}

const fn whole_pages(bytes: u64) -> PageCount {
    PageCount::new(bytes / PAGE_SIZE as u64)
}

fn parse_flags(flags: u32) -> Result<WorkingSetFlags, Refusal> {
    let known = WorkingSetFlags::from_bits(flags).ok_or(Refusal::WorkingSetFlags { flags })?;
    let both_minimum = WorkingSetFlags::MIN_ENABLE | WorkingSetFlags::MIN_DISABLE;
    let both_maximum = WorkingSetFlags::MAX_ENABLE | WorkingSetFlags::MAX_DISABLE;
    if known.contains(both_minimum) || known.contains(both_maximum) {
        return Err(Refusal::WorkingSetFlags { flags });
    }
    Ok(known)
}
