//! Page numbers, counts and ranges.

use core::fmt;

use crate::{ByteCount, PAGE_SHIFT, PAGE_SIZE, PAGES_PER_GRANULE};

/// The number of a page: its address divided by the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PageNumber(u64);

impl PageNumber {
    /// The page with the given number.
    #[inline]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The page that holds the byte at `address` (rounds down).
    #[inline]
    pub const fn containing(address: u64) -> Self {
        Self(address >> PAGE_SHIFT)
    }

    /// The bare number.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address of the page's first byte, in bytes.
    #[inline]
    pub const fn address(self) -> u64 {
        self.0 << PAGE_SHIFT
    }

    /// The page `count` pages further up. Wraps only past 2^64 pages, which no address reaches.
    #[inline]
    pub const fn plus(self, count: PageCount) -> Self {
        Self(self.0 + count.get())
    }

    /// The page `count` pages further up, or `None` on overflow.
    #[inline]
    pub const fn checked_plus(self, count: PageCount) -> Option<Self> {
        match self.0.checked_add(count.get()) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// How many pages lie from `lower` up to this one. `lower` must not be above.
    #[inline]
    pub const fn since(self, lower: Self) -> PageCount {
        debug_assert!(self.0 >= lower.0);
        PageCount(self.0 - lower.0)
    }

    /// The first page of the 64 KiB granule that holds this page.
    #[inline]
    pub const fn round_down_to_granule(self) -> Self {
        Self(self.0 & !(PAGES_PER_GRANULE - 1))
    }

    /// This page when it starts a 64 KiB granule, else the first page of the next granule.
    #[inline]
    pub const fn round_up_to_granule(self) -> Self {
        Self((self.0 + PAGES_PER_GRANULE - 1) & !(PAGES_PER_GRANULE - 1))
    }
}

impl fmt::Debug for PageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {:#x}", self.address())
    }
}

/// A number of pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PageCount(u64);

impl PageCount {
    /// No pages.
    pub const ZERO: Self = Self(0);
    /// One page.
    pub const ONE: Self = Self(1);

    /// That many pages.
    #[inline]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The pages that hold `bytes` bytes (rounds up). Never overflows.
    #[inline]
    pub const fn holding(bytes: u64) -> Self {
        Self(bytes.div_ceil(PAGE_SIZE as u64))
    }

    /// The bare count.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The count as an index or a length in memory.
    #[inline]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }

