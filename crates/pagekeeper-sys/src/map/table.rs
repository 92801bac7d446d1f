//! Arrays of atomics as large as the address space, which cost nothing until touched.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: hands out a slice over zeroed memory; zero is a value of every atomic integer"
)]

use core::marker::PhantomData;
use core::ops::{Deref, Range};
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use core::{mem, slice};

use pagekeeper_units::{PAGE_SIZE, PageCount, PageRange};

use super::{Access, Advice, Mapping, Purpose, Treatment, advise, reserve};
use crate::{Errno, pagemap};

mod sealed {
    pub trait Sealed {}
}

/// What a [`ZeroedTable`] may hold: atomic integers, for which all-zero bytes are the value zero.
pub trait TableCell: sealed::Sealed + Sync + Send + 'static {
    /// Stores zero.
    fn clear(&self);
}

macro_rules! table_cells {
    ($($atomic:ty),*) => {$(
        impl sealed::Sealed for $atomic {}
        impl TableCell for $atomic {
            fn clear(&self) {
                self.store(0, core::sync::atomic::Ordering::Relaxed);
            }
        }
    )*};
}
table_cells!(AtomicU8, AtomicU16, AtomicU32, AtomicU64);

/// A lazily populated array of atomic integers, zero until written.
///
/// The page tables of the pager: a terabyte of address space needs 2 GiB of them *reserved*, and as
/// many resident as are touched. Huge pages are off, so a lone entry costs one page. A forked child
/// has a copy (its handlers must be able to look).
///
/// ```
/// use core::sync::atomic::{AtomicU64, Ordering};
/// let table = pagekeeper_sys::map::ZeroedTable::<AtomicU64>::new(1 << 30).unwrap();
/// table[12_345].store(7, Ordering::Relaxed);
/// assert_eq!(table[12_345].load(Ordering::Relaxed), 7);
/// assert_eq!(table[1 << 29].load(Ordering::Relaxed), 0);
/// ```
#[derive(Debug)]
pub struct ZeroedTable<T: TableCell> {
    memory: Mapping,
    length: usize,
    cells: PhantomData<T>,
}

impl<T: TableCell> ZeroedTable<T> {
    /// Reserves room for `length` cells.
    ///
    /// # Errors
    /// `ENOMEM` without address space (also by `RLIMIT_AS`).
    pub fn new(length: usize) -> Result<Self, Errno> {
        let bytes = length
            .checked_mul(size_of::<T>())
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or(Errno::NOMEM)?;
        let pages = PageCount::holding(bytes.max(1) as u64);
        // Not dumped: gigabytes of address space would be looked through for a few pages of numbers.
        let treatment = Treatment::NO_HUGE_PAGES | Treatment::NOT_DUMPED;
        let memory = reserve(pages, Access::READ_WRITE, treatment)?.held_for(Purpose::Tables);
        Ok(Self {
            memory,
            length,
            cells: PhantomData,
        })
    }

    /// Bytes of memory that the table occupies now (an estimate: it changes while being counted).
    /// Page tables of the kernel are not in it.
    pub fn resident_bytes(&self) -> u64 {
        pagemap::resident_pages(self.memory.range()).map_or(0, |pages| pages.bytes().get())
    }

    /// Bytes of address space that the table holds.
    pub fn reserved_bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    /// Sets the cells of `range` to zero and gives whole pages of them back to the system.
    ///
    /// Concurrent readers see the old value or zero. A range past the end is cut off there.
    pub fn discard(&self, range: Range<usize>) {
        let end = range.end.min(self.length);
        let start = range.start.min(end);
        let size = size_of::<T>();
        let base = self.memory.base() as u64;
        let whole = PageRange::within(base + (start * size) as u64, ((end - start) * size) as u64)
            .unwrap_or_default();
        // SAFETY: Cells are atomic and zero is one of their values, so dropping a page is the same
        // as storing zeros into it.
        let dropped = !whole.is_empty() && unsafe { advise(whole, Advice::Discard) }.is_ok();
        let (head_end, tail_start) = if dropped {
            let per_page = PAGE_SIZE / size;
            let first = (whole.address() - base) as usize / size;
            (first, first + whole.count().as_usize() * per_page)
        } else {
            (end, end)
        };
        for cell in self.get(start..head_end).into_iter().flatten() {
            cell.clear();
        }
        for cell in self.get(tail_start..end).into_iter().flatten() {
            cell.clear();
        }
    }
}

impl<T: TableCell> Deref for ZeroedTable<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        const { assert!(PAGE_SIZE.is_multiple_of(size_of::<T>()) && !mem::needs_drop::<T>()) };
        // SAFETY: 1. The mapping is readable and writable, page-aligned and at least that long.
        // 2. Anonymous memory is zero until written, and zero is a valid atomic integer.
        // 3. It lives as long as self.
        unsafe { slice::from_raw_parts(self.memory.base().cast::<T>(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_left_out_of_core_dumps() {
        let table = ZeroedTable::<AtomicU64>::new(1 << 20).expect("address space");
        let start = format!("{:x}-", table.memory.base() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("there");
        let mine = maps.lines().skip_while(|line| !line.starts_with(&start));
        let flags = mine.into_iter().find(|line| line.starts_with("VmFlags:"));
        let flags = flags.expect("the kernel shows flags");
        assert!(
            flags.split_ascii_whitespace().any(|flag| flag == "dd"),
            "{flags}"
        );
    }
}