    /// The size in bytes; saturates at the largest byte count.
    #[inline]
    pub const fn bytes(self) -> ByteCount {
        ByteCount::new(self.0.saturating_mul(PAGE_SIZE as u64))
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` on overflow.
    #[inline]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or zero where `other` is larger.
    #[inline]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl core::ops::Add for PageCount {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl core::ops::AddAssign for PageCount {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl core::ops::Sub for PageCount {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl core::ops::SubAssign for PageCount {
    #[inline]
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl core::iter::Sum for PageCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::ZERO, |sum, count| sum + count)
    }
}

impl fmt::Debug for PageCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages", self.0)
    }
}

/// A run of pages: a start and a count. May be empty; its end never passes 2^52 pages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PageRange {
    start: PageNumber,
    count: PageCount,
}

impl PageRange {
    /// `count` pages from `start` up.
    ///
    /// # Panics
    /// In debug builds, when the end overflows.
    #[inline]
    pub const fn new(start: PageNumber, count: PageCount) -> Self {
        debug_assert!(start.get().checked_add(count.get()).is_some());
        Self { start, count }
    }

    /// The pages from `start` up to, not including, `end`. Empty when `end` is not above `start`.
    #[inline]
    pub const fn between(start: PageNumber, end: PageNumber) -> Self {
        Self {
            start,
            count: PageCount(end.get().saturating_sub(start.get())),
        }
    }

    /// Every page that the `size` bytes at `address` touch, or `None` when the end overflows.
    ///
    /// Source: windows-memory-behaviour.md 4.1 (commit), 5.2 (decommit), 6 (protect).
    #[inline]
    pub const fn touched_by(address: u64, size: u64) -> Option<Self> {
        let Some(end) = address.checked_add(size) else {
            return None;
        };
        let start = PageNumber::containing(address);
        Some(Self::between(
            start,
            PageNumber::new(end.div_ceil(PAGE_SIZE as u64)),
        ))
    }

    /// The whole pages inside the `size` bytes at `address` (rounds inwards); may be empty.
    ///
    /// Source: windows-memory-behaviour.md 4.6 (MEM_RESET).
    #[inline]
    pub const fn within(address: u64, size: u64) -> Option<Self> {
        let Some(end) = address.checked_add(size) else {
            return None;
        };
        let start = PageNumber::new(address.div_ceil(PAGE_SIZE as u64));
        Some(Self::between(start, PageNumber::containing(end)))
    }

    /// First page.
    #[inline]
    pub const fn start(self) -> PageNumber {
        self.start
    }

    /// Number of pages.
    #[inline]
    pub const fn count(self) -> PageCount {
        self.count
    }

    /// The page after the last one.
    #[inline]
    pub const fn end(self) -> PageNumber {
        self.start.plus(self.count)
    }

    /// Address of the first byte.
    #[inline]
    pub const fn address(self) -> u64 {
        self.start.address()
    }

    /// Size in bytes.
    #[inline]
    pub const fn bytes(self) -> ByteCount {
        self.count.bytes()
    }

    /// Whether there is no page in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.count.is_zero()
    }

    /// Whether `page` lies in it.
    #[inline]
    pub const fn contains(self, page: PageNumber) -> bool {
        page.get() >= self.start.get() && page.get() < self.end().get()
    }

    /// Whether all of `other` lies in it.
    #[inline]
    pub const fn covers(self, other: Self) -> bool {
        other.start.get() >= self.start.get() && other.end().get() <= self.end().get()
    }

    /// Whether a page lies in both.
    #[inline]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.get() < other.end().get() && other.start.get() < self.end().get()
    }

    /// The pages that lie in both; empty where none does.
    #[inline]
    pub const fn intersection(self, other: Self) -> Self {
        let start = if self.start.get() > other.start.get() {
            self.start
        } else {
            other.start
        };
        let end = if self.end().get() < other.end().get() {
            self.end()
        } else {
            other.end()
        };
        Self::between(start, end)
    }

    /// Every page, upwards.
    pub fn pages(self) -> impl DoubleEndedIterator<Item = PageNumber> {
        (self.start.get()..self.end().get()).map(PageNumber::new)
    }
}

impl fmt::Debug for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:#x}..{:#x}",
            self.start.address(),
            self.end().address()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bytes_across_a_boundary_touch_both_pages() {
        let range = PageRange::touched_by(0x1_0FFF, 2).unwrap();
        assert_eq!(
            range,
            PageRange::new(PageNumber::new(0x10), PageCount::new(2))
        );
    }

    #[test]
    fn whole_pages_inside_round_inwards() {
        assert!(PageRange::within(0x1_0FFF, 2).unwrap().is_empty());
        let range = PageRange::within(0x1_0001, 0x2FFF).unwrap();
        assert_eq!(
            range,
            PageRange::new(PageNumber::new(0x11), PageCount::new(2))
        );
    }

    #[test]
    fn an_end_past_the_last_address_is_refused() {
        assert_eq!(PageRange::touched_by(u64::MAX, 2), None);
        assert_eq!(PageRange::within(u64::MAX - 1, 4), None);
    }

    #[test]
    fn granules_round_down_and_up() {
        let page = PageNumber::containing(0x5000_1010);
        assert_eq!(page.round_down_to_granule().address(), 0x5000_0000);
        assert_eq!(page.round_up_to_granule().address(), 0x5001_0000);
    }

    #[test]
    fn ranges_meet_only_in_common_pages() {
        let low = PageRange::new(PageNumber::new(10), PageCount::new(5));
        let high = PageRange::new(PageNumber::new(15), PageCount::new(5));
        assert!(!low.overlaps(high));
        assert!(low.intersection(high).is_empty());
        let middle = PageRange::new(PageNumber::new(12), PageCount::new(6));
        assert_eq!(low.intersection(middle).count(), PageCount::new(3));
        assert!(low.covers(PageRange::new(PageNumber::new(12), PageCount::new(3))));
    }
}
